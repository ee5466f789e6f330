//! One direction of one lane: a bounded queue of bytes with a waker at each end.
//!
//! The storage is given back whenever the queue runs empty, so an idle pipe costs its state and nothing more.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;

use crate::reserve_for_read;

#[derive(Debug)]
pub(super) struct Pipe {
    state: Mutex<State>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    writer: WriterEnd,
    reader_gone: bool,
    read_waker: Option<Waker>,
    write_waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum WriterEnd {
    #[default]
    Open,
    /// The writer said that this is all.
    Finished,
    /// The writer's link was dropped in the middle.
    Gone,
}

impl Pipe {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            bytes_max,
        }
    }

    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if state.bytes.is_empty() {
            return match state.writer {
                WriterEnd::Finished => Poll::Ready(Ok(0)),
                WriterEnd::Gone => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                WriterEnd::Open => {
                    register(&mut state.read_waker, cx);
                    Poll::Pending
                }
            };
        }
        reserve_for_read(buf);
        let count = state.bytes.len().min(buf.capacity() - buf.len());
        let (front, back) = state.bytes.as_slices();
        let from_front = count.min(front.len());
        buf.extend_from_slice(&front[..from_front]);
        buf.extend_from_slice(&back[..count - from_front]);
        if count == state.bytes.len() {
            state.bytes = VecDeque::new();
        } else {
            state.bytes.drain(..count);
        }
        wake(state.write_waker.take(), state);
        Poll::Ready(Ok(count))
    }

    pub(super) fn poll_write(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if state.reader_gone || state.writer != WriterEnd::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = self.bytes_max - state.bytes.len();
        let mut count = 0;
        for buf in bufs {
            let taken = buf.len().min(room - count);
            state.bytes.extend(&buf[..taken]);
            count += taken;
        }
        if count > 0 {
            wake(state.read_waker.take(), state);
            return Poll::Ready(Ok(count));
        }
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        register(&mut state.write_waker, cx);
        Poll::Pending
    }

    /// The writer says that no more will come. What is queued is still read.
    pub(super) fn finish(&self) {
        self.end_writing(WriterEnd::Finished);
    }

    /// The writer's link is dropped. What is queued is still read, and then an error unless it had finished.
    pub(super) fn writer_dropped(&self) {
        self.end_writing(WriterEnd::Gone);
    }

    fn end_writing(&self, how: WriterEnd) {
        let mut state = self.lock();
        if state.writer != WriterEnd::Open {
            return;
        }
        state.writer = how;
        wake(state.read_waker.take(), state);
    }

    /// The reader's link is dropped. What is queued is lost and writing fails from now on.
    pub(super) fn reader_dropped(&self) {
        let mut state = self.lock();
        state.reader_gone = true;
        state.bytes = VecDeque::new();
        wake(state.write_waker.take(), state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can leave the state half changed: a poisoned lock is as good as another.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn register(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

/// Wakes after the lock is let go, because a waker may run anything, this pipe included.
fn wake(waker: Option<Waker>, state: MutexGuard<'_, State>) {
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}
