//! Commands about exchanges: call, cancel, answer, notify.

use std::time::{Duration, Instant};

use valkyrie_frame::{Class, ErrorCode, Extensions, Flags, Kind, Priority, StreamId};

use crate::control::encode_failure;
use crate::exchange::Outcome;
use crate::stream::OutMessage;
use crate::timer::Timer;
use crate::{
    ApiMisuse, CallError, Event, ExchangeKey, Failure, Limits, Message, Refusal, RequestId, SendError,
};

use super::{Phase, Session};

impl Session {
    /// Begins an exchange on the lane of `class`. `deadline` counts from now and travels with the
    /// request; the answer's [`Event::Completed`] comes once, also when the deadline passes first.
    ///
    /// # Errors
    /// [`SendError`] with the message in it; nothing has changed.
    #[inline]
    pub fn call(
        &mut self,
        now: Instant,
        class: Class,
        priority: Option<Priority>,
        mut request: Message,
        deadline: Option<Duration>,
    ) -> Result<ExchangeKey, SendError> {
        let lane = StreamId::lane(class, self.side);
        let index = match self.check_lane(class, lane, &request, true) {
            Ok(index) => index,
            Err(refusal) => {
                return Err(SendError {
                    message: request,
                    refusal,
                });
            }
        };
        let max = self.peer.as_deref().map_or(0, |peer| peer.max_exchanges);
        let sequence = self.traffic.requests_queued[class.index()];
        let extensions = match deadline.map(|deadline| with_deadline(&request.extensions, deadline)) {
            None => None,
            Some(Ok(extensions)) => Some(extensions),
            Some(Err(misuse)) => {
                return Err(SendError {
                    message: request,
                    refusal: misuse.into(),
                });
            }
        };
        let Some(key) = self.traffic.outgoing.begin(lane, sequence, max) else {
            self.wants_exchange = true;
            return Err(SendError {
                message: request,
                refusal: Refusal::NoExchange,
            });
        };
        self.traffic.requests_queued[class.index()] += 1;
        request.kind = Kind::REQUEST;
        if let Some(extensions) = extensions {
            request.extensions = extensions;
        }
        if let Some(at) = deadline.and_then(|deadline| now.checked_add(deadline)) {
            self.push_timer(at, Timer::Outgoing(key.0));
        }
        self.enqueue_lane(index, class, priority, request, key.0, Flags::NONE);
        self.debug_check();
        Ok(key)
    }

    /// Takes how an exchange ended and frees its key; `None` while it has not.
    #[inline]
    pub fn take_response(&mut self, key: ExchangeKey) -> Option<Outcome> {
        let slot = self.traffic.outgoing.get_mut(key.0)?;
        let outcome = slot.outcome.take()?;
        slot.wanted = false;
        self.settle(key.0);
        self.debug_check();
        Some(outcome)
    }

    /// The caller has lost interest. The peer is told, no [`Event::Completed`] follows but one that
    /// waits in [`Session::poll_event`] already, and the exchange stays counted against the peer's limit until the peer has answered. A stale key is
    /// ignored.
    pub fn cancel(&mut self, now: Instant, key: ExchangeKey) {
        let _ = now;
        self.give_up(key.0, ErrorCode::CANCELLED);
        if let Some(slot) = self.traffic.outgoing.get_mut(key.0) {
            slot.wanted = false;
            slot.outcome = None;
        }
        self.settle(key.0);
        self.debug_check();
    }

    /// Tells the peer that nobody waits for an exchange, at once or when its request has gone out.
    fn give_up(&mut self, correlation: u32, code: ErrorCode) {
        let Some(slot) = self.traffic.outgoing.get_mut(correlation) else {
            return;
        };
        if !slot.owed || slot.cancel {
            return;
        }
        slot.cancel = true;
        let cancel = Cancel {
            lane: slot.lane,
            correlation,
            sequence: slot.sequence,
            code,
        };
        if self.is_sent(cancel.lane, cancel.sequence) {
            self.push_cancel(cancel);
        } else {
            // A RESET goes before all data, and must not reach the peer before its request.
            self.traffic.cancels.push(cancel);
        }
    }

    /// Whether the request with this place has wholly gone out.
    #[inline]
    pub(super) fn is_sent(&self, lane: StreamId, sequence: u64) -> bool {
        sequence < self.traffic.requests_sent[lane.class().index()]
    }

    fn push_cancel(&mut self, cancel: Cancel) {
        let payload = encode_failure(&Failure::new(cancel.code, ""));
        self.push_control(Kind::RESET, cancel.lane, Flags::NONE, cancel.correlation, payload);
    }

    /// Sends the cancels whose requests have gone out by now.
    pub(super) fn flush_cancels(&mut self) {
        if self.traffic.cancels.is_empty() {
            return;
        }
        for cancel in core::mem::take(&mut self.traffic.cancels) {
            if self.is_sent(cancel.lane, cancel.sequence) {
                self.push_cancel(cancel);
            } else {
                self.traffic.cancels.push(cancel);
            }
        }
    }

    /// Answers a request of the peer.
    ///
    /// # Errors
    /// [`ApiMisuse::AlreadyAnswered`] when it was answered before or the session is over; nothing
    /// is sent. An answer too large for the peer, or for the critical class, goes out as the
    /// failure [`ErrorCode::MESSAGE_SIZE`].
    #[inline]
    pub fn respond(
        &mut self,
        now: Instant,
        id: RequestId,
        answer: Result<Message, Failure>,
    ) -> Result<(), ApiMisuse> {
        let _ = now;
        let class = id.lane.class();
        let max = self.message_max(class);
        let answer = answer.and_then(|message| {
            if message.payload.len() > max as usize {
                let text = format!(
                    "the answer has {} bytes and the caller takes {max}",
                    message.payload.len()
                );
                Err(Failure::new(ErrorCode::MESSAGE_SIZE, text))
            } else {
                Ok(message)
            }
        });
        let (message, flags) = match answer {
            Ok(mut message) => {
                message.kind = Kind::RESPONSE;
                (message, Flags::NONE)
            }
            Err(failure) => {
                let payload = encode_failure(&failure);
                (
                    Message {
                        kind: Kind::RESET,
                        extensions: Extensions::EMPTY,
                        payload,
                    },
                    Flags::ACK,
                )
            }
        };
        let bytes = message.payload.len() as u32;
        if self.phase != Phase::Open || !self.traffic.incoming.answer(id.correlation, bytes) {
            return Err(ApiMisuse::AlreadyAnswered);
        }
        let index = self.lane(id.lane);
        self.enqueue_lane(index, class, None, message, id.correlation, flags);
        self.debug_check();
        Ok(())
    }

    /// Sends a message that has no answer on the lane of `class`. In the bulk class it may be
    /// dropped, here or by the peer, which is counted.
    ///
    /// # Errors
    /// [`SendError`] with the message in it; nothing has changed.
    #[inline]
    pub fn notify(
        &mut self,
        now: Instant,
        class: Class,
        priority: Option<Priority>,
        mut message: Message,
    ) -> Result<(), SendError> {
        let _ = now;
        let lane = StreamId::lane(class, self.side);
        let index = match self.check_lane(class, lane, &message, false) {
            Ok(index) => index,
            Err(refusal) => return Err(SendError { message, refusal }),
        };
        if message.kind == Kind::DATA {
            message.kind = Kind::NOTIFY;
        }
        let flags = if class == Class::Bulk {
            Flags::NO_REPLY | Flags::BEST_EFFORT
        } else {
            Flags::NO_REPLY
        };
        self.enqueue_lane(index, class, priority, message, 0, flags);
        self.debug_check();
        Ok(())
    }

    /// A handler is done with a notification: `cost` is [`Incoming::cost`](crate::Incoming::cost).
    pub fn release_notify(&mut self, lane: StreamId, cost: u32) {
        let cost = u64::from(cost);
        match lane.class() {
            Class::Critical => {
                self.traffic.critical_pending = self.traffic.critical_pending.saturating_sub(cost);
            }
            Class::Bulk => {
                self.traffic.best_effort_pending = self.traffic.best_effort_pending.saturating_sub(cost)
            }
            Class::System | Class::Job | Class::Data => {
                let traffic = &mut *self.traffic;
                let Some(index) = traffic.streams.find(lane) else {
                    return;
                };
                let Some(stream) = traffic.streams.at_mut(index) else {
                    return;
                };
                // A caller that gives back more than it got must not break the account.
                let cost = cost.min(stream.recv.window.unread).min(traffic.notify_pending);
                stream.recv.window.unread -= cost;
                self.recv_window.unread -= cost;
                traffic.notify_pending -= cost;
                self.note_credit(index);
            }
        }
        self.debug_check();
    }

    /// What must hold before a message goes onto a lane.
    #[inline]
    fn check_lane(
        &mut self,
        class: Class,
        lane: StreamId,
        message: &Message,
        call: bool,
    ) -> Result<u32, Refusal> {
        self.admit()?;
        let max = self.message_max(class);
        if message.payload.len() > max as usize {
            return Err(Refusal::MessageSize {
                found: message.payload.len(),
                max,
            });
        }
        let own = if call { Kind::REQUEST } else { Kind::NOTIFY };
        if !is_application_kind(message.kind) && message.kind != own {
            return Err(ApiMisuse::Kind.into());
        }
        let index = self.lane(lane);
        let full = u64::from(self.config.limits.send_queue_max);
        if let Some(stream) = self.traffic.streams.at_mut(index)
            // In the bulk class a notification makes room for itself; a request must be kept.
            && (class != Class::Bulk || call)
            && stream.send.queued >= full
        {
            stream.send.blocked = true;
            return Err(Refusal::Blocked);
        }
        Ok(index)
    }

    /// The largest message the peer takes in a class.
    #[inline]
    pub(super) fn message_max(&self, class: Class) -> u32 {
        if class == Class::Critical {
            Limits::MAX_CRITICAL_BYTES
        } else {
            self.peer.as_deref().map_or(0, |peer| peer.max_message)
        }
    }

    #[inline]
    fn enqueue_lane(
        &mut self,
        index: u32,
        class: Class,
        priority: Option<Priority>,
        message: Message,
        correlation: u32,
        flags: Flags,
    ) {
        let priority = self.priority(class, priority);
        self.enqueue(
            index,
            OutMessage {
                message,
                correlation,
                flags,
                priority,
            },
        );
    }

    /// Frees an exchange that nobody needs any more and says so to who waits for one.
    #[inline]
    pub(super) fn settle(&mut self, correlation: u32) {
        if self.traffic.outgoing.settle(correlation) && self.wants_exchange {
            self.say_capacity();
        }
    }

    /// The deadline of an exchange begun here has passed.
    pub(super) fn expire_outgoing(&mut self, correlation: u32) {
        let Some(slot) = self.traffic.outgoing.get_mut(correlation) else {
            return;
        };
        if slot.outcome.is_some() || !slot.wanted || !slot.owed {
            return;
        }
        slot.outcome = Some(Err(CallError::DeadlineExceeded));
        let (lane, sequence) = (slot.lane, slot.sequence);
        let unsent = !self.is_sent(lane, sequence);
        self.count_deadline(lane.class(), unsent);
        self.events.push_back(Event::Completed(ExchangeKey(correlation)));
        self.give_up(correlation, ErrorCode::DEADLINE_EXCEEDED);
    }

    pub(super) fn count_deadline(&mut self, class: Class, unsent: bool) {
        let stats = &mut self.traffic.stats;
        stats.deadlines_passed += 1;
        let class = &mut stats.classes[class.index()];
        class.deadlines_passed += 1;
        class.deadlines_passed_unsent += u64::from(unsent);
    }

    /// The deadline of a request of the peer has passed: its handler should stop.
    pub(super) fn expire_incoming(&mut self, now: Instant, correlation: u32) {
        let Some(slot) = self.traffic.incoming.get_mut(correlation) else {
            return;
        };
        if slot.answer != crate::exchange::Answer::Owed
            || slot.cancelled
            || slot.deadline.is_none_or(|at| at > now)
        {
            return;
        }
        slot.cancelled = true;
        let id = RequestId {
            correlation,
            lane: slot.lane,
        };
        self.count_deadline(id.lane.class(), false);
        self.events.push_back(Event::Cancelled {
            id,
            code: ErrorCode::DEADLINE_EXCEEDED,
        });
    }
}

/// A cancel that waits for its request to go out. There is at most one for each open exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cancel {
    lane: StreamId,
    correlation: u32,
    sequence: u64,
    code: ErrorCode,
}

/// Kinds that an application may give a message.
pub(super) fn is_application_kind(kind: Kind) -> bool {
    use valkyrie_frame::Group;
    matches!(
        kind,
        Kind::DATA | Kind::FILE_START | Kind::FILE_CHUNK | Kind::FILE_END
    ) || (kind.is_known() && matches!(kind.group(), Some(Group::Job | Group::Observe)))
}

/// The same extensions with this deadline in them, in place of an earlier one.
///
/// # Errors
/// [`ApiMisuse::Extensions`] when the area has no room for it: a deadline must not be lost on the way.
pub(super) fn with_deadline(extensions: &Extensions, deadline: Duration) -> Result<Extensions, ApiMisuse> {
    use valkyrie_frame::Extension;
    let ms = deadline.as_millis().min(u128::from(u32::MAX)) as u32;
    let mut builder = Extensions::builder().deadline_ms(ms.max(1));
    if let Some(seconds) = extensions.timestamp() {
        builder = builder.timestamp(seconds);
    }
    for extension in extensions.iter() {
        let next = match extension {
            Extension::TraceContext(context) => Ok(builder.trace_context(context)),
            Extension::TraceState(state) => builder.raw(valkyrie_frame::extension_type::TRACE_STATE, state),
            Extension::IdempotencyKey(key) => Ok(builder.idempotency_key(key)),
            Extension::SentAt(ns) => Ok(builder.sent_at(ns)),
            Extension::SentAtEcho(ns) => Ok(builder.sent_at_echo(ns)),
            Extension::Route { service, method } => builder.route(service, method),
            Extension::Unknown { kind, value } => builder.raw(kind, value),
            _ => Ok(builder),
        };
        builder = next.map_err(|_| ApiMisuse::Extensions)?;
    }
    builder.finish().map_err(|_| ApiMisuse::Extensions)
}
