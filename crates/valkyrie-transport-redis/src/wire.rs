//! What the two halves of a link's end share: the task that publishes, and whoever reads and writes the link.
//!
//! It knows packets and credit and nothing of sockets; the task asks it what to publish next, and tells it what came.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::time::Instant;
use valkyrie_transport::reserve_for_read;

use crate::broker::Delivery;
use crate::error::{BrokerFault, LinkFault};
use crate::packet::{Id, Packet, header, kind};

#[derive(Debug)]
pub(crate) struct Wire {
    state: Mutex<State>,
    /// Tells the task that there may be something to publish.
    pub(crate) work: Notify,
    /// Tells a dialler that the opening was answered.
    pub(crate) answered: Notify,
    pub(crate) heartbeat: Duration,
    silence_max: Duration,
}

#[derive(Debug)]
struct State {
    opening: Opening,
    fault: Option<LinkFault>,
    /// The link was dropped.
    dropped: bool,

    inbox: VecDeque<Bytes>,
    next_number: u64,
    received: u64,
    consumed: u64,
    /// What the peer has been told that it may send in all.
    announced: u64,
    /// The peer has ended its direction.
    ended: bool,
    heard: Instant,

    outbox: Vec<u8>,
    number: u64,
    written: u64,
    /// What the peer has said that we may send in all.
    allowed: u64,
    close: Close,
    said: Instant,

    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// How far the opening of a dialled link has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    Asked,
    Refused,
    Open(Id),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Close {
    Not,
    /// It is to be said once everything before it has been.
    Wanted,
    /// It is being said.
    Saying,
    Said,
}

/// What the task does next.
#[derive(Debug)]
pub(crate) enum Next {
    Publish {
        packet: Vec<u8>,
        is_end: bool,
    },
    /// Publish this if it can be, and be done.
    Farewell(Vec<u8>),
    /// Be done.
    Done,
    /// Nothing before this time, unless told otherwise.
    Wait(Instant),
}

impl Wire {
    /// An end that waits for an answer, or that has one: whom it talks to, and how much it may send.
    pub(crate) fn new(peer: Option<(Id, u64)>, heartbeat: Duration, silence_max: Duration) -> Self {
        let now = Instant::now();
        Self {
            state: Mutex::new(State {
                opening: peer.map_or(Opening::Asked, |(id, _)| Opening::Open(id)),
                fault: None,
                dropped: false,
                inbox: VecDeque::new(),
                next_number: 1,
                received: 0,
                consumed: 0,
                announced: WINDOW_BYTES,
                ended: false,
                heard: now,
                outbox: Vec::new(),
                number: 1,
                written: 0,
                allowed: peer.map_or(0, |(_, allowed)| allowed),
                close: Close::Not,
                said: now,
                reader: None,
                writer: None,
            }),
            work: Notify::new(),
            answered: Notify::new(),
            heartbeat,
            silence_max,
        }
    }

    pub(crate) fn opening(&self) -> Result<Opening, LinkFault> {
        let state = self.lock();
        match state.fault {
            Some(fault) => Err(fault),
            None => Ok(state.opening),
        }
    }

    /// Takes what the broker brings.
    pub(crate) fn take(&self, delivery: Delivery) {
        let mut state = self.lock();
        if state.fault.is_none() {
            let taken = match delivery {
                Delivery::Gone => Err(BrokerFault::Gone.into()),
                Delivery::Named { payload, .. } | Delivery::Matched { payload, .. } => {
                    Packet::decode(payload)
                        .ok_or(LinkFault::Malformed)
                        .and_then(|packet| state.take(packet))
                }
            };
            if let Err(fault) = taken {
                state.fault = Some(fault);
            }
        }
        self.tell_all(state);
    }

    pub(crate) fn fail(&self, fault: LinkFault) {
        let mut state = self.lock();
        state.fault.get_or_insert(fault);
        self.tell_all(state);
    }

    pub(crate) fn drop_link(&self) {
        self.lock().dropped = true;
        self.work.notify_one();
    }

    /// What to publish next; the task calls this whenever it has nothing under way.
    pub(crate) fn next(&self) -> Next {
        let mut state = self.lock();
        if let Some(fault) = state.fault {
            return match fault {
                // Nobody would hear it.
                LinkFault::Broker(_) | LinkFault::PeerGone => Next::Done,
                _ => Next::Farewell(state.packet(kind::RESET)),
            };
        }
        // What was written is on its way, as it would be in a socket; what is said of its end is not that it was good.
        if state.dropped && state.outbox.is_empty() {
            return Next::Farewell(state.packet(kind::RESET));
        }
        let now = Instant::now();
        let silent_at = state.heard + self.silence_max;
        if now >= silent_at {
            state.fault = Some(LinkFault::PeerSilent(self.silence_max));
            let farewell = Next::Farewell(state.packet(kind::RESET));
            self.tell_all(state);
            return farewell;
        }
        let heartbeat_at = state.said + self.heartbeat;
        let due = state.consumed + WINDOW_BYTES - state.announced >= CREDIT_STEP_BYTES;
        let next = if !state.outbox.is_empty() {
            let mut packet = state.packet(kind::DATA);
            packet.append(&mut state.outbox);
            state.outbox = Vec::new();
            Next::Publish {
                packet,
                is_end: false,
            }
        } else if state.close == Close::Wanted {
            state.close = Close::Saying;
            let packet = state.packet(kind::END);
            Next::Publish { packet, is_end: true }
        } else if due || now >= heartbeat_at {
            let packet = state.packet(kind::CREDIT);
            Next::Publish {
                packet,
                is_end: false,
            }
        } else {
            return Next::Wait(heartbeat_at.min(silent_at));
        };
        state.said = now;
        self.tell_writer(state);
        next
    }

    /// The packet has been published to so many listeners.
    pub(crate) fn published(&self, is_end: bool, listeners: u64) {
        let mut state = self.lock();
        if listeners == 0 {
            state.fault.get_or_insert(LinkFault::PeerGone);
        }
        if is_end {
            state.close = Close::Said;
        }
        // That a packet was published is news to nobody: who waited for its place was told when it was taken.
        if is_end || listeners == 0 {
            self.tell_all(state);
        }
    }

    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if state.inbox.is_empty() {
            return match (state.ended, state.fault) {
                (true, _) => Poll::Ready(Ok(0)),
                (false, Some(fault)) => Poll::Ready(Err(fault.into())),
                (false, None) => {
                    register(&mut state.reader, cx);
                    Poll::Pending
                }
            };
        }
        reserve_for_read(buf);
        let start = buf.len();
        while let Some(front) = state.inbox.front_mut() {
            let count = front.len().min(buf.capacity() - buf.len());
            buf.extend_from_slice(front.get(..count).unwrap_or_default());
            front.advance(count);
            if !front.is_empty() {
                break;
            }
            state.inbox.pop_front();
        }
        if state.inbox.is_empty() {
            state.inbox = VecDeque::new();
        }
        let count = buf.len() - start;
        state.consumed += count as u64;
        if state.consumed + WINDOW_BYTES - state.announced >= CREDIT_STEP_BYTES {
            self.work.notify_one();
        }
        Poll::Ready(Ok(count))
    }

    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if state.close != Close::Not {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if let Some(fault) = state.fault {
            return Poll::Ready(Err(fault.into()));
        }
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        let credit = usize::try_from(state.allowed.saturating_sub(state.written)).unwrap_or(usize::MAX);
        let room = OUTBOX_BYTES_MAX.saturating_sub(state.outbox.len()).min(credit);
        if room == 0 {
            register(&mut state.writer, cx);
            return Poll::Pending;
        }
        let mut taken = 0;
        for buf in bufs {
            let part = buf.get(..room - taken).unwrap_or(buf);
            state.outbox.extend_from_slice(part);
            taken += part.len();
        }
        state.written += taken as u64;
        self.work.notify_one();
        Poll::Ready(Ok(taken))
    }

    pub(crate) fn poll_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        match (state.close, state.fault) {
            (Close::Said, _) => return Poll::Ready(Ok(())),
            (_, Some(fault)) => return Poll::Ready(Err(fault.into())),
            (Close::Not, None) => {
                state.close = Close::Wanted;
                self.work.notify_one();
            }
            (Close::Wanted | Close::Saying, None) => {}
        }
        register(&mut state.writer, cx);
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics half way: a poisoned lock is as good as another.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_writer(&self, mut state: MutexGuard<'_, State>) {
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// Wakes everybody after the lock is let go: wakers may run anything, this link included.
    fn tell_all(&self, mut state: MutexGuard<'_, State>) {
        let wakers = [state.reader.take(), state.writer.take()];
        if state.fault.is_some() {
            self.work.notify_one();
        }
        if state.fault.is_some() || state.opening != Opening::Asked {
            self.answered.notify_one();
        }
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl State {
    /// A packet of ours, its number counted, with the limit that holds now.
    fn packet(&mut self, kind: u8) -> Vec<u8> {
        self.announced = self.consumed + WINDOW_BYTES;
        let packet = header(kind, self.number, self.announced);
        self.number += 1;
        packet
    }

    //= protocol/transports.md#redis-packets
    fn take(&mut self, packet: Packet) -> Result<(), LinkFault> {
        match packet.kind {
            kind::ACCEPT | kind::BUSY if self.opening != Opening::Asked => {
                // Two who believe that they listen here have answered; the second is not needed.
                return Ok(());
            }
            kind::ACCEPT => {
                self.opening = Opening::Open(packet.id().ok_or(LinkFault::Malformed)?);
                self.allowed = packet.limit;
                self.heard = Instant::now();
                return Ok(());
            }
            kind::BUSY => {
                self.opening = Opening::Refused;
                return Ok(());
            }
            _ => {}
        }
        if packet.number != self.next_number {
            return Err(LinkFault::Gap {
                expected: self.next_number,
                arrived: packet.number,
            });
        }
        self.next_number += 1;
        self.heard = Instant::now();
        if packet.limit < self.allowed {
            return Err(LinkFault::Malformed);
        }
        self.allowed = packet.limit;
        match packet.kind {
            kind::DATA if self.ended || packet.body.is_empty() => Err(LinkFault::Malformed),
            kind::DATA => {
                self.received += packet.body.len() as u64;
                if self.received > self.announced {
                    return Err(LinkFault::Overrun);
                }
                self.inbox.push_back(packet.body);
                Ok(())
            }
            kind::CREDIT => Ok(()),
            kind::END if !self.ended => {
                self.ended = true;
                Ok(())
            }
            kind::RESET => Err(LinkFault::PeerGone),
            _ => Err(LinkFault::Malformed),
        }
    }
}

fn register(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

/// How many bytes the broker and the reader's end hold for a reader that does not read. Far below the 8 MiB above which
/// Redis cuts off a subscriber after a minute (`client-output-buffer-limit`), and enough for a gigabyte a second at a
/// millisecond's round trip.
//= protocol/transports.md#redis-packets
pub const WINDOW_BYTES: u64 = 1024 * 1024;

/// How much is read before the writer is told that it may send more: a quarter of the window, so that it need not stop.
const CREDIT_STEP_BYTES: u64 = WINDOW_BYTES / 4;

/// How many bytes wait at the writer's end for the broker to answer the packet before: what one packet carries. Two writes of
/// an endpoint, of which the second gathers while the first is under way.
pub const OUTBOX_BYTES_MAX: usize = 256 * 1024;
