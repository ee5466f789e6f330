//! `docs/protocol/vectors/security/identity.json`: what it holds is what this code makes and reads.
//!
//! Ed25519 signs the same way every time, so those documents are made anew and compared. Signatures of ML-DSA-65 differ
//! from run to run; the recorded ones are verified.

use serde_json::{Map, Value, json};

use super::*;
use crate::credentials::{Credentials, Proof, proof_text};
use crate::role::Role;
use crate::vectors::hex;

/// Set to write the file instead of comparing with it.
const WRITE: &str = "VALKYRIE_WRITE_VECTORS";

fn path() -> String {
    format!(
        "{}/../../docs/protocol/vectors/security/identity.json",
        env!("CARGO_MANIFEST_DIR")
    )
}

fn shown(bytes: &[u8]) -> Value {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>()
        .into()
}

#[test]
fn the_published_vectors_are_those_of_this_code() {
    let recorded: Value = match std::fs::read_to_string(path()) {
        Ok(text) => serde_json::from_str(&text).unwrap(),
        Err(error) if std::env::var_os(WRITE).is_some() => json!({ "unread": error.to_string() }),
        Err(error) => panic!("{}: {error}", path()),
    };
    let made = json!({
        "documents": documents(&recorded["documents"]),
        "forged": forged(),
        "refused": refused(),
        "proofs": proofs(&recorded["proofs"]),
        "credentials": credentials(),
        "credentials_refused": credentials_refused(),
    });
    if std::env::var_os(WRITE).is_some() {
        let text = serde_json::to_string_pretty(&made).unwrap();
        std::fs::write(path(), text + "\n").unwrap();
    } else {
        assert!(made == recorded, "the file differs; {WRITE}=1 writes it anew");
    }
}

#[test]
fn every_refused_vector_is_refused_with_its_reason() {
    let recorded: Value = serde_json::from_str(&std::fs::read_to_string(path()).unwrap()).unwrap();
    let list = |name: &str| recorded[name].as_array().unwrap().clone();
    assert!(list("refused").len() > 20);
    for vector in list("refused") {
        let bytes = hex(vector["document"].as_str().unwrap());
        let error = IdentityDocument::parse(&bytes).unwrap_err();
        assert_eq!(reason(error), vector["error"], "{}", vector["name"]);
    }
    for vector in list("forged") {
        let document = IdentityDocument::parse(&hex(vector["document"].as_str().unwrap())).unwrap();
        let issuer = IdentityDocument::parse(&hex(vector["issuer_document"].as_str().unwrap())).unwrap();
        assert!(
            document.verify_signatures(issuer.signing_keys()).is_err(),
            "{}",
            vector["name"]
        );
    }
    for vector in list("credentials_refused") {
        assert!(
            Credentials::parse(&hex(vector["payload"].as_str().unwrap())).is_err(),
            "{}",
            vector["name"]
        );
    }
}

/// The short name of an error in the file.
fn reason(error: DocumentError) -> &'static str {
    match error {
        DocumentError::TooLong(_) => "too_long",
        DocumentError::Truncated => "truncated",
        DocumentError::Trailing(_) => "trailing",
        DocumentError::Version(_) => "version",
        DocumentError::Kind(_) => "kind",
        DocumentError::Lifetime => "lifetime",
        DocumentError::Text(_) => "text",
        DocumentError::Count(..) => "count",
        DocumentError::Order(_) => "order",
        DocumentError::Key(_) => "key",
        DocumentError::StaticKeys => "static_keys",
        DocumentError::NoSigningKey => "no_signing_key",
        DocumentError::Signature(_) => "signature",
    }
}

/// The document recorded under a name, if it says what `made` says and its signatures are good.
fn recorded_or_made(recorded: &Value, name: &str, made: SignedIdentity, issuer: &SigningKey) -> Vec<u8> {
    let made = made.as_bytes().to_vec();
    let old = recorded
        .as_array()
        .and_then(|list| list.iter().find(|vector| vector["name"] == name));
    let Some(old) = old.and_then(|vector| vector["document"].as_str()).map(hex) else {
        return made;
    };
    let good = IdentityDocument::parse(&old).is_ok_and(|old| old.verify_signatures(issuer.public()).is_ok());
    let signatures: usize = 1 + issuer
        .public()
        .iter()
        .map(|(algorithm, _)| 3 + algorithm.signature_len())
        .sum::<usize>();
    let same = old.len() == made.len() && old[..old.len() - signatures] == made[..made.len() - signatures];
    if good && same && issuer.public().iter().count() == 2 {
        old
    } else {
        made
    }
}

fn vector(
    recorded: &Value,
    name: &str,
    builder: DocumentBuilder,
    of: &SigningKey,
    issuer: &SigningKey,
) -> Value {
    let signed = builder.signing_keys(of.public()).sign(issuer).unwrap();
    let bytes = recorded_or_made(recorded, name, signed, issuer);
    let document = IdentityDocument::parse(&bytes).unwrap();
    let seed = |key: &SigningKey| {
        let ml_dsa = key
            .ml_dsa_65_seed()
            .map_or_else(|| json!(""), |seed| shown(&seed[..]));
        (shown(&key.ed25519_seed()[..]), ml_dsa)
    };
    let key = |algorithm| shown(of.public().key(algorithm).unwrap_or_default());
    json!({
        "name": name,
        "ed25519_seed": seed(of).0,
        "ml_dsa_65_seed": seed(of).1,
        "issuer_ed25519_seed": seed(issuer).0,
        "issuer_ml_dsa_65_seed": seed(issuer).1,
        "kind": document.kind().wire(),
        "serial": document.serial(),
        "not_before": document.not_before().secs(),
        "not_after": document.not_after().secs(),
        "document_name": document.name(),
        "roles": document.roles(),
        "labels": document.labels().iter().map(|(name, value)| json!([name, value])).collect::<Vec<_>>(),
        "static_keys": document.static_keys().iter().map(|key| shown(key.as_bytes())).collect::<Vec<_>>(),
        "ed25519_key": key(Algorithm::Ed25519),
        "ml_dsa_65_key": key(Algorithm::MlDsa65),
        "fingerprint": document.fingerprint().to_string(),
        "issuer": document.issuer().to_string(),
        "document": shown(&bytes),
    })
}

fn documents(recorded: &Value) -> Vec<Value> {
    let plain = |name| DocumentBuilder::node(name, &[public(1)]).valid(around(NOW).0, around(NOW).1);
    let authority = || {
        DocumentBuilder::authority("offline authority")
            .valid(around(NOW).0, UnixTime::from_secs(253_402_300_799))
    };
    let longest = {
        let keys = [1, 2, 3, 4].map(public);
        let builder = DocumentBuilder::node(&"ü".repeat(100), &keys)
            .serial(u64::MAX >> 11)
            .valid(around(NOW).0, around(NOW).1);
        (0..16).fold(builder, |builder, index| {
            builder
                .role(&format!("{index:064}"))
                .label(&format!("{index:064}"), &"v".repeat(200))
        })
    };
    let vector = |name, builder, of: &_, issuer: &_| vector(recorded, name, builder, of, issuer);
    vec![
        vector(
            "the smallest: self-signed, Ed25519 alone",
            plain("a"),
            &classical(1),
            &classical(1),
        ),
        vector(
            "something in every field",
            full("ada of the lab", 1),
            &classical(1),
            &classical(1),
        ),
        vector("every field at its bound", longest, &classical(1), &classical(1)),
        vector("an authority", authority(), &classical(9), &classical(9)),
        vector(
            "signed by that authority",
            full("bob", 2),
            &classical(2),
            &classical(9),
        ),
        vector(
            "self-signed, Ed25519 and ML-DSA-65",
            full("ada", 1),
            &hybrid(1),
            &hybrid(1),
        ),
        vector("an authority with both keys", authority(), &hybrid(9), &hybrid(9)),
        vector(
            "Ed25519 alone, signed by that authority with both",
            full("carol", 3),
            &classical(3),
            &hybrid(9),
        ),
    ]
}

/// Documents of the right form that their issuer did not sign, or not with all its keys.
fn forged() -> Vec<Value> {
    let by = |issuer: &SigningKey| {
        full("ada", 1)
            .signing_keys(classical(1).public())
            .sign(issuer)
            .unwrap()
    };
    let authority = |key: &SigningKey| {
        let builder = DocumentBuilder::authority("ca").valid(around(NOW).0, around(NOW).1);
        builder.sign(key).unwrap().as_bytes().to_vec()
    };
    let patched = |from: &SigningKey, to: &SigningKey| {
        let mut bytes = by(from).as_bytes().to_vec();
        let at = bytes
            .windows(32)
            .position(|window| window == from.fingerprint().as_bytes())
            .unwrap();
        bytes[at..at + 32].copy_from_slice(to.fingerprint().as_bytes());
        bytes
    };
    let flipped = {
        let mut bytes = by(&classical(9)).as_bytes().to_vec();
        bytes[9] ^= 1;
        bytes
    };
    let list = [
        (
            "signed by another than it names",
            patched(&classical(8), &classical(9)),
            authority(&classical(9)),
        ),
        (
            "the serial was changed after signing",
            flipped,
            authority(&classical(9)),
        ),
        (
            "self-signed with a key that is not its own",
            patched(&classical(8), &classical(1)),
            by(&classical(1)).as_bytes().to_vec(),
        ),
    ];
    let vector = |(name, document, issuer): (&str, Vec<u8>, Vec<u8>)| json!({ "name": name, "document": shown(&document), "issuer_document": shown(&issuer) });
    list.into_iter().map(vector).collect()
}

/// Documents that break a rule of form; signatures play no part.
fn refused() -> Vec<Value> {
    let good = form::Raw::good;
    let mut list: Vec<(&str, Vec<u8>)> = Vec::new();
    let mut with = |name: &'static str, change: fn(&mut form::Raw)| {
        let mut raw = good();
        change(&mut raw);
        list.push((name, raw.bytes()));
    };
    with("version 2", |raw| raw.version = 2);
    with("kind 0", |raw| raw.kind = 0);
    with("kind 3", |raw| raw.kind = 3);
    with("good at no time", |raw| raw.not_after = raw.not_before);
    with("good until after the year 9999", |raw| {
        raw.not_after = 253_402_300_800
    });
    with("no name", |raw| raw.name = vec![]);
    with("a name of 201 bytes", |raw| raw.name = vec![b'n'; 201]);
    with("a name that is not UTF-8", |raw| raw.name = vec![0xff]);
    with("a name with an escape", |raw| raw.name = b"a\x1b[2J".to_vec());
    with("a name with a C1 control", |raw| raw.name = "a\u{85}b".into());
    with("a name that turns the direction of writing", |raw| {
        raw.name = "a\u{202e}b".into()
    });
    with("a name with a space at its end", |raw| raw.name = b"a ".to_vec());
    with("17 roles", |raw| raw.roles = vec![b"a"; 17]);
    with("an empty role", |raw| raw.roles = vec![b""]);
    with("a role of 65 bytes", |raw| raw.roles = vec![&[b'r'; 65]]);
    with("a role with a space", |raw| raw.roles = vec![b"a b"]);
    with("a role that begins with a hyphen", |raw| raw.roles = vec![b"-a"]);
    with("roles out of order", |raw| raw.roles = vec![b"b", b"a"]);
    with("a role twice", |raw| raw.roles = vec![b"a", b"a"]);
    with("17 labels", |raw| raw.labels = vec![(b"a", b""); 17]);
    with("a label without a name", |raw| raw.labels = vec![(b"", b"")]);
    with("a label value of 201 bytes", |raw| {
        raw.labels = vec![(b"a", &[b'v'; 201])]
    });
    with("a label value with a newline", |raw| {
        raw.labels = vec![(b"a", b"x\ny")]
    });
    with("labels out of order", |raw| {
        raw.labels = vec![(b"b", b""), (b"a", b"")]
    });
    with("a label twice", |raw| {
        raw.labels = vec![(b"a", b"x"), (b"a", b"y")]
    });
    with("no keys", |raw| raw.keys = vec![]);
    with("nine keys", |raw| raw.keys = vec![(1, vec![1; 32]); 9]);
    with("a static key of 31 bytes", |raw| raw.keys[0].1.truncate(31));
    with("an Ed25519 key of 33 bytes", |raw| raw.keys[1].1.push(0));
    with("an ML-DSA-65 key of 1951 bytes", |raw| {
        raw.keys[1] = (3, vec![3; 1951])
    });
    with("a key of purpose 4", |raw| raw.keys.push((4, vec![4; 32])));
    with("a node without a static key", |raw| drop(raw.keys.remove(0)));
    with("a node with five static keys", |raw| {
        raw.keys = (1..=5)
            .map(|byte| (1, vec![byte; 32]))
            .chain([(2, vec![2; 32])])
            .collect();
    });
    with("an authority with a static key", |raw| raw.kind = 2);
    with("no signing key", |raw| drop(raw.keys.pop()));
    with("an Ed25519 key twice", |raw| raw.keys.push((2, vec![3; 32])));
    with("a static key twice", |raw| raw.keys.insert(0, (1, vec![1; 32])));
    with("keys out of order", |raw| raw.keys.reverse());
    with("no signature", |raw| raw.signatures = vec![]);
    with("three signatures", |raw| raw.signatures = vec![(1, 64); 3]);
    with("a signature of algorithm 3", |raw| raw.signatures = vec![(3, 64)]);
    with("an Ed25519 signature of 63 bytes", |raw| {
        raw.signatures = vec![(1, 63)]
    });
    with("a signature twice", |raw| raw.signatures = vec![(1, 64), (1, 64)]);
    with("a byte after the last signature", |raw| raw.after = b"\0");
    let whole = good().bytes();
    list.push(("empty", vec![]));
    list.push(("cut after the counts", whole[..40].to_vec()));
    list.push(("cut before its last byte", whole[..whole.len() - 1].to_vec()));
    let vector = |(name, document): (&str, Vec<u8>)| {
        let error = IdentityDocument::parse(&document).unwrap_err();
        json!({ "name": name, "document": shown(&document), "error": reason(error) })
    };
    list.into_iter().map(vector).collect()
}

fn proofs(recorded: &Value) -> Vec<Value> {
    let h: [u8; 32] = std::array::from_fn(|index| index as u8);
    let made = |name: &str, key: &SigningKey, role: Role| {
        let input = proof_text(role, &h);
        let made = key.sign_strongest(&input).unwrap();
        let old = recorded
            .as_array()
            .and_then(|list| list.iter().find(|vector| vector["name"] == name));
        let old = old.and_then(|vector| vector["signature"].as_str()).map(hex);
        // ML-DSA-65 signs differently each time: a recorded signature that is good stays.
        let old = old.filter(|old| {
            made.algorithm.post_quantum() && key.public().verify(&input, made.algorithm, old).is_ok()
        });
        json!({
            "name": name,
            "role": role.to_string(),
            "handshake_hash": shown(&h),
            "input": shown(&input),
            "algorithm": made.algorithm.wire(),
            "key": shown(key.public().key(made.algorithm).unwrap()),
            "signature": shown(&old.unwrap_or(made.bytes.to_vec())),
        })
    };
    vec![
        made("by the dialler, Ed25519", &classical(1), Role::Dialler),
        made("by the acceptor, Ed25519", &classical(1), Role::Acceptor),
        made("by the dialler, ML-DSA-65", &hybrid(1), Role::Dialler),
    ]
}

fn credentials() -> Vec<Value> {
    let document = full("ada", 1).sign(&classical(1)).unwrap().document().unwrap();
    let ada = Identity::new(vec![static_key(1)], Some(classical(1)), document).unwrap();
    let mut full = Credentials::of(&ada);
    full.prove(&ada, Role::Dialler, &[7; 32]).unwrap();
    full.set_token(b"a token").unwrap();
    let mut svid = Credentials::default();
    svid.set_svid(&[b"leaf".to_vec().into(), b"".to_vec().into()])
        .unwrap();
    svid.set_proof(Proof {
        algorithm: 3,
        signature: b"signature".to_vec().into(),
    })
    .unwrap();
    let encoded = |credentials: &Credentials| {
        let mut payload = Vec::new();
        credentials.encode(&mut payload);
        payload
    };
    let unknown = [vec![200, 0, 2, 1, 2], encoded(&Credentials::of(&ada))].concat();
    let list = [
        ("anonymous", encoded(&Credentials::default())),
        ("an identity", encoded(&Credentials::of(&ada))),
        ("an identity, a proof and a token", encoded(&full)),
        ("a proof and certificates", encoded(&svid)),
        ("an item of an unknown type, which is skipped", unknown),
    ];
    let vector = |(name, payload): (&str, Vec<u8>)| {
        let read = Credentials::parse(&payload).unwrap();
        let mut items = Map::new();
        let mut item = |name: &str, bytes: Option<&[u8]>| {
            bytes.map(|bytes| items.insert(name.to_owned(), shown(bytes)));
        };
        item("identity", read.identity().map(|bytes| &bytes[..]));
        item("proof_signature", read.proof().map(|proof| &proof.signature[..]));
        item("token", read.token().map(|bytes| &bytes[..]));
        if let Some(proof) = read.proof() {
            items.insert("proof_algorithm".to_owned(), proof.algorithm.into());
        }
        if let Some(chain) = read.svid() {
            items.insert(
                "svid".to_owned(),
                chain.iter().map(|bytes| shown(bytes)).collect(),
            );
        }
        json!({ "name": name, "payload": shown(&payload), "items": items })
    };
    list.into_iter().map(vector).collect()
}

fn credentials_refused() -> Vec<Value> {
    let list: [(&str, &str, &[u8]); 7] = [
        ("two tokens", "twice", &[3, 0, 0, 3, 0, 0]),
        ("two items of one unknown type", "twice", &[99, 0, 0, 99, 0, 0]),
        ("an item that is cut off", "truncated", &[3, 0, 2, 0]),
        ("a length that is cut off", "truncated", &[3, 0]),
        ("a proof without an algorithm", "truncated", &[2, 0, 0]),
        ("an svid without certificates", "svid", &[4, 0, 0]),
        (
            "a certificate that is cut off",
            "truncated",
            &[4, 0, 4, 0, 0, 2, 0],
        ),
    ];
    let mut list: Vec<_> = list
        .map(|(name, error, payload)| (name, error, payload.to_vec()))
        .into();
    list.push((
        "16,385 bytes",
        "too_long",
        [&[3, 0x3f, 0xfe][..], &[0; 16_382]].concat(),
    ));
    let vector = |(name, error, payload): (&str, &str, Vec<u8>)| {
        assert!(Credentials::parse(&payload).is_err(), "{name}");
        json!({ "name": name, "payload": shown(&payload), "error": error })
    };
    list.into_iter().map(vector).collect()
}
