//! The suites: what a handshake and the channel after it are made of, by number and by name.
//!
//! A number, its name and the primitives behind it are one entry of one table, so that a handshake cannot run under
//! a name that is not its own.

use std::fmt;

/// The number that stands for a suite on the wire.
//= protocol/security.md#suites
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SuiteId(pub u8);

/// The order of messages of a handshake, and who knows whom before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// Three messages; neither side knows the other's static key.
    Xx,
    /// Two messages; the dialler knows the acceptor's static key.
    Ik,
    /// [`Pattern::Ik`] with a key that both sides have from an earlier session.
    IkPsk0,
}

impl Pattern {
    /// How many messages there are.
    pub const fn messages(self) -> usize {
        match self {
            Self::Xx => 3,
            Self::Ik | Self::IkPsk0 => 2,
        }
    }

    /// The dialler must know the acceptor's static key before it begins.
    pub const fn needs_peer_key(self) -> bool {
        matches!(self, Self::Ik | Self::IkPsk0)
    }
}

/// The key encapsulation beside X25519.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kem {
    /// ML-KEM-768 (FIPS 203).
    MlKem768,
    /// Kyber1024 of the third round, for peers that know nothing else. No provider of this crate supplies it.
    Kyber1024,
}

/// The authenticated cipher of the handshake, and of the channel after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

/// The hash of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// BLAKE2s. No provider of this crate supplies it.
    Blake2s,
}

/// What a handshake is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suite {
    /// Its number.
    pub id: SuiteId,
    /// Its Noise protocol name, which enters the handshake's hash.
    pub name: &'static str,
    /// The pattern of messages.
    pub pattern: Pattern,
    /// The key encapsulation; `None` is a classical suite.
    pub kem: Option<Kem>,
    /// The cipher.
    pub cipher: Cipher,
    /// The hash.
    pub hash: Hash,
}

impl Suite {
    /// A recorded conversation stays secret from whoever breaks X25519 later.
    pub const fn post_quantum(&self) -> bool {
        self.kem.is_some()
    }
}

impl SuiteId {
    /// First contact.
    pub const XX_AES: SuiteId = SuiteId(1);
    /// The acceptor's key is known.
    pub const IK_AES: SuiteId = SuiteId(2);
    /// Resumption.
    pub const IK_PSK_AES: SuiteId = SuiteId(3);
    /// First contact without AES in hardware.
    pub const XX_CHACHA: SuiteId = SuiteId(4);
    /// A known acceptor without AES in hardware.
    pub const IK_CHACHA: SuiteId = SuiteId(5);
    /// Resumption without AES in hardware.
    pub const IK_PSK_CHACHA: SuiteId = SuiteId(6);
    /// First contact, classical.
    pub const XX_CLASSICAL_AES: SuiteId = SuiteId(17);
    /// A known acceptor, classical.
    pub const IK_CLASSICAL_AES: SuiteId = SuiteId(18);
    /// First contact, classical, without AES in hardware.
    pub const XX_CLASSICAL_CHACHA: SuiteId = SuiteId(20);
    /// A known acceptor, classical, without AES in hardware.
    pub const IK_CLASSICAL_CHACHA: SuiteId = SuiteId(21);
    /// First contact with Kyber1024, see [`Kem::Kyber1024`].
    pub const XX_KYBER1024: SuiteId = SuiteId(64);
    /// A known acceptor with Kyber1024.
    pub const IK_KYBER1024: SuiteId = SuiteId(65);

    /// What the number stands for; `None` for a number that this version does not know.
    pub fn suite(self) -> Option<&'static Suite> {
        SUITES.iter().find(|suite| suite.id == self)
    }
}

impl fmt::Debug for SuiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SuiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.suite() {
            Some(suite) => f.write_str(suite.name),
            None => write!(f, "suite {}", self.0),
        }
    }
}

/// Every suite of this version.
pub const SUITES: &[Suite] = &[
    suite(
        SuiteId::XX_AES,
        "Noise_XXhfs_25519+MLKEM768_AESGCM_SHA256",
        Pattern::Xx,
        Some(Kem::MlKem768),
        AES,
    ),
    suite(
        SuiteId::IK_AES,
        "Noise_IKhfs_25519+MLKEM768_AESGCM_SHA256",
        Pattern::Ik,
        Some(Kem::MlKem768),
        AES,
    ),
    suite(
        SuiteId::IK_PSK_AES,
        "Noise_IKhfs+psk0_25519+MLKEM768_AESGCM_SHA256",
        Pattern::IkPsk0,
        Some(Kem::MlKem768),
        AES,
    ),
    suite(
        SuiteId::XX_CHACHA,
        "Noise_XXhfs_25519+MLKEM768_ChaChaPoly_SHA256",
        Pattern::Xx,
        Some(Kem::MlKem768),
        CHACHA,
    ),
    suite(
        SuiteId::IK_CHACHA,
        "Noise_IKhfs_25519+MLKEM768_ChaChaPoly_SHA256",
        Pattern::Ik,
        Some(Kem::MlKem768),
        CHACHA,
    ),
    suite(
        SuiteId::IK_PSK_CHACHA,
        "Noise_IKhfs+psk0_25519+MLKEM768_ChaChaPoly_SHA256",
        Pattern::IkPsk0,
        Some(Kem::MlKem768),
        CHACHA,
    ),
    suite(
        SuiteId::XX_CLASSICAL_AES,
        "Noise_XX_25519_AESGCM_SHA256",
        Pattern::Xx,
        None,
        AES,
    ),
    suite(
        SuiteId::IK_CLASSICAL_AES,
        "Noise_IK_25519_AESGCM_SHA256",
        Pattern::Ik,
        None,
        AES,
    ),
    suite(
        SuiteId::XX_CLASSICAL_CHACHA,
        "Noise_XX_25519_ChaChaPoly_SHA256",
        Pattern::Xx,
        None,
        CHACHA,
    ),
    suite(
        SuiteId::IK_CLASSICAL_CHACHA,
        "Noise_IK_25519_ChaChaPoly_SHA256",
        Pattern::Ik,
        None,
        CHACHA,
    ),
    kyber(
        SuiteId::XX_KYBER1024,
        "Noise_XXhfs_25519+Kyber1024_ChaChaPoly_BLAKE2s",
        Pattern::Xx,
    ),
    kyber(
        SuiteId::IK_KYBER1024,
        "Noise_IKhfs_25519+Kyber1024_ChaChaPoly_BLAKE2s",
        Pattern::Ik,
    ),
];

const AES: Cipher = Cipher::Aes256Gcm;
const CHACHA: Cipher = Cipher::ChaCha20Poly1305;

const fn suite(id: SuiteId, name: &'static str, pattern: Pattern, kem: Option<Kem>, cipher: Cipher) -> Suite {
    Suite {
        id,
        name,
        pattern,
        kem,
        cipher,
        hash: Hash::Sha256,
    }
}

const fn kyber(id: SuiteId, name: &'static str, pattern: Pattern) -> Suite {
    Suite {
        id,
        name,
        pattern,
        kem: Some(Kem::Kyber1024),
        cipher: CHACHA,
        hash: Hash::Blake2s,
    }
}
