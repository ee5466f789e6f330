//! The window against a set that remembers everything.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// Numbers near each other, near the edges, and anywhere.
fn numbers() -> impl Strategy<Value = Vec<u64>> {
    let number = prop_oneof![
        4 => 0_u64..6000,
        2 => (0_u64..6000).prop_map(|below| u64::MAX - below),
        2 => (0_u64..6000).prop_map(|above| (1 << 63) - 3000 + above),
        1 => any::<u64>(),
    ];
    prop::collection::vec(number, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_number_is_taken_once_and_only_while_it_can_be_told(numbers in numbers()) {
        let (mut window, mut seen, mut highest) = (Window::new(), HashSet::new(), None);
        for number in numbers {
            let old = highest.is_some_and(|highest: u64| highest.saturating_sub(number) >= WINDOW_NUMBERS);
            let fresh = !old && !seen.contains(&number);
            prop_assert_eq!(window.is_fresh(number), fresh);
            prop_assert_eq!(window.see(number), fresh);
            prop_assert!(!window.is_fresh(number));
            if fresh {
                seen.insert(number);
                highest = highest.max(Some(number));
            }
        }
    }
}

#[test]
fn the_window_is_of_2048_numbers_wherever_it_is() {
    for highest in [2047, 2048, 2049, 4095, 5000, 1 << 63, u64::MAX - 1, u64::MAX] {
        let mut window = Window::new();
        assert!(window.see(highest));
        for below in 1..WINDOW_NUMBERS {
            assert!(window.see(highest - below), "{highest} - {below}");
        }
        for below in 0..WINDOW_NUMBERS {
            assert!(!window.is_fresh(highest - below));
        }
        if let Some(older) = highest.checked_sub(WINDOW_NUMBERS) {
            assert!(!window.is_fresh(older));
        }
    }
}

#[test]
fn moving_on_forgets_what_leaves_the_window_and_no_more() {
    let mut window = Window::new();
    for number in 0..WINDOW_NUMBERS {
        assert!(window.see(number));
    }
    assert!(window.see(WINDOW_NUMBERS + 100));
    for number in 0..WINDOW_NUMBERS {
        assert!(!window.is_fresh(number), "seen, or too old to tell");
    }
    for number in WINDOW_NUMBERS..WINDOW_NUMBERS + 100 {
        assert!(window.is_fresh(number), "passed over");
    }
    assert!(window.see(u64::MAX));
    assert!(window.is_fresh(u64::MAX - 2047), "a leap forgets everything");
}
