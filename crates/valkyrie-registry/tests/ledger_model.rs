//! Random commands on a ledger, and the same on a model that is too simple to be wrong: a map, a list and no indexes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use valkyrie_registry::ledger::{Bounds, Effect, Kept, Ledger};
use valkyrie_registry::store::{Cause, Event, Guard, KeepAlive, LeaseId, Outcome, Revision, Txn};
use valkyrie_registry::{Key, Moment, Prefix};

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Grant(u64),
    Renew(u64),
    Revoke(u64),
    Commit(Vec<(u8, u8)>, Vec<(u8, Option<u8>)>),
    Compact(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let guards = prop::collection::vec((0u8..4, 0u8..5), 0..3);
    // A key, and what is put there: under no lease, under one of few, or nothing.
    let ops = prop::collection::vec((0u8..5, prop::option::of(0u8..6)), 0..4);
    prop_oneof![
        3 => (0u64..900).prop_map(Step::Wait),
        2 => (1u64..4).prop_map(Step::Grant),
        2 => (1u64..6).prop_map(Step::Renew),
        1 => (1u64..6).prop_map(Step::Revoke),
        8 => (guards, ops).prop_map(|(guards, ops)| Step::Commit(guards, ops)),
        1 => (0u64..60).prop_map(Step::Compact),
        1 => Just(Step::Restart),
    ]
}

/// What is at a key: created, modified, version, lease.
type Row = (u64, u64, u64, Option<u64>);

#[derive(Default)]
struct Model {
    now: u64,
    rows: BTreeMap<String, Row>,
    /// Ends and lengths, by number.
    leases: BTreeMap<u64, (u64, u64)>,
    granted: u64,
    /// All that ever happened: revision, key, and why it is gone if it is.
    log: Vec<(u64, String, Option<Cause>)>,
    revision: u64,
}

impl Model {
    fn expire(&mut self) {
        loop {
            let due = self.leases.iter().map(|(id, (end, _))| (*end, *id)).min();
            match due {
                Some((end, id)) if end <= self.now => self.end(id, Cause::Expired),
                _ => return,
            }
        }
    }

    fn end(&mut self, id: u64, cause: Cause) {
        self.leases.remove(&id);
        let under = |row: &Row| row.3 == Some(id);
        let keys: Vec<String> = self
            .rows
            .iter()
            .filter(|(_, row)| under(row))
            .map(|(key, _)| key.clone())
            .collect();
        self.revision += u64::from(!keys.is_empty());
        for key in keys {
            self.rows.remove(&key);
            self.log.push((self.revision, key, Some(cause)));
        }
    }

    fn commit(&mut self, txn: &Txn) -> Option<Result<(), usize>> {
        if txn.check().is_err() {
            return None;
        }
        for (index, guard) in txn.guards().iter().enumerate() {
            let row = self.rows.get(guard.key().as_str());
            let holds = match guard {
                Guard::Absent(_) => row.is_none(),
                Guard::Present(_) => row.is_some(),
                Guard::Created(_, revision) => row.is_some_and(|row| row.0 == revision.number()),
                Guard::Modified(_, revision) => row.is_some_and(|row| row.1 == revision.number()),
            };
            if !holds {
                return Some(Err(index));
            }
        }
        use valkyrie_registry::store::Op;
        let unknown = |op: &Op| matches!(op, Op::Put { lease: Some(id), .. } if !self.leases.contains_key(&id.number()));
        if txn.ops().iter().any(unknown) {
            return None;
        }
        let changes = |op: &Op| matches!(op, Op::Put { .. }) || self.rows.contains_key(op.key().as_str());
        if !txn.ops().iter().any(changes) {
            return Some(Ok(()));
        }
        self.revision += 1;
        for op in txn.ops() {
            let key = op.key().to_string();
            match op {
                Op::Put { lease, .. } => {
                    let (created, _, version, _) =
                        *self.rows.get(&key).unwrap_or(&(self.revision, 0, 0, None));
                    let row = (created, self.revision, version + 1, lease.map(LeaseId::number));
                    self.rows.insert(key.clone(), row);
                    self.log.push((self.revision, key, None));
                }
                Op::Delete(_) => {
                    if self.rows.remove(&key).is_some() {
                        self.log.push((self.revision, key, Some(Cause::Deleted)));
                    }
                }
            }
        }
        Some(Ok(()))
    }
}

fn key(number: u8) -> Key {
    format!("k/{number}").parse().unwrap()
}

fn txn(model: &Model, guards: &[(u8, u8)], ops: &[(u8, Option<u8>)]) -> Txn {
    let mut txn = Txn::new();
    for (kind, at) in guards {
        let row = model
            .rows
            .get(key(*at).as_str())
            .copied()
            .unwrap_or((1, 1, 0, None));
        txn = txn.guard(match kind {
            0 => Guard::Absent(key(*at)),
            1 => Guard::Present(key(*at)),
            2 => Guard::Created(key(*at), Revision::new(row.0)),
            _ => Guard::Modified(key(*at), Revision::new(row.1)),
        });
    }
    for (at, put) in ops {
        txn = match put {
            None => txn.delete(key(*at)),
            Some(lease) => {
                let lease = (*lease > 0).then(|| LeaseId::new(u64::from(*lease)));
                txn.put(key(*at), Bytes::from_static(b"v"), lease)
            }
        };
    }
    txn
}

fn compare(ledger: &Ledger, model: &Model) {
    ledger.invariants();
    let state = ledger.state();
    let rows: BTreeMap<String, Row> = state
        .entries()
        .map(|entry| {
            let lease = entry.lease.map(LeaseId::number);
            let row = (
                entry.created.number(),
                entry.modified.number(),
                entry.version,
                lease,
            );
            (entry.key.to_string(), row)
        })
        .collect();
    assert_eq!(rows, model.rows);
    assert_eq!(state.revision().number(), model.revision);
    let end = model.leases.values().map(|(end, _)| *end).min();
    assert_eq!(ledger.poll_timeout().map(Moment::millis), end);
    // Whatever is kept of the history is what happened.
    let (changes, _) = state
        .changes(&Prefix::all(), state.compacted(), usize::MAX)
        .unwrap();
    let mut kept: Vec<(u64, String, Option<Cause>)> = Vec::new();
    for change in changes {
        for event in &change.events {
            let cause = match event {
                Event::Put(_) => None,
                Event::Deleted { cause, .. } => Some(*cause),
            };
            kept.push((change.revision.number(), event.key().to_string(), cause));
        }
    }
    let happened: Vec<_> = model
        .log
        .iter()
        .filter(|(revision, _, _)| *revision > state.compacted().number())
        .cloned()
        .collect();
    assert_eq!(kept, happened);
}

/// What a durable store would have, were it written from effects alone.
#[derive(Default)]
struct Disk {
    kept: Kept,
}

impl Disk {
    fn write(&mut self, ledger: &mut Ledger) {
        while let Some(effect) = ledger.poll_effect() {
            match effect {
                Effect::Changed(change) => {
                    for event in &change.events {
                        self.kept.entries.retain(|entry| entry.key != *event.key());
                        if let Event::Put(entry) = event {
                            self.kept.entries.push(Arc::clone(entry));
                        }
                    }
                    self.kept.revision = change.revision;
                    self.kept.history.push(change);
                }
                Effect::Granted(lease) => self.kept.leases.push(lease),
                Effect::Ended(id) => self.kept.leases.retain(|lease| lease.id != id),
                Effect::Compacted(revision) => {
                    self.kept.history.retain(|change| change.revision > revision);
                    self.kept.compacted = revision;
                }
            }
        }
        self.kept.last_lease = ledger.last_lease();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_ledger_does_what_the_model_does(steps in prop::collection::vec(step(), 0..120)) {
        let bounds = Bounds { history_events_max: 20, ..Bounds::DEFAULT };
        let mut ledger = Ledger::new(bounds);
        let mut model = Model::default();
        let mut disk = Disk::default();
        for step in steps {
            let now = Moment::from_millis(model.now);
            match step {
                Step::Wait(ms) => {
                    model.now += ms;
                    ledger.handle_timeout(Moment::from_millis(model.now));
                    model.expire();
                }
                Step::Grant(secs) => {
                    let lease = ledger.grant(now, Duration::from_secs(secs)).unwrap();
                    model.granted += 1;
                    prop_assert_eq!(lease.id.number(), model.granted);
                    model.leases.insert(model.granted, (model.now + secs * 1000, secs * 1000));
                }
                Step::Renew(id) => {
                    let alive = ledger.keep_alive(now, LeaseId::new(id)) != KeepAlive::Gone;
                    prop_assert_eq!(alive, model.leases.contains_key(&id));
                    let now = model.now;
                    model.leases.entry(id).and_modify(|(end, ttl)| *end = now + *ttl);
                }
                Step::Revoke(id) => {
                    prop_assert_eq!(ledger.revoke(now, LeaseId::new(id)), model.leases.contains_key(&id));
                    model.end(id, Cause::Revoked);
                }
                Step::Commit(guards, ops) => {
                    let txn = txn(&model, &guards, &ops);
                    let outcome = match ledger.commit(now, &txn) {
                        Ok(Outcome::Committed) => Some(Ok(())),
                        Ok(Outcome::Refused { guard, .. }) => Some(Err(guard)),
                        Err(_) => None,
                    };
                    prop_assert_eq!(outcome, model.commit(&txn));
                }
                Step::Compact(revision) => ledger.compact(Revision::new(revision)),
                Step::Restart => {
                    ledger = Ledger::restore(bounds, now, disk.kept.clone()).unwrap();
                    let now = model.now;
                    for (end, ttl) in model.leases.values_mut() {
                        *end = now + *ttl;
                    }
                }
            }
            disk.write(&mut ledger);
            compare(&ledger, &model);
        }
    }
}
