//! The one task of a connection: it reads, starts handlers, writes what gathered, and keeps the connection's time.
//!
//! It is not on the way of a message that a caller can write by itself (see [`Shared`]), and it owns no buffer while
//! it waits. Read [`Driver::pass`] first.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Sleep;
use valkyrie_frame::{ErrorCode, Kind};
use valkyrie_proto::{CloseReason, Failure, Incoming, LaneSet, Opened};
use valkyrie_security::policy::Grant;
use valkyrie_transport::Lane;

use crate::context::Subject;
use crate::core::response;
use crate::handler::{Panicked, Started};
use crate::roster::Roster;
use crate::services::Serve;
use crate::shared::{Counters, LinkState, Shared, Transmitted};
use crate::task::{Debt, HandlerTask, StreamTask};
use crate::worker::{self, Pass};
use crate::{Context, IncomingStream, clock};

/// The task that a connection lives by. It ends with the connection.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    phase: Phase,
    /// What the peer may do, as the policy was when it was last looked at.
    grant: Box<Grant>,
    /// The timer, while something is due soon.
    sleep: Option<Pin<Box<Sleep>>>,
    /// The runtime runs a task that was just woken before those that were woken earlier.
    wakes_jump_queue: bool,
    /// This poll was put off once for what others are about to push.
    put_off: bool,
}

/// What one poll carries from round to round.
struct Round {
    input: BytesMut,
    /// Bytes of the frame that `input` begins, when they are known.
    begun_bytes: usize,
    /// When the last round began.
    now: Option<Instant>,
    /// The last read was of a record or more.
    flows: bool,
    /// Lanes that had nothing more, which will wake the driver when they do.
    quiet: LaneSet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The session is alive.
    Open,
    /// The session is over: its last frame goes out, our direction is ended, and the peer's is waited for.
    Closing { until: Instant, ended: bool },
    /// Nothing is left.
    Over,
}

impl Driver {
    /// A driver for the runtime that it is made in.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
        Self {
            grant: Box::new(shared.guard.grant(clock::now())),
            shared,
            phase: Phase::Open,
            sleep: None,
            wakes_jump_queue: !matches!(flavor, Ok(RuntimeFlavor::CurrentThread)),
            put_off: false,
        }
    }

    /// Leaves word where to be woken. `true` when this poll should be put off: it was asked for by a pusher, on a
    /// runtime that runs the driver before the other tasks that are about to push.
    fn check_in(&mut self, waker: &Waker) -> bool {
        let mut core = self.shared.lock();
        match &mut core.driver {
            Some(known) => known.clone_from(waker),
            unknown => *unknown = Some(waker.clone()),
        }
        self.put_off = self.wakes_jump_queue && core.flush_pending && !self.put_off;
        self.put_off
    }

    /// Reads, handles and writes until there is nothing to do, or the rounds are used up.
    fn open(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        let shared = Arc::clone(&self.shared);
        let mut link = shared.lock_link();
        link.remember_driver(cx.waker());
        let mut pass = worker::take_pass();
        let mut round = Round {
            input: link.take_input(),
            begun_bytes: 0,
            now: None,
            flows: false,
            quiet: LaneSet::NONE,
        };
        let mut idle = false;
        for _ in 0..ROUNDS_MAX {
            idle = self.pass(&mut link, &mut pass, &mut round, cx);
            if idle {
                break;
            }
        }
        link.put_input(round.input, round.begun_bytes);
        if let Some(channel) = &mut link.channel {
            channel.end_pass();
        }
        worker::put_pass(pass);
        drop(link);
        if !idle {
            // Others have been waiting for this thread.
            cx.waker().wake_by_ref();
        }
        self.keep_time(cx, round.now)
    }

    /// One round: a read, what follows from it, a write. `true` when the link has nothing more for now.
    fn pass(
        &mut self,
        link: &mut LinkState,
        pass: &mut Pass,
        round: &mut Round,
        cx: &mut TaskContext<'_>,
    ) -> bool {
        let read = match &mut link.link {
            Some(open) if !link.deaf && !link.lanes.as_ref().is_some_and(|lanes| lanes.has_ended(0)) => {
                let (input, frame_bytes) = (&mut round.input, round.begun_bytes);
                match &mut link.channel {
                    None => {
                        worker::make_room(input, frame_bytes);
                        open.poll_read(cx, Lane::FIRST, input)
                    }
                    Some(channel) => channel.poll_read(&mut **open, cx, input, frame_bytes, &mut round.flows),
                }
            }
            _ => Poll::Pending,
        };
        let more_lanes = link.lanes.is_some();
        let again = round.now.is_some() && !link.failed;
        if read.is_pending() && again && !more_lanes {
            // The round before this one did everything else.
            return true;
        }
        let now = clock::now();
        round.now = Some(now);
        let any = more_lanes && self.shared.read_lanes(link, cx, now, &mut round.quiet, pass);
        if read.is_pending() && again && !any && !link.failed {
            return true;
        }
        let fault = match (&read, &mut link.channel) {
            (Poll::Ready(Ok(1..)), Some(channel)) => channel.open(now, &mut round.input).err(),
            _ => None,
        };
        self.keep_grant(now);
        let shared = &self.shared;
        let mut core = shared.lock();
        core.seen = now;
        match read {
            Poll::Ready(Ok(bytes)) if bytes > 0 => {
                if core.session.handle_input(now, &mut round.input).is_err() {
                    link.deaf = true;
                }
                round.begun_bytes = core.session.begun_frame_len(&round.input);
                if let Some(fault) = fault {
                    link.deaf = true;
                    shared.guard.note_fault(&fault);
                    fault.end(&mut core.session, now);
                }
            }
            Poll::Ready(_) if more_lanes && core.session.is_lane_closed(0) => {
                // The other lanes have their ends still to come.
                if let Some(lanes) = &mut link.lanes {
                    lanes.end(0);
                }
            }
            Poll::Ready(_) => {
                link.deaf = true;
                core.session.handle_link_lost(now);
            }
            // What a broken link still had to say has been read.
            Poll::Pending if link.failed && !link.deaf => {
                link.deaf = true;
                core.session.handle_link_lost(now);
            }
            Poll::Pending => {}
        }
        if core.session.poll_timeout().is_some_and(|at| at <= now) {
            core.session.handle_timeout(now);
        }
        core.take_stray(&mut pass.arrivals);
        core.pump(&mut pass.wakers, &mut pass.arrivals);
        let lost = std::mem::take(&mut core.lost);
        let asked = core.take_resume_asked();
        let unlisted = std::mem::take(&mut core.unlisted);
        let key = core
            .session
            .resume_key()
            .filter(|_| unlisted)
            .map(|key| key.session);
        drop(core);
        if let Some(session) = key {
            shared.is_resumable(session);
        }
        if lost {
            link.lose();
            crate::mover::begin(shared);
        }
        if let Some(asked) = asked {
            shared.hand_over(link, &asked, now);
        }
        if link.deaf || lost {
            round.input.clear();
        }
        pass.wakers.drain(..).for_each(Waker::wake);
        if !pass.arrivals.is_empty() {
            shared.serve(pass, &self.grant, now);
            shared.answer(pass, now);
        }
        match shared.transmit(link, cx, now, WRITE_ROUNDS_MAX) {
            Poll::Ready(Transmitted::Failed) => read.is_pending() && !any && link.deaf,
            Poll::Ready(_) | Poll::Pending => read.is_pending() && !any,
        }
    }

    /// Looks whether the policy has changed, and if it has ends the streams that it does not permit any more.
    #[inline]
    fn keep_grant(&mut self, now: Instant) {
        if !self.shared.guard.is_stale(&self.grant) {
            return;
        }
        *self.grant = self.shared.guard.grant(now);
        let mut wakers = Vec::new();
        let guard = &self.shared.guard;
        let mut core = self.shared.lock();
        core.reset_refused(now, &mut wakers, |asked| {
            guard.reconsider(&self.grant, &asked.extensions, asked.class, now)
        });
        drop(core);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Sees that the session's next timeout wakes somebody: the driver's own timer when it is soon, the roster's sweep
    /// otherwise. Ready when the session is over.
    fn keep_time(&mut self, cx: &mut TaskContext<'_>, now: Option<Instant>) -> Poll<()> {
        let now = now.unwrap_or_else(clock::now);
        let mut core = self.shared.lock();
        if core.closed.is_some() {
            return Poll::Ready(());
        }
        if core.armed.is_some_and(|at| at <= now) {
            core.armed = None;
        }
        // Whatever it was that woke the driver may have left something that an idle connection does without.
        if !core.listed {
            core.listed = true;
            drop(core);
            self.shared.roster.awake(&self.shared);
            core = self.shared.lock();
        }
        let due = core.session.poll_timeout().filter(|&at| at <= now + SOON);
        if let Some(at) = due
            && core.armed.is_none_or(|armed| at < armed)
        {
            core.armed = Some(at);
            drop(core);
            self.set_timer(cx, at);
        } else if core.armed.is_none() {
            drop(core);
            self.sleep = None;
        }
        Poll::Pending
    }

    fn set_timer(&mut self, cx: &mut TaskContext<'_>, at: Instant) {
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                sleep.as_mut().reset(at.into());
                sleep
            }
            none => none.insert(Box::pin(tokio::time::sleep_until(at.into()))),
        };
        if sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// Ends our direction and waits, for a while, until the peer has ended its own: a socket that is closed with
    /// unread bytes in it would throw away our last frame on its way.
    fn close(&mut self, cx: &mut TaskContext<'_>, until: Instant, mut ended: bool) -> Poll<()> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock_link();
        let now = clock::now();
        if now >= until {
            return Poll::Ready(());
        }
        let flushed = match shared.transmit(&mut state, cx, now, WRITE_ROUNDS_MAX) {
            Poll::Ready(Transmitted::Failed) => return Poll::Ready(()),
            Poll::Ready(Transmitted::All) => true,
            Poll::Ready(Transmitted::Some) | Poll::Pending => false,
        };
        let Some(link) = &mut state.link else {
            return Poll::Ready(());
        };
        if flushed && !ended {
            match link.poll_close(cx) {
                Poll::Ready(Ok(())) => ended = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        self.phase = Phase::Closing { until, ended };
        let mut unwanted = worker::take_input();
        for _ in 0..ROUNDS_MAX {
            let read = link.poll_read(cx, Lane::FIRST, &mut unwanted);
            unwanted.clear();
            match read {
                Poll::Ready(Ok(bytes)) if bytes > 0 => {}
                Poll::Ready(_) if ended => return Poll::Ready(()),
                _ => break,
            }
        }
        worker::put_input(unwanted);
        drop(state);
        self.set_timer(cx, until);
        Poll::Pending
    }

    /// The last thing that happens to a connection.
    fn end(&mut self) {
        self.phase = Phase::Over;
        self.sleep = None;
        self.shared.lock_link().end();
        if let Some(session) = self.shared.passage.get().and_then(|passage| passage.session) {
            self.shared.roster.sessions.remove(&session);
        }
        let mut wakers = Vec::new();
        let mut core = self.shared.lock();
        core.session.handle_eof(clock::now());
        core.close(CloseReason::LinkLost, &mut wakers);
        core.end(&mut wakers);
        self.shared.roster.shaping.leave(&mut core, clock::now());
        drop(core);
        Roster::remove(&self.shared.roster, self.shared.id);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.check_in(cx.waker()) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            match this.phase {
                Phase::Open => {
                    if this.open(cx).is_pending() {
                        return Poll::Pending;
                    }
                    this.phase = Phase::Closing {
                        until: clock::now() + LINGER,
                        ended: false,
                    };
                }
                Phase::Closing { until, ended } => {
                    if this.close(cx, until, ended).is_pending() {
                        return Poll::Pending;
                    }
                    this.end();
                }
                Phase::Over => return Poll::Ready(()),
            }
        }
    }
}

/// A runtime that is shut down drops its tasks: nobody may wait for this connection any longer.
impl Drop for Driver {
    fn drop(&mut self) {
        if self.phase != Phase::Over {
            self.end();
        }
    }
}

impl Shared {
    /// Gives what has arrived to its handlers. No lock of the core is held: this is code of the application.
    fn serve(self: &Arc<Self>, pass: &mut Pass, grant: &Grant, now: Instant) {
        let Pass {
            arrivals,
            answers,
            released,
            ..
        } = pass;
        for incoming in arrivals.incoming.drain(..) {
            let Incoming {
                id,
                lane,
                kind,
                extensions,
                payload,
                deadline,
                cost,
            } = incoming;
            // Before the handler is looked for: who may not call it is not told whether it exists.
            let permit = match self.guard.permit(grant, &extensions, lane.class(), now) {
                Ok(permit) => permit,
                Err(failure) => {
                    match id {
                        Some(id) => answers.push((id, Err(failure))),
                        None => released.push((lane, cost)),
                    }
                    continue;
                }
            };
            // And before it is found out what it would cost. One without an answer is bounded by its credit.
            if let Some(id) = id
                && let Err(failure) = self.roster.admission.admit(lane.class(), now)
            {
                answers.push((id, Err(failure)));
                continue;
            }
            let serve = self.services.find(&extensions);
            let (subject, handler, debt) = match (id, serve) {
                (Some(id), Some(Serve::Unary(handler))) => (Subject::Request(id), handler, Debt::Answer(id)),
                (None, Some(Serve::Notify(handler))) => {
                    (Subject::Notification, handler, Debt::Credit { lane, cost })
                }
                (Some(id), serve) => {
                    answers.push((id, Err(not_served(kind, &extensions, serve))));
                    continue;
                }
                (None, _) => {
                    Counters::add(&self.counters.unrouted);
                    released.push((lane, cost));
                    continue;
                }
            };
            let context = Context::new(Arc::clone(self), permit, subject, lane, deadline, extensions);
            let answer = match handler.start(context, payload, deadline) {
                Started::Answered(answer) => answer,
                Started::Panicked => {
                    Counters::add(&self.counters.panics);
                    Err(Panicked::failure())
                }
                Started::Waits(running) => {
                    tokio::spawn(HandlerTask::new(Arc::clone(self), running, debt, deadline));
                    continue;
                }
            };
            match debt {
                Debt::Answer(id) => answers.push((id, answer.map(response))),
                Debt::Credit { lane, cost } => released.push((lane, cost)),
            }
        }
        for opened in arrivals.opened.drain(..) {
            self.serve_stream(opened, grant, now);
        }
    }

    fn serve_stream(self: &Arc<Self>, opened: Opened, grant: &Grant, now: Instant) {
        let permit = match self
            .guard
            .permit(grant, &opened.extensions, opened.id.class(), now)
        {
            Ok(permit) => permit,
            Err(failure) => {
                let mut core = self.lock();
                core.session.reset(now, opened.key, failure);
                core.drop_stream(now, opened.key);
                return;
            }
        };
        if let Err(failure) = self.roster.admission.admit(opened.id.class(), now) {
            let mut core = self.lock();
            core.session.reset(now, opened.key, failure);
            core.drop_stream(now, opened.key);
            return;
        }
        match self.services.find(&opened.extensions) {
            Some(Serve::Stream(handler)) => {
                let (key, class) = (opened.key, opened.id.class());
                let handler = Arc::clone(handler);
                let (context, halves) = IncomingStream::new(Arc::clone(self), opened).into_handled(permit);
                tokio::spawn(StreamTask::new(
                    Arc::clone(self),
                    (key, class),
                    handler,
                    context,
                    halves,
                ));
            }
            None if self.services.keeps_unrouted_streams() => {
                let waker = self.lock().offer_stream(opened);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            serve => {
                let mut core = self.lock();
                core.session
                    .reset(now, opened.key, not_served(Kind::OPEN, &opened.extensions, serve));
                core.drop_stream(now, opened.key);
            }
        }
    }

    /// Hands the answers of a pass to the session, all under one lock.
    fn answer(&self, pass: &mut Pass, now: Instant) {
        if pass.answers.is_empty() && pass.released.is_empty() {
            return;
        }
        let mut core = self.lock();
        for (id, answer) in pass.answers.drain(..) {
            core.respond(now, id, answer, &mut pass.wakers);
        }
        for (lane, cost) in pass.released.drain(..) {
            core.session.release_notify(lane, cost);
        }
        core.pump(&mut pass.wakers, &mut pass.arrivals);
        drop(core);
        pass.wakers.drain(..).for_each(Waker::wake);
    }
}

/// What is said of a message that no handler takes.
//= protocol/routes.md#what-a-receiver-does-with-it
#[cold]
pub(crate) fn not_served(
    kind: Kind,
    extensions: &valkyrie_frame::Extensions,
    serve: Option<&Serve>,
) -> Failure {
    let Some((service, method)) = extensions.route() else {
        return Failure::new(
            ErrorCode::NOT_FOUND,
            format!("the {kind} names no service and method"),
        );
    };
    let text = match serve {
        Some(serve) => format!(
            "{service}/{method} is {}, not what a {kind} is for",
            serve.shape()
        ),
        None => format!("{service}/{method} is not served here"),
    };
    Failure::new(ErrorCode::NOT_FOUND, text)
}

/// Rounds of one poll before other tasks get the thread: a megabyte of input at most, some hundred microseconds.
const ROUNDS_MAX: usize = 16;

/// Batches written between two reads: enough to fill a socket's buffer, few enough to keep reading.
const WRITE_ROUNDS_MAX: usize = 16;

/// What is due within this time gets a timer of its own; everything later is left to the sweep, which passes twice in
/// the same time. An idle connection, whose keepalive is far away, so has no timer.
pub(crate) const SOON: Duration = Duration::from_secs(1);

/// How long a closed connection waits for the peer to end its direction.
const LINGER: Duration = Duration::from_secs(1);
