//! Two peers with keys that never change, so that a message in the corpus stays what it was.

#![allow(dead_code, reason = "no target uses all of it")]

use std::sync::OnceLock;

use valkyrie_security::noise::{Accepted, Accepting, Dialling, Finished, NoiseError, Opened};
use valkyrie_security::provider::{Providers, StaticKey};
use valkyrie_security::suite::{Kem, Pattern, SUITES, Suite};

const PROLOGUE: &[u8] = b"what was offered";
const PSK: [u8; 32] = [7; 32];

/// Ada, who dials, and Bob, who accepts.
pub struct Peers {
    providers: Providers,
    ada: StaticKey,
    bob: StaticKey,
}

/// The same two every time.
pub fn peers() -> &'static Peers {
    static PEERS: OnceLock<Peers> = OnceLock::new();
    PEERS.get_or_init(|| Peers {
        providers: Providers::default(),
        ada: StaticKey::from_bytes(&[1; 32]).expect("any bytes are a key"),
        bob: StaticKey::from_bytes(&[2; 32]).expect("any bytes are a key"),
    })
}

/// The suite that a byte stands for.
pub fn suite(byte: u8) -> &'static Suite {
    let suites = || SUITES.iter().filter(|suite| suite.kem != Some(Kem::Kyber1024));
    let at = usize::from(byte) % suites().count();
    suites().nth(at).expect("the remainder is smaller")
}

fn psk(suite: &Suite) -> Option<&'static [u8; 32]> {
    (suite.pattern == Pattern::IkPsk0).then_some(&PSK)
}

impl Peers {
    pub fn dial(&self, suite: &'static Suite) -> (Dialling, Vec<u8>) {
        let (mut first, peer) = (Vec::new(), self.bob.public());
        let payload: &[u8] = if suite.pattern == Pattern::Xx {
            b""
        } else {
            b"12345678"
        };
        let dialling = Dialling::start(
            suite,
            &self.providers,
            &self.ada,
            Some(&peer),
            psk(suite),
            PROLOGUE,
            payload,
            &mut first,
        );
        (dialling.expect("all that is needed is given"), first)
    }

    pub fn read(&self, suite: &'static Suite, first: &[u8]) -> Result<Opened, NoiseError> {
        Accepting::read(suite, &self.providers, &self.bob, psk(suite), PROLOGUE, first)
    }

    /// Bob's answer to a message of Ada's.
    pub fn answer(&self, suite: &'static Suite, first: &[u8]) -> (Accepted, Vec<u8>) {
        let opened = self.read(suite, first).expect("Ada wrote it");
        let mut second = Vec::new();
        let accepted = opened.answer(&mut second).expect("Ada wrote it");
        (accepted, second)
    }

    pub fn is_ada(&self, finished: &Finished) -> bool {
        finished.peer() == self.ada.public()
    }

    pub fn is_bob(&self, finished: &Finished) -> bool {
        finished.peer() == self.bob.public()
    }
}

/// What an attacker makes of a message: the bytes themselves, or the message with bytes changed and its end moved.
pub fn attacked(message: &[u8], data: &[u8]) -> Vec<u8> {
    let Some((mode, rest)) = data.split_first() else {
        return message.to_vec();
    };
    if mode & 1 == 0 {
        return rest.to_vec();
    }
    let mut message = message.to_vec();
    for change in rest.chunks_exact(3) {
        let &[high, low, change] = change else { continue };
        let at = usize::from(u16::from_be_bytes([high & 0x7f, low]));
        match (high & 0x80 == 0, message.get_mut(at)) {
            (true, Some(byte)) => *byte ^= change,
            (true, None) => message.push(change),
            (false, _) => message.truncate(at),
        }
    }
    message
}
