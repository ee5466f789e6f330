use proptest::prelude::*;

use super::{HostPort, LOCATOR_BYTES_MAX, Locator, LocatorError};

fn parse(text: &str) -> Result<Locator, LocatorError> {
    text.parse()
}

#[test]
fn every_scheme_of_the_house_parses_and_prints_as_written() {
    for text in [
        "tcp://127.0.0.1:7000",
        "tcp://[::1]:0",
        "uds:///run/valkyrie.sock",
        "uds://@abstract",
        "mem://name",
        "quic://example.org:4433",
        "x-third.party+2://anything at all?really#yes",
        "odd://a://b",
    ] {
        let locator = parse(text).unwrap();
        assert_eq!(locator.to_string(), text);
        assert_eq!(format!("{}://{}", locator.scheme(), locator.rest()), text);
        assert_eq!(Locator::new(locator.scheme(), locator.rest()).unwrap(), locator);
    }
}

#[test]
fn a_scheme_is_the_same_in_any_case_and_the_rest_is_not() {
    assert_eq!(parse("TCP://h:1").unwrap(), parse("tcp://h:1").unwrap());
    assert_ne!(parse("mem://A").unwrap(), parse("mem://a").unwrap());
}

#[test]
fn what_is_not_a_locator_is_refused_for_its_reason() {
    for (text, error) in [
        ("", LocatorError::NoScheme),
        ("localhost:7000", LocatorError::NoScheme),
        ("tcp:/host", LocatorError::NoScheme),
        ("://host", LocatorError::BadScheme),
        ("1tcp://host", LocatorError::BadScheme),
        ("t p://host", LocatorError::BadScheme),
        ("tcp://", LocatorError::NoPlace),
        ("uds:///a\0b", LocatorError::ControlCharacter),
        ("mem://a\nb", LocatorError::ControlCharacter),
    ] {
        assert_eq!(parse(text), Err(error), "{text:?}");
    }
    assert_eq!(
        parse(&format!("{}://h", "s".repeat(65))),
        Err(LocatorError::BadScheme)
    );
    let long = format!("mem://{}", "n".repeat(LOCATOR_BYTES_MAX));
    assert_eq!(parse(&long), Err(LocatorError::TooLong { length: long.len() }));
    assert_eq!(
        Locator::new("mem", &"n".repeat(LOCATOR_BYTES_MAX)),
        Err(LocatorError::TooLong { length: long.len() })
    );
}

#[test]
fn host_and_port_are_read_in_every_form() {
    for (text, host, port) in [
        ("tcp://localhost:1", "localhost", 1),
        ("tcp://10.0.0.1:65535", "10.0.0.1", 65535),
        ("tcp://[::1]:0", "::1", 0),
        ("tcp://[fe80::1%2]:9", "fe80::1%2", 9),
        ("ws://bücher.example:80", "bücher.example", 80),
    ] {
        let locator = parse(text).unwrap();
        assert_eq!(locator.host_port(), Ok(HostPort { host, port }), "{text}");
        assert_eq!(locator.host_port().unwrap().to_string(), locator.rest());
    }
}

#[test]
fn a_bad_host_or_port_is_refused_for_its_reason() {
    for (text, error) in [
        ("tcp://localhost", LocatorError::NoPort),
        ("tcp://[::1]", LocatorError::NoPort),
        ("tcp://[::1]7", LocatorError::NoPort),
        ("tcp://:7", LocatorError::NoHost),
        ("tcp://h:", LocatorError::BadPort),
        ("tcp://h:65536", LocatorError::BadPort),
        ("tcp://h:+7", LocatorError::BadPort),
        ("tcp://h:7/path", LocatorError::BadPort),
        ("tcp://::1:7", LocatorError::BadHost),
        ("tcp://[::1:7", LocatorError::BadHost),
        ("tcp://[]:7", LocatorError::BadHost),
        ("tcp://[localhost]:7", LocatorError::BadHost),
        ("tcp://user@h:7", LocatorError::BadHost),
        ("tcp://h h:7", LocatorError::BadHost),
    ] {
        assert_eq!(parse(text).unwrap().host_port(), Err(error), "{text:?}");
    }
}

proptest! {
    #[test]
    fn what_parses_prints_and_parses_to_itself(text in ".{0,80}") {
        if let Ok(locator) = parse(&text) {
            prop_assert_eq!(parse(&locator.to_string()), Ok(locator));
        }
    }

    #[test]
    fn any_host_and_port_is_refused_or_prints_as_it_was(rest in "[\\[\\]:.%a-f0-9]{1,24}") {
        let locator = Locator::new("tcp", &rest).unwrap();
        if let Ok(host_port) = locator.host_port() {
            let printed = Locator::new("tcp", &host_port.to_string()).unwrap();
            prop_assert_eq!(printed.host_port(), Ok(host_port));
        }
    }
}

#[test]
fn credentials_are_left_out_where_a_place_is_shown() {
    for (whole, shown) in [
        ("redis://ada:se:cr@et@host:6379/node", "redis://host:6379/node"),
        ("redis://:secret@[::1]:6379/node", "redis://[::1]:6379/node"),
        ("tcp://host:7000", "tcp://host:7000"),
        ("uds://@name", "uds://@name"),
        ("uds:///run/a@b/v.sock", "uds:///run/a@b/v.sock"),
        ("ws://host:80/a@b", "ws://host:80/a@b"),
    ] {
        let locator: Locator = whole.parse().unwrap();
        assert_eq!(locator.without_credentials().as_str(), shown);
    }
}
