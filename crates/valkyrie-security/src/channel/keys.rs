//! The key schedule: everything that is derived from a finished handshake, and the keys of one epoch.
//!
//! HKDF with SHA-256 throughout. It can fail only where memory is out, so derivations panic there, as allocations do.

use std::fmt;
use std::sync::OnceLock;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use bytes::BytesMut;
use zeroize::Zeroizing;

use super::aead::RecordAead;
use super::config::ChannelConfig;
use super::datagram::{DatagramOpener, DatagramSealer};
use super::opener::Opener;
use super::record::{RECORD_HEADER_BYTES, RECORD_TAG_BYTES};
use super::sealer::Sealer;
use crate::{Cipher, Role};

/// A secret that keys come from.
pub(super) type Secret = Zeroizing<[u8; 32]>;

/// What a finished handshake gives: the way to the keys of both directions and to values for other purposes.
///
/// Making the channel uses it up, since two sealers of the same keys would use every nonce twice. What is needed
/// later is taken out before with [`KeySchedule::exports`].
pub struct KeySchedule {
    prk: Prk,
    cipher: Cipher,
    role: Role,
}

impl KeySchedule {
    /// The schedule of a handshake with hash `h` whose Split() gave `k1`, the dialler's, and `k2`.
    //= protocol/security.md#keys
    pub fn new(h: &[u8; 32], k1: &[u8; 32], k2: &[u8; 32], cipher: Cipher, role: Role) -> Self {
        let mut ikm = Zeroizing::new([0; 64]);
        let (first, second) = ikm.split_at_mut(32);
        first.copy_from_slice(k1);
        second.copy_from_slice(k2);
        Self {
            prk: Salt::new(HKDF_SHA256, h).extract(&*ikm),
            cipher,
            role,
        }
    }

    /// A value that only the two ends know and that says nothing about the channel's keys, to bind other protocols
    /// to this connection.
    pub fn exporter(&self) -> Zeroizing<[u8; 32]> {
        expand(&self.prk, &[b"valkyrie 2 exporter"])
    }

    /// The key that a session resumed with `ticket` mixes in.
    pub fn ticket_psk(&self, ticket: &[u8; 16]) -> Zeroizing<[u8; 32]> {
        ticket_psk(&self.resumption(), ticket)
    }

    /// What outlives the schedule: exporter and ticket keys.
    pub fn exports(&self) -> Exports {
        Exports {
            exporter: self.exporter(),
            resumption: self.resumption(),
        }
    }

    /// Both directions of a channel on a link that keeps order.
    pub fn channel(self, config: ChannelConfig) -> (Sealer, Opener) {
        let (send, receive) = self.record_directions();
        (Sealer::new(send, config), Opener::new(receive))
    }

    /// Both directions of datagrams.
    pub fn datagrams(self, config: ChannelConfig) -> (DatagramSealer, DatagramOpener) {
        let (send, receive) = self.datagram_directions();
        (DatagramSealer::new(send, config), DatagramOpener::new(receive))
    }

    /// Both, for a connection that sends some things in order and others as they come.
    pub fn channel_and_datagrams(
        self,
        config: ChannelConfig,
    ) -> ((Sealer, Opener), (DatagramSealer, DatagramOpener)) {
        let (send, receive) = self.datagram_directions();
        let datagrams = (DatagramSealer::new(send, config), DatagramOpener::new(receive));
        (self.channel(config), datagrams)
    }

    /// The first keys for records that this side sends, and those that it receives.
    pub(super) fn record_directions(&self) -> (EpochKeys, EpochKeys) {
        self.directions(b"valkyrie 2 dialler", b"valkyrie 2 acceptor")
    }

    /// The same for datagrams.
    //= protocol/security.md#datagrams
    pub(super) fn datagram_directions(&self) -> (EpochKeys, EpochKeys) {
        self.directions(b"valkyrie 2 dialler datagram", b"valkyrie 2 acceptor datagram")
    }

    fn directions(&self, dialler: &[u8], acceptor: &[u8]) -> (EpochKeys, EpochKeys) {
        let dialler = EpochKeys::first(self.cipher, expand(&self.prk, &[dialler]));
        let acceptor = EpochKeys::first(self.cipher, expand(&self.prk, &[acceptor]));
        match self.role {
            Role::Dialler => (dialler, acceptor),
            Role::Acceptor => (acceptor, dialler),
        }
    }

    fn resumption(&self) -> Secret {
        expand(&self.prk, &[b"valkyrie 2 resumption"])
    }
}

impl fmt::Debug for KeySchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySchedule")
            .field("cipher", &self.cipher)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// The part of a [`KeySchedule`] that is good for as long as the connection.
pub struct Exports {
    exporter: Secret,
    resumption: Secret,
}

impl Exports {
    /// See [`KeySchedule::exporter`].
    pub fn exporter(&self) -> &[u8; 32] {
        &self.exporter
    }

    /// See [`KeySchedule::ticket_psk`].
    pub fn ticket_psk(&self, ticket: &[u8; 16]) -> Zeroizing<[u8; 32]> {
        ticket_psk(&self.resumption, ticket)
    }
}

impl fmt::Debug for Exports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exports").finish_non_exhaustive()
    }
}

//= protocol/security.md#success
fn ticket_psk(resumption: &Secret, ticket: &[u8; 16]) -> Secret {
    expand(&prk(resumption), &[b"ticket", ticket])
}

/// The keys of one epoch of one direction, and the secret that those of the next come from.
pub(super) struct EpochKeys {
    cipher: Cipher,
    epoch: u32,
    secret: Secret,
    /// The cipher with its schedule, 600 bytes. Gone while nothing is sealed or opened for long; then made anew.
    key: OnceLock<RecordAead>,
    iv: Zeroizing<[u8; 12]>,
}

impl EpochKeys {
    /// The keys of epoch 0.
    pub(super) fn first(cipher: Cipher, secret: Secret) -> Self {
        Self::of(cipher, 0, secret)
    }

    //= protocol/security.md#keys
    fn of(cipher: Cipher, epoch: u32, secret: Secret) -> Self {
        let from = prk(&secret);
        Self {
            cipher,
            epoch,
            key: OnceLock::from(key(cipher, &from)),
            iv: expand(&from, &[b"iv"]),
            secret,
        }
    }

    /// The cipher, made anew if it was put away.
    #[inline]
    fn key(&self) -> &RecordAead {
        self.key.get_or_init(|| key(self.cipher, &prk(&self.secret)))
    }

    /// Gives back the cipher until the next record. Nothing that counts is lost: the secret is what it comes from.
    pub(super) fn put_away(&mut self) {
        self.key.take();
    }

    /// Whether the cipher is there.
    pub(super) fn is_awake(&self) -> bool {
        self.key.get().is_some()
    }

    /// The keys of the next epoch; `None` after the last.
    pub(super) fn next(&self) -> Option<Self> {
        let epoch = self.epoch.checked_add(1)?;
        let secret = expand(&prk(&self.secret), &[b"next"]);
        Some(Self::of(self.cipher, epoch, secret))
    }

    /// The number of the epoch.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Calls this epoch another, for what must happen at the end of a channel's life.
    #[cfg(test)]
    pub(super) fn rename(&mut self, epoch: u32) {
        self.epoch = epoch;
    }

    /// Secret, key and IV, as vectors have them.
    #[cfg(test)]
    pub(super) fn expose(&self) -> (Secret, Secret, Zeroizing<[u8; 12]>) {
        let key = expand(&prk(&self.secret), &[b"key"]);
        (self.secret.clone(), key, self.iv.clone())
    }

    /// The byte of the epoch that records carry.
    pub(super) fn epoch_byte(&self) -> u8 {
        self.epoch.to_be_bytes()[3]
    }

    fn nonce(&self, number: u64) -> [u8; 12] {
        let mut nonce = *self.iv;
        for (byte, mask) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= mask;
        }
        nonce
    }

    /// Encrypts `in_out` and gives the tag.
    pub(super) fn seal(
        &self,
        number: u64,
        header: &[u8],
        in_out: &mut [u8],
    ) -> Result<[u8; RECORD_TAG_BYTES], Unspecified> {
        self.key().seal(self.nonce(number), header, in_out)
    }

    /// Encrypts `plain` and appends ciphertext and tag to `out`; on an error, `out` may have grown.
    pub(super) fn seal_from(
        &self,
        number: u64,
        header: &[u8],
        plain: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), Unspecified> {
        self.key().seal_from(self.nonce(number), header, plain, out)
    }

    /// Verifies and decrypts `sealed`, ciphertext and tag, and appends the plaintext to `out`; on an error, `out` may have
    /// grown by what is not to be used.
    pub(super) fn open_to(
        &self,
        number: u64,
        header: &[u8],
        sealed: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), Unspecified> {
        self.key().open_to(self.nonce(number), header, sealed, out)
    }

    /// Verifies and decrypts `sealed`, ciphertext and tag, into `plain`, which is as long as the ciphertext.
    pub(super) fn open(
        &self,
        number: u64,
        header: &[u8],
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Result<(), Unspecified> {
        self.key().open(self.nonce(number), header, sealed, plain)
    }

    /// Verifies and decrypts what is in `buffer` from `start` on, ciphertext and tag, to the front of `buffer`.
    pub(super) fn open_within(
        &self,
        number: u64,
        header: [u8; RECORD_HEADER_BYTES],
        buffer: &mut [u8],
        start: usize,
    ) -> Result<(), Unspecified> {
        self.key().open_within(self.nonce(number), &header, buffer, start)
    }

    /// Whether [`EpochKeys::open_within`] is faster when the plaintext ends before the ciphertext begins.
    pub(super) fn opens_far_ahead(&self) -> bool {
        self.key().opens_far_ahead()
    }
}

impl fmt::Debug for EpochKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochKeys")
            .field("cipher", &self.cipher)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

//= protocol/security.md#keys
fn key(cipher: Cipher, from: &Prk) -> RecordAead {
    let key: Zeroizing<[u8; 32]> = expand(from, &[b"key"]);
    RecordAead::new(cipher, &key)
}

fn prk(secret: &Secret) -> Prk {
    Prk::new_less_safe(HKDF_SHA256, &**secret)
}

/// HKDF-Expand of the labels, put together, to as many bytes as the caller wants.
fn expand<const N: usize>(prk: &Prk, labels: &[&[u8]]) -> Zeroizing<[u8; N]> {
    let mut out = Zeroizing::new([0; N]);
    prk.expand(labels, Bytes(N))
        .and_then(|okm| okm.fill(&mut *out))
        .expect("HKDF gives up to 8,160 bytes while there is memory");
    out
}

/// So many bytes of key material.
struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}
