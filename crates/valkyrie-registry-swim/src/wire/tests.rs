//! Whatever is said comes back as it was, in one encoding, and what is cut short or goes on is refused.

use bytes::Bytes;
use proptest::prelude::*;
use valkyrie_registry::agent::{AgentId, Incarnation, Word};
use valkyrie_registry::record::RECORD_BYTES_MAX;
use valkyrie_security::Fingerprint;

use super::*;
use crate::Life;

fn word() -> impl Strategy<Value = Word> {
    "[a-z0-9]{1,64}".prop_map(|text| text.parse().unwrap())
}

fn agent() -> impl Strategy<Value = AgentId> {
    (any::<[u8; 32]>(), word())
        .prop_map(|(owner, instance)| AgentId::new(Fingerprint::from_bytes(owner), instance).unwrap())
}

fn life() -> impl Strategy<Value = Life> {
    (agent(), any::<u64>()).prop_map(|(id, incarnation)| Life {
        id,
        incarnation: Incarnation::new(incarnation),
    })
}

fn probe() -> impl Strategy<Value = Probe> {
    prop_oneof![
        Just(Probe::Ping),
        Just(Probe::Ack),
        life().prop_map(|target| Probe::Ask { target }),
        life().prop_map(|origin| Probe::PingFor { origin }),
        life().prop_map(|target| Probe::AckFor { target }),
        life().prop_map(|origin| Probe::AckOf { origin }),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::News),
        (life(), probe(), any::<u8>()).prop_map(|(to, probe, number)| Kind::Probe { to, probe, number }),
        Just(Kind::Digest),
        proptest::collection::vec(agent(), 0..5).prop_map(Kind::Want),
    ]
}

fn update() -> impl Strategy<Value = Update> {
    let standing = prop_oneof![Just(Standing::Here), Just(Standing::Accused)];
    (life(), any::<u64>(), standing).prop_map(|(life, sequence, standing)| Update {
        life,
        sequence,
        standing,
    })
}

fn statement() -> impl Strategy<Value = Statement> {
    let record = proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    (life(), any::<u64>(), record).prop_map(|(life, sequence, record)| Statement {
        life,
        sequence,
        record,
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    let source = (word(), any::<u64>(), any::<u64>()).prop_map(|(instance, incarnation, sequence)| Source {
        instance,
        incarnation: Incarnation::new(incarnation),
        sequence,
    });
    let updates = proptest::collection::vec(update(), 0..6);
    let statements = proptest::collection::vec(statement(), 0..4);
    (source, kind(), updates, statements).prop_map(|(source, kind, updates, statements)| Packet {
        source,
        kind,
        updates,
        statements,
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(packet in packet()) {
        let bytes = packet.encode().unwrap();
        prop_assert_eq!(Packet::decode(&bytes), Ok(packet));
    }

    #[test]
    fn what_is_cut_short_or_goes_on_is_refused(packet in packet(), at in any::<prop::sample::Index>()) {
        let mut bytes = packet.encode().unwrap().to_vec();
        let cut = at.index(bytes.len());
        prop_assert_eq!(Packet::decode(&bytes[..cut]), Err(WireError::Truncated));
        bytes.push(0);
        prop_assert_eq!(Packet::decode(&bytes), Err(WireError::Trailing(1)));
    }

    #[test]
    fn what_is_read_has_one_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(packet) = Packet::decode(&bytes) {
            prop_assert_eq!(packet.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn a_changed_byte_is_another_packet_or_none(packet in packet(), at in any::<prop::sample::Index>(), with in 1..=255_u8) {
        let mut bytes = packet.encode().unwrap().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        if let Ok(other) = Packet::decode(&bytes) {
            prop_assert_ne!(other, packet);
        }
    }
}

fn empty(kind: Kind) -> Packet {
    Packet {
        source: Source {
            instance: "main".parse().unwrap(),
            incarnation: Incarnation::new(1),
            sequence: 0,
        },
        kind,
        updates: Vec::new(),
        statements: Vec::new(),
    }
}

fn somebody() -> Life {
    Life {
        id: AgentId::new(Fingerprint::from_bytes([7; 32]), "main".parse().unwrap()).unwrap(),
        incarnation: Incarnation::new(1),
    }
}

#[test]
fn more_than_there_may_be_is_neither_written_nor_read() {
    let mut packet = empty(Kind::Want(vec![somebody().id; WANTED_MAX + 1]));
    assert!(matches!(
        packet.encode(),
        Err(WireError::TooMany { max: WANTED_MAX, .. })
    ));
    packet.kind = Kind::News;
    let update = Update {
        life: somebody(),
        sequence: 0,
        standing: Standing::Here,
    };
    packet.updates = vec![update; UPDATES_MAX];
    assert!(packet.encode().is_ok());
    packet.updates.push(packet.updates[0].clone());
    assert!(matches!(
        packet.encode(),
        Err(WireError::TooMany { max: UPDATES_MAX, .. })
    ));
    packet.updates.clear();
    packet.statements = vec![Statement {
        life: somebody(),
        sequence: 0,
        record: vec![0; RECORD_BYTES_MAX + 1].into(),
    }];
    assert!(matches!(
        packet.encode(),
        Err(WireError::TooLong { what: "record", .. })
    ));
    let announced = [&empty(Kind::News).encode().unwrap()[..22], &[0xff; 2]].concat();
    assert!(matches!(
        Packet::decode(&announced),
        Err(WireError::TooMany { .. })
    ));
    assert!(matches!(
        Packet::decode(&vec![0; PACKET_BYTES_MAX + 1]),
        Err(WireError::TooLong { .. })
    ));
}

#[test]
fn numbers_that_are_none_are_refused() {
    let bytes = empty(Kind::News).encode().unwrap();
    let kind = 1 + 4 + 8 + 8;
    for number in [0, 10, 255] {
        let mut bytes = bytes.to_vec();
        bytes[kind] = number;
        assert_eq!(Packet::decode(&bytes), Err(WireError::Field("kind")));
    }
    let mut packet = empty(Kind::News);
    packet.updates = vec![Update {
        life: somebody(),
        sequence: 0,
        standing: Standing::Here,
    }];
    let mut bytes = packet.encode().unwrap().to_vec();
    let standing = bytes.len() - 3;
    for number in [0, 3] {
        bytes[standing] = number;
        assert_eq!(Packet::decode(&bytes), Err(WireError::Field("standing")));
    }
}
