//! Cookies, and what an acceptor does when too many come at once.

use super::*;
use crate::handshake::Rate;
use crate::handshake::envelope::{self, Challenge};
use valkyrie_frame::Kind;

/// A gate that asks everybody with an address for a cookie.
pub(super) fn loaded(now: Instant) -> Arc<Gate> {
    let limits = HandshakeLimits {
        cookies_above: 0,
        ..HandshakeLimits::default()
    };
    let gate = Gate::new(limits, now);
    gate.opened(now, None).unwrap();
    Arc::new(gate)
}

#[test]
fn under_load_a_peer_shows_first_that_it_receives_at_its_address() {
    let (ada, bob) = friends();
    let mut setup = Setup::new();
    setup.gate = loaded(setup.now);
    let mut kinds = Vec::new();
    let outcome = setup.pair(&ada, &bob).run_with(|_, bytes| {
        if bytes.len() > 3 && bytes[0] == 0x52 {
            kinds.push(bytes[3]);
        }
    });
    outcome.both();
    assert_eq!(
        kinds[..2],
        [Kind::KEY_EXCHANGE.byte(), Kind::AUTH_CHALLENGE.byte()]
    );
    let stats = setup.gate.stats();
    assert_eq!((stats.challenged, stats.computed), (1, 1));
}

#[test]
fn a_cookie_of_another_address_buys_nothing() {
    let (ada, bob) = friends();
    let mut setup = Setup::new();
    setup.gate = loaded(setup.now);
    let elsewhere = setup
        .gate
        .cookie(setup.now, IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)));
    let outcome = setup.pair(&ada, &bob).run_with(|flight, bytes| {
        if flight == 1 {
            let suite = crate::suite::SuiteId(bytes[21]);
            let challenge = Challenge {
                suite,
                cookie: Some(elsewhere),
            };
            let frame = envelope::frame(Kind::AUTH_CHALLENGE, |payload| challenge.encode(payload));
            *bytes = BytesMut::from(&frame[..]);
        }
    });
    assert!(matches!(outcome.acceptor, Err(HandshakeError::Busy { .. })));
    assert!(outcome.is_nothing());
    assert_eq!(setup.gate.stats().computed, 0);
}

#[test]
fn a_peer_without_an_address_is_not_asked_for_one() {
    let (ada, bob) = friends();
    let mut setup = Setup::new();
    setup.address = None;
    setup.gate = loaded(setup.now);
    setup.pair(&ada, &bob).run().both();
    assert_eq!(setup.gate.stats().challenged, 0);
}

#[test]
fn a_second_challenge_ends_the_handshake() {
    let (ada, bob) = friends();
    let mut setup = Setup::new();
    setup.gate = loaded(setup.now);
    let mut challenge = None;
    let outcome = setup.pair(&ada, &bob).run_with(|flight, bytes| match flight {
        1 => challenge = Some(bytes.clone()),
        3 => *bytes = challenge.clone().unwrap(),
        _ => {}
    });
    assert!(matches!(
        outcome.dialler,
        Err(HandshakeError::Unexpected(Kind::AUTH_CHALLENGE))
    ));
}

#[test]
fn what_is_too_much_in_total_is_refused_and_says_until_when() {
    let (ada, bob) = friends();
    let mut setup = Setup::new();
    let limits = HandshakeLimits {
        total: Rate::new(1, 2),
        ..HandshakeLimits::default()
    };
    setup.gate = Arc::new(Gate::new(limits, setup.now));
    setup.pair(&ada, &bob).run().both();
    setup.pair(&ada, &bob).run().both();
    let outcome = setup.pair(&ada, &bob).run();
    assert!(matches!(outcome.acceptor, Err(HandshakeError::Busy { .. })));
    let Err(HandshakeError::RefusedInClear(refusal)) = outcome.dialler else {
        panic!()
    };
    assert!(
        (1..=2000).contains(&refusal.retry_after_ms),
        "{}",
        refusal.retry_after_ms
    );
    setup.now += Duration::from_secs(2);
    setup.pair(&ada, &bob).run().both();
}
