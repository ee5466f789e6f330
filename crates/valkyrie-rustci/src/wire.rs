//! What server, runners and watchers say to each other: the payloads of frames.
//!
//! Control messages are JSON, small and open: a field that is not known is ignored, so either side
//! may be newer. Log bytes are a fixed binary header and the bytes themselves. Everything is bounded
//! before and after it is parsed. This module knows no connection; `docs/protocol/rustci.md` says
//! which message goes where and when. Read [`FromServer`] and [`FromRunner`] first.

mod call;
mod control;
mod error;
mod job;
mod log;
mod observe;
#[cfg(test)]
mod tests;

pub use call::{CancelRun, LogPlace, Refused, Register, Registered, Submit, Submitted, Watch};
pub use control::{FromRunner, FromServer};
pub use error::{WireError, WireLimit};
pub use job::{
    Accept, Cancel, CancelAck, Complete, Failed, JobRef, JobSpec, Lease, LeaseReply, Progress, Reject,
    Request, Settled, Settlement, Start, StepPhase, StepSpec,
};
pub use log::{LOG_HEADER_BYTES, LOG_PAYLOAD_BYTES_MAX, LogFrame};
pub use observe::{Health, JobPhase, JobStatus, Metrics, RunStatus, StatusUpdate};

/// The version of these messages. It changes only when an old side could misunderstand.
pub const PROTOCOL: u16 = 1;
/// The service name of the calls and streams below.
pub const SERVICE: &str = "rustci";
/// Call, runner to server: [`Register`] answered by [`Registered`].
pub const METHOD_REGISTER: &str = "register";
/// Stream of class job, opened by the runner: job frames both ways, and METRICS and HEALTH.
pub const METHOD_JOBS: &str = "jobs";
/// Stream of class data, opened by the runner, one for each attempt: LOG frames both ways.
pub const METHOD_LOG: &str = "log";
/// Call, client to server: [`Submit`] answered by [`Submitted`] or [`Refused`].
pub const METHOD_SUBMIT: &str = "submit";
/// Stream of class data, opened by the client with [`Watch`]: STATUS and LOG frames to the client.
pub const METHOD_WATCH: &str = "watch";
/// Call, client to server: [`CancelRun`] answered by an empty object.
pub const METHOD_CANCEL: &str = "cancel";

/// Bytes of one control message. A job of the largest pipeline file with its aliases expanded fits.
pub const CONTROL_BYTES_MAX: usize = 8 << 20;
/// Bytes of an explanation: an error, a reason, a detail.
pub const TEXT_BYTES_MAX: usize = 4 << 10;
/// Jobs named in one lease, and so the most a runner may hold at once.
pub const HELD_MAX: usize = 1024;
/// Labels of one runner.
pub const LABELS_MAX: usize = 64;
/// Slots of one runner.
pub const SLOTS_MAX: u32 = 1024;

/// Frame kinds of the job and observe groups, by their codes in the frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The server offers a job.
    Request = 0x20,
    /// The runner takes it.
    Accept = 0x21,
    /// The runner does not.
    Reject = 0x22,
    /// The first step is about to start.
    Start = 0x23,
    /// A step started or ended.
    Progress = 0x24,
    /// The attempt succeeded; from the server, a final report was settled.
    Complete = 0x25,
    /// The attempt ended otherwise.
    Failed = 0x26,
    /// Stop; from the runner, heard.
    Cancel = 0x27,
    /// What a runner holds; from the server, what it should not.
    Lease = 0x2b,
    /// Numbers about a runner.
    Metrics = 0x40,
    /// Log bytes and their acknowledgement.
    Log = 0x41,
    /// How a runner is.
    Health = 0x43,
    /// How a run stands.
    Status = 0x44,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::Request,
        Self::Accept,
        Self::Reject,
        Self::Start,
        Self::Progress,
        Self::Complete,
        Self::Failed,
        Self::Cancel,
        Self::Lease,
        Self::Metrics,
        Self::Log,
        Self::Health,
        Self::Status,
    ];

    /// The code in the frame header.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The kind with this code, if it is one that this crate speaks.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}
