//! An agent's side of a store: it registers under a lease, renews, says something else about itself, and leaves.
//!
//! It keeps no time and starts no task: its caller says what time it is and renews about three times in the time of a lease. Read
//! [`Registrar::register`] first.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use valkyrie_security::UnixTime;
use valkyrie_security::identity::SigningKey;

use crate::agent::{AgentId, AgentIdError, Description, Incarnation, Word};
use crate::directory::{Member, RECORD_LIFETIME_MAX};
use crate::record::{Record, SealError};
use crate::store::{Entry, Guard, KeepAlive, Lease, Outcome, Revision, Store, StoreError, Txn};

/// Registers an agent of one identity at a store.
#[derive(Clone)]
pub struct Registrar {
    store: Arc<dyn Store>,
    cluster: Word,
    id: AgentId,
    key: Arc<SigningKey>,
}

/// An agent that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    id: AgentId,
    incarnation: Incarnation,
    sequence: u64,
    lease: Lease,
    created: Revision,
    modified: Revision,
    not_after: UnixTime,
}

impl Registration {
    /// Who is registered.
    pub fn id(&self) -> &AgentId {
        &self.id
    }

    /// In which life.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Under which lease, and for how long that was granted.
    pub fn lease(&self) -> Lease {
        self.lease
    }

    /// The change that made its entry: the token that fences off whoever had the place before.
    pub fn created(&self) -> Revision {
        self.created
    }

    /// The change that wrote its record.
    pub fn modified(&self) -> Revision {
        self.modified
    }

    /// How often to renew: so that two renewals may be lost.
    pub fn renew_every(&self) -> Duration {
        self.lease.ttl / 3
    }

    /// When to write its record anew with [`Registrar::update`], whether or not anything else has changed: half of its life
    /// before it ends.
    pub fn update_by(&self) -> UnixTime {
        self.not_after.saturating_sub(RECORD_LIFETIME_MAX / 2)
    }
}

impl Registrar {
    /// For the agent `instance` of the identity with this key.
    ///
    /// # Errors
    /// [`AgentIdError`]: the caller's instance has a `/`.
    pub fn new(
        store: Arc<dyn Store>,
        cluster: Word,
        instance: Word,
        key: Arc<SigningKey>,
    ) -> Result<Self, AgentIdError> {
        let id = AgentId::new(key.fingerprint(), instance)?;
        Ok(Self {
            store,
            cluster,
            id,
            key,
        })
    }

    /// Who it registers.
    pub fn id(&self) -> &AgentId {
        &self.id
    }

    /// Registers in a new life, in place of an earlier one if its entry is still there.
    ///
    /// The new life has a greater number than the one that is there, and than the milliseconds since 1970: an
    /// agent whose entry is gone and whose clock was put back registers in vain until readers have forgotten it, a day at most.
    ///
    /// # Errors
    /// [`RegisterError`]. After [`StoreError::Unknown`] the agent may be registered; it then ends with its lease, unless it is
    /// registered once more.
    pub async fn register(
        &self,
        now: UnixTime,
        description: &Description,
        ttl: Duration,
    ) -> Result<Registration, RegisterError> {
        let key = self.id.key();
        for _ in 0..ATTEMPTS {
            let found = self.store.get(&key).await?.value;
            let incarnation = self.next_incarnation(now, found.as_deref());
            let record = self.seal(now, (incarnation, 0), description)?;
            let lease = self.store.grant(ttl).await?.value;
            let guard = match &found {
                None => Guard::Absent(key.clone()),
                Some(entry) => Guard::Modified(key.clone(), entry.modified),
            };
            let txn = Txn::new()
                .guard(guard)
                .put(key.clone(), record.as_bytes().clone(), Some(lease.id));
            let answer = self.store.commit(txn).await?;
            if answer.value == Outcome::Committed {
                return Ok(Registration {
                    id: self.id.clone(),
                    incarnation,
                    sequence: 0,
                    lease,
                    // An entry that was there keeps the change that created it.
                    created: found.map_or(answer.revision, |entry| entry.created),
                    modified: answer.revision,
                    not_after: record.not_after(),
                });
            }
            // Somebody else wrote there in between; their lease is not ours to keep.
            self.store.revoke(lease.id).await?;
        }
        Err(RegisterError::Contended)
    }

    /// Renews the lease. False when it has ended: the agent is not registered any more.
    ///
    /// # Errors
    /// [`StoreError`]; it may have been renewed.
    pub async fn renew(&self, registration: &Registration) -> Result<bool, StoreError> {
        let renewed = self.store.keep_alive(&[registration.lease.id]).await?;
        Ok(matches!(renewed[..], [KeepAlive::Alive(_)]))
    }

    /// Says something else about the agent, or the same for longer.
    ///
    /// # Errors
    /// [`RegisterError::Lost`] when the registration is not there any more. After [`StoreError::Unknown`] register anew.
    pub async fn update(
        &self,
        now: UnixTime,
        registration: &mut Registration,
        description: &Description,
    ) -> Result<(), RegisterError> {
        let key = self.id.key();
        let numbers = (registration.incarnation, registration.sequence.saturating_add(1));
        let record = self.seal(now, numbers, description)?;
        let txn = Txn::new()
            .guard(Guard::Modified(key.clone(), registration.modified))
            .put(key, record.as_bytes().clone(), Some(registration.lease.id));
        let answer = match self.store.commit(txn).await {
            Err(StoreError::Refused(crate::ledger::CommitError::NoSuchLease(_))) => {
                return Err(RegisterError::Lost);
            }
            answer => answer?,
        };
        match answer.value {
            Outcome::Committed => {
                registration.sequence = numbers.1;
                registration.modified = answer.revision;
                registration.not_after = record.not_after();
                Ok(())
            }
            Outcome::Refused { .. } => Err(RegisterError::Lost),
        }
    }

    /// Leaves: deletes the entry, if it is still of this registration, and gives the lease back.
    ///
    /// # Errors
    /// [`StoreError`]; what is left ends with the lease.
    pub async fn deregister(&self, registration: Registration) -> Result<(), StoreError> {
        let key = self.id.key();
        let txn = Txn::new()
            .guard(Guard::Modified(key.clone(), registration.modified))
            .delete(key);
        self.store.commit(txn).await?;
        self.store.revoke(registration.lease.id).await?;
        Ok(())
    }

    fn next_incarnation(&self, now: UnixTime, found: Option<&Entry>) -> Incarnation {
        let open = |entry: &Entry| Record::open(&self.cluster, &entry.key, &entry.value).ok();
        // What is not a record of this agent has no incarnation and is written over.
        let before = found.and_then(open).map(|record| record.incarnation().number());
        let next = before.map_or(0, |before| before.saturating_add(1));
        Incarnation::new(next.max(now.millis()))
    }

    fn seal(
        &self,
        now: UnixTime,
        numbers: (Incarnation, u64),
        description: &Description,
    ) -> Result<Record, SealError> {
        let not_after = now.saturating_add(RECORD_LIFETIME_MAX);
        let instance = self.id.instance();
        Record::seal(
            &self.cluster,
            instance,
            numbers,
            not_after,
            description,
            &self.key,
        )
    }
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrar")
            .field("cluster", &self.cluster)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Deletes the entry of an agent that was judged, if it is still the one that was judged. Whether it was.
///
/// An agent that has written anything since, above all one that has registered anew, is not removed: the verdict was about its former
/// self.
///
/// # Errors
/// [`StoreError`]; after [`StoreError::Unknown`] it may have been removed.
pub async fn remove(store: &dyn Store, judged: &Member) -> Result<bool, StoreError> {
    let key = judged.id().key();
    let txn = Txn::new()
        .guard(Guard::Modified(key.clone(), judged.modified()))
        .delete(key);
    Ok(store.commit(txn).await?.value == Outcome::Committed)
}

/// An agent was not registered, or is no longer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The caller's description, or this machine, is at fault. Nothing was written.
    #[error("{0}")]
    Seal(#[from] SealError),
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Somebody else registers this agent at the same time, again and again.
    #[error("somebody else with the same key registers this agent at the same time")]
    Contended,
    /// The registration is not there any more: its lease ended, or the agent was registered anew. Register again.
    #[error("the registration is not there any more")]
    Lost,
}

/// How often a registration is tried while others write to the same place.
const ATTEMPTS: usize = 4;

// A record must fit what a store takes.
const _: () = assert!(crate::record::RECORD_BYTES_MAX <= crate::store::VALUE_BYTES_MAX);
