//! What a client asks, and by which method.

use std::time::Duration;

use bytes::Bytes;
use valkyrie_registry::store::{Guard, LeaseId, Op, Revision, TXN_GUARDS_MAX, TXN_OPS_MAX, Txn};
use valkyrie_registry::wire::{Reader, Writer};
use valkyrie_registry::{Key, Prefix};

use super::parts::{
    duration, key, lease, prefix, put_at_least, put_key, put_lease, put_prefix, put_value, revision, value,
};
use super::{MESSAGE_BYTES_MAX, REQUEST_BYTES_MAX, WireError};

/// The methods of a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// What the store can do.
    Caps,
    /// What is at a key.
    Get,
    /// What is beneath a prefix; a stream.
    List,
    /// A transaction.
    Commit,
    /// A new lease.
    Grant,
    /// Leases for longer.
    KeepAlive,
    /// The end of a lease.
    Revoke,
    /// Changes as they come; a stream.
    Watch,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 8] = [
        Self::Caps,
        Self::Get,
        Self::List,
        Self::Commit,
        Self::Grant,
        Self::KeepAlive,
        Self::Revoke,
        Self::Watch,
    ];

    /// Its name.
    //= protocol/registry.md#methods
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caps => "caps",
            Self::Get => "get",
            Self::List => "list",
            Self::Commit => "commit",
            Self::Grant => "grant",
            Self::KeepAlive => "keep-alive",
            Self::Revoke => "revoke",
            Self::Watch => "watch",
        }
    }

    /// Whether it is a stream. Otherwise it is a call.
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::List | Self::Watch)
    }

    /// Whether it changes anything.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Commit | Self::Grant | Self::KeepAlive | Self::Revoke)
    }
}

/// A request, or what opens a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// [`Method::Caps`].
    Caps,
    /// [`Method::Get`].
    Get(Key),
    /// [`Method::List`].
    List(Prefix),
    /// [`Method::Commit`], of a transaction that is well formed.
    Commit(Txn),
    /// [`Method::Grant`], for at least so long.
    Grant(Duration),
    /// [`Method::KeepAlive`], of at most [`KEEP_ALIVE_IDS_MAX`] leases.
    KeepAlive(Vec<LeaseId>),
    /// [`Method::Revoke`].
    Revoke(LeaseId),
    /// [`Method::Watch`].
    Watch {
        /// What is watched.
        prefix: Prefix,
        /// From the change after this one on.
        after: Revision,
    },
}

impl Request {
    /// By which method it is asked.
    pub fn method(&self) -> Method {
        match self {
            Self::Caps => Method::Caps,
            Self::Get(_) => Method::Get,
            Self::List(_) => Method::List,
            Self::Commit(_) => Method::Commit,
            Self::Grant(_) => Method::Grant,
            Self::KeepAlive(_) => Method::KeepAlive,
            Self::Revoke(_) => Method::Revoke,
            Self::Watch { .. } => Method::Watch,
        }
    }

    /// The payload.
    ///
    /// # Errors
    /// [`WireError`]: the caller asks for what no store takes.
    //= protocol/registry.md#requests
    pub fn encode(&self) -> Result<Bytes, WireError> {
        let mut out = Writer::default();
        match self {
            Self::Caps => {}
            Self::Get(key) => put_key(&mut out, key),
            Self::List(prefix) => put_prefix(&mut out, prefix),
            Self::Commit(txn) => {
                txn.check()?;
                put_txn(&mut out, txn);
            }
            Self::Grant(ttl) => put_at_least(&mut out, *ttl),
            Self::KeepAlive(ids) => {
                out.count("leases", ids.len(), KEEP_ALIVE_IDS_MAX);
                ids.iter().for_each(|id| out.u64(id.number()));
            }
            Self::Revoke(id) => out.u64(id.number()),
            Self::Watch { prefix, after } => {
                put_prefix(&mut out, prefix);
                out.u64(after.number());
            }
        }
        out.finish("message", MESSAGE_BYTES_MAX)
    }

    /// Reads the payload of a request by this method.
    ///
    /// # Errors
    /// [`WireError`]: whoever asks is at fault.
    pub fn decode(method: Method, bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("request", bytes, REQUEST_BYTES_MAX)?;
        let request = match method {
            Method::Caps => Self::Caps,
            Method::Get => Self::Get(key(&mut reader)?),
            Method::List => Self::List(prefix(&mut reader)?),
            Method::Commit => Self::Commit(txn(&mut reader)?),
            Method::Grant => Self::Grant(duration(&mut reader)?),
            Method::KeepAlive => {
                let count = reader.count("leases", KEEP_ALIVE_IDS_MAX)?;
                let ids = (0..count).map(|_| reader.u64().map(LeaseId::new));
                Self::KeepAlive(ids.collect::<Result<_, _>>()?)
            }
            Method::Revoke => Self::Revoke(LeaseId::new(reader.u64()?)),
            Method::Watch => Self::Watch {
                prefix: prefix(&mut reader)?,
                after: revision(&mut reader)?,
            },
        };
        reader.end()?;
        if let Self::Commit(txn) = &request {
            txn.check()?;
        }
        Ok(request)
    }
}

fn put_txn(out: &mut Writer, txn: &Txn) {
    out.count("guards", txn.guards().len(), TXN_GUARDS_MAX);
    for guard in txn.guards() {
        let (kind, revision) = match guard {
            Guard::Absent(_) => (ABSENT, None),
            Guard::Present(_) => (PRESENT, None),
            Guard::Created(_, revision) => (CREATED, Some(revision)),
            Guard::Modified(_, revision) => (MODIFIED, Some(revision)),
        };
        out.u8(kind);
        put_key(out, guard.key());
        if let Some(revision) = revision {
            out.u64(revision.number());
        }
    }
    out.count("operations", txn.ops().len(), TXN_OPS_MAX);
    for op in txn.ops() {
        match op {
            Op::Put { key, value, lease } => {
                out.u8(PUT);
                put_key(out, key);
                put_lease(out, *lease);
                put_value(out, value);
            }
            Op::Delete(key) => {
                out.u8(DELETE);
                put_key(out, key);
            }
        }
    }
}

fn txn(reader: &mut Reader<'_>) -> Result<Txn, WireError> {
    let mut txn = Txn::new();
    for _ in 0..reader.count("guards", TXN_GUARDS_MAX)? {
        let (kind, key) = (reader.u8()?, key(reader)?);
        txn = txn.guard(match kind {
            ABSENT => Guard::Absent(key),
            PRESENT => Guard::Present(key),
            CREATED => Guard::Created(key, revision(reader)?),
            MODIFIED => Guard::Modified(key, revision(reader)?),
            _ => return Err(WireError::Field("kind of a guard")),
        });
    }
    for _ in 0..reader.count("operations", TXN_OPS_MAX)? {
        let (kind, key) = (reader.u8()?, key(reader)?);
        txn = match kind {
            PUT => {
                let lease = lease(reader)?;
                txn.put(key, value(reader)?, lease)
            }
            DELETE => txn.delete(key),
            _ => return Err(WireError::Field("kind of an operation")),
        };
    }
    Ok(txn)
}

const ABSENT: u8 = 1;
const PRESENT: u8 = 2;
const CREATED: u8 = 3;
const MODIFIED: u8 = 4;

const PUT: u8 = 1;
const DELETE: u8 = 2;

/// Leases that one request renews: those of a node with many agents, in eight kilobytes.
pub const KEEP_ALIVE_IDS_MAX: usize = 1024;
