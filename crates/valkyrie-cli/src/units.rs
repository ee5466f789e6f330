//! Numbers as people read and write them: durations, bytes, rates.

use std::fmt;
use std::time::Duration;

/// A duration with three significant digits and the unit that suits it: `47.1 µs`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos() as f64;
        let (value, unit) = match nanos {
            n if n < 1e3 => (n, "ns"),
            n if n < 1e6 => (n / 1e3, "µs"),
            n if n < 1e9 => (n / 1e6, "ms"),
            n => (n / 1e9, "s"),
        };
        f.pad(&format!("{} {unit}", three_digits(value)))
    }
}

/// Bytes in binary units: `16 KiB`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size(pub(crate) f64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut value, mut unit) = (self.0, 0);
        while value >= 1024.0 && unit + 1 < SIZE_UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let number = if unit == 0 || value.fract() == 0.0 {
            format!("{value:.0}")
        } else {
            three_digits(value)
        };
        f.pad(&format!("{number} {}", SIZE_UNITS[unit]))
    }
}

const SIZE_UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// A count with three significant digits: `1.53 M`, `812 k`, `97`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count(pub(crate) f64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self.0 {
            n if n < 1e4 && n.fract() == 0.0 => format!("{n:.0}"),
            n if n < 1e4 => three_digits(n),
            n if n < 1e6 => format!("{} k", three_digits(n / 1e3)),
            n if n < 1e9 => format!("{} M", three_digits(n / 1e6)),
            n => format!("{} G", three_digits(n / 1e9)),
        })
    }
}

fn three_digits(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

/// Reads `250ms`, `1.5s`, `2m`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let seconds = match unit {
        "" | "s" => 1.0,
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => {
            return Err(format!(
                "`{unit}` is no unit of time; write ns, us, ms, s, m or h"
            ));
        }
    };
    let number = number
        .parse::<f64>()
        .map_err(|_| "write a number and a unit, as in 250ms or 1.5s".to_owned())?;
    Duration::try_from_secs_f64(number * seconds)
        .map_err(|_| "a duration is positive and below 500 billion years".into())
}

/// Reads `90d`, `2w`, `1y` besides what [`parse_duration`] reads: how long keys and documents live.
pub(crate) fn parse_lifetime(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let days = match unit {
        "d" => 1.0,
        "w" => 7.0,
        "y" => 365.0,
        "" => return Err("write a number and a unit, as in 90d or 12h".to_owned()),
        _ => {
            return parse_duration(text)
                .map_err(|_| "write a number and a unit, as in 90d, 12h or 1y".to_owned());
        }
    };
    let number = number
        .parse::<f64>()
        .map_err(|_| "write a number and a unit, as in 90d or 12h".to_owned())?;
    Duration::try_from_secs_f64(number * days * 86_400.0).map_err(|_| "a lifetime is positive".into())
}

/// The same for what has to be good for some time at all.
pub(crate) fn parse_validity(text: &str) -> Result<Duration, String> {
    match parse_lifetime(text)? {
        Duration::ZERO => Err("what is good for no time is good for nothing".to_owned()),
        lifetime => Ok(lifetime),
    }
}

/// Reads `64`, `64KiB`, `1M`; units are binary.
pub(crate) fn parse_size(text: &str) -> Result<usize, String> {
    let (number, unit) = split_unit(text);
    let factor: f64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("`{unit}` is no unit of bytes; write B, KiB, MiB or GiB")),
    };
    let bytes = number
        .parse::<f64>()
        .map_err(|_| "write a number and perhaps a unit, as in 64 or 16KiB".to_owned())?
        * factor;
    if (0.0..=u32::MAX as f64).contains(&bytes) {
        Ok(bytes as usize)
    } else {
        Err("a size is at least 0 and below 4 GiB".into())
    }
}

/// A number of messages a second, as in `5000` or `50k`.
pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = parse_number(text)?;
    if rate.is_finite() && rate > 0.0 && rate <= RATE_MAX {
        Ok(rate)
    } else {
        Err("a rate is above 0 and at most 100M".into())
    }
}

/// A whole number of messages, as in `5000` or `50k`.
pub(crate) fn parse_messages(text: &str) -> Result<u64, String> {
    let messages = parse_number(text)?;
    if (1.0..=MESSAGES_MAX).contains(&messages) && messages.fract() == 0.0 {
        Ok(messages as u64)
    } else {
        Err("messages are a whole number from 1 to 1000000M".into())
    }
}

fn parse_number(text: &str) -> Result<f64, String> {
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "" => 1.0,
        "k" | "K" => 1e3,
        "m" | "M" => 1e6,
        _ => return Err(format!("`{unit}` is no factor; write k or M")),
    };
    let number = number
        .parse::<f64>()
        .map_err(|_| "write a number and perhaps a factor, as in 5000 or 50k".to_owned())?;
    Ok(number * factor)
}

/// A count up to here is exact as a float, and no measurement is longer.
const MESSAGES_MAX: f64 = 1e12;

/// Beyond this the time between two messages is under ten nanoseconds, and no clock follows.
const RATE_MAX: f64 = 1e8;

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_they_are_written() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1.5 s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("3"), Ok(Duration::from_secs(3)));
        assert!(parse_duration("-1s").is_err());
        assert!(parse_duration("1 fortnight").is_err());
        assert!(parse_duration("").is_err());
    }

    #[test]
    fn lifetimes_are_long_and_validity_is_not_nothing() {
        assert_eq!(parse_lifetime("2w"), Ok(Duration::from_secs(14 * 86_400)));
        assert_eq!(parse_lifetime("0d"), Ok(Duration::ZERO));
        assert_eq!(parse_validity("1.5d"), Ok(Duration::from_secs(36 * 3600)));
        for nothing in ["0d", "0s", "-1d", "7"] {
            assert!(parse_validity(nothing).is_err(), "{nothing}");
        }
    }

    #[test]
    fn sizes_and_rates_know_their_units() {
        assert_eq!(parse_size("64"), Ok(64));
        assert_eq!(parse_size("16KiB"), Ok(16 * 1024));
        assert_eq!(parse_size("1m"), Ok(1024 * 1024));
        assert!(parse_size("9G").is_err());
        assert_eq!(parse_rate("50k"), Ok(50e3));
        assert!(parse_rate("0").is_err());
    }

    #[test]
    fn people_see_three_digits() {
        assert_eq!(Span(Duration::from_nanos(47_123)).to_string(), "47.1 µs");
        assert_eq!(Span(Duration::from_nanos(999)).to_string(), "999 ns");
        assert_eq!(Size(16384.0).to_string(), "16 KiB");
        assert_eq!(Size(20.0).to_string(), "20 B");
        assert_eq!(Count(1_530_000.0).to_string(), "1.53 M");
        assert_eq!(Count(97.0).to_string(), "97");
    }
}
