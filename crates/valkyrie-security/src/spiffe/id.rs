//! SPIFFE IDs: `spiffe://trust-domain/path`.

use std::fmt;
use std::str::FromStr;

/// The name of a workload within a trust domain, as the
/// [SPIFFE ID](https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md) specification has it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: String,
    domain_end: usize,
}

impl SpiffeId {
    /// The whole ID.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &str {
        self.text.get(SCHEME.len()..self.domain_end).unwrap_or_default()
    }

    /// The path with its leading slash; empty for the ID of the trust domain itself.
    pub fn path(&self) -> &str {
        self.text.get(self.domain_end..).unwrap_or_default()
    }
}

/// Reads an ID that obeys every rule; nothing is normalised.
impl FromStr for SpiffeId {
    type Err = SpiffeIdFormatError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdFormatError> {
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeIdFormatError)?;
        let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let mut segments = path.split('/').skip(1);
        if text.len() > ID_BYTES_MAX || !is_trust_domain(domain) || !segments.all(is_segment) {
            return Err(SpiffeIdFormatError);
        }
        Ok(Self {
            text: text.to_owned(),
            domain_end: SCHEME.len() + domain.len(),
        })
    }
}

/// A trust domain: lower-case letters, digits, dots, hyphens and underscores.
pub(super) fn is_trust_domain(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    (1..=TRUST_DOMAIN_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_segment(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !matches!(text, "" | "." | "..") && text.bytes().all(allowed)
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The text is not a SPIFFE ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a SPIFFE ID, `spiffe://trust-domain/path`")]
pub struct SpiffeIdFormatError;

const SCHEME: &str = "spiffe://";
/// Bytes of an ID, from the specification.
const ID_BYTES_MAX: usize = 2048;
/// Bytes of a trust domain, from the specification.
const TRUST_DOMAIN_BYTES_MAX: usize = 255;
