//! The two ends of a link as the behaviours use them: shared between tasks, reading and writing a known pattern.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};

use crate::{Lane, Link};

/// One end of a link in the hands of several tasks, as a reader and a writer hold it in earnest. Each task comes with
/// a waker of its own, so a link that remembers one waker where it should remember two is found out.
#[derive(Clone)]
pub(super) struct End(Arc<Mutex<Box<dyn Link>>>);

impl End {
    pub(super) fn new(link: Box<dyn Link>) -> Self {
        Self(Arc::new(Mutex::new(link)))
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&mut dyn Link) -> T) -> T {
        work(&mut **self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) async fn read(&self, lane: Lane, buf: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|cx| self.with(|link| link.poll_read(cx, lane, buf))).await
    }

    pub(super) async fn write(&self, lane: Lane, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(lane, &[IoSlice::new(bytes)]).await
    }

    pub(super) async fn write_vectored(&self, lane: Lane, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        poll_fn(|cx| self.with(|link| link.poll_write(cx, lane, bufs))).await
    }

    pub(super) async fn write_all(&self, lane: Lane, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.write(lane, bytes).await?;
            assert!(
                0 < count && count <= bytes.len(),
                "a write of {} bytes took {count}",
                bytes.len()
            );
            bytes.advance(count);
        }
        Ok(())
    }

    pub(super) async fn close(&self) -> io::Result<()> {
        poll_fn(|cx| self.with(|link| link.poll_close(cx))).await
    }

    /// Polls a read once, as a task that is never woken would.
    pub(super) fn read_now(&self, lane: Lane, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut cx = Context::from_waker(Waker::noop());
        self.with(|link| link.poll_read(&mut cx, lane, buf))
    }

    /// Writes the bytes of the pattern from `from` to `to`, in writes of at most `chunk` bytes.
    pub(super) async fn send_pattern(&self, lane: Lane, from: usize, to: usize, chunk: usize) {
        let mut at = from;
        while at < to {
            let bytes = pattern(at, chunk.min(to - at));
            if let Err(error) = self.write_all(lane, bytes).await {
                panic!("a write failed after {at} bytes: {error}");
            }
            at += bytes.len();
        }
    }

    /// Reads the bytes of the pattern from `from` to `to`, and not one more.
    pub(super) async fn receive_pattern(&self, lane: Lane, from: usize, to: usize) {
        let mut buf = BytesMut::new();
        let mut at = from;
        while at < to {
            buf.clear();
            match self.read(lane, &mut buf).await {
                Ok(0) => panic!("the input ended after {at} of {to} bytes"),
                Ok(count) => assert_eq!(count, buf.len(), "a read says {count} and appends {}", buf.len()),
                Err(error) => panic!("a read failed after {at} of {to} bytes: {error}"),
            }
            check_pattern(&buf, at);
            at += buf.len();
        }
        assert_eq!(at, to, "more bytes arrived than were sent");
    }

    /// Expects the end of input, twice: an end is an end.
    pub(super) async fn expect_end(&self, lane: Lane) {
        for _ in 0..2 {
            let mut buf = BytesMut::new();
            match self.read(lane, &mut buf).await {
                Ok(0) => assert!(buf.is_empty(), "bytes came with the end of input"),
                Ok(count) => panic!("{count} bytes arrived where the input should end"),
                Err(error) => panic!("the input should end and fails: {error}"),
            }
        }
    }

    /// Sends back what arrives on `lane` until the input ends or the link fails.
    pub(super) async fn echo(self, lane: Lane) {
        let mut buf = BytesMut::new();
        while let Ok(1..) = self.read(lane, &mut buf).await {
            if self.write_all(lane, &buf).await.is_err() {
                return;
            }
            buf.clear();
        }
    }
}

/// Bytes `at` to `at + length` of an endless text in which no shift, gap or repetition goes unnoticed.
pub(super) fn pattern(at: usize, length: usize) -> &'static [u8] {
    static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut state = 1_u32;
        let period: Vec<u8> = (0..PATTERN_PERIOD)
            .map(|_| {
                // The constants are those of the "quick and dirty" generator of Numerical Recipes.
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        period
            .iter()
            .copied()
            .cycle()
            .take(PATTERN_PERIOD + PATTERN_BYTES_MAX)
            .collect()
    });
    &TEXT[at % PATTERN_PERIOD..][..length.min(PATTERN_BYTES_MAX)]
}

pub(super) fn check_pattern(mut bytes: &[u8], mut at: usize) {
    while !bytes.is_empty() {
        let expected = pattern(at, bytes.len());
        // Not assert_eq: nobody wants to read 64 KiB.
        assert!(
            bytes.starts_with(expected),
            "the bytes from {at} on are not those that were sent"
        );
        at += expected.len();
        bytes.advance(expected.len());
    }
}

/// A prime, so that no buffer size divides it.
const PATTERN_PERIOD: usize = 65_537;
const PATTERN_BYTES_MAX: usize = 256 * 1024;
