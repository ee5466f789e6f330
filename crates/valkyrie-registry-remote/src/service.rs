//! A store for others: the handlers of a registry, and who may do what with them.
//!
//! Whoever may call the service [`SERVICE`] at all may read everything. It may write at the places of its own agents, under leases that it was
//! granted, and nowhere else: the records there are signed, so what anybody else wrote would be refused by every reader, and what anybody
//! else deleted would be an agent that is not seen. The service [`OPERATOR_SERVICE`] has no such limits. Who may call which is for the policy
//! of the endpoint.
//!
//! Read [`service()`] first.

mod leases;
mod places;
mod streams;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use valkyrie_endpoint::security::Fingerprint;
use valkyrie_endpoint::{Context, ErrorCode, Failure, ServicesBuilder};
use valkyrie_registry::agent::AgentId;
use valkyrie_registry::ledger::CommitError;
use valkyrie_registry::store::{Answer, KeepAlive, Lease, LeaseId, Op, Store, StoreError, Txn};

use self::leases::Leases;
use self::places::Places;
use crate::fault::{invalid, to_failure, unsayable};
use crate::wire::{Method, OPERATOR_SERVICE, Refused, Reply, Request, SERVICE};

/// What peers of a registry may have at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceBounds {
    /// Listings that a connection may have open. Each holds the store's state of the moment when it began.
    pub listings_per_connection_max: usize,
    /// Watches that a connection may have open. A program needs one for each view.
    pub watches_per_connection_max: usize,
    /// Watches of all connections together. Each holds, while its peer is slow, a full queue of its stream and one message: unless the endpoint
    /// is told otherwise 320 KiB, and 1.3 GiB if all are slow at once.
    pub watches_max: usize,
    /// Leases that an identity may hold. A node needs one for each of its agents.
    pub leases_per_identity_max: usize,
    /// How long the next message of a listing may wait for its reader, which holds an old state of the store for so long.
    pub listing_stall: Duration,
}

impl ServiceBounds {
    /// For a registry that anybody with an identity may use: a thousand watchers, with room for four times as many.
    pub const DEFAULT: Self = Self {
        listings_per_connection_max: 8,
        watches_per_connection_max: 64,
        watches_max: 4096,
        leases_per_identity_max: 64,
        listing_stall: Duration::from_secs(30),
    };
}

impl Default for ServiceBounds {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Adds the handlers of a registry to `builder`: the services [`SERVICE`] and [`OPERATOR_SERVICE`] over `store`.
///
/// Nothing of them is permitted to anybody until the endpoint's policy says so; see [`default_policy`](crate::default_policy).
pub fn service(builder: ServicesBuilder, store: Arc<dyn Store>, bounds: ServiceBounds) -> ServicesBuilder {
    let registry = Arc::new(Registry {
        leases: Mutex::new(Leases::new(bounds.leases_per_identity_max)),
        places: Arc::new(Places::new(bounds)),
        store,
        bounds,
    });
    let mut builder = builder;
    for (service, scope) in [(SERVICE, Scope::Own), (OPERATOR_SERVICE, Scope::Everything)] {
        for method in Method::ALL {
            if method.is_stream() {
                if scope == Scope::Own {
                    let registry = Arc::clone(&registry);
                    builder = builder.stream(service, method.name(), move |context, send, recv| {
                        streams::serve(Arc::clone(&registry), method, context, send, recv)
                    });
                }
            } else if scope == Scope::Own || method.writes() {
                let registry = Arc::clone(&registry);
                builder = builder.unary(service, method.name(), move |context, payload| {
                    let registry = Arc::clone(&registry);
                    async move { registry.answer(scope, method, context, payload).await }
                });
            }
        }
    }
    builder
}

/// What a caller may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// What is its own.
    Own,
    /// Everything.
    Everything,
}

/// On whose behalf something is written; nobody's where everything may be.
type Writer = Option<Fingerprint>;

struct Registry {
    store: Arc<dyn Store>,
    bounds: ServiceBounds,
    leases: Mutex<Leases>,
    places: Arc<Places>,
}

impl Registry {
    async fn answer(
        self: Arc<Self>,
        scope: Scope,
        method: Method,
        context: Context,
        payload: Bytes,
    ) -> Result<Bytes, Failure> {
        let request = Request::decode(method, &payload).map_err(|error| invalid(&error))?;
        let writer = match (scope, method.writes()) {
            (Scope::Own, true) => Some(writer(&context)?),
            _ => None,
        };
        let answer = match self.act(request, writer).await {
            Ok(reply) => Ok(reply),
            Err(StoreError::Refused(error)) => {
                Err(Refused::of(&error).map_err(|error| to_failure(CommitError::from(error).into()))?)
            }
            Err(error) => return Err(to_failure(error)),
        };
        Reply::encode(&answer).map_err(|error| unsayable(&error))
    }

    async fn act(self: Arc<Self>, request: Request, writer: Writer) -> Result<Reply, StoreError> {
        Ok(match request {
            Request::Caps => Reply::Caps(self.store.caps()),
            Request::Get(key) => Reply::Got(self.store.get(&key).await?),
            Request::Commit(txn) => {
                if let Some(writer) = writer {
                    self.may_commit(writer, &txn).await?;
                }
                Reply::Committed(self.store.commit(txn).await?)
            }
            Request::Grant(ttl) => {
                // A caller that goes away in between must not leave a lease behind that nobody counts.
                let granting = tokio::spawn(self.grant(writer, ttl));
                let granted = granting
                    .await
                    .map_err(|error| StoreError::Unknown(error.to_string()))?;
                Reply::Granted(granted?)
            }
            Request::KeepAlive(ids) => Reply::Renewed(self.keep_alive(writer, ids).await?),
            Request::Revoke(id) => Reply::Revoked(self.revoke(writer, id).await?),
            Request::List(_) | Request::Watch { .. } => unreachable!("streams are served as such"),
        })
    }

    /// Whether all that a transaction writes is the writer's own, under leases of its own.
    ///
    /// Guards may be about anything, since everything may be read.
    async fn may_commit(&self, writer: Fingerprint, txn: &Txn) -> Result<(), StoreError> {
        for op in txn.ops() {
            let own = AgentId::from_key(op.key()).is_some_and(|id| id.owner() == writer);
            if !own {
                let text = format!("{} is no place of an agent of the caller's", op.key());
                return Err(StoreError::Denied(text));
            }
        }
        let mut under = Vec::new();
        for op in txn.ops() {
            match op {
                Op::Delete(_) => {}
                Op::Put { lease: Some(id), .. } => under.push(*id),
                Op::Put { key, lease: None, .. } => {
                    let text = format!("{key} has to be written under a lease, or it would stay for ever");
                    return Err(StoreError::Denied(text));
                }
            }
        }
        let owned = self.owned(writer, &under).await?;
        match under.into_iter().find(|id| !owned.contains(id)) {
            Some(id) => Err(CommitError::NoSuchLease(id).into()),
            None => Ok(()),
        }
    }

    async fn grant(self: Arc<Self>, writer: Writer, ttl: Duration) -> Result<Answer<Lease>, StoreError> {
        let Some(writer) = writer else {
            return self.store.grant(ttl).await;
        };
        self.leases(|leases, now| leases.reserve(now, writer))?;
        let granted = self.store.grant(ttl).await;
        self.leases(|leases, now| match &granted {
            Ok(answer) => leases.granted(now, writer, answer.value),
            Err(_) => leases.release(writer),
        });
        granted
    }

    /// Leases of others are, to a writer, leases that are not there.
    async fn keep_alive(&self, writer: Writer, ids: Vec<LeaseId>) -> Result<Vec<KeepAlive>, StoreError> {
        let Some(writer) = writer else {
            return self.store.keep_alive(&ids).await;
        };
        let owned = self.owned(writer, &ids).await?;
        let owned: Vec<LeaseId> = ids.iter().copied().filter(|id| owned.contains(id)).collect();
        let renewed = self.store.keep_alive(&owned).await?;
        self.leases(|leases, now| {
            for (id, renewed) in owned.iter().zip(&renewed) {
                match renewed {
                    KeepAlive::Alive(ttl) => leases.renewed(now, writer, Lease { id: *id, ttl: *ttl }),
                    KeepAlive::Gone => leases.ended(*id),
                }
            }
        });
        let mut answers = owned.iter().zip(renewed).peekable();
        let of = |id: &LeaseId| match answers.next_if(|(owned, _)| *owned == id) {
            Some((_, renewed)) => renewed,
            None => KeepAlive::Gone,
        };
        Ok(ids.iter().map(of).collect())
    }

    async fn revoke(&self, writer: Writer, id: LeaseId) -> Result<Answer<bool>, StoreError> {
        if let Some(writer) = writer
            && !self.owned(writer, &[id]).await?.contains(&id)
        {
            let now = self.store.list(&AgentId::prefix_of(writer)).await?;
            return Ok(now.map(|_| false));
        }
        let revoked = self.store.revoke(id).await?;
        self.leases(|leases, _| leases.ended(id));
        Ok(revoked)
    }

    /// Which of these leases are the writer's. Who has which is remembered for as long as this process lives; of a lease from before, which a
    /// durable store has kept, the entries beneath it say whose it is.
    async fn owned(&self, writer: Fingerprint, ids: &[LeaseId]) -> Result<HashSet<LeaseId>, StoreError> {
        let (mut owned, mut unknown) = (HashSet::new(), HashSet::new());
        self.leases(|leases, now| {
            for id in ids {
                match leases.owner(now, *id) {
                    Some(owner) if owner == writer => drop(owned.insert(*id)),
                    Some(_) => {}
                    None => drop(unknown.insert(*id)),
                }
            }
        });
        if unknown.is_empty() {
            return Ok(owned);
        }
        // Looked through once, however many leases somebody asks about.
        let mut places = self.store.list(&AgentId::prefix_of(writer)).await?.value;
        while let Some(page) = places.next(OWN_PAGE_ENTRIES).await? {
            let leases = page.entries.iter().filter_map(|entry| entry.lease);
            owned.extend(leases.filter(|id| unknown.contains(id)));
        }
        Ok(owned)
    }

    fn leases<T>(&self, work: impl FnOnce(&mut Leases, Instant) -> T) -> T {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut leases, Instant::now())
    }
}

/// Who writes. Without an identity nobody does: there is nothing that would be its own.
fn writer(context: &Context) -> Result<Fingerprint, Failure> {
    context.identity().fingerprint().ok_or_else(|| {
        let text = "only who proves an identity may write here, at the places of its own agents";
        Failure::new(ErrorCode::PERMISSION_DENIED, text)
    })
}

/// Entries that are looked through at a time for those of one identity; there are seldom more than a few.
const OWN_PAGE_ENTRIES: usize = 256;
