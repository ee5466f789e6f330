//! Buffers that belong to a thread, not to a connection.
//!
//! A connection that is not being polled owns no buffer. Whoever works takes the thread's, and puts it back when it is
//! empty again. A taken buffer that is needed once more (a handler that calls within a pass) is made anew.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use bytes::BytesMut;
use valkyrie_frame::Batch;
use valkyrie_proto::{Failure, Message, RequestId, StreamId};
use valkyrie_transport::READ_CHUNK_BYTES;

use crate::core::Arrivals;

/// What a driver collects in one pass.
#[derive(Default)]
pub(crate) struct Pass {
    pub(crate) wakers: Vec<Waker>,
    pub(crate) arrivals: Arrivals,
    pub(crate) answers: Vec<(RequestId, Result<Message, Failure>)>,
    /// Lane and cost of notifications whose handlers are done.
    pub(crate) released: Vec<(StreamId, u32)>,
}

thread_local! {
    static INPUT: Cell<BytesMut> = Cell::new(BytesMut::new());
    static BATCH: Cell<Option<Box<Batch>>> = const { Cell::new(None) };
    static PASS: Cell<Option<Box<Pass>>> = const { Cell::new(None) };
    static INDEX: usize = NEXT_INDEX.fetch_add(1, Ordering::Relaxed);
}

static NEXT_INDEX: AtomicUsize = AtomicUsize::new(0);

/// A small number of this thread, for choosing among stripes.
#[inline]
pub(crate) fn index() -> usize {
    INDEX.try_with(|index| *index).unwrap_or(0)
}

/// The thread's buffer for reading. Memory is reserved by the link, once bytes are waiting.
#[inline]
pub(crate) fn take_input() -> BytesMut {
    let mut input = INPUT.try_with(Cell::take).unwrap_or_default();
    // Once nobody holds a slice of it any more the whole buffer is free again, at no cost.
    let _ = input.try_reclaim(READ_CHUNK_BYTES);
    input
}

#[inline]
pub(crate) fn put_input(input: BytesMut) {
    let _ = INPUT.try_with(|cell| cell.set(input));
}

/// The thread's batch, empty.
#[inline]
pub(crate) fn take_batch() -> Box<Batch> {
    BATCH.try_with(Cell::take).ok().flatten().unwrap_or_default()
}

#[inline]
pub(crate) fn put_batch(batch: Box<Batch>) {
    if batch.is_empty() {
        let _ = BATCH.try_with(|cell| cell.set(Some(batch)));
    }
}

/// The thread's lists for one pass, empty.
#[inline]
pub(crate) fn take_pass() -> Box<Pass> {
    PASS.try_with(Cell::take).ok().flatten().unwrap_or_default()
}

#[inline]
pub(crate) fn put_pass(pass: Box<Pass>) {
    let _ = PASS.try_with(|cell| cell.set(Some(pass)));
}
