//! Buffers that belong to a thread, not to a connection.
//!
//! A connection that is not being polled owns no buffer. Whoever works takes the thread's, and puts it back when it is
//! empty again. A taken buffer that is needed once more (a handler that calls within a pass) is made anew.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
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
    static INPUTS: RefCell<VecDeque<BytesMut>> = const { RefCell::new(VecDeque::new()) };
    /// Room for a read, once this thread has seen large frames.
    static ROOM: Cell<usize> = const { Cell::new(READ_CHUNK_BYTES) };
    static BATCH: Cell<Option<Box<Batch>>> = const { Cell::new(None) };
    static SEALED: Cell<Option<BytesMut>> = const { Cell::new(None) };
    static CIPHERTEXT: Cell<Option<BytesMut>> = const { Cell::new(None) };
    static PASS: Cell<Option<Box<Pass>>> = const { Cell::new(None) };
    static INDEX: usize = NEXT_INDEX.fetch_add(1, Ordering::Relaxed);
}

static NEXT_INDEX: AtomicUsize = AtomicUsize::new(0);

/// A small number of this thread, for choosing among stripes.
#[inline]
pub(crate) fn index() -> usize {
    INDEX.try_with(|index| *index).unwrap_or(0)
}

/// A buffer of the thread for reading: the oldest that nobody holds a slice of any more. If there is none it is one
/// without memory, which the link reserves once bytes are waiting, unless frames here have been large.
#[inline]
pub(crate) fn take_input() -> BytesMut {
    let room = ROOM.try_with(Cell::get).unwrap_or(READ_CHUNK_BYTES);
    let reclaimed = INPUTS.try_with(|inputs| {
        let mut inputs = inputs.borrow_mut();
        // Messages are mostly let go in the order they came, so if the oldest buffer is held the others are.
        while let Some(oldest) = inputs.front_mut() {
            if oldest.try_reclaim(room) {
                return inputs.pop_front();
            }
            if !oldest.try_reclaim(READ_CHUNK_BYTES) {
                break;
            }
            // Free, and too small for what comes here.
            inputs.pop_front();
        }
        (room > READ_CHUNK_BYTES).then(|| BytesMut::with_capacity(room))
    });
    reclaimed.ok().flatten().unwrap_or_default()
}

/// Keeps a buffer whose bytes have all been taken. Slices of it may still be in use.
#[inline]
pub(crate) fn put_input(input: BytesMut) {
    let _ = INPUTS.try_with(|inputs| {
        let mut inputs = inputs.borrow_mut();
        if inputs.len() == INPUTS_MAX {
            inputs.pop_front();
        }
        inputs.push_back(input);
    });
}

/// Gives a read room again behind the beginning of a frame of `frame_bytes`, by moving that beginning into another
/// buffer.
#[inline]
pub(crate) fn make_room(input: &mut BytesMut, frame_bytes: usize) {
    if input.is_empty() {
        return;
    }
    // A read ends somewhere in a frame. With room for a few, little of what arrives is moved.
    let room = (FRAMES_A_READ * frame_bytes).clamp(READ_CHUNK_BYTES, READ_BYTES_MAX);
    if input.capacity() - input.len() >= room / 2 {
        return;
    }
    let _ = ROOM.try_with(|most| most.set(most.get().max(room)));
    let mut roomy = take_input();
    roomy.reserve(room.max(frame_bytes));
    roomy.extend_from_slice(input);
    let mut used = std::mem::replace(input, roomy);
    used.clear();
    put_input(used);
}

/// Frames that a read should have room for.
const FRAMES_A_READ: usize = 4;

/// Room for one read at most, unless a single frame needs more.
const READ_BYTES_MAX: usize = 256 * 1024;

/// Buffers that a thread keeps, in use or not: half a megabyte of them, two where frames are large, which is about what
/// readers hold that keep pace with a link.
const INPUTS_MAX: usize = 8;

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

/// The thread's buffer to seal into, empty.
#[inline]
pub(crate) fn take_sealed() -> BytesMut {
    SEALED.try_with(Cell::take).ok().flatten().unwrap_or_default()
}

#[inline]
pub(crate) fn put_sealed(sealed: BytesMut) {
    put_records(&SEALED, sealed);
}

/// The thread's buffer to read records into, empty and with room for a read.
#[inline]
pub(crate) fn take_ciphertext() -> BytesMut {
    let mut records = CIPHERTEXT.try_with(Cell::take).ok().flatten().unwrap_or_default();
    // Nobody holds a slice of it, so what has room is moved back to its beginning.
    if !records.try_reclaim(READ_CHUNK_BYTES) {
        records = BytesMut::new();
    }
    records
}

#[inline]
pub(crate) fn put_ciphertext(records: BytesMut) {
    put_records(&CIPHERTEXT, records);
}

/// Keeps a buffer of records, unless somebody's large frames made it one that few need.
fn put_records(cell: &'static std::thread::LocalKey<Cell<Option<BytesMut>>>, mut records: BytesMut) {
    records.clear();
    if (1..=RECORDS_BYTES_MAX).contains(&records.capacity()) {
        let _ = cell.try_with(|cell| cell.set(Some(records)));
    }
}

/// The largest buffer of records that a thread keeps: a full batch and its overhead, with room to spare.
const RECORDS_BYTES_MAX: usize = 512 * 1024;

/// The thread's lists for one pass, empty.
#[inline]
pub(crate) fn take_pass() -> Box<Pass> {
    PASS.try_with(Cell::take).ok().flatten().unwrap_or_default()
}

#[inline]
pub(crate) fn put_pass(pass: Box<Pass>) {
    let _ = PASS.try_with(|cell| cell.set(Some(pass)));
}
