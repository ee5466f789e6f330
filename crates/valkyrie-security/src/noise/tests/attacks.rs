//! Attacks on a handshake, one by one. Whatever the attacker does, the side that he does it to ends with an error, writes
//! nothing, and no side finishes with anybody but the peer whose key was proved.

use snow::params::{CipherChoice, DHChoice, HashChoice, KemChoice};
use snow::resolvers::CryptoResolver;
use snow::types;

use super::hybrid::Seeded;
use super::traps::with_kem;
use super::*;
use crate::Role;
use crate::noise::resolver::{Resolver, params};
use crate::noise::vault::Vault;
use crate::provider::{KemFailed, KemOps, PublicKey, SECRET_BYTES};
use crate::vectors::{array, field, tests};

/// Every X25519 public key for which the result is zero whatever the private key is, and its other encodings.
fn low_order_points() -> Vec<[u8; 32]> {
    let mut points: Vec<[u8; 32]> = tests("wycheproof/x25519_test.json")
        .iter()
        .filter(|test| field(test, "shared") == [0; 32])
        .map(|test| array(&field(test, "public")))
        .collect();
    points.sort();
    points.dedup();
    assert!(
        points.contains(&[0; 32]) && points.len() >= 12,
        "{}",
        points.len()
    );
    points
}

/// What becomes of a handshake whose message `step`, from 1, is `message` instead of its own: the error of the side that notices.
fn with_message(
    peers: &Peers,
    suite: &'static Suite,
    step: usize,
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<(), NoiseError> {
    let (dialling, mut first) = peers.dial(suite);
    let mut change = Some(change);
    let mut changed = |at: usize, message: &mut Vec<u8>| {
        if at == step
            && let Some(change) = change.take()
        {
            let before = message.clone();
            change(message);
            assert_ne!(before, *message, "nothing was changed");
        }
    };
    changed(1, &mut first);
    let mut second = Vec::new();
    let accepted = peers.read(suite, &first)?.answer(&mut second)?;
    changed(2, &mut second);
    let mut third = Vec::new();
    if let Err(error) = dialling.second(&second, &mut third) {
        assert!(third.is_empty());
        return Err(error);
    }
    changed(3, &mut third);
    finish(accepted, &third)?;
    Ok(())
}

/// A refusal that blames the message that was attacked, not this program.
fn blames_the_message(error: NoiseError) -> bool {
    matches!(
        error,
        NoiseError::Unauthentic { .. }
            | NoiseError::Length { .. }
            | NoiseError::PeerKem
            | NoiseError::PeerPoint
    )
}

/// Every byte with the suites of a first contact, of a known acceptor and of a resumption, every thirteenth with the others,
/// which differ from them in the cipher, or have no KEM.
fn stride(suite: &Suite) -> usize {
    match suite.id {
        SuiteId::XX_AES | SuiteId::IK_AES | SuiteId::IK_PSK_AES => 1,
        _ => 13,
    }
}

/// Of a first message of IK so many bytes at its end, and so many more, are its payload: nobody can tell from its length that one was
/// cut there or made longer.
fn payload_bytes(suite: &Suite, step: usize) -> (usize, usize) {
    match (suite.pattern, step) {
        (Pattern::Ik | Pattern::IkPsk0, 1) => (
            payload(suite).len(),
            FIRST_PAYLOAD_BYTES_MAX - payload(suite).len(),
        ),
        _ => (0, 0),
    }
}

#[test]
fn a_flipped_bit_in_any_byte_is_refused() {
    let peers = Peers::new();
    for suite in suites() {
        let whole = peers.handshake(suite);
        for (step, message) in (1..).zip(&whole.messages) {
            for at in (0..message.len()).step_by(stride(suite)) {
                let result = with_message(&peers, suite, step, |message| message[at] ^= 1 << (at % 8));
                // The top bit of an X25519 key is no part of the key; it is of the transcript.
                let error = result.expect_err("a handshake went through");
                let expected = match (suite.pattern, step) {
                    // Nothing of XX's first message is sealed. Its encapsulation key may be none now, which the acceptor
                    // sees; anything else the dialler does.
                    (Pattern::Xx, 1) if at >= 32 && error == NoiseError::PeerKem => continue,
                    (Pattern::Xx, 1) => NoiseError::Unauthentic { step: 2 },
                    _ => NoiseError::Unauthentic { step: step as u8 },
                };
                assert_eq!(error, expected, "{} {step} {at}", suite.id);
            }
        }
    }
}

#[test]
fn a_message_cut_at_any_byte_is_refused() {
    let peers = Peers::new();
    for suite in suites() {
        let whole = peers.handshake(suite);
        for (step, message) in (1..).zip(&whole.messages) {
            for at in (0..message.len()).step_by(stride(suite)) {
                let error = with_message(&peers, suite, step, |message| message.truncate(at)).unwrap_err();
                let (step_said, may_lack) = (step as u8, payload_bytes(suite, step).0);
                let expected = if at + may_lack < message.len() {
                    NoiseError::Length {
                        step: step_said,
                        bytes: at,
                    }
                } else {
                    NoiseError::Unauthentic { step: step_said }
                };
                assert_eq!(error, expected, "{} {step} {at}", suite.id);
            }
        }
    }
}

#[test]
fn a_message_with_more_behind_it_is_refused() {
    let peers = Peers::new();
    for suite in suites() {
        for step in 1..=suite.pattern.messages() {
            for more in [1, 16, 64, 1000, 70_000] {
                let (mut bytes, step_said) = (0, step as u8);
                let error = with_message(&peers, suite, step, |message| {
                    bytes = message.len() + more;
                    message.resize(bytes, 0);
                });
                let expected = if more > payload_bytes(suite, step).1 {
                    NoiseError::Length {
                        step: step_said,
                        bytes,
                    }
                } else {
                    NoiseError::Unauthentic { step: step_said }
                };
                assert_eq!(error, Err(expected), "{} {step} {more}", suite.id);
            }
        }
    }
}

#[test]
fn another_prologue_is_refused() {
    let peers = Peers::new();
    for suite in suites() {
        for prologue in [&b""[..], b"what was offereD", b"what was offered "] {
            let (dialling, first) = peers.dial(suite);
            let read = Accepting::read(suite, &peers.providers, &peers.bob, psk(suite), prologue, &first);
            let error = match suite.pattern {
                // Nothing of XX's first message is sealed: the dialler notices.
                Pattern::Xx => {
                    let mut second = Vec::new();
                    read.unwrap().answer(&mut second).unwrap();
                    let mut third = Vec::new();
                    let error = dialling.second(&second, &mut third).unwrap_err();
                    assert!(third.is_empty());
                    error
                }
                _ => read.unwrap_err(),
            };
            let step = if suite.pattern == Pattern::Xx { 2 } else { 1 };
            assert_eq!(error, NoiseError::Unauthentic { step }, "{}", suite.id);
        }
    }
}

#[test]
fn another_psk_is_refused() {
    let peers = Peers::new();
    for suite in of(Pattern::IkPsk0) {
        let (_, first) = peers.dial(suite);
        for at in 0..32 {
            let mut other = PSK;
            other[at] ^= 1;
            let read = Accepting::read(
                suite,
                &peers.providers,
                &peers.bob,
                Some(&other),
                PROLOGUE,
                &first,
            );
            assert_eq!(read.unwrap_err(), NoiseError::Unauthentic { step: 1 });
        }
    }
}

#[test]
fn an_acceptor_with_another_static_key_is_refused() {
    let peers = Peers::new();
    let mallory = StaticKey::generate().unwrap();
    for suite in suites() {
        let (dialling, first) = peers.dial(suite);
        let read = Accepting::read(suite, &peers.providers, &mallory, psk(suite), PROLOGUE, &first);
        if suite.pattern != Pattern::Xx {
            assert_eq!(read.unwrap_err(), NoiseError::Unauthentic { step: 1 });
            continue;
        }
        let mut second = Vec::new();
        read.unwrap().answer(&mut second).unwrap();
        let mut third = Vec::new();
        assert_eq!(
            dialling.second(&second, &mut third).unwrap_err(),
            NoiseError::OtherPeer
        );
        assert!(third.is_empty(), "the dialler told Mallory who it is");
    }
}

#[test]
fn a_dialler_that_knows_a_public_key_only_is_not_its_owner() {
    let peers = Peers::new();
    let mallory = StaticKey::generate().unwrap();
    for suite in suites() {
        // Mallory dials with her own key: that is the key she is known by.
        let (mut first, mut second, mut third) = (Vec::new(), Vec::new(), Vec::new());
        let bob = peers.bob.public();
        let dialling = Dialling::start(
            suite,
            &peers.providers,
            &mallory,
            Some(&bob),
            psk(suite),
            PROLOGUE,
            payload(suite),
            &mut first,
        );
        let opened = peers.read(suite, &first).unwrap();
        let accepted = opened.answer(&mut second).unwrap();
        dialling.unwrap().second(&second, &mut third).unwrap();
        let accepted = finish(accepted, &third).unwrap();
        assert_eq!(accepted.peer(), mallory.public());
    }
}

#[test]
fn a_message_sent_back_to_its_sender_is_refused() {
    let peers = Peers::new();
    for suite in suites() {
        let (dialling, first) = peers.dial(suite);
        let mut out = Vec::new();
        assert!(blames_the_message(dialling.second(&first, &mut out).unwrap_err()));
        // Cut or filled up to the length that the dialler waits for.
        let (dialling, mut first) = peers.dial(suite);
        first.resize(message_bytes(suite, 2, 0), 0);
        assert!(blames_the_message(dialling.second(&first, &mut out).unwrap_err()));
        assert!(out.is_empty());
        if suite.pattern == Pattern::Xx {
            let (_, first) = peers.dial(suite);
            let (accepted, mut second) = peers.answer(suite, &first).unwrap();
            second.drain(..second.len() - message_bytes(suite, 3, 0));
            let error = finish(accepted, &second).unwrap_err();
            assert_eq!(error, NoiseError::Unauthentic { step: 3 });
        }
    }
}

#[test]
fn messages_out_of_order_are_refused() {
    let peers = Peers::new();
    for suite in suites() {
        let [first, second, third] = peers.handshake(suite).messages;
        for early in [&second, &third] {
            // XX's first message says nothing that could be wrong, if only its length is right.
            match peers.answer(suite, early) {
                Err(error) => assert!(blames_the_message(error), "{}", suite.id),
                Ok(_) => assert_eq!(early.len(), first.len()),
            }
        }
        let (dialling, _) = peers.dial(suite);
        assert!(blames_the_message(
            dialling.second(&third, &mut Vec::new()).unwrap_err()
        ));
        if suite.pattern == Pattern::Xx {
            for early in [&first, &second] {
                let (accepted, _) = peers.answer(suite, &first).unwrap();
                assert!(blames_the_message(finish(accepted, early).unwrap_err()));
            }
        }
    }
}

#[test]
fn a_replayed_first_message_gives_its_sender_nothing_and_can_be_recognised() {
    let peers = Peers::new();
    for suite in suites() {
        let whole = peers.handshake(suite);
        let first = &whole.messages[0];
        // Bob cannot tell from the message alone; the ephemeral key is what to remember.
        let again = peers.read(suite, first).unwrap();
        assert_eq!(again.ephemeral()[..], first[..32]);
        let mut second = Vec::new();
        let accepted = again.answer(&mut second).unwrap();
        assert_ne!(second, whole.messages[1]);
        match accepted {
            // What the replayer lacks is the key to finish with, and here even the third message.
            Accepted::Waiting(accepting) => {
                let error = accepting.third(&whole.messages[2]).unwrap_err();
                assert_eq!(error, NoiseError::Unauthentic { step: 3 });
            }
            Accepted::Finished(finished) => assert_ne!(finished.keys(), whole.accepted.keys()),
        }
    }
}

#[test]
fn a_replayed_second_message_is_refused() {
    let peers = Peers::new();
    for suite in suites() {
        let whole = peers.handshake(suite);
        let (dialling, _) = peers.dial(suite);
        let mut third = Vec::new();
        let error = dialling.second(&whole.messages[1], &mut third).unwrap_err();
        assert_eq!(error, NoiseError::Unauthentic { step: 2 }, "{}", suite.id);
        assert!(third.is_empty());
    }
}

#[test]
fn a_replayed_third_message_is_refused() {
    let peers = Peers::new();
    for suite in of(Pattern::Xx) {
        let whole = peers.handshake(suite);
        let (accepted, _) = peers.answer(suite, &whole.messages[0]).unwrap();
        let error = finish(accepted, &whole.messages[2]).unwrap_err();
        assert_eq!(error, NoiseError::Unauthentic { step: 3 }, "{}", suite.id);
    }
}

#[test]
fn a_low_order_ephemeral_point_is_refused() {
    let peers = Peers::new();
    for suite in suites() {
        for point in low_order_points() {
            for step in [1, 2] {
                let error = with_message(&peers, suite, step, |message| {
                    message[..32].copy_from_slice(&point);
                });
                assert_eq!(error, Err(NoiseError::PeerPoint), "{} {step}", suite.id);
            }
        }
    }
}

#[test]
fn an_acceptor_known_by_a_low_order_point_is_not_dialled() {
    let peers = Peers::new();
    for suite in suites().filter(|suite| suite.pattern != Pattern::Xx) {
        for point in low_order_points() {
            let mut out = Vec::new();
            let dialled = Dialling::start(
                suite,
                &peers.providers,
                &peers.ada,
                Some(&PublicKey::from(point)),
                psk(suite),
                PROLOGUE,
                payload(suite),
                &mut out,
            );
            assert_eq!(dialled.err(), Some(NoiseError::PeerPoint));
            assert!(out.is_empty());
        }
    }
}

/// Has no private key: its static key is a low-order point, and what others agree on with that point is zero.
struct Keyless {
    point: [u8; 32],
    honest: Resolver,
}

struct KeylessDh {
    point: [u8; 32],
    vault: Vault,
    honest: Box<dyn types::Dh>,
    is_static: bool,
}

impl CryptoResolver for Keyless {
    fn resolve_rng(&self) -> Option<Box<dyn types::Random>> {
        self.honest.resolve_rng()
    }
    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn types::Dh>> {
        Some(Box::new(KeylessDh {
            point: self.point,
            vault: self.honest.vault.clone(),
            honest: self.honest.resolve_dh(choice)?,
            is_static: false,
        }))
    }
    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn types::Hash>> {
        self.honest.resolve_hash(choice)
    }
    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn types::Cipher>> {
        self.honest.resolve_cipher(choice)
    }
    fn resolve_kem(&self, choice: &KemChoice) -> Option<Box<dyn types::Kem>> {
        self.honest.resolve_kem(choice)
    }
}

impl types::Dh for KeylessDh {
    fn name(&self) -> &'static str {
        "25519"
    }
    fn pub_len(&self) -> usize {
        32
    }
    fn priv_len(&self) -> usize {
        32
    }
    fn set(&mut self, _: &[u8]) {
        self.is_static = true;
    }
    fn generate(&mut self, rng: &mut dyn types::Random) -> Result<(), snow::Error> {
        self.honest.generate(rng)
    }
    fn pubkey(&self) -> &[u8] {
        match self.is_static {
            true => &self.point,
            false => self.honest.pubkey(),
        }
    }
    fn privkey(&self) -> &[u8] {
        &[0; 32]
    }
    fn dh(&self, peer: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        if self.is_static {
            self.vault.open().input.put(&[0; 32]);
            return Ok(());
        }
        self.honest.dh(peer, out)
    }
}

/// The attacker's end of a handshake.
fn keyless(peers: &Peers, suite: &'static Suite, point: [u8; 32], role: Role) -> snow::HandshakeState {
    let vault = Vault::default();
    let honest = Resolver::new(suite, &peers.providers, &vault, &peers.ada).unwrap();
    let bob = peers.bob.public();
    let mut builder =
        snow::Builder::with_resolver(params(suite).unwrap(), Box::new(Keyless { point, honest }))
            .local_private_key(&[0; 32])
            .unwrap()
            .prologue(PROLOGUE)
            .unwrap();
    if role == Role::Dialler && suite.pattern.needs_peer_key() {
        builder = builder.remote_public_key(bob.as_bytes()).unwrap();
    }
    if psk(suite).is_some() {
        vault.open().psk.put(&PSK);
        builder = builder.psk(0, &[0; 32]).unwrap();
    }
    match role {
        Role::Dialler => builder.build_initiator().unwrap(),
        Role::Acceptor => builder.build_responder().unwrap(),
    }
}

#[test]
fn a_dialler_without_a_private_key_is_nobody() {
    let peers = Peers::new();
    for suite in suites() {
        for point in low_order_points() {
            let mut mallory = keyless(&peers, suite, point, Role::Dialler);
            let mut message = vec![0; 4096];
            let bytes = mallory.write_message(payload(suite), &mut message).unwrap();
            let error = if suite.pattern == Pattern::Xx {
                let (accepted, second) = peers.answer(suite, &message[..bytes]).unwrap();
                mallory.read_message(&second, &mut []).unwrap();
                let bytes = mallory.write_message(&[], &mut message).unwrap();
                finish(accepted, &message[..bytes]).unwrap_err()
            } else {
                peers.read(suite, &message[..bytes]).unwrap_err()
            };
            assert_eq!(error, NoiseError::PeerPoint, "{}", suite.id);
        }
    }
}

#[test]
fn an_acceptor_without_a_private_key_is_nobody() {
    let peers = Peers::new();
    for suite in of(Pattern::Xx) {
        for point in low_order_points() {
            let mut mallory = keyless(&peers, suite, point, Role::Acceptor);
            let (dialling, first) = peers.dial(suite);
            mallory.read_message(&first, &mut []).unwrap();
            let mut message = vec![0; 4096];
            let bytes = mallory.write_message(&[], &mut message).unwrap();
            let mut third = Vec::new();
            let error = dialling.second(&message[..bytes], &mut third).unwrap_err();
            assert_eq!(error, NoiseError::PeerPoint);
            assert!(third.is_empty());
        }
    }
}

/// ML-KEM-768 that hands out a key or a ciphertext that is none.
struct Malformed {
    honest: Seeded,
    public: Option<Vec<u8>>,
    ciphertext: Option<u8>,
}

impl KemOps for Malformed {
    fn generate(&mut self) -> Result<(), KemFailed> {
        self.honest.generate()
    }
    fn public(&self) -> &[u8] {
        self.public.as_deref().unwrap_or(self.honest.public())
    }
    fn encapsulate(
        &self,
        public: &[u8],
        out: &mut [u8],
        secret: &mut [u8; SECRET_BYTES],
    ) -> Result<(), KemFailed> {
        self.honest.encapsulate(public, out, secret)?;
        if let Some(fill) = self.ciphertext {
            out.fill(fill);
        }
        Ok(())
    }
    fn decapsulate(&self, ciphertext: &[u8], secret: &mut [u8; SECRET_BYTES]) -> Result<(), KemFailed> {
        self.honest.decapsulate(ciphertext, secret)
    }
}

#[test]
fn a_malformed_ml_kem_key_is_refused() {
    let peers = Peers::new();
    let malformed: Vec<Vec<u8>> = tests("wycheproof/mlkem_768_encaps_test.json")
        .iter()
        .filter(|test| test["result"] == "invalid")
        .map(|test| field(test, "ek"))
        .filter(|key| key.len() == 1184)
        .chain([vec![0xff; 1184]])
        .collect();
    assert_eq!(malformed.len(), 113);
    for suite in suites().filter(|suite| suite.kem.is_some()) {
        for key in malformed.iter().step_by(stride(suite)) {
            let kem = Malformed {
                honest: Seeded::new([1; 64], [2; 32]),
                public: Some(key.clone()),
                ciphertext: None,
            };
            let mallory = with_kem(&peers, suite, Role::Dialler, Box::new(kem));
            let mut first = Vec::new();
            Dialling::begin(mallory, None, payload(suite), &mut first).unwrap();
            let opened = peers.read(suite, &first).unwrap();
            let mut second = vec![8];
            assert_eq!(opened.answer(&mut second).unwrap_err(), NoiseError::PeerKem);
            assert_eq!(second, [8]);
        }
    }
}

#[test]
fn a_malformed_ml_kem_ciphertext_is_refused() {
    let peers = Peers::new();
    for suite in suites().filter(|suite| suite.kem.is_some()) {
        for fill in [0, 1, 0x55, 0xff] {
            let kem = Malformed {
                honest: Seeded::new([1; 64], [2; 32]),
                public: None,
                ciphertext: Some(fill),
            };
            let mallory = with_kem(&peers, suite, Role::Acceptor, Box::new(kem));
            let (dialling, first) = peers.dial(suite);
            let mut second = Vec::new();
            Accepting::open(mallory, &first)
                .unwrap()
                .answer(&mut second)
                .unwrap();
            let mut third = Vec::new();
            // ML-KEM answers a ciphertext that is none with a secret that nobody has.
            assert_eq!(
                dialling.second(&second, &mut third).unwrap_err(),
                NoiseError::Unauthentic { step: 2 }
            );
            assert!(third.is_empty());
        }
    }
}
