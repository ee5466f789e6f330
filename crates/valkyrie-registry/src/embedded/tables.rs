//! What is in the file: four tables, their encodings, and the checks that what is read is what was written.
//!
//! redb keeps checksums and looks at them when it must repair, not when a file was closed in order. So every row ends with a check
//! of its own over its key and its value, and counts are kept beside what they count: a file that was changed by others is found
//! out when it is read, and it is read as a whole when it is opened.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256};
use bytes::Bytes;
use redb::{
    ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, TableError, WriteTransaction,
};

use super::engine::LoadError;
use crate::ledger::{Effect, Kept, Ledger};
use crate::store::{Cause, Change, Entry, Event, Lease, LeaseId, Revision};
use crate::{Key, Moment};

const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
const LEASES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("leases");
/// By revision, and the place of the event within it.
const HISTORY: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("history");
/// One row, under the version of the format.
const NUMBERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("numbers");

/// Writes what commands did, and the numbers after them.
pub(super) fn write(
    write: &WriteTransaction,
    effects: &[Effect],
    ledger: &Ledger,
) -> Result<(), redb::Error> {
    let mut entries = write.open_table(ENTRIES)?;
    let mut leases = write.open_table(LEASES)?;
    let mut history = write.open_table(HISTORY)?;
    let mut numbers = write.open_table(NUMBERS)?;
    for effect in effects {
        match effect {
            Effect::Changed(change) => {
                for (index, event) in (0u32..).zip(&change.events) {
                    let encoded = encode_event(event);
                    match event {
                        Event::Put(entry) => {
                            let value = seal(&encoded[1..], entry.key.as_str().as_bytes());
                            entries.insert(entry.key.as_str(), &value[..])?;
                        }
                        Event::Deleted { key, .. } => {
                            entries.remove(key.as_str())?;
                        }
                    }
                    let at = (change.revision.number(), index);
                    history.insert(at, &seal(&encoded, &place(at))[..])?;
                }
            }
            Effect::Granted(lease) => {
                let ttl_ms = u64::try_from(lease.ttl.as_millis()).unwrap_or(u64::MAX);
                let id = lease.id.number();
                leases.insert(id, &seal(&ttl_ms.to_be_bytes(), &id.to_be_bytes())[..])?;
            }
            Effect::Ended(id) => {
                leases.remove(id.number())?;
            }
            Effect::Compacted(revision) => {
                history.retain_in(..=(revision.number(), u32::MAX), |_, _| false)?;
            }
        }
    }
    let state = ledger.state();
    let mut all = Vec::new();
    for number in [
        state.revision().number(),
        state.compacted().number(),
        ledger.last_lease(),
        ledger.now().millis(),
        entries.len()?,
        leases.len()?,
        history.len()?,
    ] {
        all.extend(number.to_be_bytes());
    }
    numbers.insert(FORMAT, &seal(&all, b"numbers")[..])?;
    Ok(())
}

/// Reads all of it; `None` where nothing was ever written.
pub(super) fn read(read: &ReadTransaction) -> Result<Option<(Moment, Kept)>, LoadError> {
    let numbers = match read.open_table(NUMBERS) {
        Ok(numbers) => numbers,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(redb::Error::from(error).into()),
    };
    let all = numbers.get(FORMAT).map_err(redb::Error::from)?;
    let all = all.ok_or(LoadError::Content(
        "it is of a format that this version does not know",
    ))?;
    let all: Vec<u64> = unseal(all.value(), b"numbers")
        .ok_or(UNREADABLE)?
        .chunks_exact(8)
        .map(number)
        .collect();
    let [
        revision,
        compacted,
        last_lease,
        now,
        entries_count,
        leases_count,
        history_count,
    ] = all[..]
    else {
        return Err(UNREADABLE);
    };
    let mut kept = Kept {
        revision: Revision::new(revision),
        compacted: Revision::new(compacted),
        last_lease,
        ..Kept::default()
    };
    for item in read
        .open_table(LEASES)
        .map_err(redb::Error::from)?
        .iter()
        .map_err(redb::Error::from)?
    {
        let (id, ttl_ms) = item.map_err(redb::Error::from)?;
        let ttl_ms = unseal(ttl_ms.value(), &id.value().to_be_bytes()).ok_or(UNREADABLE)?;
        kept.leases.push(Lease {
            id: LeaseId::new(id.value()),
            ttl: Duration::from_millis(number(ttl_ms)),
        });
    }
    for item in read
        .open_table(ENTRIES)
        .map_err(redb::Error::from)?
        .iter()
        .map_err(redb::Error::from)?
    {
        let (key, value) = item.map_err(redb::Error::from)?;
        let entry = unseal(value.value(), key.value().as_bytes())
            .and_then(decode_entry)
            .filter(|entry| entry.key.as_str() == key.value());
        kept.entries.push(Arc::new(entry.ok_or(UNREADABLE)?));
    }
    let mut events = 0;
    for item in read
        .open_table(HISTORY)
        .map_err(redb::Error::from)?
        .iter()
        .map_err(redb::Error::from)?
    {
        let (at, value) = item.map_err(redb::Error::from)?;
        let (revision, index) = at.value();
        let event = unseal(value.value(), &place((revision, index))).and_then(decode_event);
        let event = event.ok_or(UNREADABLE)?;
        events += 1;
        match (index, kept.history.last_mut().and_then(Arc::get_mut)) {
            (0, _) => kept.history.push(Arc::new(Change {
                revision: Revision::new(revision),
                events: vec![event],
            })),
            (index, Some(change)) => {
                if change.revision.number() != revision || change.events.len() as u64 != u64::from(index) {
                    return Err(UNREADABLE);
                }
                change.events.push(event);
            }
            (_, None) => return Err(UNREADABLE),
        }
    }
    let counts = [kept.entries.len(), kept.leases.len(), events].map(|count| count as u64);
    if counts != [entries_count, leases_count, history_count] {
        return Err(LoadError::Content("something that was written to it is missing"));
    }
    Ok(Some((Moment::from_millis(now), kept)))
}

const UNREADABLE: LoadError = LoadError::Content("an entry or an event in it cannot be read");

/// A value with the check over it and its key.
fn seal(value: &[u8], key: &[u8]) -> Vec<u8> {
    [value, &check(value, key)].concat()
}

/// The value, if its check is right.
fn unseal<'a>(sealed: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let (value, found) = sealed.split_at_checked(sealed.len().checked_sub(CHECK_BYTES)?)?;
    (found == check(value, key)).then_some(value)
}

fn check(value: &[u8], key: &[u8]) -> [u8; CHECK_BYTES] {
    let mut context = digest::Context::new(&SHA256);
    context.update(&(key.len() as u64).to_be_bytes());
    context.update(key);
    context.update(value);
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&context.finish().as_ref()[..CHECK_BYTES]);
    check
}

fn place((revision, index): (u64, u32)) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&revision.to_be_bytes());
    bytes[8..].copy_from_slice(&index.to_be_bytes());
    bytes
}

/// The number in up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn encode_event(event: &Event) -> Vec<u8> {
    match event {
        Event::Put(entry) => {
            let mut out = vec![PUT];
            put_key(&mut out, &entry.key);
            for number in [
                entry.created.number(),
                entry.modified.number(),
                entry.version,
                // No lease has the number 0.
                entry.lease.map_or(0, LeaseId::number),
            ] {
                out.extend(number.to_be_bytes());
            }
            out.extend(&entry.value);
            out
        }
        Event::Deleted { key, cause } => {
            let mut out = vec![match cause {
                Cause::Deleted => DELETED,
                Cause::Expired => EXPIRED,
                // A ledger has no other causes than these three.
                _ => REVOKED,
            }];
            put_key(&mut out, key);
            out
        }
    }
}

fn decode_event(bytes: &[u8]) -> Option<Event> {
    let (kind, rest) = bytes.split_first()?;
    let cause = match *kind {
        PUT => return decode_entry(rest).map(|entry| Event::Put(Arc::new(entry))),
        DELETED => Cause::Deleted,
        EXPIRED => Cause::Expired,
        REVOKED => Cause::Revoked,
        _ => return None,
    };
    let (key, rest) = take_key(rest)?;
    rest.is_empty().then_some(Event::Deleted { key, cause })
}

fn decode_entry(bytes: &[u8]) -> Option<Entry> {
    let (key, rest) = take_key(bytes)?;
    let (numbers, value) = rest.split_at_checked(32)?;
    let mut numbers = numbers.chunks_exact(8).map(number);
    Some(Entry {
        key,
        created: Revision::new(numbers.next()?),
        modified: Revision::new(numbers.next()?),
        version: numbers.next()?,
        lease: numbers.next().filter(|number| *number > 0).map(LeaseId::new),
        value: Bytes::copy_from_slice(value),
    })
}

fn put_key(out: &mut Vec<u8>, key: &Key) {
    // A key has 256 bytes at most.
    let len = u16::try_from(key.as_str().len()).unwrap_or(u16::MAX);
    out.extend(len.to_be_bytes());
    out.extend(key.as_str().as_bytes());
}

fn take_key(bytes: &[u8]) -> Option<(Key, &[u8])> {
    let (len, rest) = bytes.split_at_checked(2)?;
    let len = usize::from(u16::from_be_bytes([len[0], len[1]]));
    let (key, rest) = rest.split_at_checked(len)?;
    let key = std::str::from_utf8(key).ok()?.parse().ok()?;
    Some((key, rest))
}

const PUT: u8 = 1;
const DELETED: u8 = 2;
const EXPIRED: u8 = 3;
const REVOKED: u8 = 4;

/// The version of the tables and their encodings.
const FORMAT: u64 = 1;
/// Bytes of a check: against accidents, not against whoever can write the file, who could write another check.
const CHECK_BYTES: usize = 8;
