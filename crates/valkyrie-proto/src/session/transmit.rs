//! Bytes out: what goes next is decided here, when the wire is free, and nowhere earlier.
//!
//! Order: control, credit, critical, then the four classes by share. Control and credit go first
//! because a CREDIT stuck behind data would stop both sides.

use std::time::Instant;

use bytes::Bytes;
use valkyrie_frame::{Batch, Class, Flags, Header, Kind, Priority, StreamId, extension_type};

use crate::Event;
use crate::resume::counted_class;
use crate::run::RUN_BYTES_MAX;
use crate::scheduler::{LADDER, rung};
use crate::stream::{OutMessage, Queued, is_counted};

use super::lanes::Outlet;
use super::{LaneSet, Phase, Session};

/// What a visit to a stream came to.
enum Served {
    /// So many frames went, and there may be more.
    More(u32),
    /// Its credit is spent, or it has nothing more.
    Idle,
    /// The connection's credit is spent.
    ConnectionBlocked,
    /// Its next message is large and others of the kind must arrive whole first.
    Waits,
}

impl Session {
    /// Appends frames to `batch` until it holds `max_bytes` or nothing may go. One frame may reach
    /// past `max_bytes`. `true` when something was appended.
    ///
    /// Call it when the wire is free: the less is in flight below, the truer the priorities.
    pub fn poll_transmit(&mut self, now: Instant, batch: &mut Batch, max_bytes: usize) -> bool {
        self.poll_transmit_lane(now, batch, max_bytes, LaneSet::ALL)
            .is_some()
    }

    /// [`Session::poll_transmit`] for a link with several lanes: frames of one lane only, and of none that is not
    /// `free`. Says which lane they are for; `None` when nothing was appended.
    pub fn poll_transmit_lane(
        &mut self,
        now: Instant,
        batch: &mut Batch,
        max_bytes: usize,
        free: LaneSet,
    ) -> Option<u8> {
        let before = batch.len();
        self.probe(now);
        let mut outlet = self.outlet(free);
        while batch.len() < max_bytes && self.transmit_next(now, batch, max_bytes, &mut outlet) {}
        self.check_drained();
        self.debug_check();
        outlet.lane.filter(|_| batch.len() > before)
    }

    /// Whether [`Session::poll_transmit`] has something to append.
    #[inline]
    pub fn wants_transmit(&self) -> bool {
        if let Some(wants) = self.continuity_wants_transmit() {
            return wants;
        }
        let waits = !self.control.is_empty() || self.farewell.is_some();
        if waits && (self.is_unhindered() || self.control_waits()) {
            return true;
        }
        if self.phase != Phase::Open || !self.traffic.exists() || self.retains_all_it_may() {
            return false;
        }
        (self.owes_credit() && (self.lanes == 1 || self.credit_waits()))
            || (self.critical_ready() && self.is_free(0))
            || self
                .traffic
                .scheduler
                .pick(|class| self.may_send(class) && self.is_free(self.lane_of(class)))
                .is_some()
            || self.wants_allowance()
    }

    /// Whether anything but control frames may go.
    #[inline]
    pub(super) fn may_send_messages(&self) -> bool {
        self.phase == Phase::Open && !self.retains_all_it_may()
    }

    /// Whether any frame may go as soon as one may.
    #[inline]
    fn is_unhindered(&self) -> bool {
        self.lanes == 1 && !self.retains_all_it_may()
    }

    /// Whether there is credit to give for a lane that is not blocked.
    #[cold]
    fn credit_waits(&self) -> bool {
        let critical = self.recv_window.is_due() || self.streams_due();
        let due = &self.traffic.credit_due;
        let is_free = |index: &u32| {
            let stream = self.traffic.streams.at(*index);
            stream.is_some_and(|stream| self.is_free(self.lane_of(stream.class())))
        };
        critical && self.is_free(0) || due.iter().any(is_free)
    }

    /// Whether there are control frames that may go, for a lane that is not blocked.
    #[cold]
    fn control_waits(&self) -> bool {
        let farewell = |lane| {
            self.farewell
                .as_ref()
                .is_some_and(|farewell| farewell.0.contains(lane))
        };
        (0..self.lanes).any(|lane| self.is_free(lane) && farewell(lane))
            || self.first_control(|lane| self.is_free(lane)).is_some()
    }

    /// The place of the first control frame that may go on a lane of these. While as much is retained as may be, only
    /// those go that are not counted, and no PING overtakes the DRAIN that its answer is to confirm.
    fn first_control(&self, is_free: impl Fn(u8) -> bool) -> Option<usize> {
        if self.is_unhindered() {
            return Some(0).filter(|_| is_free(0) && !self.control.is_empty());
        }
        let uncounted_only = self.retains_all_it_may();
        let mut drains = false;
        self.control.iter().position(|(header, payload)| {
            drains |= header.kind == Kind::DRAIN;
            let counted = counted_class(header.kind, header.stream, payload).is_some();
            let held = uncounted_only && (counted || drains && header.kind == Kind::PING);
            !held && is_free(self.control_lane(header.kind, header.stream, payload))
        })
    }

    #[inline]
    fn owes_credit(&self) -> bool {
        !self.traffic.credit_due.is_empty() || self.recv_window.is_due() || self.streams_due()
    }

    /// Whether enough streams of the peer have ended to tell it.
    #[inline]
    pub(super) fn streams_due(&self) -> bool {
        let target = u64::from(self.config.limits.max_streams) + self.accepted.ended;
        let step = u64::from(self.config.limits.max_streams / 4).max(1);
        target - self.accepted.limit >= step
    }

    #[inline]
    fn may_send(&self, class: Class) -> bool {
        self.is_ready(class) && self.allowed(class) > 0
    }

    /// Whether nothing of our own holds the class back.
    #[inline]
    pub(super) fn is_ready(&self, class: Class) -> bool {
        match class {
            Class::Bulk | Class::Critical => true,
            Class::Data => self.traffic.data_yield.may_send(),
            Class::System | Class::Job => true,
        }
    }

    fn transmit_next(
        &mut self,
        now: Instant,
        batch: &mut Batch,
        max_bytes: usize,
        outlet: &mut Outlet,
    ) -> bool {
        if let Some(more) = self.transmit_continuity(batch, max_bytes, outlet) {
            return more;
        }
        if !self.control.is_empty() && self.transmit_control(batch, outlet) {
            return true;
        }
        if self.farewell.is_some() {
            return self.transmit_farewell(batch, outlet);
        }
        if self.phase != Phase::Open || !self.traffic.exists() || self.retains_all_it_may() {
            return false;
        }
        if self.owes_credit() && self.transmit_credit(now, batch, outlet) {
            return true;
        }
        if outlet.would_take(0) && self.transmit_critical(now, batch) {
            let _ = outlet.take(0);
            return true;
        }
        let outlets = *outlet;
        let next = self
            .traffic
            .scheduler
            .pick(|class| self.may_send(class) && outlets.would_take(outlets.lane_of(class)));
        let Some(class) = next else {
            return false;
        };
        if let Some(index) = self.traffic.scheduler.pop(class) {
            let _ = outlet.take(outlet.lane_of(class));
            self.serve(index, class, batch, max_bytes);
        }
        true
    }

    /// The first control frame that may go.
    fn transmit_control(&mut self, batch: &mut Batch, outlet: &mut Outlet) -> bool {
        let place = self.first_control(|lane| outlet.would_take(lane));
        let Some((header, payload)) = place.and_then(|place| self.control.remove(place)) else {
            return false;
        };
        let _ = outlet.take(self.control_lane(header.kind, header.stream, &payload));
        self.control_answers -= usize::from(is_answer(header.kind));
        self.count_sent(header.stream.class(), 1, (Header::LEN + payload.len()) as u64);
        let counted = counted_class(header.kind, header.stream, &payload);
        let mark = batch.mark();
        push(batch, header, &[], payload);
        if let Some(class) = counted {
            self.note_sent(class, 1, batch, mark);
        }
        true
    }

    /// CLOSE on the lanes where it has not been said.
    fn transmit_farewell(&mut self, batch: &mut Batch, outlet: &mut Outlet) -> bool {
        let Some(farewell) = &mut self.farewell else {
            return false;
        };
        let (left, payload) = &mut **farewell;
        let Some(lane) = (0..self.lanes).find(|&lane| left.contains(lane) && outlet.take(lane)) else {
            return false;
        };
        *left = left.without(lane);
        push(
            batch,
            Header::new(Kind::CLOSE, StreamId::CONTROL),
            &[],
            payload.clone(),
        );
        if (0..self.lanes).all(|lane| !left.contains(lane)) {
            self.farewell = None;
        }
        true
    }

    /// Lets a stream send for a quantum, or until the batch is full.
    fn serve(&mut self, index: u32, class: Class, batch: &mut Batch, max_bytes: usize) {
        let start = batch.len();
        let mark = batch.mark();
        let allowed = usize::try_from(self.allowed(class)).unwrap_or(usize::MAX);
        let max_bytes = max_bytes.min(start.saturating_add(allowed));
        let quantum = self.peer.as_deref().map_or(0, |peer| peer.max_frame as usize);
        let mut frames = 0;
        let served = loop {
            match self.send_next(index, batch, max_bytes) {
                Served::More(sent) => {
                    frames += u64::from(sent);
                    if batch.len() >= max_bytes || batch.len() - start >= quantum {
                        break Served::More(sent);
                    }
                }
                served => break served,
            }
        };
        let bytes = (batch.len() - start) as u64;
        self.count_sent(class, frames, bytes);
        self.note_sent(class, frames, batch, mark);
        let mut wants = self.traffic.scheduler.wants();
        for class in LADDER {
            wants[rung(class)] &= self.may_send(class);
        }
        let shares = self.policy().shares;
        self.traffic.scheduler.charge(class, bytes, &shares, wants);
        if class == Class::Data {
            self.traffic.data_yield.on_sent(bytes);
        }
        if matches!(class, Class::Data | Class::Job) {
            self.pings.traffic = true;
        }
        match served {
            Served::More(_) => self.reschedule(index, true),
            Served::Idle => self.reschedule(index, false),
            Served::Waits => {
                self.reschedule(index, false);
                if !self.traffic.waiting.contains(&index) {
                    self.traffic.waiting.push(index);
                }
            }
            Served::ConnectionBlocked => {
                self.park(index);
                self.reschedule(index, false);
            }
        }
        self.wake_sender(index);
        self.flush_cancels();
    }

    /// Takes a stream out of the queue until the connection has credit. Streams whose next frame
    /// needs none go on.
    fn park(&mut self, index: u32) {
        if let Some(stream) = self.traffic.streams.at_mut(index)
            && !core::mem::replace(&mut stream.send.parked, true)
        {
            self.traffic.parked.push(index);
        }
    }

    /// The connection has credit again.
    pub(super) fn unpark(&mut self) {
        if !self.traffic.exists() {
            return;
        }
        for index in core::mem::take(&mut self.traffic.parked) {
            if let Some(stream) = self.traffic.streams.at_mut(index)
                && core::mem::take(&mut stream.send.parked)
            {
                self.schedule(index);
            }
        }
    }

    /// After a visit: back into the queue, or out of it until credit or a message comes.
    #[inline]
    fn reschedule(&mut self, index: u32, wants_more: bool) {
        let Some(stream) = self.traffic.streams.at_mut(index) else {
            return;
        };
        stream.send.ready = false;
        if wants_more {
            self.schedule(index);
        }
    }

    /// Tells who was refused that there is room again.
    #[inline]
    fn wake_sender(&mut self, index: u32) {
        let low = u64::from(self.config.limits.send_queue_max / 2);
        let key = self.traffic.streams.key(index);
        let Some(stream) = self.traffic.streams.at_mut(index) else {
            return;
        };
        if stream.send.blocked && stream.send.queued <= low {
            stream.send.blocked = false;
            let event = if stream.id.is_lane() {
                Event::LaneWritable(stream.class())
            } else {
                Event::Writable(key)
            };
            self.events.push_back(event);
        }
    }

    /// Sends the next frame of a stream, or the next run of frames up to `max_bytes` of batch.
    #[inline]
    fn send_next(&mut self, index: u32, batch: &mut Batch, max_bytes: usize) -> Served {
        let Some(stream) = self.traffic.streams.at_mut(index) else {
            return Served::Idle;
        };
        if stream.send.done {
            return Served::Idle;
        }
        match stream.send.queue.front() {
            Some(Queued::Message(_)) => self.send_frame(index, batch),
            Some(Queued::Run(_)) => self.send_run(index, batch, max_bytes),
            None if !stream.send.run.is_empty() => self.send_run(index, batch, max_bytes),
            None => {
                if !stream.send.finish {
                    return Served::Idle;
                }
                self.send_end(index, batch);
                Served::More(1)
            }
        }
    }

    /// Sends as much of a run as credit and batch allow, at least one frame or nothing.
    #[inline]
    fn send_run(&mut self, index: u32, batch: &mut Batch, max_bytes: usize) -> Served {
        let traffic = &mut *self.traffic;
        let Some(stream) = traffic.streams.at_mut(index) else {
            return Served::Idle;
        };
        let send = &mut stream.send;
        let queued = matches!(send.queue.front(), Some(Queued::Run(_)));
        let run = match send.queue.front_mut() {
            Some(Queued::Run(run)) => run,
            _ => &mut send.run,
        };
        let credit = send.credit.available().min(self.send_credit.available());
        let room = max_bytes.saturating_sub(batch.len()).max(1);
        let taken = run.prefix(usize::try_from(credit).unwrap_or(usize::MAX), room);
        if taken.frames == 0 {
            let stream_first = send.credit.available() <= self.send_credit.available();
            return if stream_first {
                Served::Idle
            } else {
                Served::ConnectionBlocked
            };
        }
        batch.extend_encoded(run.front(taken));
        let incoming = &mut traffic.incoming;
        let answers = run.answers(taken, |correlation| incoming.end(correlation));
        if !queued {
            send.run_hint = (taken.bytes as u16).min(RUN_BYTES_MAX as u16);
        }
        run.advance(taken, answers);
        if queued && run.is_empty() {
            send.queue.pop_front();
        }
        let bytes = taken.bytes as u64;
        send.queued -= bytes;
        send.credit.spend(bytes);
        self.send_credit.spend(bytes);
        traffic.requests_sent[stream.id.class().index()] += u64::from(taken.requests);
        Served::More(taken.frames)
    }

    /// Sends one frame of the message at the front.
    fn send_frame(&mut self, index: u32, batch: &mut Batch) -> Served {
        let max_frame = self.peer.as_deref().map_or(0, |peer| peer.max_frame as usize);
        if !self.may_begin(index, max_frame) {
            return Served::Waits;
        }
        let traffic = &mut *self.traffic;
        let Some(stream) = traffic.streams.at_mut(index) else {
            return Served::Idle;
        };
        let (id, has_credit) = (stream.id, stream.has_credit());
        let send = &mut stream.send;
        let alone = send.queue.len() == 1 && send.run.is_empty();
        let Some(Queued::Message(front)) = send.queue.front_mut() else {
            return Served::Idle;
        };
        let kind = front.message.kind;
        let rest = front.message.payload.len() - send.offset;
        let chunk = rest.min(max_frame);
        let (first, last) = (send.offset == 0, chunk == rest);
        let extensions: &[u8] = if first {
            front.message.extensions.as_bytes()
        } else {
            &[]
        };
        if has_credit && is_counted(kind) {
            let cost = (Header::LEN + extensions.len() + chunk) as u64;
            if send.credit.available() < cost {
                return Served::Idle;
            }
            if self.send_credit.available() < cost {
                return Served::ConnectionBlocked;
            }
            send.credit.spend(cost);
            self.send_credit.spend(cost);
        }
        let ends = last && alone && send.finish && kind != Kind::OPEN;
        let header = head(id, front, first, last, ends);
        let payload = front.message.payload.slice(send.offset..send.offset + chunk);
        push(batch, header, extensions, payload);
        if !last {
            send.offset += chunk;
            return Served::More(1);
        }
        let correlation = front.correlation;
        send.queued -= front.cost();
        send.offset = 0;
        send.queue.pop_front();
        if !first {
            self.wake_waiting();
        }
        let Some(stream) = self.traffic.streams.at_mut(index) else {
            return Served::More(1);
        };
        let send = &mut stream.send;
        if ends {
            send.done = true;
            self.check_over(index);
        }
        match kind {
            Kind::REQUEST => self.traffic.requests_sent[id.class().index()] += 1,
            Kind::RESPONSE | Kind::RESET => self.traffic.incoming.end(correlation),
            _ => {}
        }
        Served::More(1)
    }

    /// Whether the message at the front may go on, or begin. A peer puts messages together in bounded memory, so no
    /// more are begun at once than twice the largest it takes; one is always welcome.
    //= protocol/session.md#messages
    fn may_begin(&self, index: u32, max_frame: usize) -> bool {
        let begins = self
            .traffic
            .streams
            .at(index)
            .and_then(|stream| match stream.send.queue.front() {
                Some(Queued::Message(front)) if stream.send.offset == 0 => Some(front.message.payload.len()),
                _ => None,
            });
        let Some(bytes) = begins.filter(|&bytes| bytes > max_frame) else {
            return true;
        };
        let begun: usize = self
            .traffic
            .streams
            .iter()
            .map(|(_, stream)| stream.send.begun_bytes())
            .sum();
        let most = self
            .peer
            .as_deref()
            .map_or(0, |peer| 2 * peer.max_message as usize);
        begun == 0 || begun + bytes <= most
    }

    /// A large message has gone out, or never will: others may begin.
    pub(super) fn wake_waiting(&mut self) {
        if self.traffic.waiting.is_empty() {
            return;
        }
        for index in core::mem::take(&mut self.traffic.waiting) {
            self.schedule(index);
        }
    }

    /// Ends a direction that has nothing queued to carry the flag.
    fn send_end(&mut self, index: u32, batch: &mut Batch) {
        let Some(stream) = self.traffic.streams.at_mut(index) else {
            return;
        };
        stream.send.done = true;
        let mut header = Header::new(Kind::STREAM_CLOSE, stream.id);
        header.flags = Flags::EOS;
        push(batch, header, &[], Bytes::new());
        self.check_over(index);
    }

    fn critical_ready(&self) -> bool {
        self.traffic.critical.stream.is_some_and(|index| {
            self.traffic.critical.blocked_until.is_none()
                && self
                    .traffic
                    .streams
                    .at(index)
                    .is_some_and(|stream| stream.has_work())
        })
    }

    /// Sends one message of stream 0 if its token bucket has enough.
    fn transmit_critical(&mut self, now: Instant, batch: &mut Batch) -> bool {
        let Some(index) = self.traffic.critical.stream else {
            return false;
        };
        let Some(cost) = self
            .traffic
            .streams
            .at(index)
            .and_then(|stream| Some(stream.send.queue.front()?.cost()))
        else {
            return false;
        };
        let rate = self.policy().critical;
        if !self.traffic.critical.take(now, cost, rate) {
            return false;
        }
        let start = batch.len();
        let mark = batch.mark();
        self.send_frame(index, batch);
        self.count_sent(Class::Critical, 1, (batch.len() - start) as u64);
        self.note_sent(Class::Critical, 1, batch, mark);
        self.wake_sender(index);
        self.flush_cancels();
        true
    }

    /// When the critical bucket lets its next message go.
    pub(super) fn critical_timeout(&self) -> Option<Instant> {
        self.traffic.critical.blocked_until
    }

    /// The bucket is looked at anew when its time has come.
    pub(super) fn critical_tick(&mut self, now: Instant) {
        if self.traffic.critical.blocked_until.is_some_and(|at| at <= now) {
            self.traffic.critical.blocked_until = None;
        }
    }

    pub(super) fn count_sent(&mut self, class: Class, frames: u64, bytes: u64) {
        if class == Class::Critical && !self.traffic.exists() {
            self.core_sent.add(bytes as usize);
            return;
        }
        self.use_allowance(class, bytes);
        let stats = &mut self.traffic.stats.classes[class.index()];
        stats.frames_sent += frames;
        stats.bytes_sent += bytes;
    }

    /// Queues a control frame. Whoever lets a peer cause these checks the bound.
    pub(super) fn push_control(
        &mut self,
        kind: Kind,
        stream: StreamId,
        flags: Flags,
        correlation: u32,
        payload: Bytes,
    ) {
        let mut header = Header::new(kind, stream);
        header.flags = flags;
        header.correlation = correlation;
        self.control_answers += usize::from(is_answer(kind));
        self.control.push_back((header, payload));
    }
}

/// Whether a control frame answers one of the peer's.
pub(super) fn is_answer(kind: Kind) -> bool {
    matches!(kind, Kind::PONG | Kind::STREAM_ACK)
}

/// The header of a message's next frame.
#[inline]
pub(super) fn head(stream: StreamId, message: &OutMessage, first: bool, last: bool, ends: bool) -> Header {
    let mut flags = message.flags;
    let mut trace = 0;
    if first && !message.message.extensions.is_empty() {
        flags |= message.message.extensions.flags();
        trace = trace_byte(message);
    }
    if !last {
        flags |= Flags::MORE;
    } else if ends {
        flags |= Flags::EOS;
    }
    Header {
        flags,
        trace,
        priority: Priority::from_byte(message.priority),
        correlation: message.correlation,
        ..Header::new(message.message.kind, stream)
    }
}

/// The header's trace byte: the last of the trace id, never 0 where there is one.
//= protocol/header.md#layout
#[inline]
fn trace_byte(message: &OutMessage) -> u8 {
    let extensions = &message.message.extensions;
    let area = extensions.as_bytes();
    let area = if extensions.flags().contains(Flags::TS) {
        area.get(4..).unwrap_or_default()
    } else {
        area
    };
    match area {
        [extension_type::TRACE_CONTEXT, 26, value @ ..] => value.get(16).map_or(0, |&byte| byte.max(1)),
        _ => 0,
    }
}

/// Appends a frame that is known to be within the peer's limits.
#[inline]
pub(super) fn push(batch: &mut Batch, header: Header, extensions: &[u8], payload: Bytes) {
    let pushed = batch.push(header, extensions, payload);
    debug_assert!(
        pushed.is_ok(),
        "commands check sizes and kinds before they queue: {pushed:?}"
    );
}
