//! The cipher of records, by the library that is fastest for it on this processor.
//!
//! aws-lc has an AES-GCM for processors with AVX-512 and one for those with nothing but AES-NI; on the many between, with
//! VAES and AVX2 alone, it takes the latter. ring has one for just these, half as fast again, and is used there and nowhere
//! else (decision 0022 in `docs/decisions`). Both give the same bytes, and the
//! same errors, for the same input.

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use bytes::BytesMut;

use super::record::RECORD_TAG_BYTES;
use crate::Cipher;

/// A key with its schedule, 600 bytes on the heap. It is wiped when it is dropped.
pub(super) enum RecordAead {
    AwsLc(LessSafeKey),
    #[cfg(target_arch = "x86_64")]
    Ring(vaes::Key),
}

impl RecordAead {
    pub(super) fn new(cipher: Cipher, key: &[u8; 32]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if cipher == Cipher::Aes256Gcm && vaes::is_faster() {
            return Self::Ring(vaes::Key::new(key));
        }
        Self::aws_lc(cipher, key)
    }

    fn aws_lc(cipher: Cipher, key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(cipher.algorithm(), key).expect("a key of 32 bytes fits both ciphers");
        Self::AwsLc(LessSafeKey::new(key))
    }

    /// Encrypts `in_out` and gives the tag.
    pub(super) fn seal(
        &self,
        nonce: [u8; 12],
        header: &[u8],
        in_out: &mut [u8],
    ) -> Result<[u8; RECORD_TAG_BYTES], Unspecified> {
        match self {
            Self::AwsLc(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(header), in_out)?;
                tag.as_ref().try_into().map_err(|_| Unspecified)
            }
            #[cfg(target_arch = "x86_64")]
            Self::Ring(key) => key.seal(nonce, header, in_out),
        }
    }

    /// Encrypts `plain` and appends ciphertext and tag to `out`; on an error, `out` may have grown.
    pub(super) fn seal_from(
        &self,
        nonce: [u8; 12],
        header: &[u8],
        plain: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), Unspecified> {
        let start = out.len();
        match self {
            Self::AwsLc(key) => {
                out.resize(start + plain.len() + RECORD_TAG_BYTES, 0);
                let sealed = out.get_mut(start..).unwrap_or_default();
                let (ciphertext, tag) = sealed.split_at_mut_checked(plain.len()).ok_or(Unspecified)?;
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.seal_out_of_place_scatter(nonce, Aad::from(header), plain, ciphertext, &[], tag)
            }
            #[cfg(target_arch = "x86_64")]
            Self::Ring(key) => {
                append(plain, out);
                let tag = key.seal(nonce, header, out.get_mut(start..).unwrap_or_default())?;
                out.extend_from_slice(&tag);
                Ok(())
            }
        }
    }

    /// Verifies and decrypts `sealed`, ciphertext and tag, and appends the plaintext to `out`; on an error, `out` may have
    /// grown by what is not to be used.
    pub(super) fn open_to(
        &self,
        nonce: [u8; 12],
        header: &[u8],
        sealed: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), Unspecified> {
        let (ciphertext, tag) = sealed.split_last_chunk::<RECORD_TAG_BYTES>().ok_or(Unspecified)?;
        let start = out.len();
        match self {
            Self::AwsLc(_) => {
                out.resize(start + ciphertext.len(), 0);
                self.open(nonce, header, sealed, out.get_mut(start..).unwrap_or_default())
            }
            #[cfg(target_arch = "x86_64")]
            Self::Ring(key) => {
                append(ciphertext, out);
                key.open(nonce, header, tag, out.get_mut(start..).unwrap_or_default(), 0)
            }
        }
    }

    /// Verifies and decrypts `sealed`, ciphertext and tag, into `plain`, which is as long as the ciphertext.
    pub(super) fn open(
        &self,
        nonce: [u8; 12],
        header: &[u8],
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Result<(), Unspecified> {
        let (ciphertext, tag) = sealed.split_last_chunk::<RECORD_TAG_BYTES>().ok_or(Unspecified)?;
        match self {
            Self::AwsLc(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.open_separate_gather(nonce, Aad::from(header), ciphertext, tag, plain)
            }
            #[cfg(target_arch = "x86_64")]
            Self::Ring(key) => {
                if plain.len() != ciphertext.len() {
                    return Err(Unspecified);
                }
                plain.copy_from_slice(ciphertext);
                key.open(nonce, header, tag, plain, 0)
            }
        }
    }

    /// Verifies and decrypts what is in `buffer` from `start` on, ciphertext and tag, to the front of `buffer`.
    ///
    /// ring does this at any distance without a copy, AWS-LC where the two do not overlap; see
    /// [`RecordAead::opens_far_ahead`].
    pub(super) fn open_within(
        &self,
        nonce: [u8; 12],
        header: &[u8],
        buffer: &mut [u8],
        start: usize,
    ) -> Result<(), Unspecified> {
        let (in_out, tag) = buffer
            .split_last_chunk_mut::<RECORD_TAG_BYTES>()
            .ok_or(Unspecified)?;
        match self {
            Self::AwsLc(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                let (front, ciphertext) = in_out.split_at_mut_checked(start).ok_or(Unspecified)?;
                let len = ciphertext.len();
                if let Some(plain) = front.get_mut(..len) {
                    return key.open_separate_gather(nonce, Aad::from(header), ciphertext, tag, plain);
                }
                key.open_in_place_separate_tag(nonce, Aad::from(header), tag, ciphertext)?;
                move_to_front(in_out, start, len);
                Ok(())
            }
            #[cfg(target_arch = "x86_64")]
            Self::Ring(key) => key.open(nonce, header, tag, in_out, start),
        }
    }

    /// Whether [`RecordAead::open_within`] is faster when the plaintext ends before the ciphertext begins.
    pub(super) fn opens_far_ahead(&self) -> bool {
        matches!(self, Self::AwsLc(_))
    }
}

/// Moves the `len` bytes behind `start` to the front, in pieces for the reason that [`append`] has.
fn move_to_front(buffer: &mut [u8], start: usize, len: usize) {
    for done in (0..len).step_by(COPIED_AT_ONCE) {
        let piece = COPIED_AT_ONCE.min(len - done);
        buffer.copy_within(start + done..start + done + piece, done);
    }
}

/// Appends `chunk`, not in one go. A copy of more than two kilobytes is left to the processor's string instruction by some C
/// libraries, which is fifteen to thirty times slower on some processors when the two addresses are a few bytes apart
/// modulo 4,096. A record behind a header of five bytes often is.
pub(super) fn append(chunk: &[u8], out: &mut BytesMut) {
    out.reserve(chunk.len() + RECORD_TAG_BYTES);
    for piece in chunk.chunks(COPIED_AT_ONCE) {
        out.extend_from_slice(piece);
    }
}

/// Measured best of the powers of two, see the bench `copy`.
const COPIED_AT_ONCE: usize = 1024;

#[cfg(target_arch = "x86_64")]
mod vaes {
    //! AES-256-GCM by ring, with the instructions VAES and VPCLMULQDQ on 256 bits.

    use std::arch::is_x86_feature_detected as has;
    use std::hint::black_box;

    use aws_lc_rs::error::Unspecified;
    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};

    use super::RECORD_TAG_BYTES;

    /// Whether this processor has what ring's AES-GCM wants and not what that of aws-lc wants.
    pub(super) fn is_faster() -> bool {
        let ring = has!("vaes") && has!("vpclmulqdq") && has!("avx2");
        let aws_lc = has!("avx512f") && has!("avx512vl") && has!("avx512bw") && has!("avx512dq");
        ring && !aws_lc
    }

    /// A key on the heap that leaves nothing there.
    pub(in crate::channel) struct Key(Box<LessSafeKey>);

    impl Key {
        pub(super) fn new(key: &[u8; 32]) -> Self {
            Self(Box::new(schedule(key)))
        }

        pub(super) fn seal(
            &self,
            nonce: [u8; 12],
            header: &[u8],
            in_out: &mut [u8],
        ) -> Result<[u8; RECORD_TAG_BYTES], Unspecified> {
            let nonce = Nonce::assume_unique_for_key(nonce);
            let sealed = self
                .0
                .seal_in_place_separate_tag(nonce, Aad::from(header), in_out);
            let tag = sealed.map_err(|_| Unspecified)?;
            tag.as_ref().try_into().map_err(|_| Unspecified)
        }

        /// Decrypts what is in `in_out` from `start` on to its front.
        pub(super) fn open(
            &self,
            nonce: [u8; 12],
            header: &[u8],
            tag: &[u8; RECORD_TAG_BYTES],
            in_out: &mut [u8],
            start: usize,
        ) -> Result<(), Unspecified> {
            let (nonce, tag) = (Nonce::assume_unique_for_key(nonce), Tag::from(*tag));
            let opened = self
                .0
                .open_in_place_separate_tag(nonce, Aad::from(header), tag, in_out, start..);
            opened.map(|_| ()).map_err(|_| Unspecified)
        }
    }

    impl Drop for Key {
        fn drop(&mut self) {
            // ring wipes nothing. Another key of the same size takes the place of this one, and whoever looks at it keeps
            // the compiler from finding that nobody would.
            *self.0 = schedule(&[0; 32]);
            black_box(&*self.0);
        }
    }

    fn schedule(key: &[u8; 32]) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("a key of 32 bytes fits the cipher"))
    }
}

#[cfg(test)]
mod tests;
