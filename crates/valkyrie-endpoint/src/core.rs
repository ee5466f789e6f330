//! What is behind the first lock of a connection: the session, and who waits for what.
//!
//! Everything here is plain data under one mutex. The lock is held for pushes, pops and table look-ups, never across a
//! system call or code of the application. Read [`Core::pump`] first: it turns the session's events into wakers.
//!
//! The tables beside the session's start empty and grow with what is used: an idle connection owns none of them.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use valkyrie_frame::{Class, ErrorCode, Extensions};
use valkyrie_proto::{
    CloseReason, Event, ExchangeKey, Failure, Incoming, Message, Opened, RequestId, Resume, Session,
    StreamKey,
};

use crate::shaping::Place;
use crate::wait::{Ticket, WaitList};

pub(crate) struct Core {
    pub(crate) session: Session,
    /// The driver's waker, from its first poll on.
    pub(crate) driver: Option<Waker>,
    /// The driver has been woken to flush and has not begun to. Whoever pushes meanwhile need not wake it again.
    pub(crate) flush_pending: bool,
    /// The link takes nothing for now and will wake the driver itself. Nobody else need.
    pub(crate) wire_blocked: bool,
    /// When the driver last looked at the clock.
    pub(crate) seen: Instant,
    /// Bytes pushed since the session was last asked for frames.
    pub(crate) queued_bytes: usize,
    /// Requests that handlers owe an answer to.
    pub(crate) requests_running: u32,
    /// The roster knows that the connection has more than an idle one needs, such as the tables of traffic.
    pub(crate) listed: bool,
    /// When the driver's own timer goes off.
    pub(crate) armed: Option<Instant>,
    /// The session has opened.
    pub(crate) opened: bool,
    /// How the session ended.
    pub(crate) closed: Option<Arc<CloseReason>>,
    /// The driver is gone: nothing more will be written or read.
    pub(crate) ended: bool,
    /// The session has let go of its link, and the driver has not yet.
    pub(crate) lost: bool,
    /// The session has opened as one that its peer may continue, and the roster has not been told.
    pub(crate) unlisted: bool,
    calls: Vec<Option<Waker>>,
    requests: Vec<RequestSlot>,
    streams: Vec<StreamSlot>,
    rare: Option<Box<Rare>>,
}

/// A request of the peer, by [`RequestId::index`].
#[derive(Default)]
struct RequestSlot {
    /// The request whose answer is owed; `None` when there is none.
    id: Option<RequestId>,
    /// Present once the handler did not answer at once, or something asked about its cancellation.
    run: Option<Box<Run>>,
}

/// A handler that did not answer at once.
#[derive(Default)]
struct Run {
    cancelled: Option<ErrorCode>,
    shielded: bool,
    task: Option<Waker>,
    watchers: Vec<Waker>,
}

/// A stream with at least one handle here, by [`StreamKey::index`].
#[derive(Default)]
pub(crate) struct StreamSlot {
    pub(crate) key: Option<StreamKey>,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    /// Told when the stream is reset. Bounded by the contexts of its handler's tasks.
    pub(crate) watchers: Vec<Waker>,
    /// How many of sender, receiver and handler still hold it.
    pub(crate) holders: u8,
    /// A handler runs it and decides at its end how the stream ends.
    pub(crate) handled: bool,
    /// What the peer opened it for, if the peer did.
    asked: Option<Box<Asked>>,
}

/// What a stream was opened for. It is kept while the stream lives, because what is permitted may change meanwhile.
pub(crate) struct Asked {
    pub(crate) extensions: Extensions,
    pub(crate) class: Class,
}

/// What most connections never need.
#[derive(Default)]
struct Rare {
    /// Woken at every turn of the connection's life: opened, draining, closed.
    life: Vec<Waker>,
    lanes: [WaitList; Class::COUNT],
    exchanges: WaitList,
    opens: WaitList,
    pings: Vec<Ping>,
    next_ping: u64,
    /// Streams that no handler takes, for `accept`. Bounded by the peer's allowance of streams.
    unrouted: VecDeque<Opened>,
    acceptors: WaitList,
    /// What arrived while an application's own operation drained the session's events; the driver takes it.
    stray: Arrivals,
    /// What the peer asked for in place of the opening.
    resume_asked: Option<Box<Resume>>,
    /// The peer's wish when it began to drain.
    retry_after_ms: Option<u32>,
    /// Its place in the endpoint's shaper, while there is one.
    place: Option<Place>,
}

struct Ping {
    token: u64,
    answer: Option<Duration>,
    waker: Option<Waker>,
}

/// What the peer has begun and no handler has been given yet.
#[derive(Default)]
pub(crate) struct Arrivals {
    pub(crate) incoming: Vec<Incoming>,
    pub(crate) opened: Vec<Opened>,
}

impl Arrivals {
    pub(crate) fn is_empty(&self) -> bool {
        self.incoming.is_empty() && self.opened.is_empty()
    }
}

/// Which line a task waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// For room on the lane of a class.
    Lane(Class),
    /// For a free exchange.
    Exchange,
    /// For a free stream.
    Open,
    /// For a stream that the peer opens.
    Accept,
}

impl Core {
    pub(crate) fn new(session: Session, now: Instant) -> Self {
        Self {
            seen: now,
            session,
            driver: None,
            flush_pending: false,
            wire_blocked: false,
            queued_bytes: 0,
            requests_running: 0,
            listed: false,
            armed: None,
            opened: false,
            closed: None,
            ended: false,
            lost: false,
            unlisted: false,
            calls: Vec::new(),
            requests: Vec::new(),
            streams: Vec::new(),
            rare: None,
        }
    }

    /// Drains the session's events: wakers to be woken once the lock is let go, and arrivals for the driver.
    #[inline]
    pub(crate) fn pump(&mut self, wakers: &mut Vec<Waker>, arrivals: &mut Arrivals) {
        let first = self.session.poll_event();
        if first.is_some() {
            self.pump_from(first, wakers, arrivals);
        }
    }

    /// [`Core::pump`] from an event on that has been taken out already.
    pub(crate) fn pump_from(
        &mut self,
        mut next: Option<Event>,
        wakers: &mut Vec<Waker>,
        arrivals: &mut Arrivals,
    ) {
        while let Some(event) = next {
            match event {
                Event::Completed(key) => {
                    if let Some(waker) = self.calls.get_mut(key.index()).and_then(Option::take) {
                        wakers.push(waker);
                    }
                }
                Event::Incoming(incoming) => {
                    if let Some(id) = incoming.id {
                        self.begin_request(id);
                    }
                    arrivals.incoming.push(incoming);
                }
                Event::Readable(key) => {
                    if let Some(slot) = self.stream(key) {
                        wakers.extend(slot.reader.take());
                        // Whoever watches for a reset looks for itself.
                        wakers.append(&mut slot.watchers);
                    }
                }
                Event::Writable(key) => {
                    wakers.extend(self.stream(key).and_then(|slot| slot.writer.take()));
                }
                event => self.pump_rare(event, wakers, arrivals),
            }
            next = self.session.poll_event();
        }
    }

    #[cold]
    fn pump_rare(&mut self, event: Event, wakers: &mut Vec<Waker>, arrivals: &mut Arrivals) {
        match event {
            Event::Opened(opened) => {
                self.hold_stream(opened.key, 1);
                if let Some(slot) = self.stream(opened.key) {
                    slot.asked = Some(Box::new(Asked {
                        extensions: opened.extensions.clone(),
                        class: opened.id.class(),
                    }));
                }
                arrivals.opened.push(*opened);
            }
            Event::Cancelled { id, code } => self.cancel_request(id, code, wakers),
            Event::LaneWritable(class) => wakers.extend(self.next_in(Line::Lane(class))),
            Event::Capacity => {
                wakers.extend(self.next_in(Line::Exchange));
                wakers.extend(self.next_in(Line::Open));
            }
            Event::Pong { token, rtt } => {
                if let Some(rare) = &mut self.rare
                    && let Some(ping) = rare.pings.iter_mut().find(|ping| ping.token == token)
                {
                    ping.answer = Some(rtt);
                    wakers.extend(ping.waker.take());
                }
            }
            Event::Connected(_) => {
                self.opened = true;
                self.unlisted = self.session.is_resumable();
                self.wake_life(wakers);
            }
            Event::Draining { retry_after_ms } => {
                self.rare().retry_after_ms = Some(retry_after_ms);
                self.wake_life(wakers);
            }
            Event::Closed(reason) => self.close(reason, wakers),
            Event::Detached => {
                self.lost = true;
                self.wake_life(wakers);
                wakers.extend(self.driver.clone());
            }
            Event::Resumed => {
                self.wake_life(wakers);
                // Whoever was refused for want of a link may be served now.
                wakers.extend(self.driver.clone());
            }
            Event::ResumeAsked(resume) => {
                self.rare().resume_asked = Some(resume);
                wakers.extend(self.driver.clone());
            }
            // Drained is followed by Closed, which says all there is to say. Later events are none of ours.
            _ => {}
        }
    }

    /// The session is over: whoever waits for anything is told.
    pub(crate) fn close(&mut self, reason: CloseReason, wakers: &mut Vec<Waker>) {
        if self.closed.is_some() {
            return;
        }
        self.closed = Some(Arc::new(reason));
        wakers.extend(self.calls.iter_mut().filter_map(Option::take));
        for slot in &mut self.streams {
            wakers.extend(slot.reader.take());
            wakers.extend(slot.writer.take());
            wakers.append(&mut slot.watchers);
        }
        for slot in &mut self.requests {
            if let Some(run) = &mut slot.run {
                run.cancel(ErrorCode::LINK_LOST, wakers);
            }
        }
        if let Some(rare) = &mut self.rare {
            for list in rare.lanes.iter_mut() {
                wakers.extend(list.all());
            }
            wakers.extend(rare.exchanges.all());
            wakers.extend(rare.opens.all());
            wakers.extend(rare.acceptors.all());
            wakers.extend(rare.pings.iter_mut().filter_map(|ping| ping.waker.take()));
        }
        self.wake_life(wakers);
        wakers.extend(self.driver.clone());
    }

    /// The session that the peer wants to continue on this connection's link.
    pub(crate) fn take_resume_asked(&mut self) -> Option<Box<Resume>> {
        self.rare.as_mut()?.resume_asked.take()
    }

    /// The driver is gone, and the link with it.
    pub(crate) fn end(&mut self, wakers: &mut Vec<Waker>) {
        self.ended = true;
        self.driver = None;
        self.wake_life(wakers);
    }

    /// Gives back what is not needed if nothing was heard since `idle`. `true` when the roster can forget about it.
    pub(crate) fn falls_asleep(&mut self, idle: Instant) -> bool {
        if self.ended {
            return true;
        }
        if self.session.idle_since() > idle {
            return false;
        }
        self.shrink();
        self.listed = self.session.is_awake();
        !self.listed
    }

    /// Gives back what a burst has left behind, for a connection that has fallen idle.
    pub(crate) fn shrink(&mut self) {
        self.session.shrink();
        if self.calls.iter().all(Option::is_none) {
            self.calls = Vec::new();
        }
        if self.requests_running == 0 {
            self.requests = Vec::new();
        }
        if self.streams.iter().all(|slot| slot.key.is_none()) {
            self.streams = Vec::new();
        }
        if self.rare.as_ref().is_some_and(|rare| rare.is_unused()) {
            self.rare = None;
        }
    }

    // ---- calls -------------------------------------------------------------------------------------------------

    /// Who to wake when the exchange has ended.
    #[inline]
    pub(crate) fn watch_call(&mut self, key: ExchangeKey, waker: &Waker) {
        let index = key.index();
        if index >= self.calls.len() {
            self.calls.resize_with(index + 1, || None);
        }
        match &mut self.calls[index] {
            Some(known) => known.clone_from(waker),
            free => *free = Some(waker.clone()),
        }
    }

    /// Nobody waits for the exchange any more.
    pub(crate) fn forget_call(&mut self, key: ExchangeKey) {
        if let Some(slot) = self.calls.get_mut(key.index()) {
            *slot = None;
        }
    }

    // ---- requests ----------------------------------------------------------------------------------------------

    #[inline]
    fn begin_request(&mut self, id: RequestId) {
        let index = id.index();
        if index >= self.requests.len() {
            self.requests.resize_with(index + 1, RequestSlot::default);
        }
        self.requests[index] = RequestSlot {
            id: Some(id),
            run: None,
        };
        self.requests_running += 1;
    }

    fn request(&mut self, id: RequestId) -> Option<&mut RequestSlot> {
        self.requests
            .get_mut(id.index())
            .filter(|slot| slot.id == Some(id))
    }

    /// Answers a request. Its slot is free from here on: the handler has stopped.
    #[inline]
    pub(crate) fn respond(
        &mut self,
        now: Instant,
        id: RequestId,
        answer: Result<Message, Failure>,
        wakers: &mut Vec<Waker>,
    ) {
        if let Some(slot) = self.requests.get_mut(id.index())
            && slot.id == Some(id)
        {
            slot.id = None;
            if let Some(mut run) = slot.run.take() {
                // A context that outlives its handler learns that the handler has ended.
                wakers.append(&mut run.watchers);
            }
            self.requests_running -= 1;
        }
        self.queued_bytes += answer.as_ref().map_or(0, |message| message.payload.len()) + HEAD_BYTES;
        // An answer to a session that is over goes nowhere, which its caller knows from the session's end.
        let _ = self.session.respond(now, id, answer);
    }

    #[cold]
    fn cancel_request(&mut self, id: RequestId, code: ErrorCode, wakers: &mut Vec<Waker>) {
        if let Some(slot) = self.request(id) {
            slot.run.get_or_insert_default().cancel(code, wakers);
        }
    }

    /// A handler's task is about to poll its handler: `Err` says that it must stop instead, and why.
    pub(crate) fn poll_run(&mut self, id: RequestId, waker: &Waker) -> Result<(), ErrorCode> {
        let over = self.closed.is_some();
        let Some(slot) = self.request(id) else {
            return Err(ErrorCode::CANCELLED);
        };
        let run = slot.run.get_or_insert_default();
        if over && run.cancelled.is_none() {
            run.cancelled = Some(ErrorCode::LINK_LOST);
        }
        match run.cancelled {
            Some(code) if !run.shielded => Err(code),
            _ => {
                match &mut run.task {
                    Some(known) => known.clone_from(waker),
                    free => *free = Some(waker.clone()),
                }
                Ok(())
            }
        }
    }

    /// From now on the request's cancellation does not stop its handler.
    pub(crate) fn shield(&mut self, id: RequestId) {
        if let Some(slot) = self.request(id) {
            slot.run.get_or_insert_default().shielded = true;
        }
    }

    /// Whether the request is cancelled, or over; if not, `waker` is woken when it is.
    pub(crate) fn poll_cancelled(&mut self, id: RequestId, waker: &Waker) -> bool {
        if self.closed.is_some() {
            return true;
        }
        let Some(slot) = self.request(id) else { return true };
        let run = slot.run.get_or_insert_default();
        if run.cancelled.is_some() {
            return true;
        }
        if !run.watchers.iter().any(|known| known.will_wake(waker)) {
            run.watchers.push(waker.clone());
        }
        false
    }

    // ---- streams -----------------------------------------------------------------------------------------------

    /// Adds `holders` holders to a stream, making its slot if it is new.
    pub(crate) fn hold_stream(&mut self, key: StreamKey, holders: u8) {
        let index = key.index();
        if index >= self.streams.len() {
            self.streams.resize_with(index + 1, StreamSlot::default);
        }
        let slot = &mut self.streams[index];
        if slot.key == Some(key) {
            slot.holders += holders;
        } else {
            *slot = StreamSlot {
                key: Some(key),
                holders,
                ..StreamSlot::default()
            };
        }
    }

    #[inline]
    pub(crate) fn stream(&mut self, key: StreamKey) -> Option<&mut StreamSlot> {
        self.streams
            .get_mut(key.index())
            .filter(|slot| slot.key == Some(key))
    }

    /// Whether a stream has ended before its time, or the connection has; if not, `waker` is woken when it does.
    pub(crate) fn poll_stream_over(&mut self, key: StreamKey, waker: &Waker) -> bool {
        if self.closed.is_some() || self.session.stream_failure(key).is_some() {
            return true;
        }
        let Some(slot) = self.stream(key) else { return true };
        if !slot.watchers.iter().any(|known| known.will_wake(waker)) {
            slot.watchers.push(waker.clone());
        }
        false
    }

    /// Resets the peer's streams of which `refuse` says why they are not permitted, and tells whoever uses them here.
    pub(crate) fn reset_refused(
        &mut self,
        now: Instant,
        wakers: &mut Vec<Waker>,
        mut refuse: impl FnMut(&Asked) -> Option<Failure>,
    ) {
        for slot in &mut self.streams {
            let (Some(key), Some(asked)) = (slot.key, &slot.asked) else {
                continue;
            };
            let Some(failure) = refuse(asked) else { continue };
            self.session.reset(now, key, failure);
            wakers.extend(slot.reader.take());
            wakers.extend(slot.writer.take());
            wakers.append(&mut slot.watchers);
            self.queued_bytes += HEAD_BYTES;
        }
    }

    /// Lets go of a stream; the last holder releases it in the session.
    pub(crate) fn drop_stream(&mut self, now: Instant, key: StreamKey) {
        let Some(slot) = self.stream(key) else { return };
        slot.holders -= 1;
        if slot.holders == 0 {
            *slot = StreamSlot::default();
            self.session.release(now, key);
        }
    }

    // ---- lines and life ----------------------------------------------------------------------------------------

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn line(&mut self, line: Line) -> &mut WaitList {
        let rare = self.rare();
        match line {
            Line::Lane(class) => &mut rare.lanes[class.index()],
            Line::Exchange => &mut rare.exchanges,
            Line::Open => &mut rare.opens,
            Line::Accept => &mut rare.acceptors,
        }
    }

    /// Waits in a line.
    pub(crate) fn join(&mut self, line: Line, ticket: &mut Ticket, waker: &Waker) {
        self.line(line).join(ticket, waker);
    }

    /// Leaves a line; the waker returned, if any, is of the next in it.
    pub(crate) fn leave(&mut self, line: Line, ticket: &mut Ticket) -> Option<Waker> {
        if ticket.is_none() {
            return None;
        }
        self.line(line).leave(ticket)
    }

    fn next_in(&mut self, line: Line) -> Option<Waker> {
        self.rare.as_ref()?;
        self.line(line).next()
    }

    /// Wakes `waker` at the next turn of the connection's life.
    pub(crate) fn watch_life(&mut self, waker: &Waker) {
        let life = &mut self.rare().life;
        if !life.iter().any(|known| known.will_wake(waker)) {
            life.push(waker.clone());
        }
    }

    fn wake_life(&mut self, wakers: &mut Vec<Waker>) {
        if let Some(rare) = &mut self.rare {
            wakers.append(&mut rare.life);
        }
    }

    /// What the peer said when it began to drain.
    pub(crate) fn retry_after_ms(&self) -> Option<u32> {
        self.rare.as_ref().and_then(|rare| rare.retry_after_ms)
    }

    /// Its place in the endpoint's shaper, if it has taken one.
    pub(crate) fn place(&self) -> Option<Place> {
        self.rare.as_ref()?.place
    }

    pub(crate) fn take_place(&mut self) -> Option<Place> {
        self.rare.as_mut()?.place.take()
    }

    pub(crate) fn set_place(&mut self, place: Place) {
        self.rare().place = Some(place);
    }

    pub(crate) fn begin_ping(&mut self) -> u64 {
        let rare = self.rare();
        rare.next_ping += 1;
        let token = rare.next_ping;
        rare.pings.push(Ping {
            token,
            answer: None,
            waker: None,
        });
        token
    }

    /// The round trip of a ping, if its answer has come.
    pub(crate) fn poll_ping(&mut self, token: u64, waker: &Waker) -> Option<Duration> {
        let ping = self
            .rare
            .as_mut()?
            .pings
            .iter_mut()
            .find(|ping| ping.token == token)?;
        if ping.answer.is_none() {
            ping.waker = Some(waker.clone());
        }
        ping.answer
    }

    pub(crate) fn end_ping(&mut self, token: u64) {
        if let Some(rare) = &mut self.rare {
            rare.pings.retain(|ping| ping.token != token);
        }
    }

    /// Keeps a stream that no handler takes.
    pub(crate) fn offer_stream(&mut self, opened: Opened) -> Option<Waker> {
        let rare = self.rare();
        rare.unrouted.push_back(opened);
        rare.acceptors.next()
    }

    pub(crate) fn take_offered(&mut self) -> Option<Opened> {
        self.rare.as_mut()?.unrouted.pop_front()
    }

    /// Keeps arrivals that somebody else than the driver came across.
    pub(crate) fn keep_stray(&mut self, mut arrivals: Arrivals) {
        let stray = &mut self.rare().stray;
        stray.incoming.append(&mut arrivals.incoming);
        stray.opened.append(&mut arrivals.opened);
    }

    pub(crate) fn take_stray(&mut self, arrivals: &mut Arrivals) {
        if let Some(rare) = &mut self.rare
            && !rare.stray.is_empty()
        {
            let mut stray = mem::take(&mut rare.stray);
            arrivals.incoming.append(&mut stray.incoming);
            arrivals.opened.append(&mut stray.opened);
        }
    }
}

impl Rare {
    fn is_unused(&self) -> bool {
        self.life.is_empty()
            && self.lanes.iter().all(WaitList::is_unused)
            && [&self.exchanges, &self.opens, &self.acceptors]
                .into_iter()
                .all(WaitList::is_unused)
            && self.next_ping == 0
            && self.unrouted.is_empty()
            && self.stray.is_empty()
            && self.retry_after_ms.is_none()
            && self.place.is_none()
    }
}

impl Run {
    fn cancel(&mut self, code: ErrorCode, wakers: &mut Vec<Waker>) {
        self.cancelled.get_or_insert(code);
        wakers.extend(self.task.take());
        wakers.append(&mut self.watchers);
    }
}

/// A response as the session takes it.
#[inline]
pub(crate) fn response(payload: Bytes) -> Message {
    Message {
        kind: valkyrie_frame::Kind::RESPONSE,
        extensions: valkyrie_frame::Extensions::EMPTY,
        payload,
    }
}

/// What a frame costs beside its payload, roughly: it only steers when a writer writes by itself.
pub(crate) const HEAD_BYTES: usize = 24;
