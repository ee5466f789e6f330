//! Leases: etcd counts whole seconds, raises what is too short, and says what it granted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Client, Error};
use tokio::task::JoinSet;

use super::cluster::{Again, Cluster};
use super::fault::Fault;
use super::place::{lease, lease_number};
use crate::store::{Answer, Certificate, KeepAlive, Lease, LeaseId, StoreError};

/// Grants a lease of so many seconds, or of as many as etcd makes of it.
pub(super) async fn grant(cluster: &Cluster, seconds: i64) -> Result<Answer<Lease>, StoreError> {
    // One that was granted and not told of ends by itself.
    let asked = cluster.request(Again::Yes, |client| {
        let mut leases = client.lease_client();
        async move { leases.grant(seconds, None).await }
    });
    let granted = asked.await.map_err(Fault::of_reading)?;
    if granted.ttl() < seconds || granted.id() == 0 {
        let reason = format!("it grants {} seconds for {seconds}", granted.ttl());
        return Err(StoreError::Broken(reason));
    }
    let value = Lease {
        id: lease(granted.id()),
        ttl: Duration::from_secs(granted.ttl().unsigned_abs()),
    };
    cluster.answer(value, granted.header())
}

/// Ends a lease. Whether there was one.
pub(super) async fn revoke(cluster: &Cluster, id: LeaseId) -> Result<Answer<bool>, StoreError> {
    let asked = cluster.request(Again::No, |client| {
        let mut leases = client.lease_client();
        async move { leases.revoke(lease_number(id)).await }
    });
    match asked.await {
        Ok(revoked) => cluster.answer(true, revoked.header()),
        Err(Fault::NoSuchLease) => Ok(Answer {
            value: false,
            revision: cluster.revision().await?,
            at: None,
            certificate: Certificate::none(),
        }),
        Err(fault) => Err(fault.of_writing()),
    }
}

/// What leases were granted, which etcd never changes and the client library does not say with a renewal.
#[derive(Debug, Default)]
pub(super) struct Granted(Mutex<HashMap<LeaseId, Duration>>);

impl Granted {
    pub(super) fn remember(&self, lease: Lease) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= GRANTED_MAX {
            known.clear();
        }
        known.insert(lease.id, lease.ttl);
    }

    pub(super) fn forget(&self, id: LeaseId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn ttl(&self, id: LeaseId) -> Option<Duration> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .copied()
    }
}

/// Renews leases, several at a time.
pub(super) async fn keep_alive(
    cluster: &Arc<Cluster>,
    granted: &Arc<Granted>,
    ids: &[LeaseId],
) -> Result<Vec<KeepAlive>, StoreError> {
    if let [id] = ids {
        return Ok(vec![renew(cluster, granted, *id).await?]);
    }
    let mut renewed = vec![KeepAlive::Gone; ids.len()];
    let mut under_way = JoinSet::new();
    let mut ids = ids.iter().copied().enumerate();
    loop {
        while under_way.len() < RENEWALS_AT_ONCE
            && let Some((index, id)) = ids.next()
        {
            let (cluster, granted) = (Arc::clone(cluster), Arc::clone(granted));
            under_way.spawn(async move { (index, renew(&cluster, &granted, id).await) });
        }
        match under_way.join_next().await {
            None => return Ok(renewed),
            Some(Ok((index, answer))) => renewed[index] = answer?,
            Some(Err(_)) => return Err(StoreError::Unavailable("the runtime ends".to_owned())),
        }
    }
}

async fn renew(cluster: &Cluster, granted: &Granted, id: LeaseId) -> Result<KeepAlive, StoreError> {
    let known = granted.ttl(id);
    // Renewed twice it lasts no longer.
    let asked = cluster.request(Again::Yes, |client| renew_at(client, id, known));
    match asked.await {
        Ok(Some(ttl)) => {
            if known.is_none() {
                granted.remember(Lease { id, ttl });
            }
            Ok(KeepAlive::Alive(ttl))
        }
        Ok(None) | Err(Fault::NoSuchLease) => {
            granted.forget(id);
            Ok(KeepAlive::Gone)
        }
        Err(fault) => Err(fault.of_reading()),
    }
}

/// Renews once, and once more where the time is not known, because the library keeps the first answer to itself.
fn renew_at(
    client: &Client,
    id: LeaseId,
    known: Option<Duration>,
) -> impl Future<Output = Result<Option<Duration>, Error>> + Send + use<> {
    let mut leases = client.lease_client();
    async move {
        let (mut keeper, mut answers) = leases.keep_alive(lease_number(id)).await?;
        if known.is_some() {
            return Ok(known);
        }
        keeper.keep_alive().await?;
        let answer = answers.message().await?;
        let answer = answer.ok_or_else(|| Error::LeaseKeepAliveError("the stream ended".to_owned()))?;
        Ok(u64::try_from(answer.ttl())
            .ok()
            .filter(|ttl| *ttl > 0)
            .map(Duration::from_secs))
    }
}

/// Renewals under way at once: as many streams, on one connection.
const RENEWALS_AT_ONCE: usize = 64;
/// Leases whose time is remembered: those of a large fleet, at some tens of bytes each. Past that all are asked for again.
const GRANTED_MAX: usize = 100_000;
