//! What `docs/protocol/vectors/membership.json` says is written byte for byte as it says, and read back; what it says is refused is.

use bytes::Bytes;
use serde_json::Value;
use valkyrie_registry::agent::{AgentId, Incarnation};
use valkyrie_registry_swim::Life;
use valkyrie_registry_swim::wire::{Kind, Packet, Probe, Source, Standing, Statement, Update};

const VECTORS: &str = include_str!("../../../docs/protocol/vectors/membership.json");

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

fn agent(value: &Value) -> AgentId {
    value.as_str().unwrap().parse().unwrap()
}

fn life(value: &Value) -> Life {
    Life {
        id: agent(&value["agent"]),
        incarnation: Incarnation::new(number(value, "incarnation")),
    }
}

fn packet(vector: &Value) -> Packet {
    let about = || life(&vector["about"]);
    let probe = |probe| Kind::Probe {
        to: life(&vector["to"]),
        probe,
        number: u8::try_from(number(vector, "number")).unwrap(),
    };
    let list = |name: &str| vector[name].as_array().cloned().unwrap_or_default();
    Packet {
        source: Source {
            instance: text(&vector["source"], "instance").parse().unwrap(),
            incarnation: Incarnation::new(number(&vector["source"], "incarnation")),
            sequence: number(&vector["source"], "sequence"),
        },
        kind: match text(vector, "kind") {
            "news" => Kind::News,
            "ping" => probe(Probe::Ping),
            "ack" => probe(Probe::Ack),
            "ask" => probe(Probe::Ask { target: about() }),
            "ping-for" => probe(Probe::PingFor { origin: about() }),
            "ack-for" => probe(Probe::AckFor { target: about() }),
            "ack-of" => probe(Probe::AckOf { origin: about() }),
            "digest" => Kind::Digest,
            "want" => Kind::Want(list("agents").iter().map(agent).collect()),
            other => panic!("{other}"),
        },
        updates: list("updates")
            .iter()
            .map(|update| Update {
                life: life(update),
                sequence: number(update, "sequence"),
                standing: match text(update, "standing") {
                    "here" => Standing::Here,
                    _ => Standing::Accused,
                },
            })
            .collect(),
        statements: list("statements")
            .iter()
            .map(|statement| Statement {
                life: life(statement),
                sequence: number(statement, "sequence"),
                record: unhex(text(statement, "record")),
            })
            .collect(),
    }
}

#[test]
fn packets_are_what_the_vectors_say() {
    for vector in vectors("packets") {
        let (packet, bytes) = (packet(&vector), unhex(text(&vector, "bytes")));
        assert_eq!(packet.encode().unwrap(), bytes, "{}", text(&vector, "name"));
        assert_eq!(
            Packet::decode(&bytes).unwrap(),
            packet,
            "{}",
            text(&vector, "name")
        );
    }
}

#[test]
fn what_the_vectors_refuse_is_refused() {
    for vector in vectors("refused") {
        let refused = Packet::decode(&unhex(text(&vector, "bytes")));
        assert!(refused.is_err(), "{}", text(&vector, "name"));
    }
}
