//! The bounds of a pipeline file. Each is far above any file a person writes and far below
//! anything that would trouble the machine that reads it.

use std::time::Duration;

/// Bytes of a pipeline file. A thousand long jobs fit; a mistaken binary does not.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Nesting of lists and maps. The format itself needs six.
pub const DEPTH_MAX: usize = 16;
/// Values in the file after every alias has been expanded. Stops a few lines of nested anchors
/// from growing into billions of values.
pub const NODES_MAX: usize = 50_000;
/// Bytes of text after every alias has been expanded, for the same reason.
pub const EXPANDED_BYTES_MAX: usize = 4 << 20;
/// Jobs in one pipeline. Their state is scanned on every change, so it stays a small table.
pub const JOBS_MAX: usize = 512;
/// Steps in one job.
pub const STEPS_MAX: usize = 256;
/// Entries of one `needs` or `runs_on` list.
pub const LIST_MAX: usize = 512;
/// Variables in one `env`.
pub const ENV_ENTRIES_MAX: usize = 256;
/// Bytes of one variable's value. Linux refuses single strings of 128 KiB at exec.
pub const ENV_VALUE_BYTES_MAX: usize = 32 << 10;
/// Bytes of one script. It is one argument of the shell, and Linux refuses those at 128 KiB.
pub const RUN_BYTES_MAX: usize = 64 << 10;
/// Bytes of a name, an id or a label.
pub const NAME_BYTES_MAX: usize = 128;
/// Bytes of a job id: it prefixes every line of the job's log.
pub const JOB_ID_BYTES_MAX: usize = 64;
/// Mistakes reported at once. Beyond these a reader fixes the first ones and looks again.
pub const DIAGNOSTICS_MAX: usize = 20;
/// A job without `timeout`.
pub const JOB_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// The longest timeout that can be written: thirty days, so that deadline sums never overflow.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The id of the job that top-level `steps` make.
pub const SINGLE_JOB_ID: &str = "main";
/// Variables with this prefix are set by the runner and cannot be set by a file.
pub const RESERVED_ENV_PREFIX: &str = "VALKYRIE_";
