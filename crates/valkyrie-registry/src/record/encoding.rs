//! The bytes of a record, written and read. One record has one encoding; what is not written that way is refused.

use bytes::Bytes;
use valkyrie_security::UnixTime;
use valkyrie_security::identity::{Algorithm, Signature, SigningKeys};
use valkyrie_transport::Locator;

use super::{Body, RECORD_BYTES_MAX, RecordError};
use crate::agent::{
    ADAPTERS_MAX, Capacity, Description, Incarnation, LABELS_MAX, LOCATOR_BYTES_MAX, LOCATORS_MAX,
    SERVICES_MAX, Service, Status, Word,
};

/// A record up to its signatures.
//= protocol/registry.md#records
pub(super) fn encode(body: &Body) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_short(&mut out, body.instance.as_str());
    out.extend(body.incarnation.number().to_be_bytes());
    out.extend(body.sequence.to_be_bytes());
    out.extend(body.not_after.secs().to_be_bytes());
    let description = &body.description;
    put_short(&mut out, description.name.as_str());
    put_short(&mut out, description.zone.as_ref().map_or("", Word::as_str));
    out.push(status_to_wire(description.status));
    out.extend(description.capacity.weight.to_be_bytes());
    out.extend(description.capacity.slots.to_be_bytes());
    put_count(&mut out, description.locators.len());
    for locator in &description.locators {
        put_long(&mut out, locator.as_str().as_bytes());
    }
    put_count(&mut out, description.adapters.len());
    for adapter in &description.adapters {
        put_short(&mut out, adapter.as_str());
    }
    put_long(
        &mut out,
        description.probe.as_ref().map_or("", Locator::as_str).as_bytes(),
    );
    put_count(&mut out, description.services.len());
    for service in &description.services {
        put_short(&mut out, service.name.as_str());
        put_short(&mut out, &service.version.to_string());
        put_count(&mut out, service.labels.len());
        for (name, value) in &service.labels {
            put_short(&mut out, name.as_str());
            put_short(&mut out, value.as_str());
        }
    }
    put_count(&mut out, body.keys.iter().count());
    for (algorithm, key) in body.keys.iter() {
        out.push(algorithm.wire());
        put_long(&mut out, key);
    }
    out
}

pub(super) fn put_signatures(out: &mut Vec<u8>, signatures: &[Signature]) {
    put_count(out, signatures.len());
    for signature in signatures {
        out.push(signature.algorithm.wire());
        put_long(out, &signature.bytes);
    }
}

/// What a record says, how many of its bytes are signed, and the signatures.
pub(super) fn parse(bytes: &[u8]) -> Result<(Body, usize, Vec<Signature>), RecordError> {
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(RecordError::TooLong(bytes.len()));
    }
    let mut reader = Reader(bytes);
    match reader.u8()? {
        VERSION => {}
        other => return Err(RecordError::Version(other)),
    }
    let instance = reader.word("instance")?;
    let incarnation = Incarnation::new(reader.u64()?);
    let sequence = reader.u64()?;
    let not_after = reader.u64()?;
    if not_after > LATEST_SECS {
        return Err(RecordError::Field("end of life"));
    }
    let description = description(&mut reader)?;
    // The parts are within their bounds by how they were read; their order is checked here.
    description.check()?;
    let keys = keys(&mut reader)?;
    let signed_len = bytes.len() - reader.0.len();
    let signatures = signatures(&mut reader)?;
    if !reader.0.is_empty() {
        return Err(RecordError::Trailing(reader.0.len()));
    }
    let body = Body {
        instance,
        incarnation,
        sequence,
        not_after: UnixTime::from_secs(not_after),
        description,
        keys,
    };
    Ok((body, signed_len, signatures))
}

fn description(reader: &mut Reader<'_>) -> Result<Description, RecordError> {
    let name = reader.word("name")?;
    let zone = match reader.short()? {
        b"" => None,
        zone => Some(parse_text(zone, "zone")?),
    };
    let status = status_from_wire(reader.u8()?).ok_or(RecordError::Field("status"))?;
    let capacity = Capacity {
        weight: reader.u32()?,
        slots: reader.u32()?,
    };
    let mut locators = Vec::new();
    for _ in 0..reader.count(LOCATORS_MAX, "number of locators")? {
        locators.push(locator(reader.long()?)?);
    }
    let mut adapters = Vec::new();
    for _ in 0..reader.count(ADAPTERS_MAX, "number of adapters")? {
        adapters.push(reader.word("adapter")?);
    }
    let probe = match reader.long()? {
        b"" => None,
        probe => Some(locator(probe)?),
    };
    let mut services = Vec::new();
    for _ in 0..reader.count(SERVICES_MAX, "number of services")? {
        services.push(service(reader)?);
    }
    Ok(Description {
        name,
        zone,
        status,
        capacity,
        locators,
        adapters,
        probe,
        services,
    })
}

fn service(reader: &mut Reader<'_>) -> Result<Service, RecordError> {
    let name = reader.word("name of a service")?;
    let version = parse_text(reader.short()?, "version of a service")?;
    let mut service = Service::new(name, version);
    for _ in 0..reader.count(LABELS_MAX, "number of labels")? {
        let name = reader.word("name of a label")?;
        let value = parse_text(reader.short()?, "value of a label")?;
        service.labels.push((name, value));
    }
    Ok(service)
}

fn locator(bytes: &[u8]) -> Result<Locator, RecordError> {
    let fault = RecordError::Field("locator");
    if bytes.len() > LOCATOR_BYTES_MAX {
        return Err(fault);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| RecordError::Field("locator"))?;
    let locator: Locator = text.parse().map_err(|_| RecordError::Field("locator"))?;
    // A scheme in upper case reads as the one in lower case, and would be a second encoding of it.
    match locator.as_str() == text {
        true => Ok(locator),
        false => Err(fault),
    }
}

fn keys(reader: &mut Reader<'_>) -> Result<SigningKeys, RecordError> {
    let fault = RecordError::Field("signing keys");
    let (mut ed25519, mut ml_dsa_65) = (None, None);
    let mut last = 0;
    for _ in 0..reader.count(Algorithm::ALL.len(), "number of keys")? {
        let (number, key) = (reader.u8()?, reader.long()?);
        if number <= last {
            return Err(fault);
        }
        last = number;
        match Algorithm::from_wire(number) {
            Some(Algorithm::Ed25519) => {
                ed25519 = Some(key.try_into().map_err(|_| RecordError::Field("signing keys"))?);
            }
            Some(Algorithm::MlDsa65) => ml_dsa_65 = Some(key),
            _ => return Err(fault),
        }
    }
    SigningKeys::new(ed25519, ml_dsa_65).ok_or(fault)
}

fn signatures(reader: &mut Reader<'_>) -> Result<Vec<Signature>, RecordError> {
    let mut signatures = Vec::new();
    for _ in 0..reader.count(Algorithm::ALL.len(), "number of signatures")? {
        let (number, bytes) = (reader.u8()?, reader.long()?);
        let algorithm = Algorithm::from_wire(number)
            .filter(|algorithm| bytes.len() == algorithm.signature_len())
            .ok_or(RecordError::Field("signature"))?;
        let bytes = Bytes::copy_from_slice(bytes);
        signatures.push(Signature { algorithm, bytes });
    }
    Ok(signatures)
}

/// A text that is what it parses to.
fn parse_text<T: std::str::FromStr + ToString>(bytes: &[u8], what: &'static str) -> Result<T, RecordError> {
    let fault = || RecordError::Field(what);
    let text = std::str::from_utf8(bytes).map_err(|_| fault())?;
    let value: T = text.parse().map_err(|_| fault())?;
    match value.to_string() == text {
        true => Ok(value),
        false => Err(fault()),
    }
}

fn status_to_wire(status: Status) -> u8 {
    match status {
        Status::Ready => 1,
        Status::NotReady => 2,
        Status::Draining => 3,
    }
}

fn status_from_wire(number: u8) -> Option<Status> {
    match number {
        1 => Some(Status::Ready),
        2 => Some(Status::NotReady),
        3 => Some(Status::Draining),
        _ => None,
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(RecordError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        self.take(N)?.try_into().map_err(|_| RecordError::Truncated)
    }

    fn u8(&mut self) -> Result<u8, RecordError> {
        self.array().map(u8::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, RecordError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Bytes behind a length of one byte.
    fn short(&mut self) -> Result<&'a [u8], RecordError> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }

    /// Bytes behind a length of two.
    fn long(&mut self) -> Result<&'a [u8], RecordError> {
        let len = self.array().map(u16::from_be_bytes)?;
        self.take(usize::from(len))
    }

    fn word(&mut self, what: &'static str) -> Result<Word, RecordError> {
        parse_text(self.short()?, what)
    }

    fn count(&mut self, max: usize, what: &'static str) -> Result<usize, RecordError> {
        let count = usize::from(self.u8()?);
        match count > max {
            true => Err(RecordError::Field(what)),
            false => Ok(count),
        }
    }
}

// Lengths and counts were checked by the description; where a check is ever forgotten, the parser finds it.

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.push(u8::try_from(count).unwrap_or(u8::MAX));
}

fn put_short(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend(text.as_bytes());
}

fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(bytes);
}

const VERSION: u8 = 1;
/// The last second of the year 9999, beyond which no date is written and no record is good.
const LATEST_SECS: u64 = 253_402_300_799;
