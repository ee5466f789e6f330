//! One step as real processes: started, read, stopped and accounted for.
//!
//! [`run_step`] runs a script with `/bin/sh -eu -c` in a process group of its own. `-e` and `-u`
//! make the usual mistakes fail: a command that fails in the middle, a variable that is not set.
//! Its standard input is empty. What it prints is read only as fast as the log takes it, so memory
//! stays bounded and nothing is dropped.
//!
//! When the step ends, is cancelled or runs out of time, everything it started ends with it:
//! the group is killed, and on Linux also processes that left the group, which are found by a
//! variable in their environment ([`STEP_TOKEN`]). This is order among honest programs, not a
//! sandbox: a process that changes both its session and its environment is not found.
//!
//! It does not know jobs; see [`execute`](crate::execute). Read [`Outcome`] first.

mod group;
mod orphans;
mod outcome;
mod pump;
mod step;
mod table;
#[cfg(test)]
mod tests;

pub use group::adopt_orphans;
pub use orphans::kill_steps_of;
pub use outcome::{Escaped, Outcome, OutputEnd, StepReport};
pub use step::{BACKGROUND_GRACE, KILL_GRACE_DEFAULT, SHELL, STEP_TOKEN, StepCommand, run_step};
