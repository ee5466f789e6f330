//! Which job runs where, and what becomes of it: the run as a state machine without I/O.
//!
//! A [`Schedule`] is told what happens (a runner came, accepted, finished, fell silent) together
//! with the time, and answers with [`Event`]s to act on and the next time it wants to be called.
//! It sends nothing, reads no clock and spawns nothing. Read [`JobState`] first.
//!
//! Three rules carry everything else:
//! - A hand-over has two phases. A job is *offered*; only the runner's acceptance within a deadline
//!   gives it away, so an offer lost on the way costs a moment and never a job.
//! - Every offer has a new attempt number, and reports about any other attempt are refused as
//!   [`Stale`]. So a runner that was given up and comes back cannot change anything.
//! - Every job that has not ended has a time at which something moves it, so no run hangs.

mod limits;
mod machine;
#[cfg(test)]
mod proptests;
mod report;
mod runner;
mod state;
#[cfg(test)]
mod tests;
mod whole;

pub use limits::Limits;
pub use machine::Schedule;
pub use report::{FailReason, Reconciled, RunResult, Stale, Verdict};
pub use runner::RunnerId;
pub use state::{Attempt, CancelCause, Event, JobState};
