//! What a ledger holds at most, each bound with its reason.

use std::time::Duration;

/// The bounds of a ledger. [`Bounds::DEFAULT`] fits a fleet of 100,000 agents on a small machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Entries.
    pub entries_max: usize,
    /// Leases.
    pub leases_max: usize,
    /// Entries under one lease; all of them go at one revision.
    pub keys_per_lease_max: usize,
    /// Events that are kept for watches that resume.
    pub history_events_max: usize,
    /// Bytes of keys and values in the events that are kept.
    pub history_bytes_max: usize,
    /// The shortest lease. A shorter one would end whenever a machine pauses to breathe.
    pub ttl_min: Duration,
    /// The longest lease. What stays for longer is better written without one.
    pub ttl_max: Duration,
}

impl Bounds {
    /// Room for 100,000 agents ten times over; a history of 64 MiB, that is minutes of a busy fleet; leases of one second to one day.
    pub const DEFAULT: Self = Self {
        entries_max: 1_000_000,
        leases_max: 1_000_000,
        keys_per_lease_max: 256,
        history_events_max: 100_000,
        history_bytes_max: 64 * 1024 * 1024,
        ttl_min: Duration::from_secs(1),
        ttl_max: Duration::from_secs(86_400),
    };
}

impl Default for Bounds {
    fn default() -> Self {
        Self::DEFAULT
    }
}
