//! Whatever comes in and whatever is asked for, nothing panics and no buffer is touched beyond its message.

use proptest::prelude::*;

use super::*;

#[test]
fn every_message_has_the_length_that_is_computed_for_it() {
    let peers = Peers::new();
    for suite in suites() {
        let messages = peers.handshake(suite).messages;
        for (step, message) in (1..).zip(&messages) {
            let payload = if step == 1 { payload(suite).len() } else { 0 };
            assert_eq!(
                message.len(),
                message_bytes(suite, step, payload),
                "{} {step}",
                suite.id
            );
        }
        assert_eq!(message_bytes(suite, 0, 0), 0);
        assert_eq!(message_bytes(suite, 4, 0), 0);
    }
}

#[test]
fn the_sizes_of_the_default_suites_are_these() {
    let sizes = |id: SuiteId| [1, 2, 3].map(|step| message_bytes(id.suite().unwrap(), step, 0));
    assert_eq!(sizes(SuiteId::XX_AES), [1216, 1200, 64]);
    assert_eq!(sizes(SuiteId::IK_AES), [1296, 1152, 0]);
    assert_eq!(sizes(SuiteId::IK_PSK_CHACHA), [1296, 1152, 0]);
    assert_eq!(sizes(SuiteId::XX_CLASSICAL_AES), [32, 96, 64]);
    assert_eq!(sizes(SuiteId::IK_CLASSICAL_CHACHA), [96, 48, 0]);
    assert_eq!(sizes(SuiteId::XX_KYBER1024), [1600, 1680, 64]);
    assert_eq!(sizes(SuiteId::IK_KYBER1024), [1680, 1632, 0]);
}

#[test]
fn messages_are_appended_behind_what_is_there() {
    let peers = Peers::new();
    for suite in suites() {
        let mut out = b"before".to_vec();
        let bob = peers.bob.public();
        let dialling = Dialling::start(
            suite,
            &peers.providers,
            &peers.ada,
            Some(&bob),
            psk(suite),
            PROLOGUE,
            payload(suite),
            &mut out,
        );
        let first = out.strip_prefix(b"before").unwrap();
        let mut out = b"before".to_vec();
        peers.read(suite, first).unwrap().answer(&mut out).unwrap();
        let second = out.strip_prefix(b"before").unwrap();
        let mut out = b"before".to_vec();
        dialling.unwrap().second(second, &mut out).unwrap();
        assert_eq!(out.len(), 6 + message_bytes(suite, 3, 0));
        assert!(out.starts_with(b"before"));
    }
}

/// Any suite of this crate.
fn any_suite() -> impl Strategy<Value = &'static Suite> {
    proptest::sample::select(suites().collect::<Vec<_>>())
}

/// A length around those at which something happens, or any other.
fn any_length() -> impl Strategy<Value = usize> {
    let edges = [
        0, 16, 32, 48, 64, 96, 1088, 1152, 1184, 1200, 1216, 1248, 1296, 4096, 65_535,
    ];
    prop_oneof![
        0..4200_usize,
        (proptest::sample::select(edges.to_vec()), 0..40_usize).prop_map(|(edge, more)| edge + more),
        proptest::sample::select(edges.to_vec()).prop_map(|edge| edge.saturating_sub(1)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_payload_is_sent_whole_or_refused(suite in any_suite(), bytes in any_length(), before in 0..80_usize) {
        let peers = Peers::new();
        let bob = peers.bob.public();
        let mut out = vec![3; before];
        let sent = vec![4; bytes];
        let dialled = Dialling::start(
            suite, &peers.providers, &peers.ada, Some(&bob), psk(suite), PROLOGUE, &sent, &mut out,
        );
        prop_assert!(out[..before].iter().all(|byte| *byte == 3));
        match dialled {
            Ok(_) => {
                prop_assert_eq!(out.len(), before + message_bytes(suite, 1, bytes));
                let opened = peers.read(suite, &out[before..]).unwrap();
                prop_assert_eq!(opened.payload(), &sent);
            }
            Err(_) => prop_assert_eq!(out.len(), before),
        }
    }

    #[test]
    fn any_first_message_is_refused_or_harmless(suite in any_suite(), bytes in any_length(), fill: u8) {
        let peers = Peers::new();
        let message: Vec<u8> = (0..bytes).map(|at| (at as u8).wrapping_mul(31) ^ fill).collect();
        let mut out = vec![3];
        let answered = peers.read(suite, &message).and_then(|opened| opened.answer(&mut out));
        match answered {
            // A first message of XX is in clear: whatever has its length can be answered.
            Ok(_) => prop_assert_eq!((suite.pattern, bytes), (Pattern::Xx, message_bytes(suite, 1, 0))),
            Err(_) => prop_assert_eq!(out, [3]),
        }
    }

    #[test]
    fn any_second_message_is_refused(suite in any_suite(), bytes in any_length(), fill: u8) {
        let (dialling, _) = Peers::new().dial(suite);
        let message: Vec<u8> = (0..bytes).map(|at| (at as u8).wrapping_mul(31) ^ fill).collect();
        let mut out = vec![3];
        prop_assert!(dialling.second(&message, &mut out).is_err());
        prop_assert_eq!(out, [3]);
    }

    #[test]
    fn any_third_message_is_refused(bytes in any_length(), fill: u8) {
        let peers = Peers::new();
        for suite in of(Pattern::Xx) {
            let (_, first) = peers.dial(suite);
            let (accepted, _) = peers.answer(suite, &first).unwrap();
            let message = vec![fill; bytes];
            prop_assert!(finish(accepted, &message).is_err());
        }
    }
}
