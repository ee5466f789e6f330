//! The signals that ask a command to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::CiExit;

/// Ctrl-C, SIGTERM, and the terminal going away.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes them over from the system, which would kill the process.
    pub(super) fn install() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one and says how a command ends that was cut short by it.
    pub(super) async fn next(&mut self) -> CiExit {
        tokio::select! {
            _ = self.interrupt.recv() => CiExit::Interrupted,
            _ = self.terminate.recv() => CiExit::Terminated,
            _ = self.hang_up.recv() => CiExit::Terminated,
        }
    }
}
