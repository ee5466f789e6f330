//! `docs/protocol/vectors/security/handshake.json`, byte for byte: handshakes, keys and first records that another
//! implementation, `clients/python-kat`, has written from the protocol's page alone.

use std::cell::RefCell;
use std::time::Instant;

use bytes::BytesMut;
use serde_json::Value;

use super::hybrid::Seeded;
use crate::Role;
use crate::channel::{ChannelConfig, KeySchedule};
use crate::noise::resolver::Resolver;
use crate::noise::state::{Start, State};
use crate::noise::vault::Vault;
use crate::noise::{Accepted, Accepting, Dialling, Finished};
use crate::provider::{Providers, StaticKey};
use crate::suite::{Pattern, Suite, SuiteId};
use crate::vectors::{array, field, hex};

/// Everything of the file, one entry a handshake.
fn handshakes() -> Vec<Value> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/protocol/vectors/security/handshake.json"
    );
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap()
}

fn suite(vector: &Value) -> &'static Suite {
    let id = SuiteId(vector["suite"].as_u64().unwrap() as u8);
    let suite = id.suite().unwrap();
    assert_eq!(vector["protocol"], suite.name);
    suite
}

fn key(vector: &Value, name: &str) -> StaticKey {
    StaticKey::from_bytes(&array(&field(vector, name))).unwrap()
}

/// One side, with the ephemeral key and the randomness of the vector.
fn state(vector: &Value, role: Role) -> State {
    let (suite, providers, vault) = (suite(vector), Providers::default(), Vault::default());
    let (own, ephemeral) = match role {
        Role::Dialler => (key(vector, "dialler_static"), key(vector, "dialler_ephemeral")),
        Role::Acceptor => (key(vector, "acceptor_static"), key(vector, "acceptor_ephemeral")),
    };
    let mut resolver = Resolver::new(suite, &providers, &vault, &own).unwrap();
    resolver.ephemeral = Some(ephemeral);
    if let Some(kem) = suite.kem {
        let seeded = Seeded::new(
            array(&field(vector, "kem_seed")),
            array(&field(vector, "kem_randomness")),
        );
        resolver.kem = RefCell::new(Some((kem, Box::new(seeded))));
    }
    let peer = key(vector, "acceptor_static").public();
    let knows_peer = role == Role::Dialler && suite.pattern != Pattern::Xx;
    let psk = (suite.pattern == Pattern::IkPsk0).then(|| array(&field(vector, "psk")));
    let start = Start {
        suite,
        providers: &providers,
        key: &own,
        peer: knows_peer.then_some(&peer),
        psk: psk.as_ref(),
        prologue: &field(vector, "prologue"),
    };
    State::with(&start, role, vault, resolver).unwrap()
}

/// The Noise message that this step of the vector has.
fn message(vector: &Value, step: usize) -> Vec<u8> {
    field(&vector["messages"][step - 1], "noise_message")
}

/// Runs both sides and compares every message; what they end with is compared by the caller.
fn run(vector: &Value) -> [Finished; 2] {
    let (mut first, mut second, mut third) = (Vec::new(), Vec::new(), Vec::new());
    let payload = field(&vector["messages"][0], "noise_payload");
    let dialling = Dialling::begin(state(vector, Role::Dialler), None, &payload, &mut first).unwrap();
    assert_eq!(first, message(vector, 1), "{}: first", vector["name"]);
    let opened = Accepting::open(state(vector, Role::Acceptor), &first).unwrap();
    assert_eq!(opened.payload(), payload);
    let accepted = opened.answer(&mut second).unwrap();
    assert_eq!(second, message(vector, 2), "{}: second", vector["name"]);
    let dialled = dialling.second(&second, &mut third).unwrap();
    let accepted = match accepted {
        Accepted::Waiting(accepting) => {
            assert_eq!(third, message(vector, 3), "{}: third", vector["name"]);
            accepting.third(&third).unwrap()
        }
        Accepted::Finished(finished) => finished,
    };
    [dialled, accepted]
}

#[test]
fn every_handshake_of_the_other_implementation_is_reproduced() {
    let vectors = handshakes();
    for vector in &vectors {
        let statics = ["acceptor_static", "dialler_static"].map(|name| key(vector, name).public());
        for (finished, peer) in run(vector).iter().zip(statics) {
            assert_eq!(finished.peer(), peer);
            assert_eq!(finished.hash()[..], field(vector, "handshake_hash"));
            let (k1, k2) = finished.keys();
            assert_eq!(k1[..], hex(vector["split"][0].as_str().unwrap()));
            assert_eq!(k2[..], hex(vector["split"][1].as_str().unwrap()));
        }
    }
    let suites: Vec<_> = vectors.iter().map(|vector| suite(vector).id.0).collect();
    for id in [1, 2, 3, 4, 5, 6, 17, 18, 20, 21] {
        assert!(suites.contains(&id), "no vector for suite {id}");
    }
}

#[test]
fn every_key_and_first_record_of_the_other_implementation_is_reproduced() {
    for vector in handshakes() {
        let suite = suite(&vector);
        let schedule = |role| {
            KeySchedule::new(
                &array(&field(&vector, "handshake_hash")),
                &array(&hex(vector["split"][0].as_str().unwrap())),
                &array(&hex(vector["split"][1].as_str().unwrap())),
                suite.cipher,
                role,
            )
        };
        let exporter = field(&vector, "exporter");
        assert_eq!(schedule(Role::Dialler).exporter()[..], exporter);
        assert_eq!(schedule(Role::Acceptor).exporter()[..], exporter);
        let (mut dialler, mut from_acceptor) = schedule(Role::Dialler).channel(ChannelConfig::default());
        let (mut acceptor, mut from_dialler) = schedule(Role::Acceptor).channel(ChannelConfig::default());
        let now = Instant::now();
        for record in vector["records"].as_array().unwrap() {
            let (sealer, opener) = match record["from"].as_str().unwrap() {
                "dialler" => (&mut dialler, &mut from_dialler),
                "acceptor" => (&mut acceptor, &mut from_acceptor),
                other => panic!("nobody is called {other}"),
            };
            let plaintext = field(record, "plaintext");
            let is_control = record["kind"] == "control";
            let mut sealed = BytesMut::new();
            if is_control {
                sealer.seal_control(now, &plaintext, &mut sealed).unwrap();
            } else {
                sealer.seal(now, [&plaintext[..]], &mut sealed).unwrap();
            }
            assert_eq!(sealed[..], field(record, "record"), "{}", vector["name"]);
            let mut plain = BytesMut::new();
            let control = opener.open(now, &mut sealed, &mut plain).unwrap();
            match control {
                Some(control) => assert_eq!((is_control, &control.frame()[..]), (true, &plaintext[..])),
                None => assert_eq!((is_control, &plain[..]), (false, &plaintext[..])),
            }
        }
    }
}

#[test]
fn a_resumption_begins_with_the_key_of_the_ticket_before_it() {
    let vectors = handshakes();
    let named = |name: &str| vectors.iter().find(|vector| vector["name"] == name).unwrap();
    for (before, after) in [
        ("known acceptor", "resumption"),
        ("known acceptor without AES", "resumption without AES"),
    ] {
        let (before, after) = (named(before), named(after));
        let schedule = KeySchedule::new(
            &array(&field(before, "handshake_hash")),
            &array(&hex(before["split"][0].as_str().unwrap())),
            &array(&hex(before["split"][1].as_str().unwrap())),
            suite(before).cipher,
            Role::Dialler,
        );
        let psk = schedule.ticket_psk(&array(&field(after, "ticket")));
        assert_eq!(psk[..], field(after, "psk"));
    }
}
