//! The life of a session: opening, keepalive, drain, close, and everything that time does.

use std::time::{Duration, Instant};

use bytes::Bytes;
use valkyrie_frame::{Class, ErrorCode, Flags, Kind, Side, StreamId};

use crate::control::{Drain, decode_failure, decode_u64, encode_failure};
use crate::flow::SendCredit;
use crate::scheduler::rung;
use crate::timer::Timer;
use crate::{
    CallError, CloseReason, Event, ExchangeKey, Failure, Peer, PeerMisbehaved, Refusal, SessionError,
    Settings,
};

use super::pings::{Purpose, Waiting};
use super::{LaneSet, Phase, Session};

/// How far a drain that this side began has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct DrainState {
    retry_after_ms: u32,
    /// After this the session closes whatever is still running.
    until: Instant,
    /// The second phase has begun: the peer knows of the drain, and was told what was looked at.
    last: bool,
}

impl Session {
    pub(super) fn push_hello(&mut self, kind: Kind) {
        let payload = Settings::of(&self.config).encode();
        self.push_control(kind, StreamId::CONTROL, Flags::NONE, 0, payload);
    }

    /// Frames of the core group, all of them on stream 0.
    pub(super) fn handle_core(
        &mut self,
        now: Instant,
        header: &valkyrie_frame::Header,
        payload: &[u8],
    ) -> Result<(), SessionError> {
        let kind = header.kind;
        match kind {
            Kind::PING => self.guard.ping(&self.config.budgets)?,
            // It has a budget of its own.
            Kind::RESUME_ACK => {}
            _ => self.guard.control(&self.config.budgets)?,
        }
        let malformed = PeerMisbehaved::Malformed(kind);
        match kind {
            Kind::HELLO | Kind::HELLO_ACK if self.phase == Phase::Opening => {
                let settings = Settings::decode(payload)?;
                self.last_input = now;
                self.open_session(settings)?;
            }
            Kind::RESUME if self.phase == Phase::Opening => self.handle_resume(payload)?,
            Kind::RESUME_ACK if self.phase == Phase::Open => self.handle_resume_ack(now, payload)?,
            Kind::PING => {
                let token = decode_u64(payload).ok_or(malformed)?;
                let echo = Bytes::copy_from_slice(&token.to_be_bytes());
                self.push_control(Kind::PONG, StreamId::CONTROL, Flags::ACK, 0, echo);
                self.check_control_bound()?;
            }
            Kind::PONG => {
                let number = decode_u64(payload).ok_or(malformed)?;
                self.handle_pong(now, number)?;
            }
            Kind::ERROR => {
                let failure = decode_failure(payload).ok_or(malformed)?;
                if self.moves() && failure.code == ErrorCode::RESUME_REFUSED {
                    self.detach(now);
                    return Ok(());
                }
                self.clear_control();
                // A session that is not continued is lost; nobody broke a rule.
                //= protocol/resume.md#resuming
                let lost = self.is_resuming() && failure.code == ErrorCode::RESUME_REFUSED;
                self.end(if lost {
                    CloseReason::LinkLost
                } else {
                    CloseReason::Refused(failure)
                });
            }
            Kind::CLOSE => {
                let failure = decode_failure(payload).ok_or(malformed)?;
                self.clear_control();
                self.end(CloseReason::Peer(failure));
            }
            Kind::DRAIN => {
                let drain = Drain::decode(payload).ok_or(malformed)?;
                self.handle_drain(drain);
            }
            _ => return Err(PeerMisbehaved::UnexpectedFrame(kind).into()),
        }
        Ok(())
    }

    fn open_session(&mut self, mut settings: Settings) -> Result<(), PeerMisbehaved> {
        let theirs = settings.resume_key.take();
        let ours = self.offer.take().unwrap_or_default();
        if self.side == Side::Acceptor && theirs.is_some() {
            return Err(PeerMisbehaved::Malformed(Kind::HELLO));
        }
        self.agree_on_resume(&settings, theirs.or(ours.key));
        self.phase = Phase::Open;
        self.awaits_opening = false;
        self.send_credit = SendCredit::new(u64::from(settings.window_connection));
        self.opened.limit = u64::from(settings.max_streams);
        if self.side == Side::Acceptor {
            let mut answer = Settings::of(&self.config);
            if self.is_resumable() {
                answer.resume_key = ours.key;
                answer.places = ours.places;
            }
            self.push_control(
                Kind::HELLO_ACK,
                StreamId::CONTROL,
                Flags::NONE,
                0,
                answer.encode(),
            );
        }
        // A frame that means nothing, so that peers stay able to pass over what they do not know.
        let grease = Kind::GREASE[settings.node_id.len() % Kind::GREASE.len()];
        self.push_control(grease, StreamId::CONTROL, Flags::NONE, 0, Bytes::new());
        self.peer = Some(Box::new(settings.clone()));
        self.events
            .push_back(Event::Connected(Box::new(Peer { settings })));
        Ok(())
    }

    /// Forgets PINGs and PONGs that a link has lost, and those that wait for the wire. PINGs that somebody waits for
    /// are kept, to be sent again.
    pub(super) fn forget_pings(&mut self) {
        // The data class may be waiting for the round that a lost probe was to end.
        self.pings.traffic |= self
            .pings
            .waiting
            .iter()
            .any(|ping| ping.purpose == Purpose::Probe);
        self.control
            .retain(|(header, _)| !matches!(header.kind, Kind::PING | Kind::PONG));
        self.control_answers = self
            .control
            .iter()
            .filter(|(header, _)| super::transmit::is_answer(header.kind))
            .count();
        self.pings
            .waiting
            .retain(|ping| matches!(ping.purpose, Purpose::User(_) | Purpose::Drain));
    }

    /// Sends the PINGs again that somebody waits for, under new numbers.
    pub(super) fn ping_again(&mut self, now: Instant) {
        for ping in core::mem::take(&mut self.pings.waiting) {
            self.push_ping(now, ping.purpose);
        }
    }

    /// Measures the round trip; [`Event::Pong`] answers.
    ///
    /// # Errors
    /// [`Refusal`] when the session is not open, or sixteen are under way already.
    pub fn ping(&mut self, now: Instant, token: u64) -> Result<(), Refusal> {
        match self.phase {
            Phase::Opening | Phase::Yielded => Err(Refusal::NotOpen),
            Phase::Closed => Err(Refusal::Closed),
            Phase::Open if self.pings.waiting.len() >= PINGS_WAITING_MAX => Err(Refusal::Blocked),
            Phase::Open => {
                self.push_ping(now, Purpose::User(token));
                Ok(())
            }
        }
    }

    fn push_ping(&mut self, now: Instant, purpose: Purpose) {
        let number = self.pings.next;
        self.pings.next += 1;
        self.pings.waiting.push(Waiting {
            number,
            sent_at: now,
            purpose,
        });
        self.push_control(
            Kind::PING,
            StreamId::CONTROL,
            Flags::NONE,
            0,
            Bytes::copy_from_slice(&number.to_be_bytes()),
        );
    }

    fn handle_pong(&mut self, now: Instant, number: u64) -> Result<(), PeerMisbehaved> {
        let place = self.pings.waiting.iter().position(|ping| ping.number == number);
        let ping = self
            .pings
            .waiting
            .swap_remove(place.ok_or(PeerMisbehaved::UnknownPong)?);
        let rtt = now.saturating_duration_since(ping.sent_at);
        if ping.purpose != Purpose::Keepalive {
            self.traffic.rtt.sample(now, rtt);
        }
        match ping.purpose {
            Purpose::Keepalive => {}
            Purpose::Probe => {
                let queueing = rtt.saturating_sub(self.traffic.rtt.least().unwrap_or(rtt));
                let target = self.policy().data_delay_target.0;
                self.traffic.data_yield.on_round(now, queueing, target);
            }
            Purpose::User(token) => self.events.push_back(Event::Pong { token, rtt }),
            Purpose::Drain => self.drain_last(),
        }
        if self.pings.waiting.is_empty() {
            self.pings.waiting = Vec::new();
        }
        Ok(())
    }

    /// Sends a PING with running traffic now and then, to know the delay that it causes; and one before the first data, to know the path
    /// without it. What fills a queue at once would take that queue for the path otherwise, and data would never yield.
    //= protocol/session.md#windows
    pub(super) fn probe(&mut self, now: Instant) {
        let begins = || self.traffic.scheduler.wants()[rung(Class::Data)] && !self.traffic.rtt.is_known();
        let again =
            self.pings.traffic && now.saturating_duration_since(self.pings.probed_at) >= PROBE_INTERVAL;
        if (again || begins()) && self.phase == Phase::Open && !self.pings.probes() {
            self.pings.traffic = false;
            self.pings.probed_at = now;
            self.push_ping(now, Purpose::Probe);
        }
    }

    /// When the data class, which waits for the next round, needs a probe to begin it.
    fn probe_timeout(&self) -> Option<Instant> {
        (self.traffic.exists() && !self.traffic.data_yield.may_send() && !self.pings.probes())
            .then(|| self.pings.probed_at + PROBE_INTERVAL)
    }

    /// When data may send more of its round.
    fn data_timeout(&self) -> Option<Instant> {
        self.traffic.data_yield.release_at()
    }

    /// Whether data waits for its time, so that whoever has sent some of it sees that [`Session::poll_timeout`] is kept.
    #[inline]
    pub fn awaits_data_time(&self) -> bool {
        !self.traffic.data_yield.may_send()
    }

    /// Forgets the control frames that have not gone out.
    pub(super) fn clear_control(&mut self) {
        self.control.clear();
        self.control_answers = 0;
        self.farewell = None;
    }

    /// Asks the peer to begin nothing new and closes once everything that runs has ended, or after
    /// the configured time. `retry_after_ms` tells it when to come back. Asking twice is no error.
    //= protocol/session.md#drain
    pub fn drain(&mut self, now: Instant, retry_after_ms: u32) {
        // The second phase tells how many requests there were.
        self.traffic.wake();
        match self.phase {
            Phase::Closed => return,
            Phase::Opening | Phase::Yielded => {
                self.close(now, Failure::new(ErrorCode::DRAINING, ""));
                return;
            }
            Phase::Open if self.drain.is_some() => return,
            Phase::Open => {}
        }
        let until = now + self.config.limits.drain_timeout;
        self.drain = Some(Box::new(DrainState {
            retry_after_ms,
            until,
            last: false,
        }));
        let payload = Drain {
            retry_after_ms,
            processed: None,
        }
        .encode();
        self.push_control(Kind::DRAIN, StreamId::CONTROL, Flags::NONE, 0, payload);
        // Its answer shows that the peer has seen the first phase.
        self.push_ping(now, Purpose::Drain);
        self.debug_check();
    }

    fn drain_last(&mut self) {
        let Some(drain) = &mut self.drain else { return };
        drain.last = true;
        let payload = Drain {
            retry_after_ms: drain.retry_after_ms,
            processed: Some(self.traffic.requests_received),
        }
        .encode();
        self.push_control(Kind::DRAIN, StreamId::CONTROL, Flags::NONE, 0, payload);
    }

    /// Whether what comes new now is refused.
    pub(super) fn is_drain_final(&self) -> bool {
        self.drain.as_ref().is_some_and(|drain| drain.last)
    }

    /// Closes when a drain has nothing left to wait for.
    #[inline]
    pub(super) fn check_drained(&mut self) {
        if self.drain.is_some() {
            self.check_drained_slow();
        }
    }

    fn check_drained_slow(&mut self) {
        let streams = self
            .traffic
            .streams
            .iter()
            .filter(|(_, stream)| !stream.id.is_lane() && stream.mapped)
            .count();
        let queued = self
            .traffic
            .streams
            .iter()
            .any(|(_, stream)| stream.id.is_lane() && stream.has_work());
        if self.phase == Phase::Open
            && self.is_drain_final()
            // A CLOSE in front of what has to be sent again would end it for good.
            && self.is_caught_up()
            // The peer must hear of both phases before the CLOSE.
            && self.control.is_empty()
            && self.traffic.incoming.live() == 0
            && !self.traffic.outgoing.is_owed()
            && streams == 0
            && !queued
        {
            self.events.push_back(Event::Drained);
            self.close_with(Failure::new(ErrorCode::OK, "drained"));
        }
    }

    fn handle_drain(&mut self, drain: Drain) {
        if !self.peer_draining {
            self.peer_draining = true;
            self.events.push_back(Event::Draining {
                retry_after_ms: drain.retry_after_ms,
            });
        }
        let Some(processed) = drain.processed else { return };
        for correlation in self.traffic.outgoing.correlations() {
            let traffic = &mut *self.traffic;
            let Some(slot) = traffic.outgoing.get_mut(correlation) else {
                continue;
            };
            let class = slot.lane.class().index();
            // The peer refuses them when they arrive, and that answer frees the exchange: it may be
            // under way already, or the request may still be queued here.
            if slot.owed && slot.sequence >= processed[class] && slot.wanted && slot.outcome.is_none() {
                slot.outcome = Some(Err(CallError::NotProcessed));
                self.events.push_back(Event::Completed(ExchangeKey(correlation)));
            }
        }
    }

    /// Ends the session now. What is queued is lost; exchanges end with
    /// [`CallError::Closed`]. The peer is told with CLOSE. Closing twice is no error.
    pub fn close(&mut self, now: Instant, failure: Failure) {
        let _ = now;
        if self.phase != Phase::Closed {
            self.close_with(failure);
        }
        self.debug_check();
    }

    fn close_with(&mut self, failure: Failure) {
        let payload = encode_failure(&failure);
        self.clear_control();
        // Of a session without a link nobody hears.
        if self.lanes == 1 && !self.is_detached() {
            self.push_control(Kind::CLOSE, StreamId::CONTROL, Flags::NONE, 0, payload);
        } else if !self.is_detached() {
            // A dialler has said HELLO, so that the acceptor waits for all lanes. A dialler that has heard nothing yet
            // waits for one only.
            let opened = self.phase == Phase::Open || self.side == Side::Dialer;
            let lanes = if opened {
                LaneSet::ALL
            } else {
                LaneSet::NONE.with(0)
            };
            self.farewell = Some(Box::new((lanes, payload)));
        }
        self.end(CloseReason::Local(failure));
    }

    /// The link has ended. Without a CLOSE before it, that is a loss.
    pub fn handle_eof(&mut self, now: Instant) {
        let _ = now;
        self.clear_control();
        self.end(CloseReason::LinkLost);
        self.debug_check();
    }

    /// What protects the link found bytes on it that the peer did not send. The peer is told with ERROR, and
    /// everything ends with [`CloseReason::Broken`].
    pub fn handle_broken(&mut self, now: Instant, failure: Failure) {
        let _ = now;
        if self.phase != Phase::Closed {
            let payload = encode_failure(&failure);
            self.clear_control();
            self.push_control(Kind::ERROR, StreamId::CONTROL, Flags::NONE, 0, payload);
            self.end(CloseReason::Broken(failure));
        }
        self.debug_check();
    }

    /// The peer has said below the session that it refuses it, as it does when it does not accept who we are.
    /// Everything ends with [`CloseReason::Refused`], and nothing more is sent.
    pub fn handle_refused(&mut self, now: Instant, failure: Failure) {
        let _ = now;
        self.clear_control();
        self.end(CloseReason::Refused(failure));
        self.debug_check();
    }

    /// The peer broke the protocol: it is told so, and everything ends.
    pub(super) fn fail(&mut self, error: SessionError) {
        let payload = encode_failure(&Failure::new(error.code(), error.to_string()));
        self.clear_control();
        self.push_control(Kind::ERROR, StreamId::CONTROL, Flags::NONE, 0, payload);
        self.end(CloseReason::Error(error));
    }

    /// Everything ends, for one reason. What has arrived may still be read.
    pub(super) fn end(&mut self, reason: CloseReason) {
        if self.phase == Phase::Closed {
            return;
        }
        self.phase = Phase::Closed;
        self.continuity = None;
        self.drain = None;
        self.close_reason = Some(Box::new(reason.clone()));
        self.timers = crate::timer::Timers::default();
        if self.traffic.exists() {
            let traffic = &mut *self.traffic;
            traffic.scheduler = crate::scheduler::Scheduler::default();
            traffic.credit_due = Vec::new();
            traffic.cancels = Vec::new();
        }
        for correlation in self.traffic.outgoing.correlations() {
            let traffic = &mut *self.traffic;
            let Some(slot) = traffic.outgoing.get_mut(correlation) else {
                continue;
            };
            slot.owed = false;
            if slot.wanted && slot.outcome.is_none() {
                // A request that never went out is as good as never made.
                let sent = slot.sequence < traffic.requests_sent[slot.lane.class().index()];
                let error = if sent {
                    CallError::Closed(reason.clone())
                } else {
                    CallError::NotProcessed
                };
                slot.outcome = Some(Err(error));
                self.events.push_back(Event::Completed(ExchangeKey(correlation)));
            }
            self.settle(correlation);
        }
        for index in self.traffic.streams.indices() {
            if let Some(stream) = self.traffic.streams.at_mut(index) {
                stream.clear_send();
                stream.send.ready = false;
                let class = stream.class();
                let lane = stream.id.is_lane();
                if lane && core::mem::take(&mut stream.send.blocked) {
                    self.events.push_back(Event::LaneWritable(class));
                } else if !lane {
                    self.say_stream(index);
                }
            }
            self.check_over(index);
        }
        self.say_capacity();
        self.events.push_back(Event::Closed(reason));
    }

    pub(super) fn push_timer(&mut self, at: Instant, timer: Timer) {
        let traffic = &*self.traffic;
        let live = traffic.outgoing.live() + traffic.incoming.live() + traffic.streams.len();
        self.timers.sweep(live, |timer| match timer {
            Timer::Outgoing(correlation) => traffic.outgoing.contains(correlation),
            Timer::Incoming(correlation) => traffic.incoming.contains(correlation),
            Timer::Stream(index, generation) => traffic
                .streams
                .get(crate::StreamKey { index, generation })
                .is_some(),
        });
        self.timers.push(at, timer);
    }

    /// When [`Session::handle_timeout`] wants to be called next. It may be called earlier or later
    /// without harm.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let limits = &self.config.limits;
        match self.phase {
            Phase::Closed => None,
            Phase::Opening | Phase::Yielded => Some(self.last_input + limits.handshake_timeout),
            Phase::Open if self.is_detached() => [
                self.timers.next(),
                self.continuity_timeout(),
                self.drain.as_ref().map(|drain| drain.until),
            ]
            .into_iter()
            .flatten()
            .min(),
            Phase::Open => [
                self.timers.next(),
                self.continuity_timeout(),
                self.keepalive_timeout(),
                self.critical_timeout(),
                self.probe_timeout(),
                self.data_timeout(),
                self.drain.as_ref().map(|drain| drain.until),
            ]
            .into_iter()
            .flatten()
            .min(),
        }
    }

    fn keepalive_interval(&self) -> Option<Duration> {
        if self.is_stalling() {
            return Some(STALL_INTERVAL);
        }
        let least = self.peer.as_deref().map_or(0, |peer| u64::from(peer.min_ping_ms));
        self.config
            .keepalive
            .interval
            .map(|interval| interval.max(Duration::from_millis(least)))
    }

    /// The oldest PING that nothing has answered: no byte has come since.
    fn unanswered(&self) -> Option<Instant> {
        self.pings
            .waiting
            .iter()
            .map(|ping| ping.sent_at)
            .filter(|&sent| sent >= self.last_input)
            .min()
    }

    /// How long a PING may go unanswered.
    fn keepalive_patience(&self) -> Duration {
        if self.is_stalling() {
            self.config.keepalive.timeout.min(STALL_TIMEOUT)
        } else {
            self.config.keepalive.timeout
        }
    }

    fn keepalive_timeout(&self) -> Option<Instant> {
        let interval = self.keepalive_interval()?;
        Some(match self.unanswered() {
            Some(sent_at) => sent_at + self.keepalive_patience(),
            None => self.last_input + interval,
        })
    }

    /// Does what time asks for: deadlines, keepalive, the ends of opening and drain.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Closed => return,
            Phase::Opening | Phase::Yielded => {
                let timeout = self.config.limits.handshake_timeout;
                if now.saturating_duration_since(self.last_input) >= timeout {
                    let failure = Failure::new(ErrorCode::HANDSHAKE_TIMEOUT, "the opening took too long");
                    self.clear_control();
                    self.push_control(
                        Kind::ERROR,
                        StreamId::CONTROL,
                        Flags::NONE,
                        0,
                        encode_failure(&failure),
                    );
                    self.end(CloseReason::HandshakeTimeout(timeout));
                }
                return;
            }
            Phase::Open => {}
        }
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Outgoing(correlation) => self.expire_outgoing(correlation),
                Timer::Incoming(correlation) => self.expire_incoming(now, correlation),
                Timer::Stream(index, generation) => {
                    let key = crate::StreamKey { index, generation };
                    let running = self
                        .traffic
                        .streams
                        .get(key)
                        .filter(|stream| stream.failure().is_none() && !stream.is_finished());
                    if let Some(stream) = running {
                        let ours = stream.id.opener() == Some(self.side);
                        let (class, unsent) = (stream.class(), ours && stream.has_work());
                        self.count_deadline(class, unsent);
                        self.reset(
                            now,
                            key,
                            Failure::new(ErrorCode::DEADLINE_EXCEEDED, "the deadline passed"),
                        );
                    }
                }
            }
        }
        self.critical_tick(now);
        if self.traffic.exists() {
            self.traffic.data_yield.release(now);
        }
        let detached = self.continuity_tick(now);
        if self.phase == Phase::Closed {
            self.debug_check();
            return;
        }
        if !detached {
            self.probe(now);
        }
        if self.drain.as_ref().is_some_and(|drain| drain.until <= now) {
            self.events.push_back(Event::Drained);
            self.close_with(Failure::new(ErrorCode::OK, "the drain took too long"));
        } else if !detached {
            self.check_keepalive(now);
        }
        self.debug_check();
    }

    //= protocol/session.md#keepalive
    fn check_keepalive(&mut self, now: Instant) {
        let Some(interval) = self.keepalive_interval() else {
            return;
        };
        let timeout = self.keepalive_patience();
        match self.unanswered() {
            Some(sent_at) if now.saturating_duration_since(sent_at) >= timeout => {
                if self.detach(now) {
                    return;
                }
                let failure = Failure::new(ErrorCode::TIMEOUT, "nothing was heard");
                self.clear_control();
                self.push_control(
                    Kind::ERROR,
                    StreamId::CONTROL,
                    Flags::NONE,
                    0,
                    encode_failure(&failure),
                );
                self.end(CloseReason::Timeout(
                    now.saturating_duration_since(self.last_input),
                ));
            }
            None if now.saturating_duration_since(self.last_input) >= interval
                && self.pings.waiting.len() < PINGS_UNANSWERED_MAX =>
            {
                self.push_ping(now, Purpose::Keepalive);
            }
            _ => {}
        }
    }

    /// Requests that have arrived whole, by class; for tests and for people.
    pub fn requests_received(&mut self) -> [u64; Class::COUNT] {
        self.traffic.wake();
        self.traffic.requests_received
    }
}

/// How long a session that may go on over another link hears nothing, while the peer has not said that it received what
/// was sent, before it asks.
//= protocol/resume.md#breaking
const STALL_INTERVAL: Duration = Duration::from_secs(1);

/// How long it then waits before it looks for another link. Loss that TCP repairs takes less.
const STALL_TIMEOUT: Duration = Duration::from_secs(2);

/// PINGs that may wait for their answer at once.
const PINGS_WAITING_MAX: usize = 16;

/// A peer that talks but answers no PING is asked no more after so many.
const PINGS_UNANSWERED_MAX: usize = 64;

/// The least time between two probes of the round trip.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
