//! Whatever is said comes back as it was, in one encoding, and what is cut short or goes on is refused.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use valkyrie_registry::ledger::CommitError;
use valkyrie_registry::store::{
    Answer, Batch, Caps, Cause, Certificate, Change, Entry, Event, Guard, KeepAlive, Lease, LeaseId, Outcome,
    Page, Revision, TXN_OPS_MAX, Txn, TxnError, VALUE_BYTES_MAX,
};
use valkyrie_registry::{Key, Moment, Prefix};

use super::*;

fn key() -> impl Strategy<Value = Key> {
    "[a-z0-9._:-]{1,20}(/[a-z0-9._:-]{1,20}){0,3}".prop_map(|text| text.parse().unwrap())
}

fn prefix() -> impl Strategy<Value = Prefix> {
    prop_oneof![
        Just(Prefix::all()),
        key().prop_map(|key| Prefix::beneath(key.as_str()).unwrap())
    ]
}

fn value() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn revision() -> impl Strategy<Value = Revision> {
    any::<u64>().prop_map(Revision::new)
}

fn lease() -> impl Strategy<Value = Option<LeaseId>> {
    proptest::option::of(any::<u64>().prop_map(LeaseId::new))
}

fn entry() -> impl Strategy<Value = Arc<Entry>> {
    (key(), value(), any::<u64>(), any::<u32>(), any::<u64>(), lease()).prop_map(
        |(key, value, created, later, version, lease)| {
            Arc::new(Entry {
                key,
                value,
                created: Revision::new(created),
                modified: Revision::new(created.saturating_add(later.into())),
                version,
                lease,
            })
        },
    )
}

fn certificate() -> impl Strategy<Value = Certificate> {
    value().prop_map(Certificate::new)
}

fn answer<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Answer<T>> {
    let at = proptest::option::of(any::<u64>().prop_map(Moment::from_millis));
    (value, revision(), at, certificate()).prop_map(|(value, revision, at, certificate)| Answer {
        value,
        revision,
        at,
        certificate,
    })
}

fn millis() -> impl Strategy<Value = Duration> {
    (1..u64::MAX).prop_map(Duration::from_millis)
}

fn txn() -> impl Strategy<Value = Txn> {
    let guard = (key(), revision(), 0..4).prop_map(|(key, revision, kind)| match kind {
        0 => Guard::Absent(key),
        1 => Guard::Present(key),
        2 => Guard::Created(key, revision),
        _ => Guard::Modified(key, revision),
    });
    let guards = proptest::collection::vec(guard, 0..5);
    let ops = proptest::collection::btree_map(key(), proptest::option::of((value(), lease())), 0..5);
    (guards, ops).prop_map(|(guards, ops)| {
        let txn = guards.into_iter().fold(Txn::new(), Txn::guard);
        ops.into_iter().fold(txn, |txn, (key, put)| match put {
            Some((value, lease)) => txn.put(key, value, lease),
            None => txn.delete(key),
        })
    })
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        Just(Request::Caps),
        key().prop_map(Request::Get),
        prefix().prop_map(Request::List),
        txn().prop_map(Request::Commit),
        millis().prop_map(Request::Grant),
        proptest::collection::vec(any::<u64>().prop_map(LeaseId::new), 0..20).prop_map(Request::KeepAlive),
        any::<u64>().prop_map(|id| Request::Revoke(LeaseId::new(id))),
        (prefix(), revision()).prop_map(|(prefix, after)| Request::Watch { prefix, after }),
    ]
}

fn caps() -> impl Strategy<Value = Caps> {
    (millis(), millis(), millis(), any::<(bool, bool, u32)>()).prop_map(
        |(min, max, slack, (causes, durable, faulty))| {
            let mut caps = Caps::new(min, max, slack);
            (caps.lease_causes, caps.durable, caps.faulty_max) = (causes, durable, faulty);
            caps
        },
    )
}

fn reply() -> impl Strategy<Value = (Method, Result<Reply, Refused>)> {
    let outcome = prop_oneof![
        Just(Outcome::Committed),
        (0..TXN_OPS_MAX, proptest::option::of(entry()))
            .prop_map(|(guard, found)| Outcome::Refused { guard, found }),
    ];
    let lease = (any::<u64>(), millis()).prop_map(|(id, ttl)| Lease {
        id: LeaseId::new(id),
        ttl,
    });
    let renewed = prop_oneof![Just(KeepAlive::Gone), millis().prop_map(KeepAlive::Alive)];
    let refused = prop_oneof![
        any::<u64>().prop_map(|id| Refused::NoSuchLease(LeaseId::new(id))),
        any::<u64>().prop_map(|max| Refused::Full(Full::Entries, max)),
    ];
    prop_oneof![
        caps().prop_map(|caps| (Method::Caps, Ok(Reply::Caps(caps)))),
        answer(proptest::option::of(entry())).prop_map(|got| (Method::Get, Ok(Reply::Got(got)))),
        answer(outcome).prop_map(|outcome| (Method::Commit, Ok(Reply::Committed(outcome)))),
        answer(lease).prop_map(|lease| (Method::Grant, Ok(Reply::Granted(lease)))),
        proptest::collection::vec(renewed, 0..20)
            .prop_map(|all| (Method::KeepAlive, Ok(Reply::Renewed(all)))),
        answer(any::<bool>()).prop_map(|was| (Method::Revoke, Ok(Reply::Revoked(was)))),
        refused.prop_map(|refused| (Method::Commit, Err(refused))),
    ]
}

fn change(revision: Revision) -> impl Strategy<Value = Arc<Change>> {
    let cause = prop_oneof![
        Just(Cause::Deleted),
        Just(Cause::Expired),
        Just(Cause::Revoked),
        Just(Cause::LeaseEnded),
        Just(Cause::Unseen),
    ];
    let event = prop_oneof![
        (entry(), 0..=revision.number()).prop_map(move |(entry, created)| {
            Event::Put(Arc::new(Entry {
                created: Revision::new(created),
                modified: revision,
                ..(*entry).clone()
            }))
        }),
        (key(), cause).prop_map(|(key, cause)| Event::Deleted { key, cause }),
    ];
    proptest::collection::vec(event, 1..4).prop_map(move |events| Arc::new(Change { revision, events }))
}

fn batch() -> impl Strategy<Value = Batch> {
    (
        proptest::collection::btree_set(any::<u32>(), 0..4),
        any::<u32>(),
        certificate(),
    )
        .prop_flat_map(|(revisions, further, certificate)| {
            let last = revisions.last().copied().unwrap_or(0);
            let upto = Revision::new(u64::from(last) + u64::from(further));
            let changes: Vec<_> = revisions
                .into_iter()
                .map(|revision| change(Revision::new(revision.into())))
                .collect();
            changes.prop_map(move |changes| Batch {
                changes,
                revision: upto,
                certificate: certificate.clone(),
            })
        })
}

fn page() -> impl Strategy<Value = Page> {
    (proptest::collection::vec(entry(), 1..5), certificate()).prop_map(|(mut entries, certificate)| {
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        entries.dedup_by(|a, b| a.key == b.key);
        Page { entries, certificate }
    })
}

/// Every beginning of a message is none, and neither is a message with something behind it.
fn whole<T>(bytes: &Bytes, read: impl Fn(&[u8]) -> Result<T, WireError>) {
    for len in 0..bytes.len() {
        assert!(read(&bytes[..len]).is_err(), "cut at {len}");
    }
    let longer = [bytes, &b"\0"[..]].concat();
    assert!(read(&longer).is_err());
}

proptest! {
    #[test]
    fn requests_come_back_as_they_were(request in request()) {
        let bytes = request.encode().unwrap();
        prop_assert_eq!(Request::decode(request.method(), &bytes), Ok(request.clone()));
        whole(&bytes, |bytes| Request::decode(request.method(), bytes));
    }

    #[test]
    fn answers_come_back_as_they_were((method, answer) in reply()) {
        let bytes = Reply::encode(&answer).unwrap();
        prop_assert_eq!(Reply::decode(method, &bytes), Ok(answer));
        whole(&bytes, |bytes| Reply::decode(method, bytes));
    }

    #[test]
    fn pages_come_back_as_they_were(page in page(), head in answer(Just(()))) {
        for message in [ListMessage::Begun(head), ListMessage::Page(page)] {
            let bytes = message.encode().unwrap();
            prop_assert_eq!(ListMessage::decode(&bytes), Ok(message));
            whole(&bytes, ListMessage::decode);
        }
    }

    #[test]
    fn batches_come_back_as_they_were(batch in batch(), number in any::<u64>()) {
        let number = Revision::new(number);
        for message in [
            WatchMessage::Begun,
            WatchMessage::Batch(batch),
            WatchMessage::Ended(WatchEnd::Compacted(number)),
            WatchMessage::Ended(WatchEnd::Behind(number)),
        ] {
            let bytes = message.encode().unwrap();
            prop_assert_eq!(WatchMessage::decode(&bytes), Ok(message));
            whole(&bytes, WatchMessage::decode);
        }
    }
}

fn large(number: u64) -> Arc<Entry> {
    Arc::new(Entry {
        key: format!("a/{number:03}").parse().unwrap(),
        value: Bytes::from(vec![7; VALUE_BYTES_MAX]),
        created: Revision::new(number),
        modified: Revision::new(number),
        version: 1,
        lease: None,
    })
}

#[test]
fn long_pages_are_cut_and_no_message_is_much_longer_than_it_should_be() {
    let entries: Vec<_> = (1..=10).map(large).collect();
    let page = Page {
        entries: entries.clone(),
        certificate: Certificate::none(),
    };
    let messages: Vec<_> = ListMessage::cut(page).collect();
    assert!(messages.len() > 5);
    let mut again = Vec::new();
    for message in messages {
        assert!(message.encode().unwrap().len() <= MESSAGE_BYTES_AIM + 2 * VALUE_BYTES_MAX);
        let ListMessage::Page(page) = message else {
            panic!("{message:?}")
        };
        again.extend(page.entries);
    }
    assert_eq!(again, entries);
}

#[test]
fn a_batch_is_cut_between_changes_and_goes_as_far_as_it_went() {
    let change = |number| {
        let events = vec![Event::Put(large(number))];
        let revision = Revision::new(number);
        Arc::new(Change { revision, events })
    };
    let batch = Batch {
        changes: (1..=5).map(change).collect(),
        revision: Revision::new(9),
        certificate: Certificate::none(),
    };
    let messages = WatchMessage::cut(batch.clone());
    assert!(messages.len() > 1);
    let mut changes = Vec::new();
    let mut upto = Revision::NONE;
    for message in messages {
        let WatchMessage::Batch(part) = message else {
            panic!("{message:?}")
        };
        assert!(part.revision > upto);
        upto = part.revision;
        assert!(part.changes.last().unwrap().revision <= upto);
        changes.extend(part.changes);
    }
    assert_eq!((changes, upto), (batch.changes.clone(), batch.revision));
    let nothing = Batch {
        changes: Vec::new(),
        ..batch
    };
    assert_eq!(WatchMessage::cut(nothing.clone()), [WatchMessage::Batch(nothing)]);
}

#[test]
fn the_largest_transaction_is_a_request_and_a_larger_one_is_told() {
    let value = Bytes::from(vec![0; VALUE_BYTES_MAX - 300]);
    let mut txn = Txn::new();
    for number in 0..32 {
        let long = format!("{}/{number:03}", "k".repeat(250)).parse::<Key>().unwrap();
        txn = txn.put(long, value.clone(), Some(LeaseId::new(1)));
    }
    for number in 0..64 {
        let long = format!("{}/{number:03}", "g".repeat(250)).parse::<Key>().unwrap();
        txn = txn.guard(Guard::Modified(long, Revision::new(1)));
    }
    let bytes = Request::Commit(txn.clone()).encode().unwrap();
    assert!(bytes.len() > 1_000_000 && bytes.len() <= REQUEST_BYTES_MAX);
    assert_eq!(
        Request::decode(Method::Commit, &bytes),
        Ok(Request::Commit(txn.clone()))
    );
    let twice = Txn::new()
        .delete("a".parse().unwrap())
        .delete("a".parse().unwrap());
    assert!(matches!(
        Request::Commit(twice).encode(),
        Err(WireError::Txn(TxnError::Twice(_)))
    ));
    let long = vec![0; REQUEST_BYTES_MAX + 1];
    assert!(matches!(
        Request::decode(Method::Get, &long),
        Err(WireError::TooLong { .. })
    ));
}

#[test]
fn what_a_store_refuses_is_refused_in_the_same_words_elsewhere() {
    for error in [
        CommitError::NoSuchLease(LeaseId::new(7)),
        CommitError::Full("leases", 64),
        CommitError::Full("keys under one lease", 256),
        CommitError::Full("entries", 1_000_000),
    ] {
        assert_eq!(CommitError::from(Refused::of(&error).unwrap()), error);
    }
    // Words that are known to one side only are still a refusal.
    let refused = Refused::of(&CommitError::Full("wishes", 3)).unwrap();
    assert!(matches!(CommitError::from(refused), CommitError::Full(_, 3)));
}

#[test]
fn times_are_rounded_to_the_side_of_whoever_relies_on_them() {
    let asked = Request::Grant(Duration::from_micros(1500)).encode().unwrap();
    assert_eq!(
        Request::decode(Method::Grant, &asked),
        Ok(Request::Grant(Duration::from_millis(2)))
    );
    let granted = Reply::Renewed(vec![KeepAlive::Alive(Duration::from_micros(1500))]);
    let bytes = Reply::encode(&Ok(granted)).unwrap();
    let promised = Reply::Renewed(vec![KeepAlive::Alive(Duration::from_millis(1))]);
    assert_eq!(Reply::decode(Method::KeepAlive, &bytes), Ok(Ok(promised)));
}
