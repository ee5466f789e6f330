//! How a step ended: what happened, not a guess at what it means.

use std::fmt;
use std::time::Duration;

use crate::schedule::FailReason;

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The shell ended by itself.
    Exited {
        /// Zero is success.
        code: i32,
    },
    /// The shell was killed by a signal that the runner did not send.
    Signalled {
        /// Its number.
        signal: i32,
        /// Whether a core was dumped.
        core: bool,
    },
    /// The step, or a command of it, was killed while the kernel reported that it was killing for
    /// want of memory. Another process of the machine may have been meant, but rarely is.
    OutOfMemory,
    /// It ran too long and was stopped.
    TimedOut,
    /// It was stopped as asked.
    Cancelled,
    /// The shell could not be started.
    CouldNotStart {
        /// What the system said.
        error: String,
    },
    /// The log took no more output, so the step was stopped: an unrecorded step is no use.
    LogClosed,
}

impl Outcome {
    /// Whether the step did what it should.
    pub fn is_success(&self) -> bool {
        *self == Self::Exited { code: 0 }
    }

    /// The same as a reason for failure; nothing for a success, a timeout or a cancel.
    pub fn fail_reason(&self) -> Option<FailReason> {
        match self {
            Self::Exited { code: 0 } | Self::TimedOut | Self::Cancelled => None,
            Self::Exited { code } => Some(FailReason::Exited { code: *code }),
            Self::Signalled { signal, core } => Some(FailReason::Signalled {
                signal: *signal,
                core: *core,
            }),
            Self::OutOfMemory => Some(FailReason::OutOfMemory),
            Self::CouldNotStart { error } => Some(FailReason::CouldNotStart { error: error.clone() }),
            Self::LogClosed => Some(FailReason::Runner {
                error: String::from("the log took no more output"),
            }),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.fail_reason()) {
            (_, Some(reason)) => reason.fmt(f),
            (Self::TimedOut, _) => f.write_str("timed out"),
            (Self::Cancelled, _) => f.write_str("cancelled"),
            _ => f.write_str("succeeded"),
        }
    }
}

/// A process that left the step's group and was found and killed at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escaped {
    /// Its number while it lived.
    pub pid: i32,
    /// Its name as the kernel knows it: at most 15 bytes, chosen by the process.
    pub name: String,
}

/// Whether all output was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputEnd {
    /// Both pipes were read to their end.
    Complete,
    /// A process that could not be found still holds a pipe. Everything written before the step
    /// ended was read; what that process writes later is not.
    HeldOpen,
    /// The log was closed first.
    LogClosed,
}

/// The account of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepReport {
    /// How it ended.
    pub outcome: Outcome,
    /// From start to the end of the last process.
    pub duration: Duration,
    /// Bytes printed.
    pub output_bytes: u64,
    /// Whether all of it was read.
    pub output_end: OutputEnd,
    /// Processes of the group that outlived the shell and were killed.
    pub left_behind: u32,
    /// Processes that had left the group and were killed.
    pub escaped: Vec<Escaped>,
}
