//! Processor time that a process has used, and which processor it may use.

use std::ops::Sub;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;
use serde::Serialize;

use crate::failure::Failure;

/// Processor time since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Cpu {
    pub(crate) user_us: i64,
    pub(crate) system_us: i64,
}

impl Cpu {
    /// What this process, all its threads together, has used until now.
    pub(crate) fn of_this_process() -> Result<Self, Failure> {
        let usage = getrusage(UsageWho::RUSAGE_SELF)
            .map_err(|errno| Failure::io("read the used processor time")(errno.into()))?;
        let micros = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
        Ok(Self {
            user_us: micros(usage.user_time()),
            system_us: micros(usage.system_time()),
        })
    }

    pub(crate) fn total(self) -> Duration {
        Duration::from_micros(u64::try_from(self.user_us + self.system_us).unwrap_or(0))
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            user_us: self.user_us - earlier.user_us,
            system_us: self.system_us - earlier.system_us,
        }
    }
}

/// Keeps this thread, and those it starts, on one processor.
pub(crate) fn pin(processor: usize) -> Result<(), Failure> {
    let refused = |errno: nix::errno::Errno| Failure::io("keep a process on one processor")(errno.into());
    let mut set = CpuSet::new();
    set.set(processor).map_err(refused)?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(refused)
}

/// Where `--pin` keeps the driver.
pub(crate) const CLIENT_PROCESSOR: usize = 0;
/// Where `--pin` keeps the servers.
pub(crate) const SERVER_PROCESSOR: usize = 1;
