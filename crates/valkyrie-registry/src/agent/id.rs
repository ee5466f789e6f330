//! The name of an agent that nobody else can have: the fingerprint of its identity, and which of that identity's agents it is.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use valkyrie_security::Fingerprint;

use super::Word;
use crate::{Key, Prefix};

/// Who an agent is. Its records lie where only records that its identity signed are believed.
//= protocol/registry.md#places
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId {
    owner: Fingerprint,
    instance: Word,
}

impl AgentId {
    /// An agent of an identity. Most identities have one, `main`; several processes that share an identity have one each. An
    /// instance is a word without `/`.
    ///
    /// # Errors
    /// [`AgentIdError`]: the caller's word has a `/`.
    pub fn new(owner: Fingerprint, instance: Word) -> Result<Self, AgentIdError> {
        match instance.as_str().contains('/') {
            true => Err(AgentIdError),
            false => Ok(Self { owner, instance }),
        }
    }

    /// Whose agent it is.
    pub fn owner(&self) -> Fingerprint {
        self.owner
    }

    /// Which of them.
    pub fn instance(&self) -> &Word {
        &self.instance
    }

    /// Where its record lies in a store.
    pub fn key(&self) -> Key {
        format!("{AGENTS}/{self}").parse().unwrap_or_else(|_| {
            // Both parts are of a key's alphabet and together far below its length.
            unreachable!("an agent's id is a key")
        })
    }

    /// Beneath which all agents lie.
    pub fn prefix() -> Prefix {
        Prefix::beneath(AGENTS).unwrap_or_else(|_| Prefix::all())
    }

    /// Beneath which the agents of one identity lie.
    pub fn prefix_of(owner: Fingerprint) -> Prefix {
        Prefix::beneath(&format!("{AGENTS}/{}", hexadecimal(owner))).unwrap_or_else(|_| Self::prefix())
    }

    /// The agent whose record lies at a key.
    pub fn from_key(key: &Key) -> Option<Self> {
        key.as_str().strip_prefix(AGENTS)?.strip_prefix('/')?.parse().ok()
    }
}

/// The fingerprint in hexadecimal, a `/`, and the instance.
impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", hexadecimal(self.owner), self.instance)
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads exactly what `Display` writes.
impl FromStr for AgentId {
    type Err = AgentIdError;

    fn from_str(text: &str) -> Result<Self, AgentIdError> {
        let (owner, instance) = text.split_once('/').ok_or(AgentIdError)?;
        if owner.len() != 64 {
            return Err(AgentIdError);
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(owner.as_bytes().chunks_exact(2)) {
            *byte = digit(digits[0])? << 4 | digit(digits[1])?;
        }
        let instance = instance.parse().map_err(|_| AgentIdError)?;
        Self::new(Fingerprint::from_bytes(bytes), instance)
    }
}

fn hexadecimal(owner: Fingerprint) -> String {
    let mut text = String::with_capacity(64);
    for byte in owner.as_bytes() {
        // A string takes whatever is written to it.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn digit(byte: u8) -> Result<u8, AgentIdError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(AgentIdError),
    }
}

/// The text is no agent's id: 64 digits of lower-case hexadecimal, a `/`, and a word without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an agent's id is 64 digits of lower-case hexadecimal, a `/` and a name without one")]
pub struct AgentIdError;

/// Which life of an agent: greater each time it registers anew. What is said about an earlier life is not about this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(u64);

impl Incarnation {
    /// The incarnation with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The first segment of agents' keys.
const AGENTS: &str = "agents";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_and_read_the_same_way() {
        let owner = Fingerprint::from_bytes([0xa5; 32]);
        let id = AgentId::new(owner, "main".parse().unwrap()).unwrap();
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        assert_eq!(AgentId::from_key(&id.key()), Some(id.clone()));
        assert!(AgentId::prefix().covers(&id.key()));
        assert!(AgentId::prefix_of(owner).covers(&id.key()));
        assert!(!AgentId::prefix_of(Fingerprint::from_bytes([0xa6; 32])).covers(&id.key()));
        let text = id.to_string();
        for bad in [
            text.to_uppercase(),
            format!("{text}/x"),
            text[1..].to_owned(),
            "ab/main".to_owned(),
        ] {
            assert_eq!(bad.parse::<AgentId>(), Err(AgentIdError), "{bad}");
        }
        assert_eq!(AgentId::new(owner, "a/b".parse().unwrap()), Err(AgentIdError));
    }
}
