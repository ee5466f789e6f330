//! How often: a rate as it is written, and the count of what was used of it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Events in a period that a rate can name: what nanoseconds can tell apart.
const COUNT_MAX: u64 = 1_000_000_000;

/// So many in a period, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    count: u64,
    period: Period,
    burst: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Period {
    Second,
    Minute,
    Hour,
}

impl Period {
    const fn nanos(self) -> u64 {
        match self {
            Self::Second => 1_000_000_000,
            Self::Minute => 60 * 1_000_000_000,
            Self::Hour => 3600 * 1_000_000_000,
        }
    }
}

impl Rate {
    /// Reads `100/s`, `30/m` or `5/h`. At once comes what a second brings, at least one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (count, period) = text.split_once('/')?;
        let period = match period {
            "s" => Period::Second,
            "m" => Period::Minute,
            "h" => Period::Hour,
            _ => return None,
        };
        let digits = count.bytes().all(|byte| byte.is_ascii_digit());
        let count: u64 = count.parse().ok().filter(|_| digits)?;
        if !(1..=COUNT_MAX).contains(&count) {
            return None;
        }
        let burst = (count / (period.nanos() / Period::Second.nanos())).max(1);
        Some(Self { count, period, burst })
    }

    /// The same with another number at once; `None` when it is out of range.
    pub(super) fn with_burst(self, burst: u64) -> Option<Self> {
        (1..=COUNT_MAX).contains(&burst).then_some(Self { burst, ..self })
    }

    fn spacing_ns(&self) -> u64 {
        (self.period.nanos() / self.count).max(1)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = match self.period {
            Period::Second => "s",
            Period::Minute => "m",
            Period::Hour => "h",
        };
        write!(f, "{}/{period} and {} at once", self.count, self.burst)
    }
}

/// A token bucket in one word: the time at which it will be full again (the generic cell rate algorithm, ITU-T I.371).
/// No lock, and nothing to do while nobody asks.
#[derive(Debug)]
pub(super) struct Meter {
    epoch: Instant,
    spacing_ns: u64,
    /// How far ahead of the clock `full_at_ns` may be.
    tolerance_ns: u64,
    full_at_ns: AtomicU64,
}

impl Meter {
    /// A full one.
    pub(super) fn new(rate: &Rate, now: Instant) -> Self {
        let spacing_ns = rate.spacing_ns();
        Self {
            epoch: now,
            spacing_ns,
            tolerance_ns: spacing_ns.saturating_mul(rate.burst),
            full_at_ns: AtomicU64::new(0),
        }
    }

    /// One that has just been used up.
    pub(super) fn empty(rate: &Rate, now: Instant) -> Self {
        let meter = Self::new(rate, now);
        meter.full_at_ns.store(meter.tolerance_ns, Ordering::Relaxed);
        meter
    }

    /// Takes one.
    ///
    /// # Errors
    /// How long until there is one again. Nothing is taken.
    pub(super) fn take(&self, now: Instant) -> Result<(), Duration> {
        let now_ns = self.nanos(now);
        let mut full_at = self.full_at_ns.load(Ordering::Relaxed);
        loop {
            let next = full_at.max(now_ns).saturating_add(self.spacing_ns);
            let ahead = next - now_ns;
            if ahead > self.tolerance_ns {
                return Err(Duration::from_nanos(ahead - self.tolerance_ns));
            }
            // Nothing else is published with the count, so the weakest order does.
            match self
                .full_at_ns
                .compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(other) => full_at = other,
            }
        }
    }

    /// Whether it is as good as new.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.full_at_ns.load(Ordering::Relaxed) <= self.nanos(now)
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_are_read_or_refused() {
        assert_eq!(Rate::parse("100/s").unwrap().to_string(), "100/s and 100 at once");
        assert_eq!(
            Rate::parse("6000/m").unwrap().to_string(),
            "6000/m and 100 at once"
        );
        assert_eq!(Rate::parse("5/h").unwrap().to_string(), "5/h and 1 at once");
        for wrong in [
            "",
            "100",
            "/s",
            "0/s",
            "-1/s",
            "+1/s",
            "1/d",
            "1/ s",
            "1000000001/s",
            "99999999999999999999/s",
        ] {
            assert_eq!(Rate::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Rate::parse("1/s").unwrap().with_burst(0), None);
    }

    #[test]
    fn a_burst_passes_at_once_and_then_the_rate_rules() {
        let begin = Instant::now();
        let rate = Rate::parse("10/s").unwrap().with_burst(3).unwrap();
        let meter = Meter::new(&rate, begin);
        for _ in 0..3 {
            assert_eq!(meter.take(begin), Ok(()));
        }
        assert_eq!(meter.take(begin), Err(Duration::from_millis(100)));
        let later = begin + Duration::from_millis(100);
        assert_eq!(meter.take(later), Ok(()));
        assert!(meter.take(later).is_err());
        assert!(!meter.is_full(later));
        assert!(meter.is_full(begin + Duration::from_millis(400)));
        assert_eq!(
            Meter::empty(&rate, begin).take(begin),
            Err(Duration::from_millis(100))
        );
    }

    proptest! {
        #[test]
        fn no_more_than_the_rate_and_the_burst_ever_pass(
            count in 1_u64..2000, burst in 1_u64..50, steps in prop::collection::vec(0_u64..20_000_000, 1..300)
        ) {
            let rate = Rate::parse(&format!("{count}/s")).unwrap().with_burst(burst).unwrap();
            let begin = Instant::now();
            let meter = Meter::new(&rate, begin);
            let (mut passed, mut nanos) = (0_u64, 0_u64);
            for step in steps {
                nanos += step;
                let now = begin + Duration::from_nanos(nanos);
                if let Err(wait) = meter.take(now) {
                    prop_assert!(wait > Duration::ZERO);
                } else {
                    passed += 1;
                }
                let bound = burst + nanos / rate.spacing_ns() + 1;
                prop_assert!(passed <= bound, "{} passed, {} may", passed, bound);
            }
        }
    }
}
