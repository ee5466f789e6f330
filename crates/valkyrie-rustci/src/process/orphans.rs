//! Steps whose runner is gone: killed with SIGKILL, say, so that it could not end them itself.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::step::STEP_TOKEN;
use super::table;

/// Rounds of looking and killing; a process that forks while it is killed needs more than one.
const ROUNDS_MAX: usize = 16;

/// Kills every process that a step of the runner with this process number has started, wherever it
/// went, and says how many there were. Only for a runner that has ended, or is about to. Linux only;
/// elsewhere it finds nothing.
pub fn kill_steps_of(runner: u32) -> usize {
    let mut killed = 0;
    for _ in 0..ROUNDS_MAX {
        let found: Vec<Pid> = table::all()
            .into_iter()
            .filter(|entry| !entry.zombie && is_step_of(entry.pid, runner))
            .map(|entry| entry.pid)
            .collect();
        if found.is_empty() {
            break;
        }
        for pid in found {
            let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
                continue;
            };
            // The number may have a new owner by now; the handle cannot.
            if is_step_of(pid, runner) && pidfd_send_signal(&handle, Signal::KILL).is_ok() {
                killed += 1;
            }
        }
    }
    killed
}

/// A token is a path of marks, one for each runner around the process, each beginning with the
/// runner's number.
fn is_step_of(pid: Pid, runner: u32) -> bool {
    let mark = format!("{runner}-");
    table::variable(pid, STEP_TOKEN).is_some_and(|token| token.split('/').any(|part| part.starts_with(&mark)))
}
