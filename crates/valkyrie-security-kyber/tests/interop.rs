//! Suites 64 and 65 between two of our own ends, and with snow's own resolver at the other end, in both roles.

use snow::{Builder, HandshakeState};
use valkyrie_security::channel::KeySchedule;
use valkyrie_security::noise::{Accepted, Accepting, Dialling, Finished, NoiseError, message_bytes};
use valkyrie_security::provider::{Providers, PublicKey, StaticKey};
use valkyrie_security::{Pattern, Role, Suite, SuiteId};
use valkyrie_security_kyber::Kyber;

const PROLOGUE: &[u8] = b"what was offered";

fn suites() -> [&'static Suite; 2] {
    [SuiteId::XX_KYBER1024, SuiteId::IK_KYBER1024].map(|id| id.suite().unwrap())
}

fn payload(suite: &Suite) -> &'static [u8] {
    if suite.pattern == Pattern::Xx {
        b""
    } else {
        b"12345678"
    }
}

fn providers() -> Providers {
    Providers::default().with(Kyber)
}

fn dial(suite: &'static Suite, key: &StaticKey, peer: PublicKey, out: &mut Vec<u8>) -> Dialling {
    Dialling::start(
        suite,
        &providers(),
        key,
        Some(&peer),
        None,
        PROLOGUE,
        payload(suite),
        out,
    )
    .unwrap()
}

/// snow with its default resolver, as one side of a handshake.
fn snow(suite: &Suite, role: Role, key: &StaticKey, peer: PublicKey) -> HandshakeState {
    let private = key.to_bytes().unwrap();
    let mut builder = Builder::new(suite.name.parse().unwrap())
        .local_private_key(&*private)
        .unwrap()
        .prologue(PROLOGUE)
        .unwrap();
    if role == Role::Dialler && suite.pattern.needs_peer_key() {
        builder = builder.remote_public_key(peer.as_bytes()).unwrap();
    }
    match role {
        Role::Dialler => builder.build_initiator().unwrap(),
        Role::Acceptor => builder.build_responder().unwrap(),
    }
}

/// A message of snow's.
fn write(snow: &mut HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 65_535];
    let bytes = snow.write_message(payload, &mut message).unwrap();
    message.truncate(bytes);
    message
}

/// Reads a message with snow and returns its payload.
fn read(snow: &mut HandshakeState, message: &[u8]) -> Vec<u8> {
    let mut payload = vec![0; 65_535];
    let bytes = snow.read_message(message, &mut payload).unwrap();
    payload.truncate(bytes);
    payload
}

/// Both ends came to the same hash and the same keys.
fn assert_same(ours: &Finished, mut theirs: HandshakeState) {
    assert!(theirs.is_handshake_finished());
    assert_eq!(ours.hash()[..], *theirs.get_handshake_hash());
    let hash = *ours.hash();
    let (k1, k2) = theirs.dangerously_get_raw_split();
    let schedule = KeySchedule::new(&hash, &k1, &k2, ours.suite().cipher, ours.role().peer());
    assert_eq!(ours.schedule().exporter(), schedule.exporter());
}

#[test]
fn both_ends_of_our_own_connect() {
    let (ada, bob) = (StaticKey::generate().unwrap(), StaticKey::generate().unwrap());
    for suite in suites() {
        let (mut first, mut second, mut third) = (Vec::new(), Vec::new(), Vec::new());
        let dialling = dial(suite, &ada, bob.public(), &mut first);
        let opened = Accepting::read(suite, &providers(), &bob, None, PROLOGUE, &first).unwrap();
        assert_eq!(opened.payload(), payload(suite));
        let accepted = opened.answer(&mut second).unwrap();
        let dialled = dialling.second(&second, &mut third).unwrap();
        let accepted = match accepted {
            Accepted::Waiting(accepting) => accepting.third(&third).unwrap(),
            Accepted::Finished(finished) => finished,
        };
        assert_eq!(dialled.hash(), accepted.hash());
        assert_eq!((dialled.peer(), accepted.peer()), (bob.public(), ada.public()));
        assert_eq!(dialled.schedule().exporter(), accepted.schedule().exporter());
    }
}

#[test]
fn we_dial_snow() {
    let (ada, bob) = (StaticKey::generate().unwrap(), StaticKey::generate().unwrap());
    for suite in suites() {
        let mut theirs = snow(suite, Role::Acceptor, &bob, ada.public());
        let (mut first, mut third) = (Vec::new(), Vec::new());
        let dialling = dial(suite, &ada, bob.public(), &mut first);
        assert_eq!(read(&mut theirs, &first), payload(suite));
        let second = write(&mut theirs, &[]);
        let ours = dialling.second(&second, &mut third).unwrap();
        if suite.pattern == Pattern::Xx {
            assert_eq!(read(&mut theirs, &third), b"");
        }
        assert_eq!(ours.peer(), bob.public());
        assert_eq!(theirs.get_remote_static().unwrap(), ada.public().as_bytes());
        assert_same(&ours, theirs);
    }
}

#[test]
fn snow_dials_us() {
    let (ada, bob) = (StaticKey::generate().unwrap(), StaticKey::generate().unwrap());
    for suite in suites() {
        let mut theirs = snow(suite, Role::Dialler, &ada, bob.public());
        let first = write(&mut theirs, payload(suite));
        let opened = Accepting::read(suite, &providers(), &bob, None, PROLOGUE, &first).unwrap();
        assert_eq!(opened.payload(), payload(suite));
        let mut second = Vec::new();
        let accepted = opened.answer(&mut second).unwrap();
        assert_eq!(read(&mut theirs, &second), b"");
        let ours = match accepted {
            Accepted::Waiting(accepting) => accepting.third(&write(&mut theirs, &[])).unwrap(),
            Accepted::Finished(finished) => finished,
        };
        assert_eq!(ours.peer(), ada.public());
        assert_same(&ours, theirs);
    }
}

#[test]
fn a_flipped_bit_is_refused() {
    let (ada, bob) = (StaticKey::generate().unwrap(), StaticKey::generate().unwrap());
    for suite in suites() {
        for at in (0..message_bytes(suite, 2, 0)).step_by(97) {
            let mut first = Vec::new();
            let dialling = dial(suite, &ada, bob.public(), &mut first);
            let mut second = Vec::new();
            let opened = Accepting::read(suite, &providers(), &bob, None, PROLOGUE, &first).unwrap();
            opened.answer(&mut second).unwrap();
            second[at] ^= 1;
            let mut third = Vec::new();
            let error = dialling.second(&second, &mut third).unwrap_err();
            assert_eq!(error, NoiseError::Unauthentic { step: 2 }, "{} {at}", suite.id);
            assert!(third.is_empty());
        }
    }
}

#[test]
fn a_peer_without_this_crate_says_so() {
    let (ada, bob) = (StaticKey::generate().unwrap(), StaticKey::generate().unwrap());
    for suite in suites() {
        let mut first = Vec::new();
        dial(suite, &ada, bob.public(), &mut first);
        let read = Accepting::read(suite, &Providers::default(), &bob, None, PROLOGUE, &first);
        assert_eq!(read.unwrap_err(), NoiseError::Unsupported { suite: suite.id });
    }
}
