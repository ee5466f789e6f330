//! Ctrl-C and SIGTERM: the first asks a command to end well, the second ends it at once. SIGHUP: read files again.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{CliError, Exit};

/// The two signals that ask a program to end.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// Which of them came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caught {
    /// SIGINT, as Ctrl-C sends it.
    Interrupt,
    /// SIGTERM, as supervisors send it.
    Terminate,
}

impl Caught {
    /// How a command ends that was cut short by it.
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::Interrupt => Exit::Interrupted,
            Self::Terminate => Exit::Terminated,
        }
    }
}

/// SIGHUP, by which a server is asked to read its files again.
pub(crate) struct Reload(Signal);

impl Reload {
    /// Takes the signal over from the system, which would kill the process.
    pub(crate) fn install() -> Result<Self, CliError> {
        install(SignalKind::hangup()).map(Self)
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

fn install(kind: SignalKind) -> Result<Signal, CliError> {
    signal(kind).map_err(|error| CliError::new(Exit::Local, format!("signals cannot be watched: {error}")))
}

impl Signals {
    /// Takes the signals over from the system, which would kill the process.
    pub(crate) fn install() -> Result<Self, CliError> {
        Ok(Self {
            interrupt: install(SignalKind::interrupt())?,
            terminate: install(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one. Dropping the future loses none.
    pub(crate) async fn next(&mut self) -> Caught {
        tokio::select! {
            _ = self.interrupt.recv() => Caught::Interrupt,
            _ = self.terminate.recv() => Caught::Terminate,
        }
    }
}
