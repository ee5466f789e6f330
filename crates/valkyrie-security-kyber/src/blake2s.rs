//! BLAKE2s with 32 bytes of output, behind the contract for hashes.

use blake2::{Blake2s256, Digest};
use valkyrie_security::provider::{HASH_BYTES_MAX, HashOps};

/// A hash in progress.
#[derive(Default)]
pub(crate) struct Blake2s(Blake2s256);

impl HashOps for Blake2s {
    fn block_bytes(&self) -> usize {
        64
    }

    fn output_bytes(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finish(&mut self, out: &mut [u8; HASH_BYTES_MAX]) {
        let hash = self.0.finalize_reset();
        out.iter_mut().zip(hash).for_each(|(out, byte)| *out = byte);
    }
}
