//! What a side says of itself once there are keys: the payload of AUTH_RESPONSE.

use bytes::Bytes;

use crate::identity::wire::{Reader, Short};
use crate::identity::{Identity, Signature, SigningError};
use crate::role::Role;

#[cfg(test)]
mod tests;

/// Items by which a peer says who it is. None at all is a peer that is known by its static key alone.
//= protocol/security.md#credentials
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    identity: Option<Bytes>,
    proof: Option<Proof>,
    token: Option<Token>,
    svid: Option<Vec<Bytes>>,
}

/// A signature over the handshake, by a key that the peer's identity or SVID names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The number of the algorithm.
    pub algorithm: u8,
    /// The signature.
    pub signature: Bytes,
}

/// A bearer's secret, which no log may show.
#[derive(Clone, PartialEq, Eq)]
struct Token(Bytes);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

impl Credentials {
    /// What an identity shows: its document or its certificates, if it has any.
    pub fn of(identity: &Identity) -> Self {
        Self {
            identity: identity.document().map(|document| document.encode().clone()),
            svid: chain_of(identity),
            ..Self::default()
        }
    }

    /// Adds a signature over the handshake hash `h`, of the identity's strongest key or of its certificate's. An identity
    /// whose signing key is kept elsewhere, or that has none, proves nothing more than its static key, and this adds
    /// nothing.
    ///
    /// # Errors
    /// [`SigningError`]: the system gave no randomness or no memory. The credentials are unchanged.
    pub fn prove(&mut self, identity: &Identity, role: Role, h: &[u8; 32]) -> Result<(), SigningError> {
        if let Some(proof) = proof_of(identity, &proof_text(role, h))? {
            self.proof = Some(proof);
        }
        Ok(())
    }

    /// Adds a capability token.
    ///
    /// # Errors
    /// [`CredentialsError::TooLong`]: more bytes than can travel with the rest. The credentials are unchanged.
    pub fn set_token(&mut self, token: &[u8]) -> Result<(), CredentialsError> {
        let mut with = self.clone();
        with.token = Some(Token(Bytes::copy_from_slice(token)));
        with.checked(self)
    }

    /// Adds a chain of X.509 certificates in DER, leaf first.
    ///
    /// # Errors
    /// [`CredentialsError`]: too many certificates or bytes. The credentials are unchanged.
    pub fn set_svid(&mut self, chain: &[Bytes]) -> Result<(), CredentialsError> {
        if !(1..=SVID_CERTIFICATES_MAX).contains(&chain.len()) {
            return Err(CredentialsError::Svid);
        }
        let mut with = self.clone();
        with.svid = Some(chain.to_vec());
        with.checked(self)
    }

    /// Adds a proof that was made elsewhere, over [`proof_text`].
    ///
    /// # Errors
    /// [`CredentialsError::TooLong`]. The credentials are unchanged.
    pub fn set_proof(&mut self, proof: Proof) -> Result<(), CredentialsError> {
        let mut with = self.clone();
        with.proof = Some(proof);
        with.checked(self)
    }

    fn checked(self, into: &mut Self) -> Result<(), CredentialsError> {
        let len = self.encoded_len();
        if len > CREDENTIALS_BYTES_MAX {
            return Err(CredentialsError::TooLong(len));
        }
        *into = self;
        Ok(())
    }

    /// The identity document with its signatures.
    pub fn identity(&self) -> Option<&Bytes> {
        self.identity.as_ref()
    }

    /// The signature over the handshake.
    pub fn proof(&self) -> Option<&Proof> {
        self.proof.as_ref()
    }

    /// The capability token.
    pub fn token(&self) -> Option<&Bytes> {
        self.token.as_ref().map(|Token(bytes)| bytes)
    }

    /// The X.509 chain, leaf first.
    pub fn svid(&self) -> Option<&[Bytes]> {
        self.svid.as_deref()
    }

    /// Nothing but the static key says who this is.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Appends the payload of AUTH_RESPONSE.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let Some(identity) = &self.identity {
            item(out, IDENTITY, &[identity]);
        }
        if let Some(proof) = &self.proof {
            item(out, PROOF, &[&[proof.algorithm], &proof.signature]);
        }
        if let Some(Token(token)) = &self.token {
            item(out, TOKEN, &[token]);
        }
        if let Some(chain) = &self.svid {
            let mut value = Vec::new();
            for certificate in chain {
                // At most 16,384, so the upper byte of four is not there to be lost.
                let len = u32::try_from(certificate.len()).unwrap_or(u32::MAX).to_be_bytes();
                value.extend_from_slice(&len[1..]);
                value.extend_from_slice(certificate);
            }
            item(out, SVID, &[&value]);
        }
    }

    fn encoded_len(&self) -> usize {
        let chain = |chain: &Vec<Bytes>| chain.iter().map(|certificate| 3 + certificate.len()).sum();
        let items = [
            self.identity.as_ref().map(Bytes::len),
            self.proof.as_ref().map(|proof| 1 + proof.signature.len()),
            self.token.as_ref().map(|Token(token)| token.len()),
            self.svid.as_ref().map(chain),
        ];
        items.iter().flatten().map(|len| 3 + len).sum()
    }

    /// Reads the payload of AUTH_RESPONSE. What the items say is not looked at.
    ///
    /// # Errors
    /// [`CredentialsError`]: the peer is at fault.
    //= protocol/security.md#credentials
    pub fn parse(payload: &[u8]) -> Result<Self, CredentialsError> {
        if payload.len() > CREDENTIALS_BYTES_MAX {
            return Err(CredentialsError::TooLong(payload.len()));
        }
        let mut seen = [false; 256];
        let mut credentials = Self::default();
        let mut reader = Reader::new(payload);
        while reader.left() > 0 {
            let (kind, value) = (reader.u8()?, reader.long()?);
            match seen.get_mut(usize::from(kind)) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(CredentialsError::Twice(kind)),
            }
            let owned = || Bytes::copy_from_slice(value);
            match kind {
                IDENTITY => credentials.identity = Some(owned()),
                PROOF => {
                    let (algorithm, signature) = value.split_first().ok_or(CredentialsError::Truncated)?;
                    credentials.proof = Some(Proof {
                        algorithm: *algorithm,
                        signature: Bytes::copy_from_slice(signature),
                    });
                }
                TOKEN => credentials.token = Some(Token(owned())),
                SVID => credentials.svid = Some(chain(value)?),
                // Later versions have other items.
                _ => {}
            }
        }
        Ok(credentials)
    }
}

#[cfg(feature = "spiffe")]
fn chain_of(identity: &Identity) -> Option<Vec<Bytes>> {
    identity.svid().map(|svid| svid.chain().to_vec())
}

#[cfg(not(feature = "spiffe"))]
fn chain_of(_identity: &Identity) -> Option<Vec<Bytes>> {
    None
}

fn proof_of(identity: &Identity, text: &[u8]) -> Result<Option<Proof>, SigningError> {
    #[cfg(feature = "spiffe")]
    if let Some(svid) = identity.svid() {
        return svid.sign(text).map(Some).map_err(|_| SigningError);
    }
    let Some(key) = identity.signing_key() else {
        return Ok(None);
    };
    let Signature { algorithm, bytes } = key.sign_strongest(text)?;
    Ok(Some(Proof {
        algorithm: algorithm.wire(),
        signature: bytes,
    }))
}

fn chain(value: &[u8]) -> Result<Vec<Bytes>, CredentialsError> {
    let mut reader = Reader::new(value);
    let mut chain = Vec::new();
    while reader.left() > 0 {
        if chain.len() == SVID_CERTIFICATES_MAX {
            return Err(CredentialsError::Svid);
        }
        let len = reader.u24()?;
        let certificate = reader.take(usize::try_from(len).unwrap_or(usize::MAX))?;
        chain.push(Bytes::copy_from_slice(certificate));
    }
    if chain.is_empty() {
        return Err(CredentialsError::Svid);
    }
    Ok(chain)
}

fn item(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    out.push(kind);
    // Every way into a value is bounded by CREDENTIALS_BYTES_MAX or DOCUMENT_BYTES_MAX.
    out.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// What a proof signs: the handshake, and the role of the side that signs, so that it cannot be handed back.
//= protocol/security.md#credentials
pub fn proof_text(role: Role, h: &[u8; 32]) -> Vec<u8> {
    [PROOF_DOMAIN, &[role.wire()], h].concat()
}

/// The items cannot be read, or cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// More bytes than credentials may have.
    #[error("credentials of {0} bytes are longer than the {CREDENTIALS_BYTES_MAX} that are allowed")]
    TooLong(usize),
    /// They end inside an item.
    #[error("credentials end inside an item")]
    Truncated,
    /// An item is there twice.
    #[error("credentials have two items of type {0}")]
    Twice(u8),
    /// No certificate, or too many.
    #[error("an X.509 chain of credentials has no certificate or more than {SVID_CERTIFICATES_MAX}")]
    Svid,
}

impl From<Short> for CredentialsError {
    fn from(_: Short) -> Self {
        Self::Truncated
    }
}

/// Bytes of all items together: two identities' worth, and small enough to be kept while they come.
pub const CREDENTIALS_BYTES_MAX: usize = 16_384;
/// Certificates of a chain: a leaf and more intermediates than anybody runs.
pub const SVID_CERTIFICATES_MAX: usize = 6;

const IDENTITY: u8 = 1;
const PROOF: u8 = 2;
const TOKEN: u8 = 3;
const SVID: u8 = 4;
const PROOF_DOMAIN: &[u8] = b"valkyrie 2 proof\0";
