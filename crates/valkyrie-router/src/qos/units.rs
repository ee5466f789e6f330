//! Numbers with units, as a policy writes them. Each is read exactly or not at all.

use std::time::Duration;

/// Reads `25ms`, `1.5 s`, `10m` or `1h`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (thousandths, unit) = number(text)?;
    let micros_per_unit: u64 = match unit {
        "us" | "µs" => 1,
        "ms" => 1000,
        "s" => 1_000_000,
        "m" | "min" => 60 * 1_000_000,
        "h" => 3600 * 1_000_000,
        _ => return None,
    };
    Some(Duration::from_nanos(thousandths.checked_mul(micros_per_unit)?))
}

/// Reads `512 B`, `256 KiB`, `1.5 MiB` or `1 GiB`; whole bytes.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (thousandths, unit) = number(text)?;
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    whole(thousandths.checked_mul(factor)?)
}

/// Reads bytes and `/s`.
pub(super) fn bytes_per_second(text: &str) -> Option<u64> {
    bytes(text.strip_suffix("/s")?)
}

/// Reads `64 kbit/s`, `100 Mbit/s` or `2.5 Gbit/s`; powers of ten, as links are sold.
pub(super) fn bits_per_second(text: &str) -> Option<u64> {
    let (thousandths, unit) = number(text)?;
    let factor = match unit {
        "bit/s" => 1,
        "kbit/s" => 1000,
        "Mbit/s" => 1_000_000,
        "Gbit/s" => 1_000_000_000,
        _ => return None,
    };
    whole(thousandths.checked_mul(factor)?)
}

/// Reads `80%` or `62.5 %` as thousandths.
pub(super) fn percent(text: &str) -> Option<u64> {
    let (thousandths, unit) = number(text)?;
    (unit == "%").then(|| thousandths.checked_mul(10).and_then(whole))?
}

fn whole(thousandths: u64) -> Option<u64> {
    thousandths.is_multiple_of(1000).then_some(thousandths / 1000)
}

/// A number of at most three places after its point, in thousandths, and what follows it.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (digits, unit) = text.split_at(end);
    let (before, after) = digits.split_once('.').unwrap_or((digits, "0"));
    if after.is_empty() || after.len() > 3 || after.contains('.') {
        return None;
    }
    let before: u64 = before.parse().ok()?;
    let places: u64 = after.parse().ok()?;
    let scale = [100, 10, 1].get(after.len() - 1)?;
    let thousandths = before.checked_mul(1000)?.checked_add(places * scale)?;
    Some((thousandths, unit.strip_prefix(' ').unwrap_or(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        assert_eq!(duration("25ms"), Some(Duration::from_millis(25)));
        assert_eq!(duration("1.5 s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("0.25 ms"), Some(Duration::from_micros(250)));
        assert_eq!(bytes("256 KiB"), Some(256 * 1024));
        assert_eq!(bytes("1.5MiB"), Some(1536 * 1024));
        assert_eq!(bytes_per_second("1 MiB/s"), Some(1 << 20));
        assert_eq!(bits_per_second("2.5 Gbit/s"), Some(2_500_000_000));
        assert_eq!(percent("62.5 %"), Some(625));
        assert_eq!(percent("80%"), Some(800));
        for wrong in [
            "",
            "ms",
            "1",
            "1.ms",
            ".5s",
            "1.2345s",
            "1..5s",
            "-1s",
            "1  s",
            "1 days",
            "99999999999999999999 s",
            "18446744073709551615 h",
            "1 Kib",
            "0.3 B",
            "1 KB",
            "0.05%",
            "½ s",
        ] {
            let read = (duration(wrong), bytes(wrong), percent(wrong));
            assert_eq!(read, (None, None, None), "{wrong}");
            assert_eq!(bytes_per_second(wrong), None, "{wrong}");
            assert_eq!(bits_per_second(wrong), None, "{wrong}");
        }
    }
}
