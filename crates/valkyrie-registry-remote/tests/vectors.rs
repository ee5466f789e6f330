//! What `docs/protocol/vectors/registry-service.json` says is written byte for byte as it says, and read back.

use bytes::Bytes;
use serde_json::Value;
use valkyrie_registry::store::{
    Answer, Batch, Cause, Certificate, Change, Entry, Event, Guard, LeaseId, Revision, Txn,
};
use valkyrie_registry::{Key, Moment, Prefix};
use valkyrie_registry_remote::wire::{Full, Method, Refused, Reply, Request, WatchMessage};

const VECTORS: &str = include_str!("../../../docs/protocol/vectors/registry-service.json");

fn vectors(name: &str) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let list = vectors[name].as_array().unwrap();
    assert!(!list.is_empty());
    list.clone()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} is missing in {value}"))
}

fn number(value: &Value, name: &str) -> u64 {
    value[name]
        .as_u64()
        .unwrap_or_else(|| panic!("{name} is missing in {value}"))
}

fn unhex(text: &str) -> Bytes {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn method(vector: &Value) -> Method {
    let name = text(vector, "method");
    Method::ALL
        .into_iter()
        .find(|method| method.name() == name)
        .unwrap()
}

fn prefix(vector: &Value) -> Prefix {
    match text(vector, "prefix").strip_suffix('/') {
        Some(path) => Prefix::beneath(path).unwrap(),
        None => Prefix::all(),
    }
}

fn request(vector: &Value) -> Request {
    let lease = |value: &Value| LeaseId::new(value.as_u64().unwrap());
    match method(vector) {
        Method::Caps => Request::Caps,
        Method::Get => Request::Get(key(text(vector, "key"))),
        Method::List => Request::List(prefix(vector)),
        Method::Grant => Request::Grant(std::time::Duration::from_millis(number(vector, "ttl_ms"))),
        Method::KeepAlive => {
            Request::KeepAlive(vector["leases"].as_array().unwrap().iter().map(lease).collect())
        }
        Method::Revoke => Request::Revoke(lease(&vector["lease"])),
        Method::Watch => Request::Watch {
            prefix: prefix(vector),
            after: Revision::new(number(vector, "after")),
        },
        Method::Commit => {
            let mut txn = Txn::new();
            for guard in vector["guards"].as_array().unwrap() {
                let key = key(text(guard, "key"));
                txn = txn.guard(match text(guard, "kind") {
                    "absent" => Guard::Absent(key),
                    _ => Guard::Modified(key, Revision::new(number(guard, "revision"))),
                });
            }
            for op in vector["ops"].as_array().unwrap() {
                let key = key(text(op, "key"));
                txn = match op["value_hex"].as_str() {
                    Some(value) => txn.put(key, unhex(value), op["lease"].as_u64().map(LeaseId::new)),
                    None => txn.delete(key),
                };
            }
            Request::Commit(txn)
        }
    }
}

fn entry(value: &Value) -> Entry {
    Entry {
        key: key(text(value, "key")),
        value: unhex(text(value, "value_hex")),
        created: Revision::new(number(value, "created")),
        modified: Revision::new(number(value, "modified")),
        version: number(value, "version"),
        lease: value["lease"].as_u64().map(LeaseId::new),
    }
}

fn answer(vector: &Value) -> Result<Reply, Refused> {
    if let Some(lease) = vector["no_such_lease"].as_u64() {
        return Err(Refused::NoSuchLease(LeaseId::new(lease)));
    }
    if vector["full"] == "leases" {
        return Err(Refused::Full(Full::Leases, number(vector, "max")));
    }
    let found = &vector["entry"];
    Ok(Reply::Got(Answer {
        value: (!found.is_null()).then(|| entry(found).into()),
        revision: Revision::new(number(vector, "revision")),
        at: vector["at_ms"].as_u64().map(Moment::from_millis),
        certificate: Certificate::new(unhex(text(vector, "certificate_hex"))),
    }))
}

fn event(value: &Value) -> Event {
    match value["gone"].as_str() {
        Some(gone) => Event::Deleted {
            key: key(gone),
            cause: match text(value, "cause") {
                "expired" => Cause::Expired,
                _ => Cause::Deleted,
            },
        },
        None => Event::Put(entry(&value["put"]).into()),
    }
}

//= protocol/registry.md#requests
#[test]
fn requests_are_what_the_vectors_say() {
    for vector in vectors("requests") {
        let (request, bytes) = (request(&vector), unhex(text(&vector, "hex")));
        assert_eq!(request.encode().unwrap(), bytes, "{vector}");
        assert_eq!(Request::decode(request.method(), &bytes), Ok(request));
    }
}

//= protocol/registry.md#answers
#[test]
fn answers_are_what_the_vectors_say() {
    for vector in vectors("answers") {
        let (answer, bytes) = (answer(&vector), unhex(text(&vector, "hex")));
        assert_eq!(Reply::encode(&answer).unwrap(), bytes, "{vector}");
        assert_eq!(Reply::decode(method(&vector), &bytes), Ok(answer));
    }
}

//= protocol/registry.md#watches
#[test]
fn changes_are_what_the_vectors_say() {
    for vector in vectors("batches") {
        let change = |value: &Value| {
            let events = value["events"].as_array().unwrap().iter().map(event).collect();
            let revision = Revision::new(number(value, "revision"));
            Change { revision, events }.into()
        };
        let message = WatchMessage::Batch(Batch {
            changes: vector["changes"].as_array().unwrap().iter().map(change).collect(),
            revision: Revision::new(number(&vector, "revision")),
            certificate: Certificate::none(),
        });
        let bytes = unhex(text(&vector, "hex"));
        assert_eq!(message.encode().unwrap(), bytes, "{vector}");
        assert_eq!(WatchMessage::decode(&bytes), Ok(message));
    }
}

//= protocol/registry.md#requests
#[test]
fn what_the_vectors_refuse_is_refused() {
    for vector in vectors("refused") {
        let decoded = Request::decode(method(&vector), &unhex(text(&vector, "hex")));
        assert!(decoded.is_err(), "{vector}: {decoded:?}");
    }
}
