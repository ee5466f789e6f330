//! Transactions: conditions on what is there, and what is done if all of them hold. Everything or nothing, at one revision.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::{Entry, LeaseId, Revision, VALUE_BYTES_MAX};
use crate::Key;

/// A transaction: if every guard holds, every operation is done, at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    guards: Vec<Guard>,
    ops: Vec<Op>,
}

impl Txn {
    /// One without guards or operations.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this condition too.
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }

    /// With this value written too.
    #[must_use]
    pub fn put(mut self, key: Key, value: Bytes, lease: Option<LeaseId>) -> Self {
        self.ops.push(Op::Put { key, value, lease });
        self
    }

    /// With this key deleted too. That there is none is no error.
    #[must_use]
    pub fn delete(mut self, key: Key) -> Self {
        self.ops.push(Op::Delete(key));
        self
    }

    /// The conditions.
    pub fn guards(&self) -> &[Guard] {
        &self.guards
    }

    /// What is done.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Checks what every store bounds in the same way.
    ///
    /// # Errors
    /// [`TxnError`]: the caller is at fault, and no store takes it.
    pub fn check(&self) -> Result<(), TxnError> {
        if self.guards.len() > TXN_GUARDS_MAX || self.ops.len() > TXN_OPS_MAX {
            return Err(TxnError::TooMany {
                guards: self.guards.len(),
                ops: self.ops.len(),
            });
        }
        let mut keys = HashSet::new();
        for op in &self.ops {
            if !keys.insert(op.key()) {
                return Err(TxnError::Twice(op.key().clone()));
            }
            if let Op::Put { key, value, .. } = op
                && value.len() > VALUE_BYTES_MAX
            {
                return Err(TxnError::Value {
                    key: key.clone(),
                    length: value.len(),
                });
            }
        }
        let bytes = self.ops.iter().map(|op| match op {
            Op::Put { key, value, .. } => key.as_str().len() + value.len(),
            Op::Delete(key) => key.as_str().len(),
        });
        match bytes.sum() {
            length if length > TXN_BYTES_MAX => Err(TxnError::TooLarge(length)),
            _ => Ok(()),
        }
    }
}

/// A condition on what is at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing is.
    Absent(Key),
    /// Something is.
    Present(Key),
    /// What is there was created by this change, whatever was written since.
    Created(Key, Revision),
    /// What is there was written by this change.
    Modified(Key, Revision),
}

impl Guard {
    /// The key.
    pub fn key(&self) -> &Key {
        match self {
            Self::Absent(key) | Self::Present(key) | Self::Created(key, _) | Self::Modified(key, _) => key,
        }
    }

    /// Whether it holds of what is there.
    pub fn holds(&self, found: Option<&Entry>) -> bool {
        match (self, found) {
            (Self::Absent(_), found) => found.is_none(),
            (Self::Present(_), found) => found.is_some(),
            (Self::Created(_, revision), Some(entry)) => entry.created == *revision,
            (Self::Modified(_, revision), Some(entry)) => entry.modified == *revision,
            (Self::Created(..) | Self::Modified(..), None) => false,
        }
    }
}

/// What is done to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// The value is written, whatever was there, and ends with the lease if one is named.
    Put {
        /// The key.
        key: Key,
        /// The value.
        value: Bytes,
        /// The lease.
        lease: Option<LeaseId>,
    },
    /// What is there is deleted.
    Delete(Key),
}

impl Op {
    /// The key.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete(key) => key,
        }
    }
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All was done, at the revision of the answer. One that changed nothing, because it only deletes what is not there,
    /// has no revision of its own.
    Committed,
    /// A guard did not hold, and nothing was done.
    Refused {
        /// Which guard, counted from 0: the first that did not hold.
        guard: usize,
        /// What is at its key.
        found: Option<Arc<Entry>>,
    },
}

/// The transaction breaks a rule of form. The caller is at fault; nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TxnError {
    /// More guards or operations than one may have.
    #[error(
        "the transaction has {guards} guards and {ops} operations, and at most {TXN_GUARDS_MAX} and {TXN_OPS_MAX} \
         are allowed"
    )]
    TooMany {
        /// Guards it has.
        guards: usize,
        /// Operations it has.
        ops: usize,
    },
    /// More bytes of keys and values than one may have.
    #[error("the transaction has {0} bytes, and at most {TXN_BYTES_MAX} are allowed")]
    TooLarge(usize),
    /// Two operations on one key: which is the last would be a matter of taste.
    #[error("the transaction has two operations on {0}")]
    Twice(Key),
    /// A value is longer than [`VALUE_BYTES_MAX`].
    #[error("the value for {key} has {length} bytes, and at most {VALUE_BYTES_MAX} are allowed")]
    Value {
        /// Its key.
        key: Key,
        /// Its length.
        length: usize,
    },
}

/// Operations of a transaction: half of what etcd takes unless told otherwise, because its adapter may add one.
pub const TXN_OPS_MAX: usize = 64;
/// Guards of a transaction, likewise.
pub const TXN_GUARDS_MAX: usize = 64;
/// Bytes of the keys and values that a transaction writes: etcd takes messages of one and a half mebibytes unless told otherwise.
pub const TXN_BYTES_MAX: usize = 1024 * 1024;
