//! Records: what an agent says about itself, as bytes with its signature, in the one encoding that each has.
//!
//! A record needs nobody to vouch for it: the keys that signed it are in it, and their hash is in the key that it lies at.
//! So a store, or whoever passes a record on, cannot alter or invent one. What it can do is show an old one, which is what
//! [`crate::directory`] watches for, and withhold one, which nothing prevents.
//!
//! Read [`Record::open`] first.

mod encoding;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use valkyrie_security::UnixTime;
use valkyrie_security::identity::{SigningKey, SigningKeys};

pub use self::error::{RecordError, SealError};

use crate::Key;
use crate::agent::{AgentId, Description, Incarnation, Word};

/// A record that obeys every rule of form, that lies where it belongs, and whose signatures are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    id: AgentId,
    incarnation: Incarnation,
    sequence: u64,
    not_after: UnixTime,
    description: Description,
    bytes: Bytes,
}

impl Record {
    /// Signs what an agent says about itself. `numbers` are which life of it this is and which record of that life.
    ///
    /// # Errors
    /// [`SealError`]: the description breaks a rule, or this machine cannot sign.
    pub fn seal(
        cluster: &Word,
        instance: &Word,
        numbers: (Incarnation, u64),
        not_after: UnixTime,
        description: &Description,
        key: &SigningKey,
    ) -> Result<Self, SealError> {
        description.check()?;
        let id = AgentId::new(key.fingerprint(), instance.clone())?;
        let body = Body {
            instance: instance.clone(),
            incarnation: numbers.0,
            sequence: numbers.1,
            not_after: UnixTime::from_secs(not_after.secs()),
            description: description.clone(),
            keys: key.public().clone(),
        };
        let mut bytes = encoding::encode(&body);
        let signatures = key.sign(&signed_text(cluster, &bytes))?;
        encoding::put_signatures(&mut bytes, &signatures);
        // The parser has the last word on what a record is, so that nobody is handed one that a reader refuses.
        let (again, _, _) = encoding::parse(&bytes)?;
        Ok(Self::from_parts(id, again, bytes.into()))
    }

    /// Reads a record that lies at a key and verifies that the agent whose place it is said this, in this cluster. Nothing
    /// is allocated because a field announces it.
    ///
    /// Whether it is still good at a time, and whether it is the newest, is for whoever has a clock and a memory.
    ///
    /// # Errors
    /// [`RecordError`]: nothing of it may be used. Whoever gave the bytes is at fault, the store or the agent.
    //= protocol/registry.md#records
    pub fn open(cluster: &Word, key: &Key, bytes: &Bytes) -> Result<Self, RecordError> {
        let (body, signed_len, signatures) = encoding::parse(bytes)?;
        let id = AgentId::new(body.keys.fingerprint(), body.instance.clone())?;
        if AgentId::from_key(key).as_ref() != Some(&id) {
            return Err(RecordError::Place);
        }
        body.keys
            .verify_all(&signed_text(cluster, &bytes[..signed_len]), &signatures)?;
        Ok(Self::from_parts(id, body, bytes.clone()))
    }

    fn from_parts(id: AgentId, body: Body, bytes: Bytes) -> Self {
        Self {
            id,
            incarnation: body.incarnation,
            sequence: body.sequence,
            not_after: body.not_after,
            description: body.description,
            bytes,
        }
    }

    /// Who said it.
    pub fn id(&self) -> &AgentId {
        &self.id
    }

    /// In which life.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Which of that life's records it is, counted from 0.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// It is good before this.
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// What it says.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Its bytes, signatures included.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// What is signed, before and after its encoding.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    instance: Word,
    incarnation: Incarnation,
    sequence: u64,
    not_after: UnixTime,
    description: Description,
    keys: SigningKeys,
}

/// What signatures cover. The cluster is in it and not in the record: a record that is shown in another cluster than the one it
/// was written for is a forgery there.
fn signed_text(cluster: &Word, body: &[u8]) -> Vec<u8> {
    let cluster = cluster.as_str().as_bytes();
    let mut text = Vec::with_capacity(DOMAIN.len() + 1 + cluster.len() + body.len());
    text.extend(DOMAIN);
    // A word has 64 bytes at most.
    text.push(u8::try_from(cluster.len()).unwrap_or(u8::MAX));
    text.extend(cluster);
    text.extend(body);
    text
}

const DOMAIN: &[u8] = b"valkyrie 2 agent\0";

/// Bytes of a record: sixteen locators, a probe and thirty-two services with everything that each may have would be more than any agent needs,
/// so the whole is bounded apart from its parts.
pub const RECORD_BYTES_MAX: usize = 16 * 1024;
