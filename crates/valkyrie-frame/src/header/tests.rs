use alloc::string::ToString;

use super::*;

fn sample() -> Header {
    Header {
        kind: Kind::DATA,
        flags: Flags::EOS.with(Flags::NO_REPLY),
        priority: Priority::from_byte(77),
        trace: 0x9C,
        extension_words: 3,
        stream: StreamId::new(0x0102_0304),
        length: 0x0005_0607,
        correlation: 0x0809_0A0B,
    }
}

#[test]
fn fields_lie_where_the_layout_says() {
    let bytes = [
        0x52, 0x43, 2, 0x31, 0x42, 77, 0x9C, 3, 1, 2, 3, 4, 0, 5, 6, 7, 8, 9, 0x0A, 0x0B,
    ];
    assert_eq!(sample().encode(), bytes);
    assert_eq!(Header::decode(&bytes), Ok(sample()));
}

#[test]
fn head_and_frame_lengths_count_words_and_payload() {
    assert_eq!(sample().head_len(), 20 + 12);
    assert_eq!(sample().frame_len(), 20 + 12 + 0x0005_0607);
    assert_eq!(Header::new(Kind::PING, StreamId::CONTROL).frame_len(), 20);
}

#[test]
fn a_new_header_has_the_default_priority_of_its_class() {
    for id in [0, 1, 100, 1000, 10_000] {
        let header = Header::new(Kind::DATA, StreamId::new(id));
        assert_eq!(header.priority, header.stream.class().default_priority());
        assert_eq!(header.check(), Ok(()));
    }
}

#[test]
fn every_wrong_magic_is_refused() {
    for place in 0..2 {
        for bit in 0..8 {
            let mut bytes = sample().encode();
            bytes[place] ^= 1 << bit;
            assert!(matches!(Header::decode(&bytes), Err(HeaderError::Magic { .. })));
            // Already the bytes up to the wrong one are enough to know.
            assert!(matches!(
                Header::peek(&bytes[..=place]),
                Err(HeaderError::Magic { .. })
            ));
        }
    }
}

#[test]
fn every_other_version_is_refused() {
    for version in (0..=u8::MAX).filter(|&version| version != VERSION) {
        let mut bytes = sample().encode();
        bytes[2] = version;
        let refusal = Err(HeaderError::Version { found: version });
        assert_eq!(Header::decode(&bytes), refusal);
        assert_eq!(Header::peek(&bytes[..3]), refusal.map(Some));
    }
}

#[test]
fn every_type_byte_is_taken_or_refused_as_its_range_says() {
    for byte in 0..=u8::MAX {
        let mut bytes = sample().encode();
        bytes[3] = byte;
        let allowed = byte <= 0x4F || (byte >= 0x6A && byte % 16 == 0x0A);
        match Header::decode(&bytes) {
            Ok(header) => assert!(allowed && header.kind.byte() == byte, "{byte:#04x}"),
            Err(error) => assert_eq!((allowed, error), (false, HeaderError::Kind { found: byte })),
        }
    }
}

#[test]
fn the_length_limit_is_inclusive() {
    let at = Header {
        length: MAX_PAYLOAD_BYTES,
        ..sample()
    };
    assert_eq!(Header::decode(&at.encode()), Ok(at));
    let over = Header {
        length: MAX_PAYLOAD_BYTES + 1,
        ..sample()
    };
    let refusal = HeaderError::Length {
        found: MAX_PAYLOAD_BYTES + 1,
        max: MAX_PAYLOAD_BYTES,
    };
    assert_eq!(Header::decode(&over.encode()), Err(refusal));
    assert_eq!(over.check(), Err(refusal));
}

#[test]
fn a_timestamp_flag_needs_a_word() {
    let bare = Header {
        flags: Flags::TS,
        extension_words: 0,
        ..sample()
    };
    assert_eq!(Header::decode(&bare.encode()), Err(HeaderError::TimestampMissing));
    let worded = Header {
        extension_words: 1,
        ..bare
    };
    assert_eq!(Header::decode(&worded.encode()), Ok(worded));
}

#[test]
fn more_and_end_of_stream_exclude_each_other() {
    for bits in 0..=u8::MAX {
        let header = Header {
            flags: Flags::from_bits(bits),
            ..sample()
        };
        let both = bits & 0x0A == 0x0A;
        let refusal = if both {
            Err(HeaderError::MoreAfterEnd)
        } else {
            Ok(())
        };
        assert_eq!(header.check(), refusal, "{bits:#04x}");
    }
}

#[test]
fn peek_waits_on_every_true_prefix() {
    let bytes = sample().encode();
    for end in 0..Header::LEN {
        assert_eq!(Header::peek(&bytes[..end]), Ok(None), "{end} bytes");
    }
    assert_eq!(Header::peek(&bytes), Ok(Some(sample())));
}

#[test]
fn only_unknown_kinds_without_critical_are_ignorable() {
    let unknown = Header::new(Kind::from_byte(0x4E), StreamId::new(1));
    assert!(unknown.is_ignorable());
    assert!(Header::new(Kind::GREASE[0], StreamId::new(1)).is_ignorable());
    let critical = Header {
        flags: Flags::CRITICAL,
        ..unknown
    };
    assert!(!critical.is_ignorable());
    assert!(!sample().is_ignorable());
}

#[test]
fn refusals_say_what_was_found() {
    assert!(
        HeaderError::Magic { found: 0x4745 }
            .to_string()
            .contains("0x4745")
    );
    assert!(
        HeaderError::Version { found: 9 }
            .to_string()
            .contains("version 9")
    );
    assert!(HeaderError::Kind { found: 0x50 }.to_string().contains("0x50"));
    let long = HeaderError::Length { found: 11, max: 10 };
    assert!(long.to_string().contains("11 bytes, the limit is 10"));
    assert!(
        HeaderError::ExtensionArea { found: 3 }
            .to_string()
            .contains("the caller")
    );
}
