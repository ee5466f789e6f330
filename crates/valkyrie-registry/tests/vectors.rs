//! The records of `docs/protocol/vectors/registry.json`: made again from what they say byte for byte, read, and refused elsewhere.

use bytes::Bytes;
use serde_json::Value;
use valkyrie_registry::Key;
use valkyrie_registry::agent::{Capacity, Description, Incarnation, Service, Status, Word};
use valkyrie_registry::record::{Record, RecordError};
use valkyrie_security::UnixTime;
use valkyrie_security::identity::SigningKey;

const VECTORS: &str = include_str!("../../../docs/protocol/vectors/registry.json");

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} is missing"))
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn describe(vector: &Value) -> Description {
    let mut description = Description::new(text(vector, "name").parse().unwrap())
        .status(match text(vector, "status") {
            "ready" => Status::Ready,
            "not ready" => Status::NotReady,
            _ => Status::Draining,
        })
        .capacity(Capacity {
            weight: vector["weight"].as_u64().unwrap() as u32,
            slots: vector["slots"].as_u64().unwrap() as u32,
        });
    description.zone = vector["zone"].as_str().map(|zone| zone.parse().unwrap());
    description.probe = vector["probe"].as_str().map(|probe| probe.parse().unwrap());
    for locator in vector["locators"].as_array().unwrap() {
        description = description.locator(locator.as_str().unwrap().parse().unwrap());
    }
    for adapter in vector["adapters"].as_array().unwrap() {
        description = description.adapter(adapter.as_str().unwrap().parse().unwrap());
    }
    for service in vector["services"].as_array().unwrap() {
        let mut made = Service::new(
            text(service, "name").parse().unwrap(),
            text(service, "version").parse().unwrap(),
        );
        for (name, value) in service["labels"].as_object().unwrap() {
            made = made.label(name.parse().unwrap(), value.as_str().unwrap().parse().unwrap());
        }
        description = description.service(made);
    }
    description
}

//= protocol/registry.md#records
#[test]
fn records_are_what_the_vectors_say() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for vector in vectors["records"].as_array().unwrap() {
        let seed: [u8; 32] = unhex(text(vector, "ed25519_seed")).try_into().unwrap();
        let key = SigningKey::from_seeds(&seed, None).unwrap();
        let cluster: Word = text(vector, "cluster").parse().unwrap();
        let numbers = (
            Incarnation::new(vector["incarnation"].as_u64().unwrap()),
            vector["sequence"].as_u64().unwrap(),
        );
        let end = UnixTime::from_secs(vector["end"].as_u64().unwrap());
        let instance = text(vector, "instance").parse().unwrap();
        let record = Record::seal(&cluster, &instance, numbers, end, &describe(vector), &key).unwrap();
        assert_eq!(record.id().key().as_str(), text(vector, "place"));
        assert_eq!(hex(record.as_bytes()), text(vector, "record"));
        let place: Key = text(vector, "place").parse().unwrap();
        assert_eq!(Record::open(&cluster, &place, record.as_bytes()), Ok(record));
    }
}

//= protocol/registry.md#readers
#[test]
fn what_the_vectors_refuse_is_refused() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let first = &vectors["records"][0];
    let (cluster, place) = (text(first, "cluster"), text(first, "place"));
    for vector in vectors["refused"].as_array().unwrap() {
        let cluster: Word = vector["cluster"].as_str().unwrap_or(cluster).parse().unwrap();
        let place: Key = vector["place"].as_str().unwrap_or(place).parse().unwrap();
        let mut bytes = unhex(text(first, "record"));
        if let Some(at) = vector["at"].as_u64() {
            bytes[at as usize] = vector["byte"].as_u64().unwrap() as u8;
        }
        if let Some(len) = vector["cut_to"].as_u64() {
            bytes.truncate(len as usize);
        }
        bytes.extend(unhex(vector["append"].as_str().unwrap_or("")));
        let refused = Record::open(&cluster, &place, &Bytes::from(bytes)).expect_err(text(vector, "why"));
        let kind = match refused {
            RecordError::Truncated => "truncated",
            RecordError::Trailing(_) => "trailing",
            RecordError::Version(_) => "version",
            RecordError::Place => "place",
            RecordError::Signature(_) => "signature",
            _ => "field",
        };
        assert_eq!(kind, text(vector, "refused_for"), "{}", text(vector, "why"));
    }
}
