//! Calendar time, as documents and people use it. This crate reads no clock: whoever calls it says what time it is.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(test)]
mod tests;

/// A moment: milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The beginning of 1970.
    pub const EPOCH: UnixTime = UnixTime(0);
    /// Later than anything; what does not end, ends here.
    pub const MAX: UnixTime = UnixTime(u64::MAX);

    /// The moment so many seconds after the epoch; [`UnixTime::MAX`] where that is out of range.
    pub const fn from_secs(secs: u64) -> UnixTime {
        UnixTime(secs.saturating_mul(1000))
    }

    /// The moment so many milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> UnixTime {
        UnixTime(millis)
    }

    /// Whole seconds since the epoch.
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// This moment and so much later, or [`UnixTime::MAX`].
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> UnixTime {
        UnixTime(self.0.saturating_add(millis(duration)))
    }

    /// This moment and so much earlier, or [`UnixTime::EPOCH`].
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> UnixTime {
        UnixTime(self.0.saturating_sub(millis(duration)))
    }

    /// How long after `earlier` this is; nothing when it is not.
    pub const fn since(self, earlier: UnixTime) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What a system clock says; a clock before 1970 says 1970.
impl From<SystemTime> for UnixTime {
    fn from(time: SystemTime) -> Self {
        UnixTime(time.duration_since(UNIX_EPOCH).map_or(0, millis))
    }
}

impl fmt::Debug for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// ISO 8601 in UTC: `2026-09-30T12:00:00Z`, with milliseconds only where there are any.
impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.secs();
        let (year, month, day) = date(secs / DAY_SECS);
        let of_day = secs % DAY_SECS;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
            of_day / 3600,
            of_day / 60 % 60,
            of_day % 60
        )?;
        match self.0 % 1000 {
            0 => f.write_str("Z"),
            millis => write!(f, ".{millis:03}Z"),
        }
    }
}

/// The text is not a moment as this crate writes them, `2026-09-30T12:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a time of the form 2026-09-30T12:00:00Z")]
pub struct TimeFormatError;

/// Reads what `Display` writes, years 1970 to 9999.
impl FromStr for UnixTime {
    type Err = TimeFormatError;

    fn from_str(text: &str) -> Result<Self, TimeFormatError> {
        let text = text.strip_suffix('Z').ok_or(TimeFormatError)?;
        let (text, millis) = match text.split_once('.') {
            Some((text, millis)) => (text, digits(millis, 3)?),
            None => (text, 0),
        };
        let (days, clock) = text.split_once('T').ok_or(TimeFormatError)?;
        let [year, month, day] = three(days, '-', [4, 2, 2])?;
        let [hour, minute, second] = three(clock, ':', [2, 2, 2])?;
        let days = days_since_epoch(year, month, day).ok_or(TimeFormatError)?;
        if hour > 23 || minute > 59 || second > 59 {
            return Err(TimeFormatError);
        }
        let secs = days * DAY_SECS + hour * 3600 + minute * 60 + second;
        Ok(UnixTime(secs * 1000 + millis))
    }
}

fn three(text: &str, between: char, widths: [usize; 3]) -> Result<[u64; 3], TimeFormatError> {
    let mut parts = text.split(between);
    let mut next = |width| digits(parts.next().ok_or(TimeFormatError)?, width);
    let numbers = [next(widths[0])?, next(widths[1])?, next(widths[2])?];
    match parts.next() {
        Some(_) => Err(TimeFormatError),
        None => Ok(numbers),
    }
}

fn digits(text: &str, width: usize) -> Result<u64, TimeFormatError> {
    if text.len() != width || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(TimeFormatError);
    }
    text.parse().map_err(|_| TimeFormatError)
}

const DAY_SECS: u64 = 86_400;
/// Days of 400 years of the Gregorian calendar, after which it repeats.
const ERA_DAYS: u64 = 146_097;
/// Days from 0000-03-01, where eras begin so that the leap day is the last of its year, to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;

/// Year, month and day of a day counted from 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH_DAYS;
    let of_era = days % ERA_DAYS;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months counted from March have lengths that repeat every five months of 153 days.
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = days / ERA_DAYS * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// The inverse of [`date`]; `None` for a date that the calendar does not have, or before 1970.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let (march_year, from_march) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let year_of_era = march_year % 400;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    let days = march_year / 400 * ERA_DAYS + of_era - EPOCH_DAYS;
    // A day past the end of its month is another date.
    (date(days) == (year, month, day)).then_some(days)
}
