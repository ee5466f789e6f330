//! Handshakes between the two sides of this module: whole ones here, the published ones, traps of the library and
//! attacks each in their own file.

mod attacks;
mod hybrid;
mod kat;
mod keys;
#[cfg(target_os = "linux")]
pub(crate) mod memory;
mod published;
mod sizes;
mod traps;

use super::*;
use crate::provider::{Providers, StaticKey};
use crate::suite::{Kem, Pattern, SUITES, Suite, SuiteId};

const PSK: [u8; 32] = [7; 32];
const PROLOGUE: &[u8] = b"what was offered";

/// The suites that this crate runs by itself.
fn suites() -> impl Iterator<Item = &'static Suite> {
    SUITES.iter().filter(|suite| suite.kem != Some(Kem::Kyber1024))
}

/// The suites of one pattern.
fn of(pattern: Pattern) -> impl Iterator<Item = &'static Suite> {
    suites().filter(move |suite| suite.pattern == pattern)
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

/// Ada, who dials, and Bob, who accepts.
struct Peers {
    providers: Providers,
    ada: StaticKey,
    bob: StaticKey,
}

/// Messages of one handshake and its two ends.
struct Whole {
    messages: [Vec<u8>; 3],
    dialled: Finished,
    accepted: Finished,
}

impl Peers {
    fn new() -> Self {
        Self {
            providers: Providers::default(),
            ada: StaticKey::generate().unwrap(),
            bob: StaticKey::generate().unwrap(),
        }
    }

    /// Ada's first message to Bob.
    fn dial(&self, suite: &'static Suite) -> (Dialling, Vec<u8>) {
        let (mut first, peer) = (Vec::new(), self.bob.public());
        let dialling = Dialling::start(
            suite,
            &self.providers,
            &self.ada,
            Some(&peer),
            psk(suite),
            PROLOGUE,
            payload(suite),
            &mut first,
        );
        (dialling.unwrap(), first)
    }

    /// Bob reads a first message.
    fn read(&self, suite: &'static Suite, first: &[u8]) -> Result<Opened, NoiseError> {
        Accepting::read(suite, &self.providers, &self.bob, psk(suite), PROLOGUE, first)
    }

    /// Bob reads a first message and answers.
    fn answer(&self, suite: &'static Suite, first: &[u8]) -> Result<(Accepted, Vec<u8>), NoiseError> {
        let mut second = Vec::new();
        let accepted = self.read(suite, first)?.answer(&mut second)?;
        Ok((accepted, second))
    }

    fn handshake(&self, suite: &'static Suite) -> Whole {
        let (dialling, first) = self.dial(suite);
        let (accepted, second) = self.answer(suite, &first).unwrap();
        let mut third = Vec::new();
        let dialled = dialling.second(&second, &mut third).unwrap();
        let accepted = finish(accepted, &third).unwrap();
        Whole {
            messages: [first, second, third],
            dialled,
            accepted,
        }
    }
}

/// The acceptor's end, with the third message where there is one.
fn finish(accepted: Accepted, third: &[u8]) -> Result<Finished, NoiseError> {
    match accepted {
        Accepted::Waiting(accepting) => accepting.third(third),
        Accepted::Finished(finished) => Ok(finished),
    }
}

#[test]
fn both_sides_hold_the_same_keys_and_each_other() {
    let peers = Peers::new();
    for suite in suites() {
        let Whole {
            dialled, accepted, ..
        } = peers.handshake(suite);
        assert_eq!(dialled.keys(), accepted.keys(), "{}", suite.id);
        assert_ne!(dialled.keys().0, dialled.keys().1);
        assert_eq!(dialled.schedule().exporter(), accepted.schedule().exporter());
        assert_eq!(dialled.hash(), accepted.hash());
        assert_eq!(dialled.peer(), peers.bob.public());
        assert_eq!(accepted.peer(), peers.ada.public());
    }
}

#[test]
fn no_two_handshakes_share_a_key_or_a_hash() {
    let peers = Peers::new();
    for suite in suites() {
        let (one, two) = (peers.handshake(suite).dialled, peers.handshake(suite).dialled);
        assert_ne!(one.keys().0, two.keys().0);
        assert_ne!(one.keys().1, two.keys().1);
        assert_ne!(one.hash(), two.hash());
    }
}

#[test]
fn the_first_message_of_ik_tells_who_wrote_it_and_what() {
    let peers = Peers::new();
    for suite in suites() {
        let (_, first) = peers.dial(suite);
        let opened = peers.read(suite, &first).unwrap();
        assert_eq!(opened.payload(), payload(suite));
        assert_eq!(opened.ephemeral()[..], first[..32]);
        let known = suite.pattern != Pattern::Xx;
        assert_eq!(opened.peer(), known.then(|| peers.ada.public()), "{}", suite.id);
    }
}

#[test]
fn what_does_not_fit_the_suite_is_refused_before_anything_is_sent() {
    let peers = Peers::new();
    let start = |suite: &'static Suite, peer: bool, psk: bool, payload: usize| {
        let mut out = vec![1, 2, 3];
        let bob = peers.bob.public();
        let payload = vec![0; payload];
        let peer = peer.then_some(&bob);
        let psk = psk.then_some(&PSK);
        let started = Dialling::start(
            suite,
            &peers.providers,
            &peers.ada,
            peer,
            psk,
            &[],
            &payload,
            &mut out,
        );
        let error = started.err();
        assert_eq!(out == [1, 2, 3], error.is_some());
        error
    };
    for suite in suites() {
        let id = suite.id;
        let (psk, ik) = (suite.pattern == Pattern::IkPsk0, suite.pattern != Pattern::Xx);
        let unfit = |bytes| Some(NoiseError::PayloadToSend { suite: id, bytes });
        let needs_peer = ik.then_some(NoiseError::PeerKeyMissing { suite: id });
        assert_eq!(start(suite, true, psk, 0), None);
        assert_eq!(start(suite, false, psk, 0), needs_peer);
        assert_eq!(start(suite, true, psk, 64), if ik { None } else { unfit(64) });
        assert_eq!(start(suite, true, psk, 65), unfit(65));
    }
    for id in [SuiteId::XX_KYBER1024, SuiteId::IK_KYBER1024] {
        let unsupported = Some(NoiseError::Unsupported { suite: id });
        assert_eq!(start(id.suite().unwrap(), true, false, 0), unsupported);
    }
}
