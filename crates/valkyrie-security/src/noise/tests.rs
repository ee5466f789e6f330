//! Handshakes between the two sides of this module.

mod hybrid;
mod published;

use super::*;
use crate::provider::{Providers, StaticKey};
use crate::suite::{Kem, Pattern, SUITES, Suite};

const PSK: [u8; 32] = [7; 32];

/// The suites that this crate runs by itself.
fn suites() -> impl Iterator<Item = &'static Suite> {
    SUITES.iter().filter(|suite| suite.kem != Some(Kem::Kyber1024))
}

fn psk(suite: &Suite) -> Option<&'static [u8; 32]> {
    (suite.pattern == Pattern::IkPsk0).then_some(&PSK)
}

fn payload(suite: &Suite) -> &'static [u8] {
    match suite.pattern {
        Pattern::Xx => b"",
        Pattern::Ik | Pattern::IkPsk0 => b"12345678",
    }
}

fn handshake(suite: &'static Suite, dialler: &StaticKey, acceptor: &StaticKey) -> (Finished, Finished) {
    let providers = Providers::default();
    let (mut first, mut second, mut third) = (Vec::new(), Vec::new(), Vec::new());
    let peer = acceptor.public();
    let dialling = Dialling::start(
        suite,
        &providers,
        dialler,
        Some(&peer),
        psk(suite),
        b"prologue",
        payload(suite),
        &mut first,
    )
    .unwrap();
    assert_eq!(first.len(), message_bytes(suite, 1, payload(suite).len()));
    let opened = Accepting::read(suite, &providers, acceptor, psk(suite), b"prologue", &first).unwrap();
    assert_eq!(opened.payload(), payload(suite));
    assert_eq!(opened.ephemeral()[..], first[..32]);
    let accepted = opened.answer(&mut second).unwrap();
    assert_eq!(second.len(), message_bytes(suite, 2, 0));
    let dialled = dialling.second(&second, &mut third).unwrap();
    assert_eq!(third.len(), message_bytes(suite, 3, 0));
    let accepted = match accepted {
        Accepted::Waiting(accepting) => accepting.third(&third).unwrap(),
        Accepted::Finished(finished) => finished,
    };
    (dialled, accepted)
}

#[test]
fn both_sides_hold_the_same_keys_and_each_other() {
    let (ada, bob) = (StaticKey::generate().unwrap(), StaticKey::generate().unwrap());
    for suite in suites() {
        let (dialled, accepted) = handshake(suite, &ada, &bob);
        assert_eq!(dialled.keys(), accepted.keys(), "{}", suite.id);
        assert_ne!(dialled.keys().0, dialled.keys().1);
        assert_eq!(dialled.hash(), accepted.hash());
        assert_eq!(dialled.peer(), bob.public());
        assert_eq!(accepted.peer(), ada.public());
    }
}
