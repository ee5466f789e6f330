//! Processor time that a process has used, and which processor it may use.

use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::failure::Failure;

/// What this process, all its threads together, has used since it began.
pub(crate) fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Keeps this thread, and those it starts, on one processor.
pub(crate) fn pin(processor: usize) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set)
        .map_err(|errno| Failure::io("keep a process on one processor")(errno.into()))
}

/// Where `--pin` keeps the driver.
pub(crate) const CLIENT_PROCESSOR: usize = 0;
/// Where `--pin` keeps the servers.
pub(crate) const SERVER_PROCESSOR: usize = 1;
