//! Records as they arrive: they are read into the buffer that the session takes frames from, behind the frame that has begun
//! there, and opened where they lie, so that little or nothing is copied between the link and the session.
//!
//! Between two reads what is opened and what is sealed are apart, and nobody else sees the latter. While no read is under way only
//! the beginning of a record is kept.

use std::io;
use std::mem;
use std::task::Poll;
use std::time::Instant;

use bytes::{Buf, BytesMut};
use valkyrie_security::channel::{Control, OpenError, Opener, RECORD_PLAINTEXT_MAX, Within};
use valkyrie_transport::READ_CHUNK_BYTES;

use crate::worker;

/// What opens, and what it has not opened yet.
pub(super) struct Records {
    pub(super) opener: Box<Opener>,
    /// The beginning of a record, behind as many bytes that say nothing as `at.sealed` has. They keep it next to what has been
    /// opened before it.
    pub(super) sealed: BytesMut,
    /// Where in the session's buffer what is opened ends and what is sealed begins, while the two are together.
    at: Within,
}

impl Records {
    pub(super) fn new(opener: Box<Opener>, sealed: BytesMut) -> Self {
        Self {
            opener,
            sealed,
            at: Within::default(),
        }
    }

    /// Has `read` append to what is in `input`: the beginning of a frame of `frame_bytes`, when they are known. When bytes
    /// have come, [`Records::open`] and [`Records::part`] are next.
    ///
    /// `flows` is whether the read before this one was of a record or more, so that this one is likely to be; afterwards it is
    /// about this one.
    pub(super) fn poll_read(
        &mut self,
        input: &mut BytesMut,
        frame_bytes: usize,
        flows: &mut bool,
        read: impl FnOnce(&mut BytesMut) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let far_ahead = *flows && self.opener.opens_far_ahead();
        self.join(input, far_ahead);
        worker::make_room(input, frame_bytes);
        let read = read(input);
        match read {
            Poll::Ready(Ok(bytes @ 1..)) => *flows = bytes >= FAR_AHEAD_BYTES,
            _ => self.part(input),
        }
        read
    }

    /// Puts what is sealed behind what is opened, or with `far_ahead` so much room there that the next records are opened
    /// without a copy whoever has their cipher.
    pub(super) fn join(&mut self, input: &mut BytesMut, far_ahead: bool) {
        let mut sealed = mem::take(&mut self.sealed);
        if input.is_empty() && !far_ahead {
            sealed.advance(mem::take(&mut self.at.sealed));
        }
        self.at.plain = input.len();
        self.at.sealed += self.at.plain;
        if sealed.is_empty() {
            if far_ahead {
                self.at.sealed += FAR_AHEAD_BYTES;
                input.reserve(FAR_AHEAD_BYTES + READ_CHUNK_BYTES);
                input.resize(self.at.sealed, 0);
            }
        } else if input.capacity() - input.len() >= sealed.len() {
            input.extend_from_slice(&sealed);
        } else {
            // Neighbours, of which nothing is copied, unless one of them has moved away.
            input.unsplit(sealed);
        }
    }

    /// Opens what is behind `plain`, up to a control record that is for the handshake.
    pub(super) fn open(&mut self, now: Instant, input: &mut BytesMut) -> Result<Option<Control>, OpenError> {
        self.opener.open_within(now, input, &mut self.at)
    }

    /// Takes what is still sealed out of `input`, which is the session's then.
    pub(super) fn part(&mut self, input: &mut BytesMut) {
        let Within { plain, sealed } = mem::take(&mut self.at);
        if sealed >= input.len() {
            input.truncate(plain);
            return;
        }
        self.sealed = input.split_off(plain);
        self.at.sealed = sealed - plain;
        if self.at.sealed > GAP_BYTES_MAX {
            self.sealed.advance(mem::take(&mut self.at.sealed));
        }
    }

    /// Gives the buffer back. Of a record that has begun the bytes are kept, and no more than those.
    pub(super) fn end_pass(&mut self) {
        let begun = mem::take(&mut self.sealed);
        let gap = mem::take(&mut self.at.sealed);
        self.sealed = BytesMut::from(begun.get(gap..).unwrap_or_default());
    }
}

/// Room before what is read, where that saves a copy while records come one after another: the data of one.
const FAR_AHEAD_BYTES: usize = 16 * 1024;

/// What is opened is shorter than what was sealed, by some bytes with every record, and they add up while a frame is not whole. Behind
/// more than this what is sealed is moved, so that a peer that sends a byte in each record gets no more memory for it.
const GAP_BYTES_MAX: usize = 2 * RECORD_PLAINTEXT_MAX;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use valkyrie_security::channel::{ChannelConfig, KeySchedule, Sealer};
    use valkyrie_security::{Cipher, Role};

    use super::*;

    fn pair(record_bytes: usize, cipher: Cipher) -> (Sealer, Records) {
        let schedule = |role| KeySchedule::new(&[1; 32], &[2; 32], &[3; 32], cipher, role);
        let mut config = ChannelConfig::default();
        config.record_bytes = record_bytes;
        let (sealer, _) = schedule(Role::Dialler).channel(config);
        let (_, opener) = schedule(Role::Acceptor).channel(config);
        (sealer, Records::new(Box::new(opener), BytesMut::new()))
    }

    /// One round of a driver, up to the session.
    fn round(records: &mut Records, now: Instant, input: &mut BytesMut, far_ahead: bool, arrived: &[u8]) {
        records.join(input, far_ahead);
        worker::make_room(input, 0);
        input.extend_from_slice(arrived);
        assert!(records.open(now, input).unwrap().is_none());
        records.part(input);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Reads end anywhere, frames end anywhere, and passes end in between; with room before what is read and without.
        #[test]
        fn what_was_sealed_comes_out_whole(
            data in vec(any::<u8>(), 1..100_000),
            record_bytes in 256_usize..20_000,
            // The two come from different libraries on many processors.
            cipher in prop::sample::select(&[Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305][..]),
            rounds in vec((1_usize..50_000, 0_usize..60_000, any::<bool>(), any::<bool>()), 1..20),
        ) {
            let (mut sealer, mut records) = pair(record_bytes, cipher);
            let now = Instant::now();
            let mut wire = BytesMut::new();
            sealer.seal(now, [&data[..]], &mut wire).unwrap();
            let (mut input, mut taken) = (worker::take_input(), Vec::new());
            for &(read, take, far_ahead, last) in rounds.iter().cycle() {
                let arrived = wire.split_to(read.min(wire.len()));
                round(&mut records, now, &mut input, far_ahead, &arrived);
                // As a session does that hands payloads on.
                let frames = input.split_to(take.min(input.len()));
                taken.extend_from_slice(&frames);
                if last {
                    records.end_pass();
                }
                if wire.is_empty() {
                    break;
                }
            }
            taken.extend_from_slice(&input);
            prop_assert_eq!(taken, data);
            records.end_pass();
            prop_assert_eq!(records.sealed.capacity(), 0);
        }
    }

    #[test]
    fn a_byte_in_each_record_holds_no_more_memory_than_bytes_have_come() {
        let (mut sealer, mut records) = pair(256, Cipher::Aes256Gcm);
        let now = Instant::now();
        let mut wire = BytesMut::new();
        for _ in 0..100_000 {
            sealer.seal(now, [&[7][..]], &mut wire).unwrap();
        }
        let mut input = BytesMut::new();
        let mut most = 0;
        // Every read ends in the middle of a record, and no frame is ever whole.
        while wire.len() > 1003 {
            round(&mut records, now, &mut input, false, &wire.split_to(1003));
            most = most.max(input.capacity() + records.sealed.capacity());
        }
        assert!(input.len() > 99_000);
        let bound = 256 * 1024 + 2 * GAP_BYTES_MAX;
        assert!(most < bound, "{most} of {bound}");
    }
}
