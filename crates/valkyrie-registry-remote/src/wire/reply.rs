//! What a registry answers to calls.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use valkyrie_registry::ledger::CommitError;
use valkyrie_registry::store::{
    Answer, Caps, Entry, KeepAlive, Lease, LeaseId, Outcome, TXN_GUARDS_MAX, TxnError,
};
use valkyrie_registry::wire::{Reader, Writer};

use super::parts::{duration, found, head, put_at_most, put_found, put_head};
use super::{KEEP_ALIVE_IDS_MAX, MESSAGE_BYTES_MAX, Method, WireError};

/// The answer to a call that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Method::Caps`].
    Caps(Caps),
    /// To [`Method::Get`].
    Got(Answer<Option<Arc<Entry>>>),
    /// To [`Method::Commit`].
    Committed(Answer<Outcome>),
    /// To [`Method::Grant`].
    Granted(Answer<Lease>),
    /// To [`Method::KeepAlive`], as many as were asked for.
    Renewed(Vec<KeepAlive>),
    /// To [`Method::Revoke`].
    Revoked(Answer<bool>),
}

/// The answer to a call that the store refused: nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It names a lease that has ended or never was, or that is somebody else's.
    NoSuchLease(LeaseId),
    /// There is no room.
    Full(Full, u64),
}

/// What there is no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// Something that has no number here.
    Other,
    /// Leases.
    Leases,
    /// Keys under one lease.
    KeysOfLease,
    /// Entries.
    Entries,
}

impl Full {
    const ALL: [Self; 4] = [Self::Other, Self::Leases, Self::KeysOfLease, Self::Entries];

    /// As the state machine of a store says it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Other => "things of a kind that this store bounds",
            Self::Leases => "leases",
            Self::KeysOfLease => "keys under one lease",
            Self::Entries => "entries",
        }
    }
}

impl Refused {
    /// What a store refused, as it travels.
    ///
    /// # Errors
    /// [`TxnError`]: what breaks a rule of form does not travel; who asks finds it before.
    pub fn of(error: &CommitError) -> Result<Self, TxnError> {
        match error {
            CommitError::Txn(error) => Err(error.clone()),
            CommitError::NoSuchLease(id) => Ok(Self::NoSuchLease(*id)),
            CommitError::Full(words, max) => {
                let known = Full::ALL.into_iter().find(|full| full.words() == *words);
                let max = u64::try_from(*max).unwrap_or(u64::MAX);
                Ok(Self::Full(known.unwrap_or(Full::Other), max))
            }
            _ => Ok(Self::Full(Full::Other, 0)),
        }
    }
}

impl From<Refused> for CommitError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoSuchLease(id) => Self::NoSuchLease(id),
            Refused::Full(full, max) => Self::Full(full.words(), usize::try_from(max).unwrap_or(usize::MAX)),
        }
    }
}

impl Reply {
    /// The payload of an answer.
    ///
    /// # Errors
    /// [`WireError`]: the store answers what no store may.
    //= protocol/registry.md#answers
    pub fn encode(answer: &Result<Self, Refused>) -> Result<Bytes, WireError> {
        let mut out = Writer::default();
        match answer {
            Ok(reply) => {
                out.u8(DONE);
                reply.put(&mut out);
            }
            Err(Refused::NoSuchLease(id)) => {
                out.u8(NO_SUCH_LEASE);
                out.u64(id.number());
            }
            Err(Refused::Full(full, max)) => {
                out.u8(FULL);
                out.u8(*full as u8);
                out.u64(*max);
            }
        }
        out.finish("message", MESSAGE_BYTES_MAX)
    }

    fn put(&self, out: &mut Writer) {
        match self {
            Self::Caps(caps) => {
                for time in [caps.ttl_min, caps.ttl_max, caps.expiry_slack] {
                    put_at_most(out, time);
                }
                out.flag(caps.lease_causes);
                out.flag(caps.durable);
                out.u64(caps.faulty_max.into());
            }
            Self::Got(answer) => {
                put_head(out, answer);
                put_found(out, answer.value.as_ref());
            }
            Self::Committed(answer) => {
                put_head(out, answer);
                match &answer.value {
                    Outcome::Committed => out.flag(true),
                    Outcome::Refused { guard, found } => {
                        out.flag(false);
                        out.count("guards", *guard, TXN_GUARDS_MAX - 1);
                        put_found(out, found.as_ref());
                    }
                }
            }
            Self::Granted(answer) => {
                put_head(out, answer);
                out.u64(answer.value.id.number());
                put_at_most(out, answer.value.ttl);
            }
            Self::Renewed(renewed) => {
                out.count("leases", renewed.len(), KEEP_ALIVE_IDS_MAX);
                for renewed in renewed {
                    match renewed {
                        // No lease lasts for no time.
                        KeepAlive::Alive(ttl) => put_at_most(out, (*ttl).max(Duration::from_millis(1))),
                        KeepAlive::Gone => out.u64(0),
                    }
                }
            }
            Self::Revoked(answer) => {
                put_head(out, answer);
                out.flag(answer.value);
            }
        }
    }

    /// Reads the payload of an answer to a call of this method.
    ///
    /// # Errors
    /// [`WireError`]: the registry is at fault.
    pub fn decode(method: Method, bytes: &[u8]) -> Result<Result<Self, Refused>, WireError> {
        let mut reader = Reader::new("answer", bytes, MESSAGE_BYTES_MAX)?;
        let answer = match reader.u8()? {
            DONE => Ok(Self::read(method, &mut reader)?),
            NO_SUCH_LEASE => Err(Refused::NoSuchLease(LeaseId::new(reader.u64()?))),
            FULL => {
                let full = Full::ALL.get(usize::from(reader.u8()?));
                let full = *full.ok_or(WireError::Field("kind of what is full"))?;
                Err(Refused::Full(full, reader.u64()?))
            }
            _ => return Err(WireError::Field("kind of answer")),
        };
        reader.end()?;
        Ok(answer)
    }

    fn read(method: Method, reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match method {
            Method::Caps => Self::Caps(caps(reader)?),
            Method::Get => {
                let head = head(reader)?;
                let found = found(reader)?;
                Self::Got(head.map(|()| found))
            }
            Method::Commit => {
                let head = head(reader)?;
                let outcome = match reader.flag("outcome")? {
                    true => Outcome::Committed,
                    false => Outcome::Refused {
                        guard: reader.count("guards", TXN_GUARDS_MAX - 1)?,
                        found: found(reader)?,
                    },
                };
                Self::Committed(head.map(|()| outcome))
            }
            Method::Grant => {
                let head = head(reader)?;
                let id = LeaseId::new(reader.u64()?);
                let ttl = duration(reader)?;
                Self::Granted(head.map(|()| Lease { id, ttl }))
            }
            Method::KeepAlive => {
                let count = reader.count("leases", KEEP_ALIVE_IDS_MAX)?;
                let renewed = (0..count).map(|_| {
                    Ok(match duration(reader)? {
                        Duration::ZERO => KeepAlive::Gone,
                        ttl => KeepAlive::Alive(ttl),
                    })
                });
                Self::Renewed(renewed.collect::<Result<_, WireError>>()?)
            }
            Method::Revoke => {
                let head = head(reader)?;
                let was = reader.flag("whether there was a lease")?;
                Self::Revoked(head.map(|()| was))
            }
            Method::List | Method::Watch => return Err(WireError::Field("method: a stream has no answer")),
        })
    }
}

fn caps(reader: &mut Reader<'_>) -> Result<Caps, WireError> {
    let (ttl_min, ttl_max, slack) = (duration(reader)?, duration(reader)?, duration(reader)?);
    let mut caps = Caps::new(ttl_min, ttl_max, slack);
    caps.lease_causes = reader.flag("lease causes")?;
    caps.durable = reader.flag("durability")?;
    let faulty_max = reader.u64()?;
    caps.faulty_max = u32::try_from(faulty_max).map_err(|_| WireError::Field("number of faulty replicas"))?;
    Ok(caps)
}

const DONE: u8 = 0;
const NO_SUCH_LEASE: u8 = 1;
const FULL: u8 = 2;
