use alloc::format;

use super::*;

#[test]
fn every_bit_has_one_flag() {
    let mut seen = Flags::NONE;
    for (index, (flag, _)) in Flags::ALL.into_iter().enumerate() {
        assert_eq!(flag.bits(), 1 << index);
        assert!(!seen.contains(flag));
        seen |= flag;
    }
    assert_eq!(seen.bits(), 0xFF);
}

#[test]
fn contains_means_all_of_them() {
    let flags = Flags::ACK | Flags::TS;
    assert!(flags.contains(Flags::ACK) && flags.contains(flags) && flags.contains(Flags::NONE));
    assert!(!flags.contains(Flags::ACK | Flags::EOS));
    assert_eq!(flags.without(Flags::ACK), Flags::TS);
    assert_eq!(flags.without(Flags::EOS), flags);
}

#[test]
fn display_joins_names() {
    assert_eq!(format!("{}", Flags::NONE), "-");
    assert_eq!(format!("{:?}", Flags::from_bits(0x92)), "EOS|TS|CRITICAL");
}
