use proptest::prelude::*;

use super::*;

#[test]
fn known_moments_are_shown_as_the_calendar_says() {
    for (secs, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_790_769_600, "2026-09-30T12:00:00Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
        (253_402_300_799, "9999-12-31T23:59:59Z"),
    ] {
        assert_eq!(UnixTime::from_secs(secs).to_string(), text);
        assert_eq!(text.parse(), Ok(UnixTime::from_secs(secs)));
    }
    assert_eq!(UnixTime::from_millis(1).to_string(), "1970-01-01T00:00:00.001Z");
}

#[test]
fn dates_that_the_calendar_lacks_are_refused() {
    for text in [
        "",
        "Z",
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1969-12-31T23:59:59Z",
        "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-04-00T00:00:00Z",
        "2026-04-01T24:00:00Z",
        "2026-04-01T00:60:00Z",
        "2026-04-01T00:00:60Z",
        "2026-4-01T00:00:00Z",
        "2026-04-01T00:00:00.1Z",
        "+026-04-01T00:00:00Z",
        "2026-04-01-01T00:00:00Z",
        "2026-04-01T00:00:00ZZ",
    ] {
        assert_eq!(text.parse::<UnixTime>(), Err(TimeFormatError), "{text}");
    }
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    let day = Duration::from_secs(DAY_SECS);
    assert_eq!(UnixTime::MAX.saturating_add(day), UnixTime::MAX);
    assert_eq!(UnixTime::EPOCH.saturating_sub(day), UnixTime::EPOCH);
    assert_eq!(UnixTime::EPOCH.since(UnixTime::MAX), Duration::ZERO);
    assert_eq!(UnixTime::from_secs(u64::MAX), UnixTime::MAX);
    assert!(!UnixTime::MAX.to_string().is_empty());
    assert_eq!(UnixTime::from(UNIX_EPOCH - day), UnixTime::EPOCH);
}

proptest! {
    #[test]
    fn what_is_shown_is_read_again(millis in 0..253_402_300_800_000_u64) {
        let time = UnixTime::from_millis(millis);
        prop_assert_eq!(time.to_string().parse(), Ok(time));
    }

    #[test]
    fn no_text_panics(text in "[-0-9TZ:.]{0,30}|\\PC{0,30}") {
        let _ = text.parse::<UnixTime>();
    }
}
