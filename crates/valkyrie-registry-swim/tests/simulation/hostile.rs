//! A member that lies: what it can make others believe, and what it cannot.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use valkyrie_registry::agent::{Description, Incarnation};
use valkyrie_registry::record::{Record, RecordError};
use valkyrie_registry_swim::wire::{Kind, Packet, Source, Standing, Statement, Update};
use valkyrie_registry_swim::{GoneWhy, Life, PacketError, SwimEvent};
use valkyrie_security::UnixTime;
use valkyrie_security::identity::SigningKey;

use crate::world::{World, word};

/// Who lies, and about whom.
const LIAR: usize = 0;
const VICTIM: usize = 3;

fn life(world: &World, node: usize) -> Life {
    world.nodes[node].swim.as_ref().unwrap().life().clone()
}

/// A packet as the liar would send it.
fn lie(world: &World, kind: Kind, updates: Vec<Update>, statements: Vec<Statement>) -> Bytes {
    let packet = Packet {
        source: Source {
            instance: word("main"),
            incarnation: life(world, LIAR).incarnation,
            sequence: 0,
        },
        kind,
        updates,
        statements,
    };
    packet.encode().unwrap()
}

fn tell_everybody(world: &mut World, packet: &Bytes) {
    for to in 1..world.nodes.len() {
        world.inject(LIAR, to, packet);
    }
}

fn update(life: Life, sequence: u64, standing: Standing) -> Update {
    Update {
        life,
        sequence,
        standing,
    }
}

fn nobody_has_gone(world: &World) -> bool {
    let gone = |event: &SwimEvent| matches!(event, SwimEvent::Gone { why, .. } if *why == GoneWhy::Silent);
    !world
        .nodes
        .iter()
        .any(|node| node.noticed.iter().any(|(_, event)| gone(event)))
}

/// The sequence that a member has come to, by what others see of it.
fn refuted(world: &World, node: usize) -> u64 {
    world.nodes[node].swim.as_ref().unwrap().stats().refuted
}

#[test]
fn who_is_accused_again_and_again_stays_and_signs_a_few_times_a_second() {
    let mut world = World::settled(1, 8);
    let (victim, seconds) = (life(&world, VICTIM), 20);
    for _ in 0..seconds * 100 {
        // The liar always knows the newest number.
        let sequence = refuted(&world, VICTIM);
        let accused = update(victim.clone(), sequence, Standing::Accused);
        let packet = lie(&world, Kind::News, vec![accused], Vec::new());
        tell_everybody(&mut world, &packet);
        world.run_for(Duration::from_millis(10));
    }
    assert!(nobody_has_gone(&world) && world.converged());
    let signed = refuted(&world, VICTIM);
    assert!(
        signed > 0 && signed <= seconds * 4,
        "{signed} answers in {seconds} s"
    );
    assert_eq!(world.faults, []);
}

#[test]
fn an_accusation_by_a_number_that_nobody_has_signed_is_nothing() {
    let mut world = World::settled(1, 8);
    let later = Incarnation::new(u64::MAX);
    let of = life(&world, VICTIM);
    let lies = [
        update(of.clone(), 7, Standing::Accused),
        update(of.clone(), u64::MAX, Standing::Here),
        update(
            Life {
                incarnation: later,
                ..of
            },
            0,
            Standing::Accused,
        ),
    ];
    for lied in lies {
        let packet = lie(&world, Kind::Digest, vec![lied], Vec::new());
        tell_everybody(&mut world, &packet);
        world.run_for(Duration::from_secs(3));
    }
    assert!(nobody_has_gone(&world) && world.converged());
    for node in 1..8 {
        let suspicions = world.nodes[node].noticed.iter();
        let suspicions = suspicions.filter(|(_, event)| matches!(event, SwimEvent::Suspected(_)));
        assert_eq!(suspicions.count(), 0);
    }
}

#[test]
fn nobody_is_kept_alive_or_brought_back_by_others_words() {
    let mut world = World::settled(1, 8);
    let victim = life(&world, VICTIM);
    world.crash(VICTIM);
    for round in 0..400 {
        for sequence in [0, round] {
            let here = update(victim.clone(), sequence, Standing::Here);
            let packet = lie(&world, Kind::News, vec![here], Vec::new());
            for to in (1..8).filter(|to| *to != VICTIM) {
                world.inject(LIAR, to, &packet);
            }
        }
        world.run_for(Duration::from_millis(10));
    }
    let blind = world.blind_to(VICTIM);
    assert!(
        (1..8)
            .filter(|node| *node != VICTIM)
            .all(|node| blind.contains(&node))
    );
}

fn seal(key: &SigningKey, cluster: &str, numbers: (u64, u64)) -> Record {
    let not_after = UnixTime::from_secs(1_800_000_000 + 3600);
    let description = Description::new(word("forged"));
    let numbers = (Incarnation::new(numbers.0), numbers.1);
    Record::seal(
        &word(cluster),
        &word("main"),
        numbers,
        not_after,
        &description,
        key,
    )
    .unwrap()
}

#[test]
fn what_was_not_said_is_refused_by_whoever_reads_it() {
    let mut world = World::settled(1, 4);
    let victim = life(&world, VICTIM);
    let forger = SigningKey::generate_classical().unwrap();
    let later = victim.incarnation.number() + 1;
    let of = |record: &Record, life: &Life, numbers: (u64, u64)| Statement {
        life: Life {
            incarnation: Incarnation::new(numbers.0),
            ..life.clone()
        },
        sequence: numbers.1,
        record: record.as_bytes().clone(),
    };
    let key = Arc::clone(&world.nodes[VICTIM].key);
    // Invented: signed by somebody else.
    let invented = of(&seal(&forger, "test", (later, 0)), &victim, (later, 0));
    // Altered: one bit of what it says.
    let mut altered = of(&seal(&key, "test", (later, 0)), &victim, (later, 0));
    let mut bytes = altered.record.to_vec();
    bytes[30] ^= 1;
    altered.record = bytes.into();
    // Of another cluster, and with another number on it.
    let elsewhere = of(&seal(&key, "other", (later, 0)), &victim, (later, 0));
    let renumbered = of(&seal(&key, "test", (later, 0)), &victim, (later, 5));
    for (lied, numbers) in [
        (invented, false),
        (altered, false),
        (elsewhere, false),
        (renumbered, true),
    ] {
        world.faults.clear();
        let packet = lie(&world, Kind::News, Vec::new(), vec![lied]);
        world.inject(LIAR, 1, &packet);
        match &world.faults[..] {
            [PacketError::Numbers(id)] if numbers => assert_eq!(*id, victim.id),
            [PacketError::Statement { id, fault }] if !numbers => {
                assert_eq!(*id, victim.id);
                assert!(!matches!(fault, RecordError::Truncated), "{fault}");
            }
            other => panic!("{other:?}"),
        }
    }
    world.faults.clear();
    world.run_for(Duration::from_secs(2));
    assert!(world.converged() && nobody_has_gone(&world));
    assert_eq!(world.faults, [], "somebody has passed a lie on");
}

#[test]
fn a_statement_of_a_former_life_changes_nothing() {
    let mut world = World::settled(1, 8);
    let former = life(&world, VICTIM);
    let key = Arc::clone(&world.nodes[VICTIM].key);
    let record = seal(&key, "test", (former.incarnation.number(), 60_000));
    world.crash(VICTIM);
    world.run_for(Duration::from_millis(500));
    world.start(VICTIM);
    world.run_until(Duration::from_secs(5), World::converged);
    let replayed = Statement {
        life: former.clone(),
        sequence: 60_000,
        record: record.as_bytes().clone(),
    };
    let accused = update(former, 60_000, Standing::Accused);
    let packet = lie(&world, Kind::News, vec![accused], vec![replayed]);
    tell_everybody(&mut world, &packet);
    world.run_for(Duration::from_secs(3));
    assert!(world.converged());
    assert_eq!(world.false_verdicts, 0);
}

#[test]
fn strangers_are_heard_about_nobody_and_asked_who_they_are() {
    let mut world = World::settled(1, 8);
    // One that runs and knows nobody: its packets are of a life that nobody has heard of.
    world.crash(LIAR);
    let accused = update(life(&world, VICTIM), 0, Standing::Accused);
    let packet = Packet {
        source: Source {
            instance: word("another"),
            incarnation: Incarnation::new(1),
            sequence: 0,
        },
        kind: Kind::Digest,
        updates: vec![accused],
        statements: Vec::new(),
    };
    let before = world.nodes[1].swim.as_ref().unwrap().stats();
    world.inject(LIAR, 1, &packet.encode().unwrap());
    let after = world.nodes[1].swim.as_ref().unwrap().stats();
    assert_eq!(after.strangers, before.strangers + 1);
    assert_eq!(after.accusations, before.accusations);
}
