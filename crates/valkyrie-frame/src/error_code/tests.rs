use alloc::format;

use super::*;

#[test]
fn codes_ascend_and_names_are_unique() {
    assert!(ErrorCode::KNOWN.is_sorted_by(|a, b| a < b));
    for (index, code) in ErrorCode::KNOWN.iter().enumerate() {
        assert!(code.name().is_some());
        assert!(
            ErrorCode::KNOWN[..index]
                .iter()
                .all(|other| other.name() != code.name())
        );
    }
}

#[test]
fn every_code_but_ok_has_a_family() {
    for code in ErrorCode::KNOWN {
        assert_eq!(code.family().is_none(), *code == ErrorCode::OK, "{code}");
    }
    assert_eq!(ErrorCode::new(99).family(), None);
    assert_eq!(ErrorCode::new(799).family(), Some(Family::Security));
    assert_eq!(ErrorCode::new(800).family(), None);
    assert_eq!(ErrorCode::new(u32::MAX).family(), None);
}

#[test]
fn unnamed_codes_take_the_mapping_of_their_family() {
    let mapped = |code| {
        let code = ErrorCode::new(code);
        assert_eq!(code.name(), None);
        (code.grpc_status(), code.http_status())
    };
    assert_eq!(mapped(199), (13, 502));
    assert_eq!(mapped(299), (16, 401));
    assert_eq!(mapped(399), (2, 400));
    assert_eq!(mapped(499), (10, 500));
    assert_eq!(mapped(599), (13, 500));
    assert_eq!(mapped(699), (14, 502));
    assert_eq!(mapped(799), (7, 403));
    assert_eq!(mapped(1), (2, 500));
    assert_eq!(mapped(u32::MAX), (2, 500));
}

#[test]
fn every_mapping_is_a_status_that_exists() {
    for code in (0..1000).map(ErrorCode::new) {
        assert!(code.grpc_status() <= 16, "{code}");
        assert!((200..600).contains(&code.http_status()), "{code}");
        // Only success maps to success.
        assert_eq!(code.grpc_status() == 0, code == ErrorCode::OK, "{code}");
        assert_eq!(code.http_status() == 200, code == ErrorCode::OK, "{code}");
    }
}

#[test]
fn display_shows_number_and_name() {
    assert_eq!(format!("{}", ErrorCode::NOT_FOUND), "303 not_found");
    assert_eq!(format!("{:?}", ErrorCode::new(399)), "399");
}
