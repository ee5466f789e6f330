//! What goes wrong with the handshake library when it is used carelessly, shown not to go wrong here.

use std::cell::RefCell;

use snow::types::{Cipher as _, Hash as _};

use super::*;
use crate::Role;
use crate::noise::primitives::{Aead, Transcript};
use crate::noise::resolver::{Resolver, params};
use crate::noise::state::{Start, State};
use crate::noise::vault::Vault;
use crate::provider::{HASH_BYTES_MAX, KemFailed, KemOps, SECRET_BYTES, Sha2};
use crate::suite::Cipher;

/// Both sides of a handshake below the phases.
fn states(suite: &'static Suite, peers: &Peers) -> [State; 2] {
    let peer = peers.bob.public();
    [(Role::Dialler, &peers.ada), (Role::Acceptor, &peers.bob)].map(|(role, key)| {
        let start = Start {
            suite,
            providers: &peers.providers,
            key,
            peer: Some(&peer),
            psk: psk(suite),
            prologue: PROLOGUE,
        };
        State::new(&start, role).unwrap()
    })
}

#[test]
fn there_are_no_keys_before_the_last_message() {
    let peers = Peers::new();
    for suite in suites() {
        let [mut dialler, mut acceptor] = states(suite, &peers);
        let messages = suite.pattern.messages();
        for step in 0..messages {
            assert!(
                dialler.keys().is_none() && acceptor.keys().is_none(),
                "{}",
                suite.id
            );
            let (from, to) = match step % 2 {
                0 => (&mut dialler, &mut acceptor),
                _ => (&mut acceptor, &mut dialler),
            };
            let mut message = Vec::new();
            from.write(&[], &mut message).unwrap();
            if step + 1 < messages {
                assert!(from.keys().is_none());
            }
            to.read(&message, 0).unwrap();
        }
        let (k1, k2) = dialler.keys().unwrap();
        assert_eq!(acceptor.keys().unwrap(), (k1, k2));
        assert!(dialler.keys().is_none(), "keys are taken once");
    }
}

#[test]
fn a_side_that_is_not_to_speak_cannot() {
    let peers = Peers::new();
    for suite in suites() {
        let [mut dialler, mut acceptor] = states(suite, &peers);
        let mut message = Vec::new();
        assert_eq!(acceptor.write(&[], &mut message), Err(NoiseError::Internal));
        assert!(message.is_empty());
        dialler.write(&[], &mut message).unwrap();
        let first = message.clone();
        assert_eq!(dialler.write(&[], &mut message), Err(NoiseError::Internal));
        assert_eq!(message, first);
    }
}

#[test]
fn a_psk_is_never_left_out_in_silence() {
    let peers = Peers::new();
    let bob = peers.bob.public();
    for suite in suites() {
        let suite_id = suite.id;
        let (wrong, error) = match suite.pattern {
            Pattern::IkPsk0 => (None, NoiseError::PskMissing { suite: suite_id }),
            _ => (Some(&PSK), NoiseError::PskUnused { suite: suite_id }),
        };
        let mut out = Vec::new();
        let dialled = Dialling::start(
            suite,
            &peers.providers,
            &peers.ada,
            Some(&bob),
            wrong,
            PROLOGUE,
            payload(suite),
            &mut out,
        );
        assert_eq!(dialled.err(), Some(error));
        let (_, first) = peers.dial(suite);
        let read = Accepting::read(suite, &peers.providers, &peers.bob, wrong, PROLOGUE, &first);
        assert_eq!(read.err(), Some(error));
    }
}

#[test]
fn the_name_that_is_hashed_is_the_suite_s_own() {
    for suite in SUITES {
        let params = params(suite).unwrap();
        assert_eq!(params.name, suite.name);
        assert_eq!(params.kem.is_some(), suite.kem.is_some());
        let kem = match suite.kem {
            Some(Kem::MlKem768) => "+MLKEM768_",
            Some(Kem::Kyber1024) => "+Kyber1024_",
            None => "_25519_",
        };
        assert!(params.name.contains(kem), "{}", params.name);
    }
}

#[test]
fn two_suites_do_not_connect_though_their_messages_are_equally_long() {
    let peers = Peers::new();
    for (here, there) in [(1, 4), (2, 5), (17, 20), (18, 21)] {
        let (here, there) = (SuiteId(here).suite().unwrap(), SuiteId(there).suite().unwrap());
        let (dialling, first) = peers.dial(here);
        let refused = match peers.answer(there, &first) {
            Err(error) => error,
            Ok((_, second)) => dialling.second(&second, &mut Vec::new()).unwrap_err(),
        };
        assert!(matches!(refused, NoiseError::Unauthentic { .. }), "{refused}");
    }
}

#[test]
fn the_cipher_reports_a_buffer_that_is_too_small() {
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        for room in 0..=40 {
            let aead = Aead::with_key(cipher, &[1; 32]);
            let mut out = vec![0; room];
            let written = aead.encrypt(0, &[], &[2; 24], &mut out);
            assert_eq!(
                (written, aead.vault.open().failed),
                (if room < 40 { 0 } else { 40 }, room < 40)
            );
        }
        let aead = Aead::with_key(cipher, &[1; 32]);
        for room in 0..24 {
            assert!(aead.decrypt(0, &[], &[0; 40], &mut vec![0; room]).is_err());
        }
        for sealed in 0..16 {
            assert!(aead.decrypt(0, &[], &vec![0; sealed], &mut [0; 40]).is_err());
        }
    }
}

#[test]
fn a_cipher_without_a_key_seals_nothing() {
    let mut aead = Aead::with_key(Cipher::Aes256Gcm, &[1; 32]);
    aead.set(&[2; 32]);
    assert!(aead.key.is_none(), "a key that is not from the vault was taken");
    assert_eq!(aead.encrypt(0, &[], &[], &mut [0; 16]), 0);
    assert!(aead.vault.open().failed);
}

/// A key encapsulation that fails where it can.
struct Broken {
    at: &'static str,
    public: Vec<u8>,
}

impl KemOps for Broken {
    fn generate(&mut self) -> Result<(), KemFailed> {
        match self.at {
            "generate" => Err(KemFailed),
            _ => Ok(()),
        }
    }
    fn public(&self) -> &[u8] {
        &self.public
    }
    fn encapsulate(&self, _: &[u8], _: &mut [u8], _: &mut [u8; SECRET_BYTES]) -> Result<(), KemFailed> {
        Err(KemFailed)
    }
    fn decapsulate(&self, _: &[u8], _: &mut [u8; SECRET_BYTES]) -> Result<(), KemFailed> {
        Err(KemFailed)
    }
}

#[test]
fn a_provider_that_fails_sends_nothing() {
    let peers = Peers::new();
    for (at, public) in [
        ("generate", 0),
        ("generate", 1184),
        ("public", 0),
        ("public", 1568),
    ] {
        for suite in suites().filter(|suite| suite.kem.is_some()) {
            let broken = Broken {
                at,
                public: vec![0; public],
            };
            let dialler = with_kem(&peers, suite, Role::Dialler, Box::new(broken));
            let mut out = vec![9];
            let begun = Dialling::begin(dialler, None, payload(suite), &mut out);
            assert_eq!(begun.err(), Some(NoiseError::System), "{at} {public}");
            assert_eq!(out, [9]);
        }
    }
}

/// One side of a handshake with another key encapsulation in the place of ML-KEM.
pub(super) fn with_kem(peers: &Peers, suite: &'static Suite, role: Role, kem: Box<dyn KemOps>) -> State {
    let vault = Vault::default();
    let (key, peer) = match role {
        Role::Dialler => (&peers.ada, peers.bob.public()),
        Role::Acceptor => (&peers.bob, peers.ada.public()),
    };
    let mut resolver = Resolver::new(suite, &peers.providers, &vault, key).unwrap();
    resolver.kem = RefCell::new(Some((Kem::MlKem768, kem)));
    let start = Start {
        suite,
        providers: &peers.providers,
        key,
        peer: Some(&peer),
        psk: psk(suite),
        prologue: PROLOGUE,
    };
    State::with(&start, role, vault, resolver).unwrap()
}

#[test]
fn snow_is_given_zeros_in_the_place_of_secrets() {
    let vault = Vault::default();
    let mut transcript = Transcript {
        vault: vault.clone(),
        name: "SHA256",
        ops: Box::new(Sha2::sha256()),
    };
    let mut outputs = [[0; HASH_BYTES_MAX]; 3];
    let [out1, out2, out3] = &mut outputs;
    vault.open().input.put(&[5; 32]);
    transcript.hkdf(&[4; 32], &[0; 32], 2, out1, out2, out3);
    assert!(vault.open().key.take().is_some());
    transcript.hkdf(&[0; 32], &[], 2, out1, out2, out3);
    assert!(vault.open().k1.take().is_some() && vault.open().k2.take().is_some());
    assert_eq!(outputs, [[0; HASH_BYTES_MAX]; 3]);
}
