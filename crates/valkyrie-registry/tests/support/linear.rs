//! Histories of what six clients of a store saw at once, about one key each, and whether there is one order in which it could have
//! happened, by somebody else's checker.

#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use todc_utils::{Action, History, Specification, WGLChecker};
use valkyrie_registry::store::{Guard, Outcome, Revision, StoreError, Txn};
use valkyrie_registry::{Key, Store};

/// What a client did to the key, and what it was told. Values are numbers, each written once; 0 is absence.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Read {
        value: u64,
        modified: u64,
    },
    Write {
        value: u64,
        revision: u64,
    },
    Delete {
        revision: u64,
    },
    /// Written if the key was as read at a revision.
    Swap {
        from: u64,
        value: u64,
        swapped: bool,
        revision: u64,
    },
    /// The store went away before it answered. It happened at some time after it was asked for, or not at all.
    Unknown {
        value: u64,
        from: Option<u64>,
    },
}

struct Place;

/// The value, and the revision that wrote it: 0 where nobody was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    value: u64,
    modified: u64,
    /// The last revision that anybody was told of.
    last: u64,
}

impl State {
    fn is(&self, value: u64, modified: u64) -> bool {
        self.value == value && (value == 0 || self.modified == 0 || self.modified == modified)
    }

    /// What was written at a revision, which must be later than all before.
    fn then(self, value: u64, revision: u64) -> (bool, Self) {
        match revision > self.last {
            true => (
                true,
                Self {
                    value,
                    modified: revision,
                    last: revision,
                },
            ),
            false => (false, self),
        }
    }
}

impl Specification for Place {
    type State = State;
    type Operation = Op;

    fn init() -> State {
        State {
            value: 0,
            modified: 0,
            last: 0,
        }
    }

    fn apply(op: &Op, state: &State) -> (bool, State) {
        let state = *state;
        // Of what nobody was told the revision of, the revision is whatever somebody names first.
        let from_there =
            |from: u64| from != 0 && state.value != 0 && (state.modified == from || state.modified == 0);
        match *op {
            Op::Read { value, modified } => (state.is(value, modified), state),
            Op::Write { value, revision } => state.then(value, revision),
            // A delete of nothing has no revision of its own.
            Op::Delete { revision } if state.value == 0 => (revision >= state.last, state),
            Op::Delete { revision } => state.then(0, revision),
            Op::Swap {
                from,
                value,
                swapped: true,
                revision,
            } if from_there(from) => state.then(value, revision),
            Op::Swap { swapped: true, .. } => (false, state),
            Op::Swap {
                from, swapped: false, ..
            } => (from == 0 || state.value == 0 || state.modified != from, state),
            Op::Unknown { from: Some(from), .. } if !from_there(from) => (true, state),
            Op::Unknown { value, .. } => (
                true,
                State {
                    value,
                    modified: 0,
                    ..state
                },
            ),
        }
    }
}

fn put(key: &Key, value: u64) -> Txn {
    Txn::new().put(key.clone(), Bytes::from(value.to_string()), None)
}

/// One client's turn: what to do is random, what came of it is in the answer. `None` for a read that nobody answered.
async fn turn(store: &dyn Store, key: &Key, value: u64, dice: u64, seen: &mut u64) -> Option<Op> {
    if dice % 10 < 4 {
        let entry = store.get(key).await.ok()?.value;
        let (value, modified) = entry.map_or((0, 0), |entry| {
            let value = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
            (value, entry.modified.number())
        });
        *seen = modified;
        return Some(Op::Read { value, modified });
    }
    let (txn, from, value) = match dice % 10 {
        4..7 => (put(key, value), None, value),
        7 => (Txn::new().delete(key.clone()), None, 0),
        _ => {
            let guard = Guard::Modified(key.clone(), Revision::new(*seen));
            (put(key, value).guard(guard), Some(*seen), value)
        }
    };
    let answer = match store.commit(txn).await {
        Ok(answer) => answer,
        Err(StoreError::Unknown(_)) => return Some(Op::Unknown { value, from }),
        Err(StoreError::Unavailable(_)) => return None,
        Err(error) => panic!("{error}"),
    };
    let revision = answer.revision.number();
    let swapped = answer.value == Outcome::Committed;
    Some(match (from, value) {
        (Some(from), _) => Op::Swap {
            from,
            value,
            swapped,
            revision,
        },
        (None, 0) => Op::Delete { revision },
        (None, _) => Op::Write { value, revision },
    })
}

/// Six clients, so many turns each, about one key. What happened in which order, as far as anybody could see.
pub(crate) async fn history(
    store: Arc<dyn Store>,
    key: Key,
    seed: u64,
    turns: usize,
) -> Vec<(usize, Action<Op>)> {
    // A call is entered when it is made, with what is known of it only later.
    let log: Arc<Mutex<Vec<(usize, Entered)>>> = Arc::default();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (store, key, log) = (Arc::clone(&store), key.clone(), Arc::clone(&log));
            tokio::spawn(async move {
                let mut dice = seed * 1000 + client as u64;
                let mut seen = 0;
                for round in 0..turns {
                    dice = dice
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let number = client * turns + round;
                    log.lock().unwrap().push((number, Entered::Called));
                    let op = turn(&*store, &key, 1 + number as u64, dice >> 33, &mut seen).await;
                    log.lock().unwrap().push((number, Entered::Answered(op)));
                    // Memory never waits by itself, and clients that never alternate show nothing.
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let log = log.lock().unwrap();
    let answer_of = |number: usize| {
        log.iter().find_map(|(other, entered)| match entered {
            Entered::Answered(op) if *other == number => *op,
            _ => None,
        })
    };
    // Each call is a process of its own, so that one without an answer may last until the end.
    let mut actions = Vec::new();
    let mut without_end = Vec::new();
    for (number, entered) in log.iter() {
        let Some(op) = answer_of(*number) else { continue };
        match (entered, op) {
            (Entered::Called, _) => actions.push((*number, Action::Call(op))),
            (Entered::Answered(_), Op::Unknown { .. }) => without_end.push((*number, Action::Response(op))),
            (Entered::Answered(_), _) => actions.push((*number, Action::Response(op))),
        }
    }
    actions.extend(without_end);
    actions
}

enum Entered {
    Called,
    Answered(Option<Op>),
}

/// Whether there is an order in which all of it could have happened.
pub(crate) fn linearizable(actions: Vec<(usize, Action<Op>)>) -> bool {
    WGLChecker::<Place>::is_linearizable(History::from_actions(actions))
}

const CLIENTS: usize = 6;
