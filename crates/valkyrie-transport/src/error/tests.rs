use std::io;

use super::{Action, Fault, TransportError};
use crate::Locator;

fn from(action: Action, source: impl Into<io::Error>) -> TransportError {
    let locator: Locator = "tcp://localhost:7000".parse().unwrap();
    TransportError::from_io(action, &locator, source.into())
}

#[test]
fn a_system_error_is_sorted_by_what_to_do_about_it() {
    use io::ErrorKind as Kind;
    assert!(matches!(
        from(Action::Dial, Kind::ConnectionRefused),
        TransportError::Refused { .. }
    ));
    assert!(matches!(
        from(Action::Listen, Kind::AddrInUse),
        TransportError::AddressInUse { .. }
    ));
    assert!(matches!(
        from(Action::Listen, Kind::AddrNotAvailable),
        TransportError::AddressNotAvailable { .. }
    ));
    assert!(matches!(
        from(Action::Listen, Kind::PermissionDenied),
        TransportError::PermissionDenied { .. }
    ));
    assert!(matches!(
        from(Action::Dial, Kind::HostUnreachable),
        TransportError::Unreachable { .. }
    ));
    assert!(matches!(
        from(Action::Accept, Kind::ConnectionAborted),
        TransportError::Aborted { .. }
    ));
    assert!(matches!(
        from(Action::Accept, Kind::Other),
        TransportError::Io { .. }
    ));
}

#[test]
fn running_out_of_local_ports_is_a_shortage_and_not_a_wrong_address() {
    for kind in [io::ErrorKind::AddrInUse, io::ErrorKind::AddrNotAvailable] {
        let error = from(Action::Dial, kind);
        assert!(matches!(error, TransportError::Exhausted { .. }));
        assert_eq!(error.fault(), Fault::Machine);
    }
}

#[cfg(unix)]
#[test]
fn a_full_descriptor_table_is_a_shortage() {
    for code in [23, 24] {
        let error = from(Action::Accept, io::Error::from_raw_os_error(code));
        assert!(matches!(
            error,
            TransportError::Exhausted {
                action: Action::Accept,
                ..
            }
        ));
        assert!(error.is_transient());
    }
}

#[test]
fn every_error_names_the_locator() {
    for kind in [
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::NetworkUnreachable,
        io::ErrorKind::OutOfMemory,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::Other,
    ] {
        let error = from(Action::Dial, kind);
        assert!(error.to_string().contains("tcp://localhost:7000"), "{error}");
        assert_eq!(error.locator().as_str(), "tcp://localhost:7000");
    }
}

#[test]
fn the_callers_mistakes_are_not_worth_repeating() {
    let locator: Locator = "uds:///x".parse().unwrap();
    let error = TransportError::check_scheme(&locator, "tcp").unwrap_err();
    assert_eq!(error.fault(), Fault::Caller);
    assert!(!error.is_transient());
    assert!(from(Action::Dial, io::ErrorKind::ConnectionRefused).is_transient());
}
