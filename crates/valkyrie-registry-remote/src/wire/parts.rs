//! The parts that requests and answers are made of: keys, prefixes, entries, and what every answer begins with.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use valkyrie_registry::store::{Answer, Certificate, Entry, LeaseId, Revision, VALUE_BYTES_MAX};
use valkyrie_registry::wire::{Reader, Writer};
use valkyrie_registry::{KEY_BYTES_MAX, Key, Moment, Prefix};

use super::{CERTIFICATE_BYTES_MAX, WireError};

pub(super) fn put_key(out: &mut Writer, key: &Key) {
    out.long("key", key.as_str().as_bytes(), KEY_BYTES_MAX);
}

pub(super) fn key(reader: &mut Reader<'_>) -> Result<Key, WireError> {
    let text = reader.text("key", KEY_BYTES_MAX)?;
    text.parse().map_err(|_| WireError::Field("key"))
}

pub(super) fn put_prefix(out: &mut Writer, prefix: &Prefix) {
    out.long("prefix", prefix.as_str().as_bytes(), KEY_BYTES_MAX);
}

pub(super) fn prefix(reader: &mut Reader<'_>) -> Result<Prefix, WireError> {
    match reader.text("prefix", KEY_BYTES_MAX)? {
        "" => Ok(Prefix::all()),
        text => text
            .strip_suffix('/')
            .and_then(|path| Prefix::beneath(path).ok())
            .ok_or(WireError::Field("prefix")),
    }
}

pub(super) fn put_value(out: &mut Writer, value: &Bytes) {
    out.long("value", value, VALUE_BYTES_MAX);
}

/// A copy: a value that is kept for long must not keep the whole message that it came in.
pub(super) fn value(reader: &mut Reader<'_>) -> Result<Bytes, WireError> {
    Ok(Bytes::copy_from_slice(reader.long("value", VALUE_BYTES_MAX)?))
}

pub(super) fn put_lease(out: &mut Writer, lease: Option<LeaseId>) {
    out.flag(lease.is_some());
    if let Some(lease) = lease {
        out.u64(lease.number());
    }
}

pub(super) fn lease(reader: &mut Reader<'_>) -> Result<Option<LeaseId>, WireError> {
    match reader.flag("lease")? {
        true => Ok(Some(LeaseId::new(reader.u64()?))),
        false => Ok(None),
    }
}

pub(super) fn revision(reader: &mut Reader<'_>) -> Result<Revision, WireError> {
    reader.u64().map(Revision::new)
}

pub(super) fn put_entry(out: &mut Writer, entry: &Entry) {
    put_key(out, &entry.key);
    for number in [entry.created.number(), entry.modified.number(), entry.version] {
        out.u64(number);
    }
    put_lease(out, entry.lease);
    put_value(out, &entry.value);
}

pub(super) fn entry(reader: &mut Reader<'_>) -> Result<Arc<Entry>, WireError> {
    let key = key(reader)?;
    let (created, modified) = (revision(reader)?, revision(reader)?);
    if created > modified {
        return Err(WireError::Field("revision of an entry"));
    }
    Ok(Arc::new(Entry {
        key,
        created,
        modified,
        version: reader.u64()?,
        lease: lease(reader)?,
        value: value(reader)?,
    }))
}

/// About how many bytes an entry takes.
pub(super) fn entry_bytes(entry: &Entry) -> usize {
    entry.key.as_str().len() + entry.value.len() + ENTRY_HEAD_BYTES
}

pub(super) fn put_found(out: &mut Writer, found: Option<&Arc<Entry>>) {
    out.flag(found.is_some());
    if let Some(entry) = found {
        put_entry(out, entry);
    }
}

pub(super) fn found(reader: &mut Reader<'_>) -> Result<Option<Arc<Entry>>, WireError> {
    match reader.flag("presence of an entry")? {
        true => entry(reader).map(Some),
        false => Ok(None),
    }
}

/// What an answer holds at, and what proves it.
pub(super) fn put_head<T>(out: &mut Writer, answer: &Answer<T>) {
    out.u64(answer.revision.number());
    out.flag(answer.at.is_some());
    if let Some(at) = answer.at {
        out.u64(at.millis());
    }
    put_certificate(out, &answer.certificate);
}

pub(super) fn head(reader: &mut Reader<'_>) -> Result<Answer<()>, WireError> {
    Ok(Answer {
        value: (),
        revision: revision(reader)?,
        at: match reader.flag("presence of a time")? {
            true => Some(Moment::from_millis(reader.u64()?)),
            false => None,
        },
        certificate: certificate(reader)?,
    })
}

pub(super) fn put_certificate(out: &mut Writer, certificate: &Certificate) {
    out.long("certificate", certificate.as_bytes(), CERTIFICATE_BYTES_MAX);
}

pub(super) fn certificate(reader: &mut Reader<'_>) -> Result<Certificate, WireError> {
    let bytes = reader.long("certificate", CERTIFICATE_BYTES_MAX)?;
    Ok(Certificate::new(Bytes::copy_from_slice(bytes)))
}

/// A time that somebody asks for, in milliseconds: never less than was asked for.
pub(super) fn put_at_least(out: &mut Writer, duration: Duration) {
    let millis = duration.as_nanos().div_ceil(NANOS_PER_MILLI);
    out.u64(u64::try_from(millis).unwrap_or(u64::MAX));
}

/// A time that somebody is promised, in milliseconds: never more than there is.
pub(super) fn put_at_most(out: &mut Writer, duration: Duration) {
    out.u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
}

pub(super) fn duration(reader: &mut Reader<'_>) -> Result<Duration, WireError> {
    reader.u64().map(Duration::from_millis)
}

/// What an entry has beside key and value: two lengths, three numbers, a lease.
const ENTRY_HEAD_BYTES: usize = 2 * 2 + 3 * 8 + 9;
const NANOS_PER_MILLI: u128 = 1_000_000;
