//! Tokens of Biscuit's own implementation: both agree about every call. `docs/protocol/vectors/security/tokens.json` is
//! written and checked on the other side by `clients/python-kat/tokens.py`.

use serde_json::{Value, json};

use super::*;
use crate::policy::Classes;
use crate::vectors::hex as bytes_of;

/// Set to make the file's tokens of this implementation anew.
const WRITE: &str = "VALKYRIE_WRITE_VECTORS";

fn path() -> String {
    format!(
        "{}/../../docs/protocol/vectors/security/tokens.json",
        env!("CARGO_MANIFEST_DIR")
    )
}

fn vectors() -> Value {
    serde_json::from_str(&std::fs::read_to_string(path()).unwrap()).unwrap()
}

fn root_of(value: &Value) -> TokenRoot {
    format!("ed25519/{}", value["root"].as_str().unwrap())
        .parse()
        .unwrap()
}

/// What this implementation says to `[service, method, class, time, peer]`.
fn answer(token: &[u8], root: TokenRoot, call: &[Value]) -> bool {
    let text = |place: usize| call[place].as_str().unwrap();
    let time = UnixTime::from_secs(call[3].as_u64().unwrap());
    let peer = PublicKey::from_bytes(unhex(text(4)).unwrap());
    match TokenRights::verify(token, &peer, &[root], &[], time) {
        Ok(rights) => {
            let class = Class::from_name(text(2)).unwrap();
            rights.ask(text(0), text(1), time).classes.contains(class)
        }
        Err(TokenError::Time(_) | TokenError::OtherPeer) => false,
        Err(error) => panic!("{error}"),
    }
}

fn agree(tokens: &Value, root: TokenRoot) -> usize {
    let mut asked = 0;
    for vector in tokens.as_array().unwrap() {
        let token = bytes_of(vector["token"].as_str().unwrap());
        for call in vector["calls"].as_array().unwrap() {
            let call = call.as_array().unwrap();
            assert_eq!(
                answer(&token, root, call),
                call[5].as_bool().unwrap(),
                "{call:?} {}",
                vector["blocks"]
            );
            asked += 1;
        }
    }
    asked
}

#[test]
fn both_implementations_agree_about_every_call() {
    let vectors = vectors();
    assert!(agree(&vectors["taken"], root_of(&vectors)) > 300);
}

#[test]
fn what_is_not_taken_is_refused_and_not_guessed() {
    let vectors = vectors();
    for vector in vectors["refused"].as_array().unwrap() {
        let token = bytes_of(vector["token"].as_str().unwrap());
        let refused = TokenRights::verify(&token, &peer(), &[root_of(&vectors)], &[], NOW).map(|_| ());
        match vector["name"].as_str().unwrap() {
            "another root" => assert_eq!(refused, Err(TokenError::Signature)),
            "no right at all" => assert_eq!(refused, Err(TokenError::NoRights)),
            name => assert!(
                matches!(refused, Err(TokenError::Unsupported(_))),
                "{name}: {refused:?}"
            ),
        }
    }
}

#[test]
fn a_token_made_elsewhere_can_be_narrowed_here() {
    let vectors = vectors();
    let root = root_of(&vectors);
    for vector in vectors["taken"].as_array().unwrap() {
        let token = Token::from_bytes(&bytes_of(vector["token"].as_str().unwrap())).unwrap();
        let narrow = token.attenuate(&Narrowing::new().services(["echo"])).unwrap();
        for call in vector["calls"].as_array().unwrap() {
            let call = call.as_array().unwrap();
            let expected = call[5].as_bool().unwrap() && call[0] == "echo";
            assert_eq!(answer(narrow.as_bytes(), root, call), expected, "{call:?}");
        }
    }
}

#[test]
fn tokens_made_here_say_what_was_recorded_of_them() {
    if std::env::var_os(WRITE).is_some() {
        let mut vectors = vectors();
        vectors["made_here"] = made_here();
        std::fs::write(path(), vectors.to_string()).unwrap();
    }
    let ours = &vectors()["made_here"];
    assert!(agree(&ours["tokens"], root_of(ours)) > 20);
}

/// Tokens of every kind that is made here, for the other implementation to read. They are recorded, since the keys in them
/// are made at random.
fn made_here() -> Value {
    let expires = Narrowing::new().expires(NOW.saturating_add(Duration::from_secs(1)));
    let wide = mint(&[
        Right::service("rustci"),
        Right::method("echo", "echo").in_class(Class::Job),
    ]);
    let of_service = wide
        .attenuate(&Narrowing::new().services(["rustci", "rustci.logs"]))
        .unwrap();
    let narrow = of_service
        .attenuate(
            &Narrowing::new()
                .methods(["submit"])
                .classes(Classes::ORDINARY)
                .bound_to(peer()),
        )
        .unwrap();
    let brief = narrow.attenuate(&expires).unwrap();
    let sealed = brief.seal().unwrap();
    let tokens = [wide, of_service, narrow, brief, sealed].map(|token| {
        let mut calls = Vec::new();
        for (service, method) in [
            ("rustci", "submit"),
            ("rustci", "watch"),
            ("echo", "echo"),
            ("rustci.logs", "echo"),
        ] {
            for (class, time, peer) in [
                ("job", 0, "09"),
                ("critical", 0, "09"),
                ("job", 1, "09"),
                ("bulk", 0, "0a"),
            ] {
                let mut call = vec![
                    json!(service),
                    json!(method),
                    json!(class),
                    json!(NOW.secs() + time),
                    json!(peer.repeat(32)),
                ];
                call.push(answer(token.as_bytes(), root().root(), &call).into());
                calls.push(Value::Array(call));
            }
        }
        json!({ "token": hex(token.as_bytes()), "calls": calls })
    });
    json!({ "root": hex(root().root().as_bytes()), "tokens": tokens })
}

#[test]
fn signatures_of_published_samples_are_told_from_wrong_ones() {
    let samples = crate::vectors::read("biscuit/samples.json");
    let root = root_of(&samples);
    for sample in samples["samples"].as_array().unwrap() {
        let token = bytes_of(sample["token"].as_str().unwrap());
        let verified = container::Container::read(&token).and_then(|container| container.verify(&root));
        assert_eq!(
            verified.is_ok(),
            sample["signed"].as_bool().unwrap(),
            "{}: {verified:?}",
            sample["title"]
        );
    }
}
