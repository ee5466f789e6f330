//! Where things lie in etcd, and what etcd says about them in the words of the contract.
//!
//! A key of the store lies beneath the store's own path. Beside the keys there are marks: `etcd` tells its watchers that a key is
//! gone and not why, so a transaction that deletes a key also writes the mark of the folder that the key lies in. A mark ends
//! in a character that no key has, lies beneath every prefix that the deleted key lies beneath, and goes with a lease.

use std::sync::Arc;

use bytes::Bytes;
use etcd_client::proto::PbKeyValue;

use crate::store::{Entry, LeaseId, Revision, StoreError, VALUE_BYTES_MAX};
use crate::{Key, Prefix};

/// The path that a store lies beneath, with a `/` at its end.
#[derive(Clone, Debug)]
pub(super) struct Place(Arc<str>);

/// What lies at a key of etcd.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Key(Key),
    /// The mark of a folder, which is a prefix of the keys in it.
    Mark(&'a str),
}

impl Place {
    pub(super) fn beneath(path: &Key) -> Self {
        Self(format!("{path}/").into())
    }

    pub(super) fn key(&self, key: &Key) -> Vec<u8> {
        format!("{}{key}", self.0).into()
    }

    /// The mark for a key that is deleted.
    pub(super) fn mark(&self, key: &Key) -> Vec<u8> {
        format!("{}{}{MARK}", self.0, folder(key)).into()
    }

    /// A key that none of the store is at, for questions about etcd rather than about a key.
    pub(super) fn pulse(&self) -> Vec<u8> {
        format!("{}{MARK}", self.0).into()
    }

    /// Where the keys of a prefix begin, and what comes right after the last.
    pub(super) fn range(&self, prefix: &Prefix) -> (Vec<u8>, Vec<u8>) {
        let start = format!("{}{prefix}", self.0).into_bytes();
        let mut end = start.clone();
        // It ends in a `/`, whichever it is, and the next character is none that a key or a mark has there.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        (start, end)
    }

    /// What a key of etcd stands for.
    pub(super) fn found<'a>(&self, key: &'a [u8]) -> Result<Found<'a>, StoreError> {
        let stray = || {
            let key = String::from_utf8_lossy(key);
            StoreError::Broken(format!(
                "{key:?} is none of its keys: something else writes there"
            ))
        };
        let text = std::str::from_utf8(key).map_err(|_| stray())?;
        let text = text.strip_prefix(&*self.0).ok_or_else(stray)?;
        match text.strip_suffix(MARK) {
            Some(folder) => Ok(Found::Mark(folder)),
            None => text.parse().map(Found::Key).map_err(|_| stray()),
        }
    }

    /// The entry that a pair is; `None` for a mark.
    pub(super) fn entry(&self, pair: PbKeyValue) -> Result<Option<Arc<Entry>>, StoreError> {
        let Found::Key(key) = self.found(&pair.key)? else {
            return Ok(None);
        };
        let wrong = |what: &str| Err(StoreError::Broken(format!("what it has at {key} has {what}")));
        if pair.value.len() > VALUE_BYTES_MAX {
            return wrong("a longer value than anybody may write");
        }
        let (Ok(created), Ok(modified), Ok(version)) = (
            u64::try_from(pair.create_revision),
            u64::try_from(pair.mod_revision),
            u64::try_from(pair.version),
        ) else {
            return wrong("a revision or version below zero");
        };
        if created == 0 || created > modified || version == 0 {
            return wrong("revisions that cannot be");
        }
        Ok(Some(Arc::new(Entry {
            key,
            value: Bytes::from(pair.value),
            created: Revision::new(created),
            modified: Revision::new(modified),
            version,
            lease: (pair.lease != 0).then(|| lease(pair.lease)),
        })))
    }
}

/// The folder of a key: all of it up to the last `/`, that included.
pub(super) fn folder(key: &Key) -> &str {
    let text = key.as_str();
    &text[..text.rfind('/').map_or(0, |at| at + 1)]
}

/// A lease by the number that etcd gave it, which has a sign and uses it for nothing.
pub(super) fn lease(number: i64) -> LeaseId {
    LeaseId::new(number.cast_unsigned())
}

/// What etcd calls a lease.
pub(super) fn lease_number(id: LeaseId) -> i64 {
    id.number().cast_signed()
}

/// A revision as etcd counts them; `None` for one that etcd cannot come to.
pub(super) fn revision_number(revision: Revision) -> Option<i64> {
    i64::try_from(revision.number()).ok()
}

/// What a mark ends in.
const MARK: char = '!';

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place::beneath(&"fleet/one".parse().unwrap())
    }

    #[test]
    fn a_range_has_the_keys_and_marks_of_its_prefix_and_no_others() {
        let holds = |prefix: &Prefix, key: &[u8]| {
            let (start, end) = place().range(prefix);
            start.as_slice() <= key && key < end.as_slice()
        };
        let agents = Prefix::beneath("agents").unwrap();
        let key: Key = "agents/4f/main".parse().unwrap();
        for prefix in [&Prefix::all(), &agents, &Prefix::beneath("agents/4f").unwrap()] {
            assert!(holds(prefix, &place().key(&key)) && holds(prefix, &place().mark(&key)));
        }
        for other in ["agents", "agentsx/4f", "agent/4f"] {
            let other = other.parse().unwrap();
            assert!(!holds(&agents, &place().key(&other)));
            assert!(holds(&Prefix::all(), &place().key(&other)));
        }
        assert!(!holds(&Prefix::all(), b"fleet/ones/a") && !holds(&Prefix::all(), b"fleet/one"));
    }

    #[test]
    fn a_mark_is_told_from_a_key_and_names_its_folder() {
        let key: Key = "agents/4f/main".parse().unwrap();
        assert_eq!(place().found(&place().mark(&key)), Ok(Found::Mark("agents/4f/")));
        assert_eq!(place().found(&place().key(&key)), Ok(Found::Key(key)));
        let top: Key = "top".parse().unwrap();
        assert_eq!(place().found(&place().mark(&top)), Ok(Found::Mark("")));
    }

    #[test]
    fn what_nobody_may_have_written_is_refused() {
        let good = PbKeyValue {
            key: b"fleet/one/a".to_vec(),
            create_revision: 2,
            mod_revision: 3,
            version: 2,
            value: b"x".to_vec(),
            lease: -1,
        };
        let entry = place().entry(good.clone()).unwrap().unwrap();
        assert_eq!(entry.lease, Some(LeaseId::new(u64::MAX)));
        let bad = [
            PbKeyValue {
                key: b"fleet/one/".to_vec(),
                ..good.clone()
            },
            PbKeyValue {
                key: b"fleet/one/\xff".to_vec(),
                ..good.clone()
            },
            PbKeyValue {
                key: b"elsewhere".to_vec(),
                ..good.clone()
            },
            PbKeyValue {
                create_revision: 4,
                ..good.clone()
            },
            PbKeyValue {
                version: 0,
                ..good.clone()
            },
            PbKeyValue {
                mod_revision: -1,
                ..good.clone()
            },
            PbKeyValue {
                value: vec![0; VALUE_BYTES_MAX + 1],
                ..good
            },
        ];
        for pair in bad {
            assert!(matches!(place().entry(pair), Err(StoreError::Broken(_))));
        }
    }
}
