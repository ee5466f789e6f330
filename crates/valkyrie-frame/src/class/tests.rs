use alloc::format;

use super::*;

#[test]
fn bands_cover_every_priority_but_zero_once() {
    for byte in 0..=u8::MAX {
        let owners = Class::ALL
            .iter()
            .filter(|&&class| Priority::from_byte(byte).fits(class))
            .count();
        assert_eq!(owners, usize::from(byte != 0), "priority {byte}");
    }
}

#[test]
fn a_more_urgent_class_has_the_higher_band() {
    for pair in Class::ALL.windows(2) {
        assert_eq!(*pair[0].band().start(), pair[1].band().end() + 1);
    }
}

#[test]
fn clamping_moves_to_the_nearest_edge_and_no_further() {
    for class in Class::ALL {
        for byte in 0..=u8::MAX {
            let priority = Priority::from_byte(byte);
            let clamped = priority.clamp_to(class);
            assert!(clamped.fits(class));
            assert_eq!(clamped == priority, priority.fits(class));
            let nearest = byte.clamp(*class.band().start(), *class.band().end());
            assert_eq!(clamped.byte(), nearest);
        }
    }
}

#[test]
fn default_priority_is_the_middle_of_the_band() {
    let defaults = Class::ALL.map(|class| class.default_priority().byte());
    assert_eq!(defaults, [255, 227, 149, 74, 25]);
}

#[test]
fn names_and_places_lead_back_to_the_class() {
    for (index, class) in Class::ALL.into_iter().enumerate() {
        assert_eq!(class.index(), index);
        assert_eq!(Class::from_name(class.name()), Some(class));
    }
    assert_eq!(Class::from_name("Bulk"), None);
    assert_eq!(format!("{:>5}", Class::Job), "  job");
}
