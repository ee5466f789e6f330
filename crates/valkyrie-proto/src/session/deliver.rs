//! What a whole message means: a request, an answer, a notification, or the next on a stream.

use std::time::{Duration, Instant};

use bytes::Bytes;
use valkyrie_frame::{Class, ErrorCode, Extensions, Flags, Header, Kind};

use crate::exchange::{Answer, IncomingSlot};
use crate::stream::message_cost;
use crate::timer::Timer;
use crate::{CallError, Event, Failure, Incoming, Message, PeerMisbehaved, RequestId};

use super::Session;

impl Session {
    #[inline]
    pub(super) fn deliver(
        &mut self,
        now: Instant,
        index: u32,
        header: &Header,
        extensions: Extensions,
        payload: Bytes,
    ) -> Result<(), PeerMisbehaved> {
        match header.kind {
            Kind::REQUEST => self.deliver_request(now, header, extensions, payload),
            Kind::RESPONSE => {
                let message = Message {
                    kind: Kind::RESPONSE,
                    extensions,
                    payload,
                };
                self.complete(header, Ok(message))
            }
            kind if header.stream.is_lane() => self.deliver_notify(now, index, kind, extensions, payload),
            kind => {
                self.deliver_data(
                    now,
                    index,
                    Message {
                        kind,
                        extensions,
                        payload,
                    },
                );
                Ok(())
            }
        }
    }

    fn deliver_request(
        &mut self,
        now: Instant,
        header: &Header,
        extensions: Extensions,
        payload: Bytes,
    ) -> Result<(), PeerMisbehaved> {
        let lane = header.stream;
        let deadline = deadline(now, &extensions);
        let id = RequestId {
            correlation: header.correlation,
            lane,
        };
        let slot = IncomingSlot {
            correlation: header.correlation,
            lane,
            answer: Answer::Owed,
            cancelled: false,
            bytes: payload.len() as u32,
            deadline,
        };
        if !self
            .traffic
            .incoming
            .begin(slot, self.config.limits.max_exchanges)
        {
            return Err(PeerMisbehaved::ExchangeId(header.correlation));
        }
        let refused = if self.is_drain_final() {
            Some(Failure::new(ErrorCode::DRAINING, "this node is draining"))
        } else if self.traffic.incoming.pending_bytes
            > u64::from(self.config.limits.pending_request_bytes_max)
        {
            self.traffic.stats.requests_refused += 1;
            Some(Failure::new(
                ErrorCode::OVERLOADED,
                "too many bytes of requests are pending",
            ))
        } else if self.traffic.incoming.answer_bytes > u64::from(self.config.limits.queued_answer_bytes_max) {
            // A peer that asks and does not read must not fill this side's memory with answers.
            self.traffic.stats.requests_refused += 1;
            Some(Failure::new(
                ErrorCode::OVERLOADED,
                "too many bytes of answers wait to be read",
            ))
        } else {
            None
        };
        self.traffic.requests_received[lane.class().index()] += 1;
        if let Some(failure) = refused {
            // The exchange has just begun, so the answer cannot be a second one.
            let _ = self.respond(now, id, Err(failure));
            return Ok(());
        }
        if let Some(at) = deadline {
            self.push_timer(at, Timer::Incoming(header.correlation));
        }
        self.events.push_back(Event::Incoming(Incoming {
            id: Some(id),
            lane,
            kind: Kind::REQUEST,
            extensions,
            payload,
            deadline,
            cost: 0,
        }));
        Ok(())
    }

    fn deliver_notify(
        &mut self,
        now: Instant,
        index: u32,
        kind: Kind,
        extensions: Extensions,
        payload: Bytes,
    ) -> Result<(), PeerMisbehaved> {
        let message = Message {
            kind,
            extensions,
            payload,
        };
        let cost = message_cost(&message);
        let Some(stream) = self.traffic.streams.at_mut(index) else {
            return Ok(());
        };
        let (class, lane) = (stream.class(), stream.id);
        match class {
            Class::Critical => {
                if self.traffic.critical_pending + cost > u64::from(self.config.budgets.critical_bytes) {
                    return Err(PeerMisbehaved::TooMuchCritical);
                }
                self.traffic.critical_pending += cost;
            }
            Class::Bulk => {
                if self.traffic.best_effort_pending + cost
                    > u64::from(self.config.limits.best_effort_queue_max)
                {
                    self.traffic.stats.classes[class.index()].dropped_receiving += 1;
                    return Ok(());
                }
                self.traffic.best_effort_pending += cost;
            }
            Class::System | Class::Job | Class::Data => {
                stream.recv.window.unread += cost;
                self.recv_window.unread += cost;
                self.traffic.notify_pending += cost;
            }
        }
        let deadline = deadline(now, &message.extensions);
        self.events.push_back(Event::Incoming(Incoming {
            id: None,
            lane,
            kind,
            extensions: message.extensions,
            payload: message.payload,
            deadline,
            cost: cost as u32,
        }));
        Ok(())
    }

    #[inline]
    fn deliver_data(&mut self, now: Instant, index: u32, message: Message) {
        let cost = message_cost(&message);
        let best_effort_max = u64::from(self.config.limits.best_effort_queue_max);
        let traffic = &mut *self.traffic;
        let Some(stream) = traffic.streams.at_mut(index) else {
            return;
        };
        if stream.recv.abandoned {
            let key = self.traffic.streams.key(index);
            self.reset(
                now,
                key,
                Failure::new(ErrorCode::CANCELLED, "nobody reads this stream any more"),
            );
            return;
        }
        let window = &mut stream.recv.window;
        if stream.id.class() == Class::Bulk {
            while window.unread + cost > best_effort_max
                && let Some(oldest) = stream.recv.queue.pop_front()
            {
                window.unread -= message_cost(&oldest);
                traffic.stats.classes[Class::Bulk.index()].dropped_receiving += 1;
            }
        } else {
            self.recv_window.unread += cost;
        }
        window.unread += cost;
        stream.recv.queue.push(message);
        if !stream.recv.announced {
            stream.recv.announced = true;
            let key = self.traffic.streams.key(index);
            self.events.push_back(Event::Readable(key));
        }
    }

    /// A run of small messages on one stream, all of them counted and delivered at once.
    #[inline]
    pub(super) fn deliver_run(&mut self, index: u32, run: Bytes, frames: u64) -> Result<(), PeerMisbehaved> {
        let cost = run.len() as u64;
        let Some(stream) = self.traffic.streams.at_mut(index) else {
            return Ok(());
        };
        let window = &mut stream.recv.window;
        if !window.receive(cost) {
            return Err(PeerMisbehaved::StreamCredit(stream.id));
        }
        if !self.recv_window.receive(cost) {
            return Err(PeerMisbehaved::ConnectionCredit);
        }
        window.unread += cost;
        self.recv_window.unread += cost;
        stream.recv.queue.push_run(run, frames as usize);
        if !stream.recv.announced {
            stream.recv.announced = true;
            let key = self.traffic.streams.key(index);
            self.events.push_back(Event::Readable(key));
        }
        self.note_credit(index);
        Ok(())
    }

    /// The stream's slot when it takes runs now: counted by credit, in order, with a reader.
    #[inline]
    pub(super) fn run_stream(&mut self, id: valkyrie_frame::StreamId) -> Option<u32> {
        if id.is_lane() {
            return None;
        }
        let index = self.traffic.streams.find(id)?;
        let stream = self.traffic.streams.at(index)?;
        let plain = stream.has_credit()
            && stream.reset == crate::stream::Reset::No
            && !stream.recv.done
            && !stream.recv.abandoned
            && stream.recv.partial.is_none();
        plain.then_some(index)
    }

    /// The peer sends nothing further on a stream.
    pub(super) fn handle_end(&mut self, index: u32) {
        let Some(stream) = self.traffic.streams.at_mut(index) else {
            return;
        };
        stream.recv.done = true;
        if !stream.recv.announced {
            stream.recv.announced = true;
            let key = self.traffic.streams.key(index);
            self.events.push_back(Event::Readable(key));
        }
        self.check_over(index);
    }

    /// RESET with a correlation: with ACK it answers an exchange of ours with a failure, without
    /// it cancels one of the peer's.
    pub(super) fn handle_exchange_reset(
        &mut self,
        header: &Header,
        failure: Failure,
    ) -> Result<(), PeerMisbehaved> {
        if header.flags.contains(Flags::ACK) {
            return self.complete(header, Err(CallError::Failed(failure)));
        }
        self.guard.cancel(&self.config.budgets)?;
        if let Some(slot) = self.traffic.incoming.get_mut(header.correlation)
            && slot.answer == Answer::Owed
            && !slot.cancelled
            && slot.lane == header.stream
        {
            slot.cancelled = true;
            let id = RequestId {
                correlation: header.correlation,
                lane: slot.lane,
            };
            self.events.push_back(Event::Cancelled {
                id,
                code: failure.code,
            });
        }
        Ok(())
    }

    /// An exchange begun here is answered.
    fn complete(
        &mut self,
        header: &Header,
        outcome: Result<Message, CallError>,
    ) -> Result<(), PeerMisbehaved> {
        let correlation = header.correlation;
        let sent = self.traffic.requests_sent[header.stream.class().index()];
        let slot = self
            .traffic
            .outgoing
            .get_mut(correlation)
            .filter(|slot| slot.owed && slot.sequence < sent && slot.lane == header.stream)
            .ok_or(PeerMisbehaved::UnknownExchange(correlation))?;
        slot.owed = false;
        if slot.wanted && slot.outcome.is_none() {
            slot.outcome = Some(outcome);
            self.events
                .push_back(Event::Completed(crate::ExchangeKey(correlation)));
        }
        self.settle(correlation);
        Ok(())
    }
}

/// When the sender gives up, from what is left of its deadline.
pub(super) fn deadline(now: Instant, extensions: &Extensions) -> Option<Instant> {
    if extensions.is_empty() {
        return None;
    }
    extensions
        .deadline_ms()
        .map(|ms| now + Duration::from_millis(u64::from(ms)))
}
