//! What readers make of stores that lie, and of agents that come, change and go.

use std::sync::LazyLock;

use bytes::Bytes;
use valkyrie_security::identity::SigningKey;

use super::*;
use crate::agent::{Service, Version};
use crate::query::Query;

static KEYS: LazyLock<Vec<SigningKey>> = LazyLock::new(|| {
    (1..=3)
        .map(|seed| SigningKey::from_seeds(&[seed; 32], None).unwrap())
        .collect()
});

const NOW: UnixTime = UnixTime::from_secs(1_000_000);

fn word(text: &str) -> Word {
    text.parse().unwrap()
}

fn describe(name: &str) -> Description {
    Description::new(word(name)).service(Service::new(word("orders"), Version::new(1, 0, 0)))
}

fn record(key: usize, incarnation: u64, sequence: u64, name: &str) -> Record {
    good_for(key, incarnation, sequence, name, 3600)
}

fn good_for(key: usize, incarnation: u64, sequence: u64, name: &str, secs: u64) -> Record {
    Record::seal(
        &word("prod"),
        &word("main"),
        (Incarnation::new(incarnation), sequence),
        NOW.saturating_add(Duration::from_secs(secs)),
        &describe(name),
        &KEYS[key],
    )
    .unwrap()
}

fn entry(key: &Key, value: &Bytes, revision: u64) -> Arc<Entry> {
    Arc::new(Entry {
        key: key.clone(),
        value: value.clone(),
        created: Revision::new(revision),
        modified: Revision::new(revision),
        version: 1,
        lease: None,
    })
}

/// A directory, and the store that it believes in.
struct Reader {
    directory: Directory,
    revision: u64,
}

impl Reader {
    fn new() -> Self {
        Self {
            directory: Directory::new(word("prod")),
            revision: 0,
        }
    }

    fn put(&mut self, record: &Record) -> Vec<DirectoryEvent> {
        self.put_at(&record.id().key(), record.as_bytes())
    }

    fn put_at(&mut self, key: &Key, value: &Bytes) -> Vec<DirectoryEvent> {
        let entry = entry(key, value, self.revision + 1);
        self.change(Event::Put(entry))
    }

    fn delete(&mut self, key: Key) -> Vec<DirectoryEvent> {
        self.change(Event::Deleted {
            key,
            cause: Cause::Deleted,
        })
    }

    fn change(&mut self, event: Event) -> Vec<DirectoryEvent> {
        self.revision += 1;
        let change = Change {
            revision: Revision::new(self.revision),
            events: vec![event],
        };
        self.directory.apply(NOW, &change);
        self.drain()
    }

    fn drain(&mut self) -> Vec<DirectoryEvent> {
        self.directory.invariants();
        std::iter::from_fn(|| self.directory.poll_event()).collect()
    }

    fn names(&self) -> Vec<String> {
        let snapshot = self.directory.snapshot();
        snapshot
            .members()
            .map(|member| member.description().name.to_string())
            .collect()
    }
}

fn fault(events: Vec<DirectoryEvent>) -> RecordFault {
    match &events[..] {
        [DirectoryEvent::Refused { fault, .. }] => fault.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_agent_comes_changes_comes_again_and_goes() {
    let mut reader = Reader::new();
    let first = record(0, 1, 0, "a");
    assert!(matches!(reader.put(&first)[..], [DirectoryEvent::Registered(_)]));
    assert!(matches!(
        reader.put(&record(0, 1, 1, "b"))[..],
        [DirectoryEvent::Updated { .. }]
    ));
    assert!(matches!(
        reader.put(&record(0, 2, 0, "c"))[..],
        [DirectoryEvent::Replaced { .. }]
    ));
    assert_eq!(reader.names(), ["c"]);
    let gone = reader.delete(first.id().key());
    assert!(matches!(
        &gone[..],
        [DirectoryEvent::Gone {
            cause: GoneCause::Store(Cause::Deleted),
            ..
        }]
    ));
    assert!(reader.names().is_empty());
    assert_eq!(reader.directory.refused(), 0);
}

#[test]
fn a_store_that_alters_a_record_is_caught() {
    let mut reader = Reader::new();
    let honest = record(0, 1, 0, "a");
    reader.put(&honest);
    let later = record(0, 1, 1, "b");
    for at in 0..later.as_bytes().len() {
        let mut bytes = later.as_bytes().to_vec();
        bytes[at] ^= 0x20;
        let events = reader.put_at(&honest.id().key(), &bytes.into());
        assert!(matches!(fault(events), RecordFault::Record(_)), "byte {at}");
    }
    assert_eq!(reader.names(), ["a"], "what was known stays");
}

#[test]
fn a_store_that_invents_an_agent_or_moves_one_is_caught() {
    let mut reader = Reader::new();
    // Its own key signs, at somebody else's place.
    let victim = record(0, 1, 0, "a");
    let forged = record(1, 9, 0, "a");
    let events = reader.put_at(&victim.id().key(), forged.as_bytes());
    assert_eq!(fault(events), RecordFault::Record(RecordError::Place));
    let events = reader.put_at(&"agents/x/main".parse().unwrap(), forged.as_bytes());
    assert_eq!(fault(events), RecordFault::Record(RecordError::Place));
    // A record of another cluster.
    let mut elsewhere = Directory::new(word("test"));
    elsewhere.reset(
        NOW,
        &[entry(&victim.id().key(), victim.as_bytes(), 1)],
        Revision::new(1),
    );
    assert_eq!((elsewhere.refused(), elsewhere.snapshot().len()), (1, 0));
}

#[test]
fn a_store_that_replays_is_caught_while_the_agent_lives_and_after() {
    let mut reader = Reader::new();
    let old = record(0, 1, 0, "a");
    let mid = record(0, 1, 1, "b");
    let new = record(0, 2, 0, "c");
    for record in [&old, &mid, &new] {
        reader.put(record);
    }
    for replayed in [&old, &mid] {
        assert!(matches!(
            fault(reader.put(replayed)),
            RecordFault::Replayed { .. }
        ));
    }
    assert_eq!(reader.names(), ["c"]);
    reader.delete(new.id().key());
    for replayed in [&old, &mid, &new] {
        assert!(matches!(
            fault(reader.put(replayed)),
            RecordFault::Replayed { .. }
        ));
    }
    // In a list as well.
    let listed = entry(&mid.id().key(), mid.as_bytes(), 99);
    reader.directory.reset(NOW, &[listed], Revision::new(99));
    assert!(matches!(fault(reader.drain()), RecordFault::Replayed { .. }));
    assert!(reader.names().is_empty());
}

#[test]
fn an_agent_that_signs_two_records_of_one_number_is_caught() {
    let mut reader = Reader::new();
    reader.put(&record(0, 1, 0, "a"));
    let fault = fault(reader.put(&record(0, 1, 0, "b")));
    assert!(matches!(fault, RecordFault::Equivocated { sequence: 0, .. }));
}

#[test]
fn a_record_ends_by_itself_and_cannot_be_shown_again() {
    let mut reader = Reader::new();
    let record = record(0, 1, 0, "a");
    reader.put(&record);
    let end = reader.directory.poll_timeout().unwrap();
    assert_eq!(end, NOW.saturating_add(Duration::from_secs(3600)));
    reader
        .directory
        .handle_timeout(end.saturating_sub(Duration::from_millis(1)));
    assert!(reader.drain().is_empty());
    reader.directory.handle_timeout(end);
    let events = reader.drain();
    assert!(matches!(
        &events[..],
        [DirectoryEvent::Gone {
            cause: GoneCause::RecordEnded,
            ..
        }]
    ));
    // A reader that has just started and a clock that is right: refused by its own end.
    let entry = entry(&record.id().key(), record.as_bytes(), 1);
    let mut fresh = Directory::new(word("prod"));
    fresh.reset(end, std::slice::from_ref(&entry), Revision::new(1));
    assert_eq!((fresh.refused(), fresh.snapshot().len()), (1, 0));
}

#[test]
fn a_record_that_is_good_for_too_long_is_refused() {
    let mut reader = Reader::new();
    let day = RECORD_LIFETIME_MAX.as_secs();
    assert!(matches!(
        fault(reader.put(&good_for(0, 1, 0, "a", day + 91))),
        RecordFault::TooLong(_)
    ));
    assert!(matches!(
        reader.put(&good_for(0, 1, 0, "a", day))[..],
        [DirectoryEvent::Registered(_)]
    ));
}

#[test]
fn who_may_say_what_is_asked() {
    let owner = KEYS[0].fingerprint();
    let only = move |id: &AgentId, description: &Description| {
        description.name.as_str() != "payments" || id.owner() == owner
    };
    let mut reader = Reader::new();
    reader.directory = Directory::new(word("prod")).with_vetting(only);
    assert_eq!(
        fault(reader.put(&record(1, 1, 0, "payments"))),
        RecordFault::NotAdmitted
    );
    reader.put(&record(0, 1, 0, "payments"));
    reader.put(&record(1, 1, 1, "web"));
    assert_eq!(reader.names().len(), 2);
}

#[test]
fn a_list_says_who_is_gone_and_reports_nobody_twice() {
    let mut reader = Reader::new();
    let (a, b) = (record(0, 1, 0, "a"), record(1, 1, 0, "b"));
    reader.put(&a);
    reader.put(&b);
    let listed = entry(&a.id().key(), a.as_bytes(), 7);
    reader.directory.reset(NOW, &[listed], Revision::new(9));
    let events = reader.drain();
    assert!(matches!(
        &events[..],
        [DirectoryEvent::Gone {
            cause: GoneCause::Store(Cause::Unseen),
            ..
        }]
    ));
    let snapshot = reader.directory.snapshot();
    assert_eq!(snapshot.revision(), Revision::new(9));
    assert_eq!(snapshot.get(a.id()).unwrap().modified(), Revision::new(7));
}

#[test]
fn a_snapshot_stays_what_it_was() {
    let mut reader = Reader::new();
    reader.put(&record(0, 1, 0, "a"));
    let before = reader.directory.snapshot();
    reader.put(&record(1, 1, 0, "b"));
    reader.put(&record(0, 1, 1, "c"));
    let query = Query::service(word("orders"));
    assert_eq!(before.find(&query).count(), 1);
    assert_eq!(reader.directory.snapshot().find(&query).count(), 2);
    assert_eq!(before.find(&Query::new().with_name(word("a"))).count(), 1);
    assert_eq!(
        reader
            .directory
            .snapshot()
            .find(&Query::new().with_name(word("a")))
            .count(),
        0
    );
}

/// An agent of one identity, by its number: every third is in each of three zones.
fn numbered(number: usize, sequence: u64, zone: usize) -> Record {
    let description = describe(&format!("agent-{number}")).zone(word(&format!("zone-{}", zone % 3)));
    let numbers = (Incarnation::new(1), sequence);
    let end = NOW.saturating_add(Duration::from_secs(3600));
    Record::seal(
        &word("prod"),
        &word(&format!("i{number}")),
        numbers,
        end,
        &description,
        &KEYS[0],
    )
    .unwrap()
}

#[test]
fn few_and_many_of_a_service_are_found_whole_in_order_and_by_zone() {
    let mut reader = Reader::new();
    let mut model: std::collections::BTreeMap<AgentId, usize> = std::collections::BTreeMap::new();
    // Past the number from which they are kept otherwise, and in no order.
    let order: Vec<usize> = (0..400).map(|number| number * 233 % 400).collect();
    for (count, &number) in order.iter().enumerate() {
        let record = numbered(number, 0, number);
        model.insert(record.id().clone(), number % 3);
        reader.put(&record);
        if [1, 100, 256, 257, 400].contains(&(count + 1)) {
            check(&reader, &model);
        }
    }
    let held = reader.directory.snapshot();
    for (count, &number) in order.iter().enumerate() {
        let record = numbered(number, 1, number + 1);
        match number % 4 {
            // Some move to another zone, most go.
            0 => {
                model.insert(record.id().clone(), (number + 1) % 3);
                reader.put(&record);
            }
            _ => {
                model.remove(record.id());
                reader.change(Event::Deleted {
                    key: record.id().key(),
                    cause: Cause::Deleted,
                });
            }
        }
        if count % 50 == 0 {
            check(&reader, &model);
        }
    }
    check(&reader, &model);
    assert_eq!(held.len(), 400, "an earlier snapshot stays what it was");
    held.invariants();

    fn check(reader: &Reader, model: &std::collections::BTreeMap<AgentId, usize>) {
        let snapshot = reader.directory.snapshot();
        snapshot.invariants();
        let found = |query: &Query| -> Vec<AgentId> {
            snapshot
                .find(query)
                .map(|found| found.member.id().clone())
                .collect()
        };
        let all = Query::service(word("orders"));
        assert_eq!(found(&all), model.keys().cloned().collect::<Vec<_>>());
        for zone in 0..3 {
            let there = model
                .iter()
                .filter(|(_, at)| **at == zone)
                .map(|(id, _)| id.clone());
            let query = all.clone().with_zone(word(&format!("zone-{zone}")));
            assert_eq!(found(&query), there.collect::<Vec<_>>());
        }
    }
}
