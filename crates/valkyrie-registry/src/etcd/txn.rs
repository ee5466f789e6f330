//! Transactions: guards become compares, and where one does not hold etcd shows in the same breath what is there.

use std::collections::BTreeSet;
use std::sync::Arc;

use etcd_client::proto::{PbRangeResponse, PbTxnOpResponse};
use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, Txn as EtcdTxn, TxnOp, TxnResponse};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::cluster::{Again, Cluster};
use super::fault::Fault;
use super::place::{Place, lease_number, revision_number};
use crate::ledger::CommitError;
use crate::store::{Answer, Entry, Guard, LeaseId, Op, Outcome, StoreError, Txn};

/// The lease that marks go with: they are of use while the change is new to somebody, and are to be gone after that.
#[derive(Debug, Default)]
pub(super) struct MarksLease(Mutex<Option<(LeaseId, Instant)>>);

impl MarksLease {
    /// One that has most of its time before it.
    async fn current(&self, cluster: &Cluster) -> Result<LeaseId, StoreError> {
        let mut held = self.0.lock().await;
        match *held {
            Some((id, granted)) if granted.elapsed() < MARKS_LEASE_USE => Ok(id),
            _ => {
                let granted = Instant::now();
                let lease = super::leases::grant(cluster, MARKS_LEASE_SECONDS).await?.value;
                *held = Some((lease.id, granted));
                Ok(lease.id)
            }
        }
    }

    async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

/// Does a transaction.
pub(super) async fn commit(
    cluster: &Cluster,
    place: &Place,
    marks: &MarksLease,
    txn: &Txn,
) -> Result<Answer<Outcome>, StoreError> {
    txn.check().map_err(CommitError::from)?;
    let deletes = txn.ops().iter().any(|op| matches!(op, Op::Delete(_)));
    let mut tried = false;
    loop {
        let marks_lease = match deletes {
            true => Some(marks.current(cluster).await?),
            false => None,
        };
        let asked = encode(place, txn, marks_lease);
        let done = cluster.request(Again::No, |client| {
            let mut kv = client.kv_client();
            let asked = asked.clone();
            async move { kv.txn(asked).await }
        });
        match done.await {
            Ok(response) => return outcome(cluster, place, txn, response),
            Err(Fault::NoSuchLease) => {
                if let Some(gone) = lease_that_is_gone(cluster, txn).await? {
                    return Err(CommitError::NoSuchLease(gone).into());
                }
                // Then it was that of the marks, and nothing was done.
                if tried || !deletes {
                    let reason = "a lease ended while it was looked for";
                    return Err(StoreError::Unavailable(reason.to_owned()));
                }
                marks.forget().await;
                tried = true;
            }
            Err(fault) => return Err(fault.of_writing()),
        }
    }
}

/// Which of a transaction's leases is not there. etcd does not say.
async fn lease_that_is_gone(cluster: &Cluster, txn: &Txn) -> Result<Option<LeaseId>, StoreError> {
    let named: BTreeSet<LeaseId> = txn
        .ops()
        .iter()
        .filter_map(|op| match op {
            Op::Put { lease, .. } => *lease,
            Op::Delete(_) => None,
        })
        .collect();
    let marks = txn.ops().iter().any(|op| matches!(op, Op::Delete(_)));
    if let (1, false) = (named.len(), marks) {
        return Ok(named.first().copied());
    }
    for id in named {
        let asked = cluster.request(Again::Yes, |client| {
            let mut leases = client.lease_client();
            async move { leases.time_to_live(lease_number(id), None).await }
        });
        match asked.await {
            Ok(told) if told.ttl() < 0 => return Ok(Some(id)),
            Ok(_) => {}
            Err(Fault::NoSuchLease) => return Ok(Some(id)),
            Err(fault) => return Err(fault.of_reading()),
        }
    }
    Ok(None)
}

fn encode(place: &Place, txn: &Txn, marks_lease: Option<LeaseId>) -> EtcdTxn {
    let compares: Vec<_> = txn.guards().iter().map(|guard| compare(place, guard)).collect();
    let mut ops = Vec::with_capacity(txn.ops().len());
    let mut marks = BTreeSet::new();
    for op in txn.ops() {
        match op {
            Op::Put { key, value, lease } => {
                let options = lease.map(|id| PutOptions::new().with_lease(lease_number(id)));
                ops.push(TxnOp::put(place.key(key), value.to_vec(), options));
            }
            Op::Delete(key) => {
                ops.push(TxnOp::delete(place.key(key), None));
                marks.insert(place.mark(key));
            }
        }
    }
    let options = marks_lease.map(|id| PutOptions::new().with_lease(lease_number(id)));
    ops.extend(
        marks
            .into_iter()
            .map(|mark| TxnOp::put(mark, Vec::new(), options.clone())),
    );
    if ops.is_empty() {
        // One that does nothing would be answered by a member that may have fallen behind.
        ops.push(TxnOp::get(
            place.pulse(),
            Some(GetOptions::new().with_count_only()),
        ));
    }
    let look = |guard: &Guard| TxnOp::get(place.key(guard.key()), None);
    EtcdTxn::new()
        .when(compares)
        .and_then(ops)
        .or_else(txn.guards().iter().map(look).collect::<Vec<_>>())
}

/// A guard in etcd's words. Where nothing is, etcd takes every number for zero, so a guard that names revision zero, or one that etcd
/// cannot come to, is made one that never holds.
fn compare(place: &Place, guard: &Guard) -> Compare {
    let key = place.key(guard.key());
    let number = |revision| revision_number(revision).filter(|number| *number > 0);
    match guard {
        Guard::Absent(_) => Compare::create_revision(key, CompareOp::Equal, 0),
        Guard::Present(_) => Compare::create_revision(key, CompareOp::Greater, 0),
        Guard::Created(_, revision) => match number(*revision) {
            Some(number) => Compare::create_revision(key, CompareOp::Equal, number),
            None => Compare::create_revision(key, CompareOp::Less, 0),
        },
        Guard::Modified(_, revision) => match number(*revision) {
            Some(number) => Compare::mod_revision(key, CompareOp::Equal, number),
            None => Compare::create_revision(key, CompareOp::Less, 0),
        },
    }
}

fn outcome(
    cluster: &Cluster,
    place: &Place,
    txn: &Txn,
    mut response: TxnResponse,
) -> Result<Answer<Outcome>, StoreError> {
    let outcome = if response.succeeded() {
        Outcome::Committed
    } else {
        let looked = std::mem::take(&mut response.0.responses);
        let looked = looked.into_iter().map(|op| match op.response {
            Some(PbTxnOpResponse::ResponseRange(range)) => one(place, range),
            _ => Err(StoreError::Broken(
                "it was asked what is there and did not say".to_owned(),
            )),
        });
        refused(txn.guards(), looked)?
    };
    cluster.answer(outcome, response.header())
}

/// The first guard that does not hold of what was found.
fn refused(
    guards: &[Guard],
    looked: impl Iterator<Item = Result<Option<Arc<Entry>>, StoreError>>,
) -> Result<Outcome, StoreError> {
    for ((index, guard), found) in guards.iter().enumerate().zip(looked) {
        let found = found?;
        if !guard.holds(found.as_deref()) {
            return Ok(Outcome::Refused { guard: index, found });
        }
    }
    let reason = "it says that a guard does not hold, and shows that all do";
    Err(StoreError::Broken(reason.to_owned()))
}

/// What is at a key that was asked for.
pub(super) fn one(place: &Place, range: PbRangeResponse) -> Result<Option<Arc<Entry>>, StoreError> {
    match range.kvs.into_iter().next() {
        Some(pair) => place.entry(pair),
        None => Ok(None),
    }
}

/// How long a mark stays. Who follows changes sees it with its change whenever that is; this is for etcd, which need not keep it.
const MARKS_LEASE_SECONDS: i64 = 10;
/// For how long such a lease is used, so that it is there when etcd comes to what names it.
const MARKS_LEASE_USE: std::time::Duration = std::time::Duration::from_secs(4);
