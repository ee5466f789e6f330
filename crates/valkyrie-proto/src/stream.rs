//! One stream's two directions, and the table of all streams.

use std::collections::{HashMap, VecDeque};

use bytes::BytesMut;
use valkyrie_frame::{Class, Extensions, Flags, Header, Kind, StreamId};

use crate::flow::{RecvWindow, SendCredit};
use crate::inbox::Inbox;
use crate::run::Run;
use crate::{Failure, Message, StreamKey};

/// A message on its way out.
#[derive(Debug)]
pub(crate) struct OutMessage {
    pub(crate) message: Message,
    pub(crate) correlation: u32,
    pub(crate) flags: Flags,
    pub(crate) priority: u8,
}

impl OutMessage {
    /// Bytes it is counted with in queues: its payload, its extensions and one header.
    #[inline]
    pub(crate) fn cost(&self) -> u64 {
        message_cost(&self.message)
    }

    /// Whether dropping it loses nothing that somebody waits for.
    pub(crate) fn is_droppable(&self) -> bool {
        !matches!(
            self.message.kind,
            Kind::REQUEST | Kind::RESPONSE | Kind::RESET | Kind::OPEN | Kind::STREAM_CLOSE
        )
    }
}

/// What waits in a stream's queue.
#[derive(Debug)]
pub(crate) enum Queued {
    Message(OutMessage),
    Run(Run),
}

impl Queued {
    pub(crate) fn cost(&self) -> u64 {
        match self {
            Self::Message(message) => message.cost(),
            Self::Run(run) => run.len() as u64,
        }
    }
}

/// Bytes a message is counted with wherever it waits.
#[inline]
pub(crate) fn message_cost(message: &Message) -> u64 {
    (Header::LEN + message.extensions.as_bytes().len() + message.payload.len()) as u64
}

/// Whether frames of this kind are counted against credit. Those that open, end or cancel are not:
/// they must get through when the credit is spent.
#[inline]
pub(crate) fn is_counted(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::OPEN | Kind::STREAM_CLOSE | Kind::STREAM_ACK | Kind::RESET
    )
}

/// The direction away from here.
#[derive(Debug)]
pub(crate) struct SendHalf {
    pub(crate) queue: VecDeque<Queued>,
    /// Small messages behind all of `queue`.
    pub(crate) run: Run,
    /// How large the last run became, to take memory for the next at once.
    pub(crate) run_hint: u16,
    /// Cost of what is queued, the begun message counted whole.
    pub(crate) queued: u64,
    /// Payload bytes of the front message that have gone out.
    pub(crate) offset: usize,
    pub(crate) credit: SendCredit,
    /// The application wants the direction to end behind the queue.
    pub(crate) finish: bool,
    /// The end has gone out, or nothing may follow.
    pub(crate) done: bool,
    /// Somebody was told `Blocked`.
    pub(crate) blocked: bool,
    /// In the scheduler's queue.
    pub(crate) ready: bool,
    /// Out of it until the connection has credit again.
    pub(crate) parked: bool,
    pub(crate) priority: u8,
}

impl SendHalf {
    /// Bytes of the message of which some fragments have gone out and some have not.
    pub(crate) fn begun_bytes(&self) -> usize {
        match self.queue.front() {
            Some(Queued::Message(front)) if self.offset > 0 => front.message.payload.len(),
            _ => 0,
        }
    }
}

/// The direction towards here.
#[derive(Debug)]
pub(crate) struct RecvHalf {
    pub(crate) queue: Inbox,
    pub(crate) window: RecvWindow,
    pub(crate) partial: Option<Box<Partial>>,
    /// The peer has ended it.
    pub(crate) done: bool,
    /// The reader is gone; a further message resets the stream.
    pub(crate) abandoned: bool,
    /// Readable has been said and nobody has read since.
    pub(crate) announced: bool,
    /// In the list of streams that owe the peer credit.
    pub(crate) credit_due: bool,
}

/// A message of which some fragments have arrived.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) kind: Kind,
    pub(crate) correlation: u32,
    pub(crate) extensions: Extensions,
    pub(crate) bytes: BytesMut,
}

/// How far a reset has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    No,
    /// RESET is queued or sent; until the peer acknowledges, what it sends is counted and dropped.
    Ours(Failure),
    /// The stream is over: the peer reset it, or acknowledged our reset.
    Over(Failure),
}

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) send: SendHalf,
    pub(crate) recv: RecvHalf,
    pub(crate) reset: Reset,
    /// The id maps to this stream.
    pub(crate) mapped: bool,
    /// Both handles of the application are gone.
    pub(crate) released: bool,
    /// Opened by the peer: its end makes room for another.
    pub(crate) theirs: bool,
    /// The side that did not open the stream has said that it is over, so that no frame for this
    /// use of the id is under way any more and the opener may use the id again.
    pub(crate) acked: bool,
    /// When a job stream last returned credit, for the growth of its window.
    pub(crate) credited_at: Option<std::time::Instant>,
}

impl Stream {
    pub(crate) fn new(id: StreamId, send_limit: u64, recv_window: u32, priority: u8, theirs: bool) -> Self {
        Self {
            id,
            send: SendHalf {
                queue: VecDeque::new(),
                run: Run::default(),
                run_hint: 0,
                queued: 0,
                offset: 0,
                credit: SendCredit::new(send_limit),
                finish: false,
                done: false,
                blocked: false,
                ready: false,
                parked: false,
                priority,
            },
            recv: RecvHalf {
                queue: Inbox::new(),
                window: RecvWindow::new(recv_window),
                partial: None,
                done: false,
                abandoned: false,
                announced: false,
                credit_due: false,
            },
            reset: Reset::No,
            mapped: true,
            released: false,
            theirs,
            acked: false,
            credited_at: None,
        }
    }

    #[inline]
    pub(crate) fn class(&self) -> Class {
        self.id.class()
    }

    /// Whether bytes on it are counted against credit.
    #[inline]
    pub(crate) fn has_credit(&self) -> bool {
        !matches!(self.class(), Class::Critical | Class::Bulk)
    }

    /// Whether the peer still needs credit to send on it. After a reset it does not, and a CREDIT
    /// behind the RESET could reach the next stream with the same id.
    #[inline]
    pub(crate) fn wants_credit(&self) -> bool {
        self.has_credit() && self.reset == Reset::No && !self.recv.done
    }

    /// Whether there is something to send, credit aside.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        !self.send.done && (!self.send.queue.is_empty() || !self.send.run.is_empty() || self.send.finish)
    }

    /// The failure of the reset, if there was one.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match &self.reset {
            Reset::No => None,
            Reset::Ours(failure) | Reset::Over(failure) => Some(failure),
        }
    }

    /// Whether both directions have ended in order.
    pub(crate) fn is_finished(&self) -> bool {
        self.reset == Reset::No && self.send.done && self.recv.done
    }

    /// Whether the id may be used again.
    pub(crate) fn is_over(&self) -> bool {
        match self.reset {
            Reset::No => self.is_finished() && self.acked,
            Reset::Ours(_) => false,
            Reset::Over(_) => true,
        }
    }

    /// Forgets what was to be sent.
    pub(crate) fn clear_send(&mut self) {
        self.send.queue.clear();
        self.send.run = Run::default();
        self.send.queued = 0;
        self.send.offset = 0;
        self.send.done = true;
        self.send.finish = false;
    }
}

/// All streams of a session, in slots that are used again; a key tells by its generation whether
/// it still means the stream it was made for.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Which stream an id means now. The peer chooses ids, so the hash is keyed.
    by_id: HashMap<StreamId, u32>,
    /// The id looked up last: frames come in runs.
    last: Option<(StreamId, u32)>,
    live: usize,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    stream: Option<Box<Stream>>,
}

impl Streams {
    pub(crate) fn insert(&mut self, stream: Stream) -> StreamKey {
        let id = stream.id;
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(Slot {
                    generation: 0,
                    stream: None,
                });
                (self.slots.len() - 1) as u32
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.stream = Some(Box::new(stream));
        self.by_id.insert(id, index);
        self.last = None;
        self.live += 1;
        StreamKey {
            index,
            generation: slot.generation,
        }
    }

    #[inline]
    pub(crate) fn get(&self, key: StreamKey) -> Option<&Stream> {
        let slot = self.slots.get(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        slot.stream.as_deref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: StreamKey) -> Option<&mut Stream> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        slot.stream.as_deref_mut()
    }

    /// The stream in a slot, whatever its generation.
    #[inline]
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<&mut Stream> {
        self.slots.get_mut(index as usize)?.stream.as_deref_mut()
    }

    #[inline]
    pub(crate) fn at(&self, index: u32) -> Option<&Stream> {
        self.slots.get(index as usize)?.stream.as_deref()
    }

    /// The key of the stream in a slot.
    pub(crate) fn key(&self, index: u32) -> StreamKey {
        StreamKey {
            index,
            generation: self.slots.get(index as usize).map_or(0, |slot| slot.generation),
        }
    }

    /// The slot that an id means now.
    #[inline]
    pub(crate) fn find(&mut self, id: StreamId) -> Option<u32> {
        if let Some((last, index)) = self.last
            && last == id
        {
            return Some(index);
        }
        let index = *self.by_id.get(&id)?;
        self.last = Some((id, index));
        Some(index)
    }

    pub(crate) fn contains(&self, id: StreamId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Makes the id free for another stream; the stream itself stays until it is removed.
    pub(crate) fn unmap(&mut self, index: u32) {
        if let Some(stream) = self.at_mut(index)
            && core::mem::replace(&mut stream.mapped, false)
        {
            let id = stream.id;
            self.by_id.remove(&id);
            self.last = None;
        }
    }

    /// Removes a stream for good. Its keys are stale from now on.
    pub(crate) fn remove(&mut self, index: u32) -> Option<Box<Stream>> {
        self.unmap(index);
        let stream = self.slots.get_mut(index as usize)?.stream.take()?;
        self.free.push(index);
        self.live -= 1;
        Some(stream)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Stream)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| Some((index as u32, slot.stream.as_deref()?)))
    }

    /// The indices in use, to walk while changing.
    pub(crate) fn indices(&self) -> Vec<u32> {
        self.iter().map(|(index, _)| index).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.live
    }
}
