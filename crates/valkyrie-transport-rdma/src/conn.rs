//! A connection: messages over a queue pair, with credit, and bytes out of them. It does not wait for anything.
//!
//! What can go at once goes at once; for the rest the caller comes again when there are completions. When work is told as
//! done says nothing about when the peer does anything: an answer may be here before the completion of what it answers.
//! So memory is used again when its own work is done, and credit is what the peer says it is.
//!
//! Read [`Conn::reap`] first.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::BytesMut;
use valkyrie_transport::reserve_for_read;

use crate::device::{CmId, Completion, Done, POLL_MAX, QueuePair, Sizes};
use crate::error::RdmaError;
use crate::flow::{Allowance, Debt, RECEIVES_RESERVED, Ring};
use crate::options::RdmaTransport;
use crate::wire::{Grant, HEADER_BYTES, Header, Hello, Kind, MessageError};

/// How this side's end is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    slots: u16,
    slot_bytes: u32,
    ring_bytes: u32,
}

impl Shape {
    pub(crate) fn of(options: &RdmaTransport) -> Self {
        Self {
            slots: options.slots,
            slot_bytes: options.slot_bytes,
            ring_bytes: options.ring_bytes,
        }
    }

    /// Makes the queue pair, which may take a while.
    pub(crate) fn create(self, id: CmId) -> io::Result<QueuePair> {
        QueuePair::create(
            id,
            &Sizes {
                receives: self.slots + RECEIVES_RESERVED,
                slot_bytes: self.slot_bytes,
                ring_bytes: self.ring_bytes,
                outbox_bytes: self.stage_at() + self.stage_bytes() as usize,
                sends: SENDS_MAX,
                inline_bytes: INLINE_BYTES_MAX as u32,
            },
        )
    }

    /// The outbox: a cell for the header of each piece of work, then slots for messages, then the staging place of writes.
    fn out_slot_at(&self, slot: u16) -> usize {
        usize::from(SENDS_MAX) * HEADER_BYTES + usize::from(slot) * self.slot_bytes as usize
    }

    fn stage_at(&self) -> usize {
        self.out_slot_at(self.slots)
    }

    /// As much as the peer may write here, so that neither direction is the slower one. A peer with a ring of its own is
    /// written to even where this side has none.
    fn stage_bytes(&self) -> u32 {
        self.ring_bytes.max(STAGE_BYTES_MIN)
    }
}

/// A queue pair whose receives are posted, so that the peer may be told of it.
#[derive(Debug)]
pub(crate) struct Prepared {
    shape: Shape,
    pair: QueuePair,
}

impl Prepared {
    pub(crate) fn new(shape: Shape, mut pair: QueuePair) -> io::Result<Self> {
        for slot in 0..shape.slots + RECEIVES_RESERVED {
            post_receive(&mut pair, &shape, slot)?;
        }
        Ok(Self { shape, pair })
    }

    pub(crate) fn id(&self) -> &CmId {
        &self.pair.id
    }

    /// For tests that break the rules.
    #[cfg(test)]
    pub(crate) fn pair(&mut self) -> &mut QueuePair {
        &mut self.pair
    }

    /// What to tell the peer.
    pub(crate) fn hello(&self) -> Hello {
        Hello {
            slots: self.shape.slots,
            slot_bytes: self.shape.slot_bytes,
            ring_bytes: self.shape.ring_bytes,
            ring_address: self.pair.ring.as_ref().map_or(0, |ring| ring.address()),
            ring_key: self.pair.ring.as_ref().map_or(0, |ring| ring.remote_key()),
        }
    }
}

/// A connection with a peer that said how its end is.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) pair: QueuePair,
    shape: Shape,
    theirs: Hello,
    allowance: Allowance,
    debt: Debt,
    /// Data that came and was not read: as many pieces as there are receives, at most.
    inbound: VecDeque<Piece>,
    /// Work to send that is under way, the oldest first: [`SENDS_MAX`] pieces at most.
    under_way: VecDeque<Sent>,
    /// What the next piece of work to send is called; the oldest under way is `under_way.len()` before it.
    next_name: u64,
    /// How many of the slots of the outbox are in use, and which is next.
    out_used: u16,
    out_next: u16,
    stage: Ring,
    peer_ended: bool,
    end: End,
    failure: Option<RdmaError>,
    /// Something came that was wrong, or could not come: what comes after it would leave a gap, and is not looked at.
    broken: bool,
}

/// Data that came: in the inbox, or in the ring.
#[derive(Debug)]
struct Piece {
    /// The receive that it used up.
    slot: u16,
    in_ring: bool,
    at: usize,
    left: usize,
}

/// What is free again when a piece of work is done.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Nothing,
    Slot,
    Staged(u32),
    End,
}

/// The end of our direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    No,
    Sent,
    /// The peer's device has it, and all that went before.
    Arrived,
}

impl Conn {
    pub(crate) fn new(prepared: Prepared, theirs: Hello) -> Self {
        let Prepared { shape, pair } = prepared;
        Self {
            pair,
            shape,
            theirs,
            allowance: Allowance::new(theirs.slots, theirs.ring_bytes),
            debt: Debt::new(shape.slots, shape.ring_bytes),
            inbound: VecDeque::new(),
            under_way: VecDeque::new(),
            next_name: 0,
            out_used: 0,
            out_next: 0,
            stage: Ring::new(shape.stage_bytes()),
            peer_ended: false,
            end: End::No,
            failure: None,
            broken: false,
        }
    }

    /// Takes in all that is done, and says whether anything was. What came is to be read after this, and what was held up
    /// may go.
    pub(crate) fn reap(&mut self) -> bool {
        let mut any = false;
        loop {
            let mut batch = [None; POLL_MAX];
            let count = match self.pair.poll(&mut batch) {
                Ok(count) => count,
                Err(error) => {
                    self.failed_at("taking completions", &error);
                    return true;
                }
            };
            any |= count > 0;
            for completion in batch.into_iter().flatten() {
                if let Err(error) = self.complete(completion) {
                    self.fail(error);
                }
            }
            if count < POLL_MAX {
                break;
            }
        }
        if any {
            self.pay();
        }
        any
    }

    fn complete(&mut self, completion: Completion) -> Result<(), RdmaError> {
        if completion.name & RECEIVE == 0 {
            return self.complete_send(completion);
        }
        if self.broken {
            return Ok(());
        }
        let slot = completion.name as u16;
        let taken = match completion.done {
            Ok(Done::Received { bytes }) => self.message(slot, bytes as usize),
            Ok(Done::Written { bytes, number }) => self.written(slot, bytes, number),
            Ok(Done::Sent) => Ok(()),
            Err(failed) => Err(failed.into()),
        };
        self.broken = taken.is_err();
        taken
    }

    /// Work to send is done in the order in which it was posted.
    fn complete_send(&mut self, completion: Completion) -> Result<(), RdmaError> {
        let oldest = self.next_name - self.under_way.len() as u64;
        let sent = (completion.name == oldest)
            .then(|| self.under_way.pop_front())
            .flatten();
        match sent {
            Some(Sent::Slot) => self.out_used -= 1,
            Some(Sent::Staged(bytes)) => {
                self.stage.give_back(bytes);
            }
            Some(Sent::End) if completion.done.is_ok() => self.end = End::Arrived,
            Some(Sent::End | Sent::Nothing) | None => {}
        }
        completion.done?;
        Ok(())
    }

    /// A message came into a receive.
    fn message(&mut self, slot: u16, bytes: usize) -> Result<(), RdmaError> {
        let at = usize::from(slot) * self.shape.slot_bytes as usize;
        let header = Header::parse(self.pair.inbox.read(at), bytes)?;
        if header.kind == Kind::Data {
            self.still_open()?;
            self.allowance.grant(header.grant)?;
            self.debt.message_arrived()?;
            self.inbound.push_back(Piece {
                slot,
                in_ring: false,
                at: at + HEADER_BYTES,
                left: bytes - HEADER_BYTES,
            });
            return Ok(());
        }
        if header.kind == Kind::End {
            self.still_open()?;
            self.peer_ended = true;
        }
        // Before the credit is used: what is sent for it may bring back another message of this kind.
        self.post_again(slot);
        self.allowance.grant(header.grant)?;
        Ok(())
    }

    /// The peer wrote to the ring, and used up a receive.
    fn written(&mut self, slot: u16, bytes: u32, number: u32) -> Result<(), RdmaError> {
        self.still_open()?;
        if bytes != number || number == 0 {
            return Err(MessageError::WrongLength.into());
        }
        let at = self.debt.write_arrived(number)?;
        self.inbound.push_back(Piece {
            slot,
            in_ring: true,
            at: at as usize,
            left: number as usize,
        });
        Ok(())
    }

    fn still_open(&self) -> Result<(), MessageError> {
        match self.peer_ended {
            true => Err(MessageError::AfterEnd),
            false => Ok(()),
        }
    }

    /// Appends what has come to `buf`, as much as it has room for once it has room for a read.
    pub(crate) fn read(&mut self, buf: &mut BytesMut) -> usize {
        if self.inbound.is_empty() {
            return 0;
        }
        reserve_for_read(buf);
        let mut read = 0;
        while let Some(piece) = self.inbound.front_mut() {
            let count = piece.left.min(buf.capacity() - buf.len());
            if count == 0 {
                break;
            }
            match (&self.pair.ring, piece.in_ring) {
                (Some(ring), true) => {
                    ring.append_to(buf, piece.at, count);
                    self.debt.ring_read(count as u32);
                }
                _ => self.pair.inbox.append_to(buf, piece.at, count),
            }
            piece.at += count;
            piece.left -= count;
            read += count;
            if piece.left == 0 {
                let slot = piece.slot;
                self.inbound.pop_front();
                self.post_again(slot);
                self.debt.receive_posted();
            }
        }
        self.pay();
        read
    }

    /// Whether the peer ended its direction, and all before that has been read.
    pub(crate) fn at_the_end(&self) -> bool {
        self.peer_ended && self.inbound.is_empty()
    }

    /// Sends as much of `bufs` as can go at once.
    pub(crate) fn write(&mut self, bufs: &[IoSlice<'_>]) -> usize {
        let mut source = Source::new(bufs);
        let mut taken = 0;
        while source.left > 0
            && self.failure.is_none()
            && self.allowance.has_slot()
            && self.under_way.len() < usize::from(SENDS_MAX - SENDS_RESERVED)
        {
            let count = match source.left > self.message_bytes_max() && self.theirs.ring_bytes > 0 {
                true => self.write_to_ring(&mut source),
                false => self.send_message(&mut source),
            };
            if count == 0 {
                break;
            }
            taken += count;
        }
        taken
    }

    /// How many bytes of a link one message carries.
    fn message_bytes_max(&self) -> usize {
        self.shape.slot_bytes.min(self.theirs.slot_bytes) as usize - HEADER_BYTES
    }

    /// Copies a message together, and sends it.
    fn send_message(&mut self, source: &mut Source<'_, '_>) -> usize {
        let count = source.left.min(self.message_bytes_max());
        let length = HEADER_BYTES + count;
        let is_small = length <= self.pair.inline_bytes().min(INLINE_BYTES_MAX);
        if !is_small && self.out_used == self.shape.slots {
            return 0;
        }
        self.allowance.take_slot();
        let header = Header {
            kind: Kind::Data,
            grant: self.debt.settle(),
        };
        let name = self.next_name;
        let posted = if is_small {
            let mut message = [0; INLINE_BYTES_MAX];
            message[..HEADER_BYTES].copy_from_slice(&header.encode());
            source.take(count, |at, bytes| {
                message[HEADER_BYTES + at..][..bytes.len()].copy_from_slice(bytes);
            });
            self.pair
                .send_inline(name, &message[..length])
                .map(|()| Sent::Nothing)
        } else {
            let slot_at = self.shape.out_slot_at(self.out_next);
            self.pair.outbox.write(slot_at, &header.encode());
            source.take(count, |at, bytes| {
                self.pair.outbox.write(slot_at + HEADER_BYTES + at, bytes);
            });
            self.out_next = (self.out_next + 1) % self.shape.slots;
            self.out_used += 1;
            self.pair.send(name, slot_at, length as u32).map(|()| Sent::Slot)
        };
        self.note(posted, count)
    }

    /// Copies bytes to where the device reads them from, and writes them to the peer's ring.
    fn write_to_ring(&mut self, source: &mut Source<'_, '_>) -> usize {
        let wanted = source.left.min(WRITE_BYTES_MAX) as u32;
        let ring = &mut self.allowance.ring;
        let room = ring.free_in_one_piece().min(self.stage.free_in_one_piece());
        // Crumbs are not worth a receive, unless a crumb is all that there is before the end of a ring.
        let worth_it = wanted
            .min(WRITE_BYTES_MIN)
            .min(ring.before_the_end())
            .min(self.stage.before_the_end());
        let count = wanted.min(room);
        if count < worth_it {
            return 0;
        }
        let (Some(there), Some(here)) = (ring.take(count), self.stage.take(count)) else {
            return 0;
        };
        self.allowance.take_slot();
        let here = self.shape.stage_at() + here as usize;
        source.take(count as usize, |at, bytes| {
            self.pair.outbox.write(here + at, bytes)
        });
        let address = self.theirs.ring_address + u64::from(there);
        let posted = self
            .pair
            .write(self.next_name, here, count, address, self.theirs.ring_key, count)
            .map(|()| Sent::Staged(count));
        self.note(posted, count as usize)
    }

    /// Ends our direction, if there is room to say so; whether it has been said.
    pub(crate) fn end(&mut self) -> bool {
        if self.end == End::No && self.failure.is_none() && self.under_way.len() < usize::from(SENDS_MAX) {
            let grant = self.debt.settle();
            if self.send_header(Kind::End, grant, Sent::End) {
                self.end = End::Sent;
            }
        }
        self.end != End::No
    }

    /// Whether the peer's device has our end and all that went before.
    pub(crate) fn end_has_arrived(&self) -> bool {
        self.end == End::Arrived
    }

    /// Gives credit back, if so much is owed that it must be, and there is room for the work.
    fn pay(&mut self) {
        if self.debt.is_due() && self.failure.is_none() && self.under_way.len() < usize::from(SENDS_MAX) {
            let grant = self.debt.settle();
            self.send_header(Kind::Credit, grant, Sent::Nothing);
        }
    }

    /// Sends a message that is a header alone. It needs no credit.
    fn send_header(&mut self, kind: Kind, grant: Grant, sent: Sent) -> bool {
        let header = Header { kind, grant }.encode();
        let name = self.next_name;
        let posted = if HEADER_BYTES <= self.pair.inline_bytes() {
            self.pair.send_inline(name, &header)
        } else {
            // No two pieces of work under way have the same cell.
            let cell = (name % u64::from(SENDS_MAX)) as usize * HEADER_BYTES;
            self.pair.outbox.write(cell, &header);
            self.pair.send(name, cell, HEADER_BYTES as u32)
        };
        self.note(posted.map(|()| sent), 1) == 1
    }

    /// Notes work that was posted. `count` if it was, 0 if not.
    fn note(&mut self, posted: io::Result<Sent>, count: usize) -> usize {
        match posted {
            Ok(sent) => {
                self.under_way.push_back(sent);
                self.next_name += 1;
                count
            }
            Err(error) => {
                self.failed_at("sending", &error);
                0
            }
        }
    }

    fn post_again(&mut self, slot: u16) {
        if self.failure.is_none()
            && let Err(error) = post_receive(&mut self.pair, &self.shape, slot)
        {
            self.failed_at("posting a receive", &error);
        }
    }

    fn failed_at(&mut self, call: &'static str, error: &io::Error) {
        self.fail(RdmaError::System {
            call,
            kind: error.kind(),
        });
    }

    /// The connection is over. What has come can still be read. What was said first is why.
    pub(crate) fn fail(&mut self, error: RdmaError) {
        if self.failure.is_none() {
            self.failure = Some(error);
            // The peer hears of it now, and not when this end is dropped. It may have gone first.
            let _ = self.pair.id.disconnect();
        }
    }

    /// Why the connection is over, if it is.
    pub(crate) fn failure(&self) -> Option<&RdmaError> {
        self.failure.as_ref()
    }
}

fn post_receive(pair: &mut QueuePair, shape: &Shape, slot: u16) -> io::Result<()> {
    let at = usize::from(slot) * shape.slot_bytes as usize;
    pair.post_receive(RECEIVE | u64::from(slot), at, shape.slot_bytes)
}

/// What is offered to be written, and how far it was taken.
struct Source<'a, 'b> {
    bufs: &'a [IoSlice<'b>],
    /// Where in the first of `bufs` the next byte is.
    at: usize,
    left: usize,
}

impl<'a, 'b> Source<'a, 'b> {
    fn new(bufs: &'a [IoSlice<'b>]) -> Self {
        let left = bufs.iter().map(|buf| buf.len()).sum();
        Self { bufs, at: 0, left }
    }

    /// Hands the next `count` bytes to `put`, piece by piece, each with its place among them. There must be that many.
    fn take(&mut self, count: usize, mut put: impl FnMut(usize, &[u8])) {
        let mut done = 0;
        while done < count
            && let [buf, rest @ ..] = self.bufs
        {
            let fresh = buf.get(self.at..).unwrap_or_default();
            let piece = fresh.get(..count - done).unwrap_or(fresh);
            put(done, piece);
            done += piece.len();
            if piece.len() == fresh.len() {
                (self.bufs, self.at) = (rest, 0);
            } else {
                self.at += piece.len();
            }
        }
        self.left -= done;
    }
}

/// What the name of a receive has in it, beside its slot.
const RECEIVE: u64 = 1 << 63;

/// How much work to send may be under way at once. A device works on a few pieces at a time; the rest hides the time between
/// its being done and our looking.
const SENDS_MAX: u16 = 64;

/// How much of that is kept for credit and for the end, so that data which waits for the peer does not hold up what the
/// peer waits for. What has no room goes when a piece of work is done, for which nobody but the device is needed.
const SENDS_RESERVED: u16 = 8;

/// The longest message that the device is asked to take along with the work, header included. It spares the device a look at
/// memory; most devices take this much.
const INLINE_BYTES_MAX: usize = 256;

/// The largest write: 64 KiB. The peer learns of it when all of it is there, and may then read it while the next one comes.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// The smallest write while there is more to write: a page. It is half of the smallest ring, so that a peer that has read
/// everything always gives back enough.
const WRITE_BYTES_MIN: u32 = 4096;

/// The least memory that writes are staged in.
const STAGE_BYTES_MIN: u32 = 2 * WRITE_BYTES_MAX as u32;
