//! The chain of signed blocks: every block names the key that signs the next one, and the secret half of the last is the
//! token's to add a block with.

use aws_lc_rs::rand;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::wire::{Fields, Writer, once};
use super::{TokenError, TokenRoot};

/// Blocks of a token, the first included: seven times narrowed. Each costs a signature to verify.
const BLOCKS_MAX: usize = 8;

const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

/// The number of Ed25519 among Biscuit's algorithms. It has another, which is not taken.
const ED25519_NUMBER: u64 = 0;

/// What the signature of a block covers, by Biscuit's version: 1 chains the signatures, 0 leaves that to the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Keys,
    Signatures,
}

/// A block and who may add the next.
#[derive(Clone)]
struct Signed {
    block: Vec<u8>,
    next_key: [u8; KEY_BYTES],
    signature: [u8; SIGNATURE_BYTES],
    version: Version,
}

/// What proves that the token ends where it does.
enum Proof {
    /// The secret of the last block's key.
    Secret(Zeroizing<[u8; KEY_BYTES]>),
    /// A signature: nobody can add to it.
    Sealed([u8; SIGNATURE_BYTES]),
}

/// A token as it travels, taken apart. Nothing is verified yet.
pub(super) struct Container {
    root_hint: Option<u32>,
    /// Never empty.
    blocks: Vec<Signed>,
    proof: Proof,
}

impl Container {
    /// A token of one block.
    pub(super) fn new(root: &Ed25519KeyPair, block: &[u8]) -> Result<Self, TokenError> {
        let next = Next::generate()?;
        let signed = Signed::sign(root, block, &next, None)?;
        Ok(Self {
            root_hint: None,
            blocks: vec![signed],
            proof: Proof::Secret(next.seed),
        })
    }

    pub(super) fn read(token: &[u8]) -> Result<Self, TokenError> {
        if token.len() > super::Token::BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let (mut root_hint, mut authority, mut proof, mut later) = (None, None, None, Vec::new());
        let mut fields = Fields::new(token);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => once(&mut root_hint, value.small()?)?,
                2 => once(&mut authority, Signed::read(value.bytes()?)?)?,
                3 => {
                    if later.len() + 1 >= BLOCKS_MAX {
                        return Err(TokenError::TooMany {
                            what: "blocks",
                            bound: BLOCKS_MAX,
                        });
                    }
                    later.push(Signed::read(value.bytes()?)?);
                }
                4 => once(&mut proof, Proof::read(value.bytes()?)?)?,
                _ => return Err(TokenError::Unsupported("a part of a later version")),
            }
        }
        let mut blocks = vec![authority.ok_or(TokenError::Malformed("it has no first block"))?];
        blocks.append(&mut later);
        Ok(Self {
            root_hint,
            blocks,
            proof: proof.ok_or(TokenError::Malformed("it has no proof"))?,
        })
    }

    pub(super) fn write(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Writer::default();
        if let Some(hint) = self.root_hint {
            out.number(1, u64::from(hint));
        }
        for (place, signed) in self.blocks.iter().enumerate() {
            out.message(if place == 0 { 2 } else { 3 }, |out| signed.write(out));
        }
        out.message(4, |out| {
            match &self.proof {
                Proof::Secret(secret) => out.bytes(1, &**secret),
                Proof::Sealed(signature) => out.bytes(2, signature),
            };
        });
        out.finish()
    }

    /// The blocks, the authority's first.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &[u8]> {
        self.blocks.iter().map(|signed| &*signed.block)
    }

    /// The signature of each block, by which it can be revoked.
    pub(super) fn signatures(&self) -> impl Iterator<Item = &[u8; SIGNATURE_BYTES]> {
        self.blocks.iter().map(|signed| &signed.signature)
    }

    /// Whether `root` signed the first block, and the key of each block the next, up to the proof.
    pub(super) fn verify(&self, root: &TokenRoot) -> Result<(), TokenError> {
        let mut key = root.as_bytes();
        let mut previous: Option<&Signed> = None;
        for signed in &self.blocks {
            let covered = signed.covered(previous.map(|signed| &signed.signature));
            verify(key, &covered, &signed.signature)?;
            key = &signed.next_key;
            previous = Some(signed);
        }
        match (&self.proof, previous) {
            (Proof::Secret(secret), _) => {
                let pair = pair(&**secret)?;
                (pair.public_key().as_ref() == key)
                    .then_some(())
                    .ok_or(TokenError::Signature)
            }
            (Proof::Sealed(signature), Some(last)) => verify(key, &last.sealed(), signature),
            (Proof::Sealed(_), None) => Err(TokenError::Signature),
        }
    }

    /// The same token with another block, which only narrows it.
    pub(super) fn append(mut self, block: &[u8]) -> Result<Self, TokenError> {
        if self.blocks.len() >= BLOCKS_MAX {
            return Err(TokenError::TooMany {
                what: "blocks",
                bound: BLOCKS_MAX,
            });
        }
        let signer = self.signer()?;
        let next = Next::generate()?;
        let previous = self.blocks.last().map(|signed| &signed.signature);
        let signed = Signed::sign(&signer, block, &next, previous)?;
        self.blocks.push(signed);
        self.proof = Proof::Secret(next.seed);
        Ok(self)
    }

    /// The same token, to which nobody can add.
    pub(super) fn seal(mut self) -> Result<Self, TokenError> {
        let signer = self.signer()?;
        let last = self
            .blocks
            .last()
            .ok_or(TokenError::Malformed("it has no first block"))?;
        self.proof = Proof::Sealed(sign(&signer, &last.sealed())?);
        Ok(self)
    }

    fn signer(&self) -> Result<Ed25519KeyPair, TokenError> {
        match &self.proof {
            Proof::Secret(secret) => pair(&**secret),
            Proof::Sealed(_) => Err(TokenError::Sealed),
        }
    }
}

/// The key that may add the next block.
struct Next {
    seed: Zeroizing<[u8; KEY_BYTES]>,
    public: [u8; KEY_BYTES],
}

impl Next {
    fn generate() -> Result<Self, TokenError> {
        let mut seed = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(&mut *seed).map_err(|_| TokenError::Key)?;
        let mut public = [0; KEY_BYTES];
        public.copy_from_slice(pair(&*seed)?.public_key().as_ref());
        Ok(Self { seed, public })
    }
}

impl Signed {
    fn sign(
        signer: &Ed25519KeyPair,
        block: &[u8],
        next: &Next,
        previous: Option<&[u8; SIGNATURE_BYTES]>,
    ) -> Result<Self, TokenError> {
        let mut signed = Self {
            block: block.to_vec(),
            next_key: next.public,
            signature: [0; SIGNATURE_BYTES],
            version: Version::Signatures,
        };
        signed.signature = sign(signer, &signed.covered(previous))?;
        Ok(signed)
    }

    fn read(message: &[u8]) -> Result<Self, TokenError> {
        let (mut block, mut next_key, mut signature, mut version) = (None, None, None, None);
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => once(&mut block, value.bytes()?)?,
                2 => once(&mut next_key, public_key(value.bytes()?)?)?,
                3 => once(&mut signature, fixed(value.bytes()?)?)?,
                4 => return Err(TokenError::Unsupported("blocks of others")),
                5 => once(&mut version, value.number()?)?,
                _ => return Err(TokenError::Unsupported("a part of a later version")),
            }
        }
        let missing = TokenError::Malformed("a block is not signed");
        Ok(Self {
            block: block.ok_or(missing.clone())?.to_vec(),
            next_key: next_key.ok_or(missing.clone())?,
            signature: signature.ok_or(missing)?,
            version: match version {
                None | Some(0) => Version::Keys,
                Some(1) => Version::Signatures,
                Some(_) => return Err(TokenError::Unsupported("signatures of a later version")),
            },
        })
    }

    fn write(&self, out: &mut Writer) {
        out.bytes(1, &self.block);
        out.message(2, |out| {
            out.number(1, ED25519_NUMBER).bytes(2, &self.next_key);
        });
        out.bytes(3, &self.signature);
        if self.version == Version::Signatures {
            out.number(5, 1);
        }
    }

    /// What its signature covers.
    fn covered(&self, previous: Option<&[u8; SIGNATURE_BYTES]>) -> Vec<u8> {
        // Biscuit writes the number of the algorithm in four bytes.
        let algorithm = (ED25519_NUMBER as u32).to_le_bytes();
        match self.version {
            Version::Keys => [&*self.block, &algorithm, &self.next_key].concat(),
            Version::Signatures => {
                let mut covered = [
                    b"\0BLOCK\0\0VERSION\0".as_slice(),
                    &1_u32.to_le_bytes(),
                    b"\0PAYLOAD\0",
                    &self.block,
                    b"\0ALGORITHM\0",
                    &algorithm,
                    b"\0NEXTKEY\0",
                    &self.next_key,
                ]
                .concat();
                if let Some(previous) = previous {
                    covered.extend_from_slice(b"\0PREVSIG\0");
                    covered.extend_from_slice(previous);
                }
                covered
            }
        }
    }

    /// What the signature of a seal behind it covers.
    fn sealed(&self) -> Vec<u8> {
        let algorithm = (ED25519_NUMBER as u32).to_le_bytes();
        [&*self.block, &algorithm, &self.next_key, &self.signature].concat()
    }
}

impl Proof {
    fn read(message: &[u8]) -> Result<Self, TokenError> {
        let (mut fields, mut proof) = (Fields::new(message), None);
        while let Some((number, value)) = fields.next()? {
            let read = match number {
                1 => Self::Secret(Zeroizing::new(fixed(value.bytes()?)?)),
                2 => Self::Sealed(fixed(value.bytes()?)?),
                _ => return Err(TokenError::Unsupported("a part of a later version")),
            };
            once(&mut proof, read)?;
        }
        proof.ok_or(TokenError::Malformed("it has no proof"))
    }
}

fn public_key(message: &[u8]) -> Result<[u8; KEY_BYTES], TokenError> {
    let (mut fields, mut algorithm, mut key) = (Fields::new(message), None, None);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => once(&mut algorithm, value.number()?)?,
            2 => once(&mut key, value.bytes()?)?,
            _ => return Err(TokenError::Unsupported("a part of a later version")),
        }
    }
    match algorithm {
        Some(ED25519_NUMBER) => fixed(key.ok_or(TokenError::Malformed("a key is missing"))?),
        Some(_) => Err(TokenError::Unsupported("keys other than Ed25519")),
        None => Err(TokenError::Malformed("a key is missing")),
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], TokenError> {
    bytes
        .try_into()
        .map_err(|_| TokenError::Malformed("a key or signature has not its length"))
}

fn verify(key: &[u8], covered: &[u8], signature: &[u8]) -> Result<(), TokenError> {
    UnparsedPublicKey::new(&ED25519, key)
        .verify(covered, signature)
        .map_err(|_| TokenError::Signature)
}

fn sign(signer: &Ed25519KeyPair, covered: &[u8]) -> Result<[u8; SIGNATURE_BYTES], TokenError> {
    let signature = signer.try_sign(covered).map_err(|_| TokenError::Key)?;
    signature.as_ref().try_into().map_err(|_| TokenError::Key)
}

pub(super) fn pair(seed: &[u8]) -> Result<Ed25519KeyPair, TokenError> {
    Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| TokenError::Key)
}
