use alloc::string::ToString;
use alloc::vec::Vec;
use alloc::{format, vec};

use super::*;
use crate::{Kind, StreamId};

fn header(flags: Flags) -> Header {
    Header {
        flags,
        ..Header::new(Kind::DATA, StreamId::new(1))
    }
}

fn check(area: &[u8]) -> Result<(), ExtensionError> {
    Extensions::check(&header(Flags::NONE), area)
}

#[test]
fn values_given_in_any_order_come_out_ascending() {
    let area = Extensions::builder()
        .route("ci", "run")
        .and_then(|builder| builder.raw(0x1A, b"?"))
        .map(|builder| builder.deadline_ms(1500).sent_at(7).timestamp(0x0102_0304))
        .and_then(ExtensionsBuilder::finish)
        .unwrap();
    let bytes: &[u8] = &[
        1, 2, 3, 4, // timestamp
        3, 4, 0, 0, 5, 0xDC, 0, 0, // deadline
        5, 8, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, // sent at
        0x87, 6, 2, b'c', b'i', b'r', b'u', b'n', // route
        0x1A, 1, b'?', 0,
    ];
    assert_eq!(area.as_bytes(), bytes);
    assert_eq!(area.flags(), Flags::TS);
    assert_eq!(Extensions::check(&header(Flags::TS), bytes), Ok(()));
    assert_eq!(area.timestamp(), Some(0x0102_0304));
    assert_eq!(area.deadline_ms(), Some(1500));
    assert_eq!(area.route(), Some(("ci", "run")));
    let values: Vec<_> = area.iter().collect();
    let route = Extension::Route {
        service: "ci",
        method: "run",
    };
    let grease = Extension::Unknown {
        kind: 0x1A,
        value: b"?",
    };
    assert_eq!(
        values,
        [Extension::DeadlineMs(1500), Extension::SentAt(7), route, grease]
    );
}

#[test]
fn a_second_value_replaces_the_first_whatever_its_length() {
    let area = Extensions::builder()
        .raw(extension_type::TRACE_STATE, b"a=1")
        .map(|builder| builder.deadline_ms(1).timestamp(1))
        .and_then(|builder| builder.raw(0x82, b"longer=than-before"))
        .map(|builder| builder.deadline_ms(2).timestamp(2))
        .and_then(ExtensionsBuilder::finish)
        .unwrap();
    assert_eq!(area.timestamp(), Some(2));
    let values: Vec<_> = area.iter().collect();
    assert_eq!(
        values,
        [
            Extension::TraceState(b"longer=than-before"),
            Extension::DeadlineMs(2)
        ]
    );
    assert_eq!(Extensions::check(&header(Flags::TS), area.as_bytes()), Ok(()));
}

#[test]
fn nothing_given_is_nothing_on_the_wire() {
    let area = Extensions::builder().finish().unwrap();
    assert!(area.is_empty() && area == Extensions::EMPTY && area.flags() == Flags::NONE);
    assert_eq!(
        (area.timestamp(), area.deadline_ms(), area.route()),
        (None, None, None)
    );
    assert_eq!(check(&[]), Ok(()));
}

#[test]
fn lookups_step_over_the_timestamp_word() {
    // Without the flag the same bytes are a deadline, with it a timestamp and nothing else.
    let word = [3, 4, 0, 0, 0, 9, 0, 0];
    assert_eq!(check(&word), Ok(()));
    let plain = Extensions::from_checked(&header(Flags::NONE), Bytes::from(word.to_vec()));
    assert_eq!((plain.deadline_ms(), plain.timestamp()), (Some(9), None));
    let stamped = ExtensionsRef::new(&header(Flags::TS), &word[..4]).unwrap();
    assert_eq!(
        (stamped.deadline_ms(), stamped.timestamp()),
        (None, Some(0x0304_0000))
    );
}

#[test]
fn a_value_past_the_end_is_truncated() {
    assert_eq!(check(&[3, 4, 0, 0]), Err(ExtensionError::Truncated { kind: 3 }));
    assert_eq!(
        check(&[0x1A, 255, 0, 0]),
        Err(ExtensionError::Truncated { kind: 0x1A })
    );
    // Value whole, padding cut short: only a caller that passes no whole words can see this.
    assert_eq!(
        check(&[0x1A, 1, 0]),
        Err(ExtensionError::Truncated { kind: 0x1A })
    );
    assert_eq!(check(&[0x1A]), Err(ExtensionError::Truncated { kind: 0 }));
}

#[test]
fn types_that_do_not_ascend_are_refused() {
    let twice = [0x1A, 0, 0, 0, 0x1A, 0, 0, 0];
    assert_eq!(check(&twice), Err(ExtensionError::Order { kind: 0x1A }));
    let back = [0x2A, 0, 0, 0, 0x1A, 0, 0, 0];
    assert_eq!(check(&back), Err(ExtensionError::Order { kind: 0x1A }));
    assert_eq!(check(&[0, 0, 0, 0]), Err(ExtensionError::Order { kind: 0 }));
    assert_eq!(check(&[0x80, 0, 0, 0]), Err(ExtensionError::Order { kind: 0x80 }));
}

#[test]
fn the_must_understand_bit_does_not_count_in_the_order() {
    let deadline = [0x83, 4, 0, 0, 0, 1, 0, 0];
    let sent_at = [5, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    let mut area = deadline.to_vec();
    area.extend_from_slice(&sent_at);
    assert_eq!(check(&area), Ok(()));
    let mut twice = [3, 4, 0, 0, 0, 1, 0, 0].to_vec();
    twice.extend_from_slice(&deadline);
    assert_eq!(check(&twice), Err(ExtensionError::Order { kind: 0x83 }));
}

#[test]
fn padding_must_be_zero() {
    assert_eq!(check(&[0x1A, 1, 9, 0]), Ok(()));
    assert_eq!(
        check(&[0x1A, 1, 9, 1]),
        Err(ExtensionError::Padding { kind: 0x1A })
    );
    assert_eq!(
        check(&[3, 4, 0, 0, 0, 1, 0, 1]),
        Err(ExtensionError::Padding { kind: 3 })
    );
}

#[test]
fn known_types_have_the_length_of_their_kind() {
    let lengths = [
        (1, 26..=26),
        (2, 1..=255),
        (3, 4..=4),
        (4, 16..=16),
        (5, 8..=8),
        (6, 8..=8),
    ];
    for (kind, allowed) in lengths {
        for found in 0..=255_usize {
            let mut area = vec![kind, found as u8];
            area.resize((2 + found).next_multiple_of(4), b'x');
            area[2 + found..].fill(0);
            let expected = if allowed.contains(&found) {
                Ok(())
            } else {
                Err(ExtensionError::Length { kind, found })
            };
            assert_eq!(check(&area), expected);
        }
    }
}

#[test]
fn a_route_needs_two_names_that_fit() {
    let route = |value: &[u8]| interpret(0x87, value).map(|_| ());
    let refused = |found| Err(ExtensionError::Length { kind: 0x87, found });
    assert_eq!(route(b""), refused(0));
    assert_eq!(route(b"\x00m"), refused(2));
    assert_eq!(route(b"\x01s"), refused(2));
    assert_eq!(route(b"\x05svc"), refused(4));
    let mut longest = vec![200];
    longest.resize(255, b'n');
    assert!(route(&longest).is_ok());
    longest[0] = 201;
    assert_eq!(route(&longest), refused(255));
}

#[test]
fn a_route_is_text_on_both_sides_of_the_cut() {
    let refused = Err(ExtensionError::Utf8 { kind: 0x87 });
    assert_eq!(interpret(0x87, b"\x01\xFFm"), refused);
    assert_eq!(interpret(0x87, b"\x01s\xFF"), refused);
    // "é" cut in two: the whole is UTF-8, neither name is.
    assert_eq!(interpret(0x87, b"\x02s\xC3\xA9"), refused);
}

#[test]
fn only_unknown_types_can_insist_in_vain() {
    assert_eq!(
        check(&[0x9A, 0, 0, 0]),
        Err(ExtensionError::NotUnderstood { kind: 0x9A })
    );
    assert_eq!(check(&[0x08, 0, 0, 0]), Ok(()));
    assert_eq!(
        check(&[0x88, 0, 0, 0]),
        Err(ExtensionError::NotUnderstood { kind: 0x88 })
    );
    assert_eq!(check(&[0x83, 4, 0, 0, 0, 0, 0, 0]), Ok(()));
}

#[test]
fn the_builder_refuses_what_a_receiver_would() {
    let refused = |kind, value: &[u8]| Extensions::builder().raw(kind, value).unwrap_err();
    assert_eq!(refused(0, b""), ExtensionError::Order { kind: 0 });
    assert_eq!(refused(0x80, b""), ExtensionError::Order { kind: 0x80 });
    assert_eq!(refused(3, b"123"), ExtensionError::Length { kind: 3, found: 3 });
    assert_eq!(
        refused(0x1A, &[0; 256]),
        ExtensionError::Length {
            kind: 0x1A,
            found: 256
        }
    );
    let long = "n".repeat(254);
    for (service, method) in [
        ("", "m"),
        ("s", ""),
        (&long[..201], "m"),
        ("s", &long),
        (&long, &long),
    ] {
        let error = Extensions::builder().route(service, method).unwrap_err();
        assert!(
            matches!(error, ExtensionError::Length { kind: 0x87, .. }),
            "{error}"
        );
    }
    assert!(Extensions::builder().route(&long[..200], &long[..54]).is_ok());
}

#[test]
fn the_area_ends_at_255_words() {
    let full = |last: usize| {
        [0x1A, 0x2A, 0x3A]
            .into_iter()
            .try_fold(Extensions::builder(), |builder, kind| {
                builder.raw(kind, &[7; 255])
            })
            .and_then(|builder| builder.raw(0x4A, &vec![7; last]))
            .and_then(ExtensionsBuilder::finish)
    };
    let most = full(238).unwrap();
    assert_eq!(most.as_bytes().len(), 4 * 255);
    assert_eq!(check(most.as_bytes()), Ok(()));
    assert_eq!(full(239).unwrap_err(), ExtensionError::Area { found: 1024 });
}

#[test]
fn grease_types_are_never_known() {
    for kind in extension_type::GREASE {
        assert!(
            matches!(interpret(kind, b""), Ok(Extension::Unknown { .. })),
            "{kind:#04x}"
        );
        assert_eq!(kind & extension_type::MUST_UNDERSTAND, 0);
    }
}

#[test]
fn refusals_say_which_type() {
    let errors = [
        ExtensionError::Truncated { kind: 0x3B },
        ExtensionError::Order { kind: 0x3B },
        ExtensionError::Padding { kind: 0x3B },
        ExtensionError::Length { kind: 0x3B, found: 9 },
        ExtensionError::Utf8 { kind: 0x3B },
        ExtensionError::NotUnderstood { kind: 0x3B },
    ];
    for error in errors {
        assert!(error.to_string().contains("0x3b"), "{error:?}");
    }
    assert!(format!("{}", ExtensionError::Area { found: 1024 }).contains("1024"));
}
