//! Commands about streams, and how streams end.

use std::time::{Duration, Instant};

use bytes::Bytes;
use valkyrie_frame::{Class, ErrorCode, Extensions, Flags, Header, Kind, Priority, StreamId};

use crate::control::encode_reset;
use crate::run::{RUN_BYTES_MAX, RUN_PAYLOAD_MAX};
use crate::stream::{OutMessage, Queued, Reset, is_counted};
use crate::{
    ApiMisuse, Event, Failure, Inbox, Message, OpenError, Opened, RecvError, Refusal, SendError, StreamKey,
};

use super::deliver::deadline as deadline_of;
use super::exchanges::{is_application_kind, with_deadline};
use super::input::OPEN_PAYLOAD_MAX;
use super::transmit::head;
use super::{Phase, Session};

impl Session {
    /// Opens a stream of `class`. Messages may be sent at once; `payload` (at most 4 KiB) and
    /// `extensions` reach the peer with the OPEN. When `deadline` passes the stream is reset.
    ///
    /// # Errors
    /// [`OpenError`]; nothing has changed.
    pub fn open(
        &mut self,
        now: Instant,
        class: Class,
        priority: Option<Priority>,
        mut extensions: Extensions,
        payload: Bytes,
        deadline: Option<Duration>,
    ) -> Result<StreamKey, OpenError> {
        self.admit()?;
        if class == Class::Critical {
            return Err(Refusal::from(ApiMisuse::NoStreams).into());
        }
        if payload.len() > OPEN_PAYLOAD_MAX {
            return Err(Refusal::MessageSize {
                found: payload.len(),
                max: OPEN_PAYLOAD_MAX as u32,
            }
            .into());
        }
        if let Some(deadline) = deadline {
            extensions = with_deadline(&extensions, deadline).map_err(Refusal::from)?;
        }
        if self.opened.opened >= self.opened.limit {
            self.wants_stream = true;
            return Err(OpenError::NoStream);
        }
        let Some(id) = self.free_id(class) else {
            self.wants_stream = true;
            return Err(OpenError::NoId);
        };
        self.opened.opened += 1;
        let priority = self.priority(class, priority);
        let key = self.make_stream(id, false);
        if let Some(stream) = self.traffic.streams.get_mut(key) {
            stream.send.priority = priority;
        }
        if let Some(at) = deadline.and_then(|deadline| now.checked_add(deadline)) {
            self.push_timer(at, key.into());
        }
        let message = Message {
            kind: Kind::OPEN,
            extensions,
            payload,
        };
        self.enqueue(
            key.index,
            OutMessage {
                message,
                correlation: 0,
                flags: Flags::NONE,
                priority,
            },
        );
        self.debug_check();
        Ok(key)
    }

    /// The next id of `class` that this side may open and that is not in use.
    fn free_id(&mut self, class: Class) -> Option<StreamId> {
        let range = StreamId::range(class);
        let lane = StreamId::lane(class, self.side).value();
        let first = lane + 2;
        let mut candidate = self.traffic.next_id[class.index()].max(first);
        // At most as many ids can be taken as there are streams, so this ends soon.
        for _ in 0..=self.traffic.streams.len() {
            if !range.contains(&candidate) {
                candidate = first;
            }
            let id = StreamId::new(candidate);
            let next = candidate.checked_add(2).unwrap_or(first);
            if range.contains(&candidate) && !self.traffic.streams.contains(id) {
                self.traffic.next_id[class.index()] = next;
                return Some(id);
            }
            candidate = next;
        }
        None
    }

    /// A stream that the peer opens.
    pub(super) fn accept(&mut self, now: Instant, header: &Header, extensions: Extensions, payload: Bytes) {
        let id = header.stream;
        let key = self.make_stream(id, true);
        let priority = self.priority(id.class(), Some(header.priority));
        if let Some(stream) = self.traffic.streams.get_mut(key) {
            stream.send.priority = priority;
        }
        if self.is_drain_final() {
            self.reset(
                now,
                key,
                Failure::new(ErrorCode::DRAINING, "this node is draining"),
            );
            if let Some(stream) = self.traffic.streams.get_mut(key) {
                stream.released = true;
            }
            return;
        }
        let deadline = deadline_of(now, &extensions);
        if let Some(at) = deadline {
            self.push_timer(at, key.into());
        }
        self.events.push_back(Event::Opened(Box::new(Opened {
            key,
            id,
            extensions,
            payload,
            deadline,
        })));
    }

    /// Queues a message on a stream. Messages arrive whole and in order.
    ///
    /// # Errors
    /// [`SendError`] with the message in it; the stream is unchanged. After
    /// [`Refusal::Blocked`], [`Event::Writable`] says when to try again.
    #[inline]
    pub fn send(&mut self, key: StreamKey, message: Message) -> Result<(), SendError> {
        if let Err(refusal) = self.check_send(key, &message) {
            return Err(SendError { message, refusal });
        }
        let Some(stream) = self.traffic.streams.get(key) else {
            return Err(SendError {
                message,
                refusal: ApiMisuse::StaleKey.into(),
            });
        };
        let (class, priority) = (stream.class(), stream.send.priority);
        let flags = if class == Class::Bulk {
            Flags::BEST_EFFORT
        } else {
            Flags::NONE
        };
        self.enqueue(
            key.index,
            OutMessage {
                message,
                correlation: 0,
                flags,
                priority,
            },
        );
        self.debug_check();
        Ok(())
    }

    #[inline]
    fn check_send(&mut self, key: StreamKey, message: &Message) -> Result<(), Refusal> {
        if self.phase == Phase::Closed {
            return Err(Refusal::Closed);
        }
        let max = self.peer.as_deref().map_or(0, |peer| peer.max_message);
        let full = u64::from(self.config.limits.send_queue_max);
        let stream = self.traffic.streams.get_mut(key).ok_or(ApiMisuse::StaleKey)?;
        if let Some(failure) = stream.failure() {
            return Err(Refusal::Reset(failure.clone()));
        }
        if stream.send.finish || stream.send.done {
            return Err(ApiMisuse::Finished.into());
        }
        if message.payload.len() > max as usize {
            return Err(Refusal::MessageSize {
                found: message.payload.len(),
                max,
            });
        }
        if !is_application_kind(message.kind) {
            return Err(ApiMisuse::Kind.into());
        }
        if stream.class() != Class::Bulk && stream.send.queued >= full {
            stream.send.blocked = true;
            return Err(Refusal::Blocked);
        }
        Ok(())
    }

    /// Appends to a stream's queue and lets the scheduler know. In the bulk class the oldest gives
    /// way when the queue is full.
    #[inline]
    pub(super) fn enqueue(&mut self, index: u32, message: OutMessage) {
        let Some(stream) = self.traffic.streams.at_mut(index) else {
            return;
        };
        let cost = message.cost();
        let joins = stream.has_credit()
            && is_counted(message.message.kind)
            && message.message.payload.len() <= RUN_PAYLOAD_MAX;
        let id = stream.id;
        let send = &mut stream.send;
        send.priority = message.priority;
        if joins {
            if !send.run.has_room(cost as usize) {
                send.run_hint = RUN_BYTES_MAX as u16;
                send.queue.push_back(Queued::Run(core::mem::take(&mut send.run)));
            }
            let header = head(id, &message, true, true, false);
            let Message {
                extensions, payload, ..
            } = &message.message;
            send.run
                .push(header, extensions, payload, usize::from(send.run_hint));
        } else {
            if id.class() == Class::Bulk {
                self.make_room(index, cost);
            } else if id.class() == Class::Critical {
                self.traffic.critical.note(index);
            }
            let Some(stream) = self.traffic.streams.at_mut(index) else {
                return;
            };
            let send = &mut stream.send;
            if !send.run.is_empty() {
                send.queue.push_back(Queued::Run(core::mem::take(&mut send.run)));
            }
            send.queue.push_back(Queued::Message(message));
        }
        let Some(stream) = self.traffic.streams.at_mut(index) else {
            return;
        };
        stream.send.queued += cost;
        if !stream.send.ready {
            self.schedule(index);
        }
    }

    /// Drops the oldest best-effort messages of a stream until `cost` more bytes fit.
    fn make_room(&mut self, index: u32, cost: u64) {
        let max = u64::from(self.config.limits.best_effort_queue_max);
        let traffic = &mut *self.traffic;
        let Some(stream) = traffic.streams.at_mut(index) else {
            return;
        };
        let send = &mut stream.send;
        // The begun message stays, or the peer would wait for the rest of it.
        let mut place = usize::from(send.offset > 0);
        while send.queued + cost > max && place < send.queue.len() {
            let droppable = matches!(&send.queue[place], Queued::Message(message) if message.is_droppable());
            if droppable && let Some(dropped) = send.queue.remove(place) {
                send.queued -= dropped.cost();
                traffic.stats.classes[Class::Bulk.index()].dropped_sending += 1;
            } else {
                place += 1;
            }
        }
    }

    /// Ends this side's direction behind what is queued. Finishing twice is no error.
    ///
    /// # Errors
    /// [`ApiMisuse::StaleKey`].
    pub fn finish(&mut self, key: StreamKey) -> Result<(), ApiMisuse> {
        let stream = self.traffic.streams.get_mut(key).ok_or(ApiMisuse::StaleKey)?;
        if !stream.send.done {
            stream.send.finish = true;
            self.schedule(key.index);
        }
        self.debug_check();
        Ok(())
    }

    /// Ends both directions at once. What is queued and unread is gone; the peer is told why. A
    /// stale key, or a stream that is over, is ignored.
    pub fn reset(&mut self, now: Instant, key: StreamKey, failure: Failure) {
        let _ = now;
        let traffic = &mut *self.traffic;
        let Some(stream) = traffic.streams.get_mut(key) else {
            return;
        };
        if stream.reset != Reset::No || stream.is_finished() || self.phase == Phase::Closed {
            return;
        }
        traffic.stats.resets += 1;
        let id = stream.id;
        let unsent = matches!(
            stream.send.queue.front(),
            Some(Queued::Message(message)) if message.message.kind == Kind::OPEN
        );
        let final_offset = stream.send.credit.sent;
        stream.clear_send();
        self.wake_waiting();
        self.drop_unread(key.index);
        if let Some(stream) = self.traffic.streams.get_mut(key) {
            stream.reset = if unsent {
                Reset::Over(failure.clone())
            } else {
                Reset::Ours(failure.clone())
            };
        }
        if unsent {
            // The peer has never heard of it.
            self.opened.opened -= 1;
        } else {
            self.push_control(
                Kind::RESET,
                id,
                Flags::NONE,
                0,
                encode_reset(final_offset, &failure),
            );
        }
        self.say_stream(key.index);
        self.check_over(key.index);
        self.debug_check();
    }

    /// The peer has reset a stream.
    pub(super) fn reset_by_peer(&mut self, index: u32, failure: Failure) {
        let traffic = &mut *self.traffic;
        let Some(stream) = traffic.streams.at_mut(index) else {
            return;
        };
        let (id, final_offset) = (stream.id, stream.send.credit.sent);
        if stream.reset == Reset::No {
            traffic.stats.resets += 1;
            stream.clear_send();
            stream.recv.done = true;
            stream.reset = Reset::Over(failure);
            self.wake_waiting();
            self.drop_unread(index);
            self.say_stream(index);
        }
        self.push_control(
            Kind::STREAM_ACK,
            id,
            Flags::ACK,
            0,
            Bytes::copy_from_slice(&final_offset.to_be_bytes()),
        );
        self.check_over(index);
    }

    /// Tells both users of a stream that something happened to it.
    pub(super) fn say_stream(&mut self, index: u32) {
        let key = self.traffic.streams.key(index);
        let Some(stream) = self.traffic.streams.at_mut(index) else {
            return;
        };
        // Said again to a reader that has not come yet: it may be busy with what a reset makes useless.
        stream.recv.announced = true;
        self.events.push_back(Event::Readable(key));
        if core::mem::take(&mut stream.send.blocked) {
            self.events.push_back(Event::Writable(key));
        }
    }

    /// Forgets what has arrived and not been read, and gives its credit back.
    fn drop_unread(&mut self, index: u32) {
        let Some(stream) = self.traffic.streams.at_mut(index) else {
            return;
        };
        stream.recv.queue.clear();
        let unread = core::mem::take(&mut stream.recv.window.unread);
        if stream.has_credit() {
            self.recv_window.unread -= unread;
        }
        if let Some(partial) = stream.recv.partial.take() {
            self.traffic.reassembly -= partial.bytes.len() as u64;
        }
    }

    /// Moves all whole messages that have arrived into `out`, oldest first, and returns their
    /// credit. `true` when the peer has finished and nothing more will come.
    ///
    /// # Errors
    /// [`RecvError`], once everything that arrived before a close has been given.
    pub fn recv(&mut self, key: StreamKey, out: &mut Inbox) -> Result<bool, RecvError> {
        let closed = self.phase == Phase::Closed;
        let stream = self.traffic.streams.get_mut(key).ok_or(ApiMisuse::StaleKey)?;
        stream.recv.announced = false;
        if stream.recv.queue.is_empty() {
            if let Some(failure) = stream.failure() {
                return Err(RecvError::Reset(failure.clone()));
            }
            if stream.recv.done {
                return Ok(true);
            }
            return match (&self.close_reason, closed) {
                (Some(reason), true) => Err(RecvError::Closed((**reason).clone())),
                _ => Ok(false),
            };
        }
        stream.recv.queue.move_into(out);
        let unread = core::mem::take(&mut stream.recv.window.unread);
        let done = stream.recv.done;
        if stream.has_credit() {
            self.recv_window.unread -= unread;
            self.note_credit(key.index);
        }
        self.debug_check();
        Ok(done)
    }

    /// The reader is gone. If the peer sends another message the stream is reset, so that its
    /// sender learns that nobody reads; what is unread is dropped.
    pub fn abandon_recv(&mut self, now: Instant, key: StreamKey) {
        let Some(stream) = self.traffic.streams.get_mut(key) else {
            return;
        };
        let lost = !stream.recv.queue.is_empty() || stream.recv.partial.is_some();
        stream.recv.abandoned = true;
        if lost && !stream.recv.done {
            self.reset(
                now,
                key,
                Failure::new(ErrorCode::CANCELLED, "nobody reads this stream any more"),
            );
        } else {
            self.drop_unread(key.index);
            self.note_credit(key.index);
        }
        self.debug_check();
    }

    /// Both handles are gone and the key is stale from now on. A stream whose direction was not
    /// finished is reset with [`ErrorCode::CANCELLED`].
    pub fn release(&mut self, now: Instant, key: StreamKey) {
        let Some(stream) = self.traffic.streams.get_mut(key) else {
            return;
        };
        stream.released = true;
        stream.recv.abandoned = true;
        let unfinished = !stream.send.finish && !stream.send.done;
        if unfinished {
            self.reset(
                now,
                key,
                Failure::new(ErrorCode::CANCELLED, "the stream was dropped"),
            );
        } else {
            self.abandon_recv(now, key);
        }
        self.check_over(key.index);
        self.debug_check();
    }

    /// How a stream was reset, if it was: for an owner that neither reads nor sends at the moment.
    pub fn stream_failure(&self, key: StreamKey) -> Option<&Failure> {
        self.traffic.streams.get(key).and_then(|stream| stream.failure())
    }

    /// Bytes that the peer may send on a stream ahead of its reader; `None` when the key is stale. That of a job stream grows.
    pub fn recv_window(&self, key: StreamKey) -> Option<u32> {
        let stream = self.traffic.streams.get(key)?;
        Some(stream.recv.window.window)
    }

    /// The id of a stream, for people.
    pub fn stream_id(&self, key: StreamKey) -> Option<StreamId> {
        self.traffic.streams.get(key).map(|stream| stream.id)
    }

    /// Looks whether a stream has come to its end, and what follows from that.
    pub(super) fn check_over(&mut self, index: u32) {
        let Some(stream) = self.traffic.streams.at_mut(index) else {
            return;
        };
        if stream.id.is_lane() {
            return;
        }
        if self.phase == Phase::Open && stream.is_finished() && stream.theirs && !stream.acked {
            stream.acked = true;
            let (id, sent) = (stream.id, stream.send.credit.sent);
            self.push_control(
                Kind::STREAM_ACK,
                id,
                Flags::ACK,
                0,
                Bytes::copy_from_slice(&sent.to_be_bytes()),
            );
        }
        let Some(stream) = self.traffic.streams.at_mut(index) else {
            return;
        };
        let (over, released) = (stream.is_over(), stream.released);
        if over && stream.mapped {
            self.traffic.streams.unmap(index);
            if core::mem::take(&mut self.wants_stream) {
                self.events.push_back(Event::Capacity);
            }
        }
        if released && (over || self.phase == Phase::Closed) {
            self.remove_stream(index);
        }
    }

    fn remove_stream(&mut self, index: u32) {
        self.drop_unread(index);
        let Some(stream) = self.traffic.streams.remove(index) else {
            return;
        };
        if stream.send.ready {
            // The slot may be another stream's soon, perhaps of another class.
            self.traffic.scheduler.remove(stream.class(), index);
        }
        if stream.send.parked {
            self.traffic.parked.retain(|&parked| parked != index);
        }
        debug_assert!(stream.recv.queue.is_empty());
        if stream.theirs {
            self.accepted.ended += 1;
        }
    }
}
