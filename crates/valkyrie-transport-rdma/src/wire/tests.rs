use proptest::prelude::*;

use super::*;

fn hello() -> Hello {
    Hello {
        slots: 32,
        slot_bytes: 4096,
        ring_bytes: 262_144,
        ring_address: 0x7f00_1234_5000,
        ring_key: 0x0102_0304,
    }
}

#[test]
fn a_hello_has_the_bytes_of_the_page() {
    let bytes = hello().encode();
    assert_eq!(
        bytes,
        [
            0x56, 0x4b, 0x52, 0x44, 1, 0, 0, 32, 0, 0, 0x10, 0, 0, 4, 0, 0, 0, 0, 0x7f, 0, 0x12, 0x34, 0x50,
            0, 1, 2, 3, 4
        ]
    );
}

#[test]
fn padding_and_reserved_bytes_mean_nothing() {
    let mut bytes = hello().encode().to_vec();
    bytes[5] = 0xff;
    bytes.extend_from_slice(&[0xaa; 28]);
    assert_eq!(Hello::parse(&bytes), Ok(hello()));
}

#[test]
fn what_is_no_hello_is_told_apart() {
    let encoded = hello().encode();
    let with = |change: &dyn Fn(&mut [u8; HELLO_BYTES])| {
        let mut bytes = encoded;
        change(&mut bytes);
        Hello::parse(&bytes).unwrap_err()
    };
    assert_eq!(Hello::parse(&[]), Err(HelloError::NotValkyrie));
    assert_eq!(Hello::parse(b"GET / HTTP/1.1\r\n"), Err(HelloError::NotValkyrie));
    assert_eq!(Hello::parse(&encoded[..4]), Err(HelloError::Truncated));
    assert_eq!(Hello::parse(&encoded[..27]), Err(HelloError::Truncated));
    assert_eq!(with(&|bytes| bytes[4] = 2), HelloError::Version { theirs: 2 });
    assert_eq!(with(&|bytes| bytes[6..8].fill(0)), HelloError::Slots { slots: 0 });
    assert_eq!(
        with(&|bytes| bytes[8..12].fill(0)),
        HelloError::SlotBytes { bytes: 0 }
    );
    assert_eq!(
        with(&|bytes| bytes[12..16].copy_from_slice(&100_u32.to_be_bytes())),
        HelloError::RingBytes { bytes: 100 }
    );
    assert_eq!(with(&|bytes| bytes[16..24].fill(0xff)), HelloError::RingAddress);
}

#[test]
fn a_peer_may_offer_no_ring() {
    let none = Hello {
        ring_bytes: 0,
        ring_address: 0,
        ring_key: 0,
        ..hello()
    };
    assert_eq!(Hello::parse(&none.encode()), Ok(none));
}

#[test]
fn a_rejection_says_why() {
    for rejection in [
        Rejection::Busy,
        Rejection::Malformed,
        Rejection::Version { theirs: VERSION },
    ] {
        let mut bytes = rejection.encode().to_vec();
        bytes.resize(148, 0);
        assert_eq!(Rejection::parse(&bytes), rejection);
    }
    assert_eq!(Rejection::parse(&[]), Rejection::Unknown);
    assert_eq!(Rejection::parse(&[0; 148]), Rejection::Unknown);
}

#[test]
fn a_message_of_the_wrong_shape_is_refused() {
    let data = Header {
        kind: Kind::Data,
        grant: Grant {
            slots: 7,
            ring_bytes: 65_536,
        },
    };
    assert_eq!(data.encode(), [0, 0, 0, 7, 0, 1, 0, 0]);
    assert_eq!(Header::parse(data.encode(), HEADER_BYTES + 1), Ok(data));
    assert_eq!(
        Header::parse(data.encode(), HEADER_BYTES),
        Err(MessageError::WrongLength)
    );
    assert_eq!(Header::parse(data.encode(), 7), Err(MessageError::Truncated));
    for kind in [1, 2] {
        assert!(Header::parse([kind, 0, 0, 0, 0, 0, 0, 0], HEADER_BYTES).is_ok());
        assert_eq!(
            Header::parse([kind, 0, 0, 0, 0, 0, 0, 0], HEADER_BYTES + 1),
            Err(MessageError::WrongLength)
        );
    }
    assert_eq!(
        Header::parse([3, 0, 0, 0, 0, 0, 0, 0], HEADER_BYTES),
        Err(MessageError::UnknownKind { kind: 3 })
    );
}

proptest! {
    #[test]
    fn no_private_data_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Hello::parse(&bytes);
        let _ = Rejection::parse(&bytes);
    }

    #[test]
    fn what_begins_well_is_read_or_refused(tail in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut bytes = b"VKRD\x01".to_vec();
        bytes.extend_from_slice(&tail);
        if let Ok(hello) = Hello::parse(&bytes) {
            prop_assert!(hello.check().is_ok());
            prop_assert_eq!(Hello::parse(&hello.encode()), Ok(hello));
        }
    }

    #[test]
    fn headers_come_back(slots: u16, ring_bytes: u32, kind in 0_u8..3, length in 0_usize..64) {
        let [s0, s1] = slots.to_be_bytes();
        let [r0, r1, r2, r3] = ring_bytes.to_be_bytes();
        if let Ok(header) = Header::parse([kind, 0, s0, s1, r0, r1, r2, r3], length) {
            prop_assert_eq!(header.grant, Grant { slots, ring_bytes });
            prop_assert_eq!(header.encode()[0], kind);
        }
    }
}
