//! How fast a connection carries what is written to it while its socket is full, and what to let wait in the kernel for that.
//!
//! It is for links over TCP, whichever protocol is in between. It touches no socket and reads no clock: a link tells it what its socket took and
//! when it was full, and bounds what the system takes (`TCP_NOTSENT_LOWAT`) by what it says.

use std::time::{Duration, Instant};

/// The rate of a connection, and the bound that follows from it.
///
/// What the kernel has taken and not sent cannot be overtaken. How long that is depends on the wire: 128 KiB are a millisecond at 1 Gbit/s and
/// a hundred at 10 Mbit/s. So a bound in bytes is one in time only where the rate is known. Here it is measured where it matters, between
/// two moments at which the socket was full.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// When the socket was full and counting began.
    since: Option<Instant>,
    /// Bytes taken since.
    taken: u64,
    /// What may wait; 0 while nothing has been measured.
    bound: u32,
}

impl Pace {
    /// Counts what the socket has taken.
    #[inline]
    pub fn took(&mut self, bytes: usize) {
        self.taken += bytes as u64;
    }

    /// The socket is full. Gives another bound when it is to be set: what is carried in [`PACE_TIME`], [`PACE_BYTES_MIN`] at least and `most`
    /// bytes at most, which is what it is until the first is given.
    pub fn full(&mut self, now: Instant, most: u32) -> Option<u32> {
        let passed = self.since.map(|since| now.saturating_duration_since(since));
        let measured = match passed {
            Some(passed) if passed < WINDOW_MIN => return None,
            // The socket was not full all the time, and the rate would be that of the writer.
            Some(passed) if passed > WINDOW_MAX => None,
            passed => passed,
        };
        let taken = std::mem::take(&mut self.taken);
        self.since = Some(now);
        let wanted = u128::from(taken) * PACE_TIME.as_nanos() / measured?.as_nanos();
        let wanted = u32::try_from(wanted)
            .unwrap_or(u32::MAX)
            .clamp(PACE_BYTES_MIN.min(most), most);
        let before = if self.bound == 0 { most } else { self.bound };
        // A rate wavers; the system is not told of each turn.
        if wanted.abs_diff(before) <= before / 4 && (wanted < most || before == most) {
            return None;
        }
        self.bound = wanted;
        Some(wanted)
    }

    /// What may wait in the kernel, once it has been measured. A link that prepares no more than that at a time
    /// ([`Link::batch_bytes`](crate::Link::batch_bytes)) has no more before what is urgent either.
    pub fn bound(&self) -> Option<u32> {
        (self.bound > 0).then_some(self.bound)
    }
}

/// How long what the kernel has taken may wait before it is sent: less than the bound on what it takes was made for, and long enough for the
/// writer to be woken, since the kernel does that when half of it is left.
pub const PACE_TIME: Duration = Duration::from_millis(2);

/// The least bound: one of the default frames, which cannot be overtaken anyway.
pub const PACE_BYTES_MIN: u32 = 16 * 1024;

/// How long the rate is measured at least, several times what the kernel wakes a writer for.
const WINDOW_MIN: Duration = Duration::from_millis(20);

/// And at most. A socket that was full twice in so long was full in between, or nearly.
const WINDOW_MAX: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u32 = 128 * 1024;

    /// What the bound becomes when a socket that is full takes so much a second.
    fn settled(pace: &mut Pace, from: Instant, bytes_per_second: u64) -> u32 {
        for tenth in 0..10 {
            pace.took((bytes_per_second / 10) as usize);
            let _ = pace.full(from + Duration::from_millis(100) * tenth, MOST);
        }
        pace.bound().unwrap_or(MOST)
    }

    #[test]
    fn as_much_waits_as_goes_in_two_milliseconds() {
        let from = Instant::now();
        let at = |bytes_per_second| settled(&mut Pace::default(), from, bytes_per_second);
        assert_eq!(at(12_500_000), 25_000);
        assert_eq!(at(1_000_000), PACE_BYTES_MIN);
        assert_eq!(at(1_250_000_000), MOST);
    }

    #[test]
    fn a_faster_wire_is_found_out() {
        let from = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(settled(&mut pace, from, 1_000_000), PACE_BYTES_MIN);
        let later = from + Duration::from_secs(1);
        assert_eq!(settled(&mut pace, later, 1_250_000_000), MOST);
    }

    #[test]
    fn a_writer_that_paused_says_nothing_of_the_wire() {
        let from = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.full(from, MOST), None);
        pace.took(100_000);
        assert_eq!(pace.full(from + Duration::from_secs(3), MOST), None);
        assert_eq!(pace.bound(), None);
    }
}
