use alloc::format;

use super::*;

#[test]
fn known_list_names_and_bits_agree() {
    for byte in 0..=u8::MAX {
        let kind = Kind::from_byte(byte);
        let listed = Kind::KNOWN.contains(&kind);
        assert_eq!(kind.is_known(), listed, "{byte:#04x}");
        assert_eq!(kind.name().is_some(), listed, "{byte:#04x}");
    }
}

#[test]
fn known_kinds_ascend_and_names_are_unique() {
    assert!(Kind::KNOWN.is_sorted_by(|a, b| a < b));
    for (index, kind) in Kind::KNOWN.iter().enumerate() {
        assert!(
            Kind::KNOWN[..index]
                .iter()
                .all(|other| other.name() != kind.name())
        );
    }
}

#[test]
fn groups_are_sixteen_values_each() {
    let group = |byte| Kind::from_byte(byte).group();
    assert_eq!((group(0x00), group(0x0F)), (Some(Group::Core), Some(Group::Core)));
    assert_eq!((group(0x10), group(0x1F)), (Some(Group::Auth), Some(Group::Auth)));
    assert_eq!((group(0x20), group(0x2F)), (Some(Group::Job), Some(Group::Job)));
    assert_eq!(
        (group(0x30), group(0x3F)),
        (Some(Group::Stream), Some(Group::Stream))
    );
    assert_eq!(
        (group(0x40), group(0x4F)),
        (Some(Group::Observe), Some(Group::Observe))
    );
    assert_eq!((group(0x50), group(0xFF)), (None, None));
}

#[test]
fn grease_is_exactly_the_list_and_never_known() {
    for byte in 0..=u8::MAX {
        let kind = Kind::from_byte(byte);
        assert_eq!(kind.is_grease(), Kind::GREASE.contains(&kind), "{byte:#04x}");
        assert!(!(kind.is_grease() && kind.is_known()));
        assert_eq!(kind.is_allowed(), byte <= 0x4F || kind.is_grease());
    }
}

#[test]
fn display_is_the_name_or_the_number() {
    assert_eq!(
        format!("{} {:?}", Kind::HELLO, Kind::JOB_LEASE),
        "HELLO JOB_LEASE"
    );
    assert_eq!(format!("{}", Kind::from_byte(0x0C)), "0x0c");
}
