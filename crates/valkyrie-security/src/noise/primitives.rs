//! The primitives as `snow` calls them. What is secret goes by way of the [`Vault`]; the arrays that `snow` hands
//! over for it are left at zero.

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
use snow::Error;
use snow::types;
use zeroize::Zeroizing;

use super::size::TAG_BYTES;
use super::vault::Vault;
use crate::provider::{BLOCK_BYTES_MAX, HASH_BYTES_MAX, HashOps, KEY_BYTES, KemOps, SECRET_BYTES, StaticKey};
use crate::suite::{Cipher, Kem};

/// Randomness, which none of the primitives takes from `snow`: each has its own way to the same source.
pub(super) struct Random;

impl types::Random for Random {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        aws_lc_rs::rand::fill(dest).map_err(|_| Error::Rng)
    }
}

/// One X25519 key pair: `snow` makes it the static one by `set` and the ephemeral one by `generate`.
pub(super) struct Agreement {
    pub(super) vault: Vault,
    /// The static key, which `set` puts to use. `snow` has zeros in its place.
    pub(super) own: StaticKey,
    /// The ephemeral key to "generate"; for reproducing vectors.
    pub(super) ephemeral: Option<StaticKey>,
    pub(super) in_use: Option<StaticKey>,
    pub(super) public: [u8; KEY_BYTES],
}

impl Agreement {
    fn take_up(&mut self, key: StaticKey) {
        self.public = key.public().to_bytes();
        self.in_use = Some(key);
    }
}

impl types::Dh for Agreement {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_BYTES
    }

    fn priv_len(&self) -> usize {
        KEY_BYTES
    }

    fn set(&mut self, _in_its_place: &[u8]) {
        self.take_up(self.own.clone());
    }

    fn generate(&mut self, _: &mut dyn types::Random) -> Result<(), Error> {
        let key = match self.ephemeral.take() {
            Some(key) => key,
            None => StaticKey::generate().map_err(|_| Error::Rng)?,
        };
        self.take_up(key);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &[0; KEY_BYTES]
    }

    fn dh(&self, peer: &[u8], _out: &mut [u8]) -> Result<(), Error> {
        let key = self.in_use.as_ref().ok_or(Error::Dh)?;
        let peer = peer.get(..KEY_BYTES).ok_or(Error::Dh)?;
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        key.agree(peer, &mut secret).map_err(|_| Error::Dh)?;
        self.vault.open().input.put(&secret);
        Ok(())
    }
}

/// A key encapsulation.
pub(super) struct Encapsulation {
    pub(super) vault: Vault,
    pub(super) kem: Kem,
    pub(super) ops: Box<dyn KemOps>,
    /// Stands in where there is no key pair; such a message never leaves.
    pub(super) nothing: Vec<u8>,
}

impl types::Kem for Encapsulation {
    fn name(&self) -> &'static str {
        match self.kem {
            Kem::MlKem768 => "MLKEM768",
            Kem::Kyber1024 => "Kyber1024",
        }
    }

    fn pub_len(&self) -> usize {
        self.kem.public_bytes()
    }

    fn ciphertext_len(&self) -> usize {
        self.kem.ciphertext_bytes()
    }

    fn shared_secret_len(&self) -> usize {
        SECRET_BYTES
    }

    fn generate(&mut self, _: &mut dyn types::Random) {
        let made = self.ops.generate();
        if made.is_err() || self.ops.public().len() != self.pub_len() {
            self.vault.open().failed = true;
        }
    }

    fn pubkey(&self) -> &[u8] {
        let public = self.ops.public();
        if public.len() == self.pub_len() {
            public
        } else {
            &self.nothing
        }
    }

    fn encapsulate(
        &self,
        public: &[u8],
        _secret_out: &mut [u8],
        ciphertext: &mut [u8],
    ) -> Result<(usize, usize), Error> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        self.ops
            .encapsulate(public, ciphertext, &mut secret)
            .map_err(|_| Error::Kem)?;
        self.vault.open().input.put(&secret);
        Ok((SECRET_BYTES, ciphertext.len()))
    }

    fn decapsulate(&self, ciphertext: &[u8], _secret_out: &mut [u8]) -> Result<usize, Error> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        self.ops
            .decapsulate(ciphertext, &mut secret)
            .map_err(|_| Error::Kem)?;
        self.vault.open().input.put(&secret);
        Ok(SECRET_BYTES)
    }
}

/// The hash of the transcript, and the key derivation that goes with it.
pub(super) struct Transcript {
    pub(super) vault: Vault,
    pub(super) name: &'static str,
    pub(super) ops: Box<dyn HashOps>,
}

impl types::Hash for Transcript {
    fn name(&self) -> &'static str {
        self.name
    }

    fn block_len(&self) -> usize {
        self.ops.block_bytes().min(BLOCK_BYTES_MAX)
    }

    fn hash_len(&self) -> usize {
        self.ops.output_bytes().min(HASH_BYTES_MAX)
    }

    fn reset(&mut self) {
        self.ops.reset();
    }

    fn input(&mut self, data: &[u8]) {
        self.ops.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let mut hash = [0; HASH_BYTES_MAX];
        self.ops.finish(&mut hash);
        let bytes = self.hash_len();
        out.iter_mut()
            .zip(hash.iter().take(bytes))
            .for_each(|(out, byte)| *out = *byte);
    }

    fn hmac(&mut self, key: &[u8], data: &[u8], out: &mut [u8]) {
        let mut mac = Zeroizing::new([0; HASH_BYTES_MAX]);
        self.ops.hmac(key, data, &mut mac);
        let bytes = self.hash_len();
        out.iter_mut()
            .zip(mac.iter().take(bytes))
            .for_each(|(out, byte)| *out = *byte);
    }

    /// Noise's HKDF. `snow` asks for it in three cases, told apart by their arguments:
    ///
    /// | `snow` calls it from | outputs | input | first output | last output |
    /// |---|---|---|---|---|
    /// | MixKey | 2 | not empty | the chaining key, kept in the vault | a cipher key, kept in the vault |
    /// | MixKeyAndHash | 3 | the pre-shared key | the chaining key, kept in the vault | a cipher key, kept in the vault |
    /// | Split | 2 | empty | the initiator's key, kept in the vault | the responder's, likewise |
    ///
    /// The second of three outputs is hashed into the transcript and is the one output that `snow` gets.
    fn hkdf(
        &mut self,
        chaining_key: &[u8],
        input: &[u8],
        outputs: usize,
        _out1: &mut [u8],
        out2: &mut [u8],
        _out3: &mut [u8],
    ) {
        let vault = self.vault.clone();
        let mut secrets = vault.open();
        let bytes = self.hash_len();
        let chain = secrets.chain.copy();
        let chain = match &chain {
            Some(chain) => chain.get(..bytes).unwrap_or_default(),
            None => chaining_key,
        };
        let stored = match (outputs, input.is_empty()) {
            (3, _) => secrets.psk.copy(),
            (_, false) => secrets.input.take(),
            (_, true) => None,
        };
        let input = stored.as_ref().map_or(input, |stored| &stored[..]);

        let mut key = Zeroizing::new([0; HASH_BYTES_MAX]);
        self.ops.hmac(chain, input, &mut key);
        let key = key.get(..bytes).unwrap_or_default();
        let mut first = Zeroizing::new([0; HASH_BYTES_MAX]);
        self.ops.hmac(key, &[1], &mut first);
        let second = self.next_output(key, &first, 2);

        match (outputs, input.is_empty()) {
            (2, true) => {
                secrets.k1.put(&cipher_key(&first));
                secrets.k2.put(&cipher_key(&second));
            }
            (2, false) => {
                secrets.chain.put(&first);
                secrets.key.put(&cipher_key(&second));
            }
            (3, _) => {
                let third = self.next_output(key, &second, 3);
                secrets.chain.put(&first);
                secrets.key.put(&cipher_key(&third));
                out2.iter_mut()
                    .zip(second.iter().take(bytes))
                    .for_each(|(out, byte)| *out = *byte);
            }
            _ => secrets.failed = true,
        }
    }
}

impl Transcript {
    /// HMAC of the output before and its number.
    fn next_output(
        &mut self,
        key: &[u8],
        before: &[u8; HASH_BYTES_MAX],
        number: u8,
    ) -> Zeroizing<[u8; HASH_BYTES_MAX]> {
        let bytes = self.ops.output_bytes().min(HASH_BYTES_MAX);
        let mut data = Zeroizing::new([0; HASH_BYTES_MAX + 1]);
        let numbered = before.iter().take(bytes).chain([&number]);
        data.iter_mut().zip(numbered).for_each(|(out, byte)| *out = *byte);
        let mut out = Zeroizing::new([0; HASH_BYTES_MAX]);
        self.ops
            .hmac(key, data.get(..=bytes).unwrap_or_default(), &mut out);
        out
    }
}

/// The first bytes of an output, as Noise makes a cipher key of it.
fn cipher_key(output: &[u8; HASH_BYTES_MAX]) -> Zeroizing<[u8; SECRET_BYTES]> {
    let mut key = Zeroizing::new([0; SECRET_BYTES]);
    key.iter_mut().zip(output).for_each(|(out, byte)| *out = *byte);
    key
}

/// The authenticated cipher. aws-lc wipes its key when it is dropped.
pub(super) struct Aead {
    pub(super) vault: Vault,
    pub(super) cipher: Cipher,
    pub(super) key: Option<LessSafeKey>,
}

impl Aead {
    fn nonce(&self, counter: u64) -> Nonce {
        let counter = match self.cipher {
            Cipher::Aes256Gcm => counter.to_be_bytes(),
            Cipher::ChaCha20Poly1305 => counter.to_le_bytes(),
        };
        let mut nonce = [0; 12];
        nonce
            .iter_mut()
            .skip(4)
            .zip(counter)
            .for_each(|(out, byte)| *out = byte);
        Nonce::assume_unique_for_key(nonce)
    }

    /// A cipher that has its key from the beginning.
    #[cfg(test)]
    pub(super) fn with_key(cipher: Cipher, key: &[u8; SECRET_BYTES]) -> Self {
        Self {
            vault: Vault::default(),
            cipher,
            key: UnboundKey::new(cipher.algorithm(), key)
                .ok()
                .map(LessSafeKey::new),
        }
    }

    /// Seals `plain` to the beginning of `out`, and says how long that is.
    pub(super) fn seal(
        &self,
        counter: u64,
        associated: &[u8],
        plain: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let key = self.key.as_ref()?;
        let out = out.get_mut(..plain.len().checked_add(TAG_BYTES)?)?;
        let (sealed, tag_out) = out.split_at_mut_checked(plain.len())?;
        sealed.copy_from_slice(plain);
        let tag = key
            .seal_in_place_separate_tag(self.nonce(counter), Aad::from(associated), sealed)
            .ok()?;
        tag_out.copy_from_slice(tag.as_ref().get(..TAG_BYTES)?);
        Some(plain.len() + TAG_BYTES)
    }

    /// Opens `sealed` to the beginning of `out`, and says how long that is.
    pub(super) fn open(
        &self,
        counter: u64,
        associated: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let key = self.key.as_ref()?;
        let bytes = sealed.len().checked_sub(TAG_BYTES)?;
        let (sealed, tag) = sealed.split_at_checked(bytes)?;
        let out = out.get_mut(..bytes)?;
        key.open_separate_gather(self.nonce(counter), Aad::from(associated), sealed, tag, out)
            .ok()?;
        Some(bytes)
    }
}

impl types::Cipher for Aead {
    fn name(&self) -> &'static str {
        match self.cipher {
            Cipher::Aes256Gcm => "AESGCM",
            Cipher::ChaCha20Poly1305 => "ChaChaPoly",
        }
    }

    /// Takes the key from the vault. There is none for the two ciphers that `snow` makes at the end of a handshake,
    /// and they are not used.
    fn set(&mut self, _in_its_place: &[u8; SECRET_BYTES]) {
        self.key = self.vault.open().key.take().and_then(|key| {
            let key = UnboundKey::new(self.cipher.algorithm(), &*key).ok()?;
            Some(LessSafeKey::new(key))
        });
    }

    fn encrypt(&self, nonce: u64, associated: &[u8], plain: &[u8], out: &mut [u8]) -> usize {
        self.seal(nonce, associated, plain, out).unwrap_or_else(|| {
            self.vault.open().failed = true;
            0
        })
    }

    fn decrypt(&self, nonce: u64, associated: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        self.open(nonce, associated, sealed, out).ok_or(Error::Decrypt)
    }
}
