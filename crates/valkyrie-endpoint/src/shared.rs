//! What the handles of a connection and its driver share, and who writes when.
//!
//! There are two locks. `core` guards the session and is held for moments. `link` guards the link and is held across
//! system calls. The order is link, then core; nobody waits for `link` but the driver, everybody else only tries.
//!
//! # Who writes
//! Whoever pushes something into the session ends with [`Shared::commit`]. If the wire is idle (nothing else is
//! outstanding) the pusher writes by itself, which saves the hop to the driver. Otherwise the driver is woken once, and
//! what everybody else pushes before it runs goes out with it as one batch.
//!
//! # Why no push is forgotten
//! All of these happen under `core`. A push that finds `flush_pending` or `wire_blocked` set does nothing more, because:
//! - `flush_pending` is set only together with waking the driver, and cleared only where the session is asked for
//!   frames ([`Shared::transmit`]). So while it is set, a driver poll that will ask the session is still to come.
//! - `wire_blocked` is set only by who holds `link` and has just been told `Pending` with the driver's waker, and is
//!   cleared only where the session is asked again. So while it is set, the link owes the driver a wake.
//!
//! A push that finds neither set either wakes the driver or asks the session itself. One that wants to write itself and
//! finds `link` taken cannot know whether the holder has asked already, so it wakes the driver.

use std::io::IoSlice;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use valkyrie_frame::Batch;
use valkyrie_proto::{Event, Failure, LaneSet, Policy, Resume, SESSION_ID_LEN, Session, Side};
use valkyrie_transport::{Capabilities, Lane, Link, READ_CHUNK_BYTES};

use crate::carried::Carried;
use crate::channel::Channel;
use crate::clock;
use crate::continuity::{Carrier, Passage, refusal};
use crate::core::{Arrivals, Core};
use crate::guard::Guard;
use crate::lanes::Lanes;
use crate::mover::{Origin, rank_of_peer};
use crate::roster::Roster;
use crate::secure::Greeted;
use crate::services::Services;
use crate::worker;

/// One connection.
pub(crate) struct Shared {
    core: Mutex<Core>,
    link: Mutex<LinkState>,
    pub(crate) services: Services,
    pub(crate) roster: Arc<Roster>,
    pub(crate) id: u64,
    pub(crate) side: Side,
    /// How many [`Connection`](crate::Connection)s and streams refer to it: the last one of a dialled connection
    /// closes it.
    pub(crate) handles: AtomicU64,
    pub(crate) counters: Counters,
    /// Who the peer is and what it may do.
    pub(crate) guard: Guard,
    /// Who was at the other end of the first link, for people.
    pub(crate) peer: Box<str>,
    /// Of a connection that may outlive its link.
    pub(crate) passage: OnceLock<Box<Passage>>,
    /// Its present link, for people: they may ask from within a handler, when the link itself is taken.
    carried: Mutex<Carried>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("id", &self.id)
            .field("side", &self.side)
            .field("peer", &self.peer)
            .finish()
    }
}

/// What the endpoint itself counts of a connection.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) unrouted: AtomicU64,
    pub(crate) panics: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What is behind the second lock.
pub(crate) struct LinkState {
    /// Gone once the connection has ended.
    pub(crate) link: Option<Box<dyn Link>>,
    /// Frames that the link has not taken yet.
    unsent: Option<Box<Batch>>,
    /// The link took an error instead of bytes; nothing more is written.
    pub(crate) failed: bool,
    /// The driver's waker once more, for those who write in its place.
    driver: Option<Waker>,
    /// Nothing more is read: the peer has ended its direction, or has said what no session can hear.
    pub(crate) deaf: bool,
    /// The beginning of a frame.
    input: BytesMut,
    /// What seals and opens what goes through the link, on a connection whose records are sealed.
    pub(crate) channel: Option<Box<Channel>>,
    /// Where the link has several lanes.
    pub(crate) lanes: Option<Box<Lanes>>,
}

/// How soon what was pushed should be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// By the pusher if it can: nothing else is under way that it could travel with.
    Now,
    /// With whatever else is pushed until the driver runs.
    Soon,
}

/// What a pusher does after it has let go of the core.
enum Flush {
    Nothing,
    Direct,
    Wake(Option<Waker>),
}

impl Shared {
    pub(crate) fn new(
        greeted: Greeted,
        guard: Guard,
        mut session: Session,
        services: Services,
        roster: Arc<Roster>,
        id: u64,
        origin: Option<Arc<Origin>>,
    ) -> Self {
        let now = clock::now();
        let Greeted {
            link,
            mut channel,
            mut input,
            ..
        } = greeted;
        let passage = OnceLock::new();
        if let Some(origin) = origin {
            let _ = passage.set(Box::new(Passage::dialled(origin)));
        }
        let lanes = match &channel {
            // What is sealed is in one order.
            Some(_) => 1,
            None => link.capabilities().lanes,
        };
        session.set_lanes(lanes);
        // What the peer has sent right behind its handshake is taken before anything is read.
        let mut fault = None;
        if let Some(channel) = &mut channel {
            fault = channel.open_first(now, &mut input).err();
        }
        let mut deaf = !input.is_empty() && session.handle_input(now, &mut input).is_err();
        if let Some(fault) = fault {
            guard.note_fault(&fault);
            fault.end(&mut session, now);
            deaf = true;
        }
        // The beginning of a frame at most, and no more memory than that: the peer may stay idle from here on.
        let kept = if deaf {
            BytesMut::new()
        } else {
            BytesMut::from(&*input)
        };
        if input.capacity() > 0 {
            input.clear();
            worker::put_input(input);
        }
        Self {
            side: session.side(),
            peer: link.peer().into_boxed_str(),
            carried: Mutex::new(Carried::first(&*link)),
            core: Mutex::new(Core::new(session, now)),
            link: Mutex::new(LinkState {
                link: Some(link),
                unsent: None,
                failed: false,
                driver: None,
                deaf,
                input: kept,
                channel,
                lanes: Lanes::new(lanes),
            }),
            passage,
            guard,
            services,
            roster,
            id,
            handles: AtomicU64::new(0),
            counters: Counters::default(),
        }
    }

    /// Divides what the session sends in another way from now on. It is over, or has not begun: then this is nothing.
    pub(crate) fn set_policy(&self, now: Instant, policy: Arc<Policy>) {
        let mut core = self.lock();
        // It was checked before it came into force.
        let _ = core.session.set_policy(now, policy);
        self.commit(core, Urgency::Soon);
    }

    /// Ends the connection because its peer is not to be believed any more.
    pub(crate) fn dismiss(&self, failure: Failure) {
        let mut core = self.lock();
        core.session.close(clock::now(), failure);
        // The driver writes: whoever says this has others to look after.
        self.commit(core, Urgency::Soon);
    }

    /// Whether the session waits for another link, and nobody has offered one.
    pub(crate) fn is_lost(&self) -> bool {
        let core = self.lock();
        core.closed.is_none() && core.session.is_detached() && !core.session.is_resuming()
    }

    /// What its present link costs, see [`rank`](crate::mover::rank).
    pub(crate) fn carried_by(&self) -> u8 {
        rank_of_peer(self.carried().peer.as_deref().unwrap_or(&self.peer))
    }

    /// Who is at the other end of the present link, and what it can do.
    pub(crate) fn describe_link(&self) -> (String, Capabilities) {
        let carried = self.carried();
        let peer = carried.peer.as_deref().unwrap_or(&self.peer).to_owned();
        (peer, *carried.capabilities)
    }

    fn carried(&self) -> MutexGuard<'_, Carried> {
        // Every change under this lock is one assignment.
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_carried_by(&self, link: &dyn Link) {
        *self.carried() = Carried::later(link);
    }

    /// The session has opened as one that outlives its link.
    pub(crate) fn is_resumable(self: &Arc<Self>, session: [u8; SESSION_ID_LEN]) {
        match self.side {
            Side::Dialer => crate::mover::climb(self),
            Side::Acceptor => {
                let _ = self.passage.set(Box::new(Passage::accepted(session)));
                self.roster.sessions.insert(session, self);
            }
        }
    }

    /// There will be no other link.
    pub(crate) fn give_up(&self, now: Instant) {
        let mut core = self.lock();
        core.session.handle_eof(now);
        self.commit(core, Urgency::Soon);
    }

    /// Waits until the session goes on over its new link, or does not. `true` when there is nothing left to do: it
    /// goes on, or is over.
    pub(crate) async fn settled(&self) -> bool {
        std::future::poll_fn(|cx| {
            let mut core = self.lock();
            if core.closed.is_some() || !core.session.is_detached() {
                return Poll::Ready(true);
            }
            if !core.session.is_resuming() {
                return Poll::Ready(false);
            }
            core.watch_life(cx.waker());
            Poll::Pending
        })
        .await
    }

    /// Gives this connection's link to the session that its peer wants to continue, or tells the peer that there is
    /// none.
    pub(crate) fn hand_over(&self, link: &mut LinkState, resume: &Resume, now: Instant) {
        let Some(carrier) = link.take() else {
            return;
        };
        let refused = self
            .roster
            .sessions
            .resume(now, resume, self.guard.identity(), carrier);
        let mut core = self.lock();
        match refused {
            Ok(()) => core.session.handle_eof(now),
            Err(carrier) => {
                link.put_back(carrier);
                core.session.refuse_resume(refusal());
            }
        }
        let mut wakers = Vec::new();
        core.pump(&mut wakers, &mut Arrivals::default());
        drop(core);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Gives back what is not needed if nothing was heard since `idle`. `true` when the roster can forget about it.
    pub(crate) fn falls_asleep(&self, idle: Instant) -> bool {
        let Some(mut link) = self.try_lock_link() else {
            // Whoever has it is at work.
            return false;
        };
        if !self.lock().falls_asleep(idle) {
            return false;
        }
        if let Some(channel) = &mut link.channel {
            channel.sleep();
        }
        true
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        // No code of the application runs under this lock; if the session panicked, its own checks are what is left.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The link, for the driver, which alone may wait for it.
    pub(crate) fn lock_link(&self) -> MutexGuard<'_, LinkState> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_lock_link(&self) -> Option<MutexGuard<'_, LinkState>> {
        match self.link.try_lock() {
            Ok(link) => Some(link),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Ends an operation on the core: lets go of it, wakes whom its events woke, and sees that what it pushed is
    /// written.
    #[inline]
    pub(crate) fn commit(&self, core: MutexGuard<'_, Core>, urgency: Urgency) {
        self.commit_with(core, urgency, Vec::new());
    }

    /// [`Shared::commit`] with wakers that the operation itself has collected.
    #[inline]
    pub(crate) fn commit_with(
        &self,
        mut core: MutexGuard<'_, Core>,
        urgency: Urgency,
        mut wakers: Vec<Waker>,
    ) {
        // Most operations cause no event, and most of those find that the driver has been woken already.
        if let Some(event) = core.session.poll_event() {
            self.pump_strays(&mut core, event, &mut wakers);
        }
        let flush = core.plan_flush(urgency);
        drop(core);
        if !wakers.is_empty() {
            wakers.into_iter().for_each(Waker::wake);
        }
        match flush {
            Flush::Nothing => {}
            Flush::Direct => self.write_directly(),
            Flush::Wake(driver) => {
                if let Some(driver) = driver {
                    driver.wake();
                }
            }
        }
    }

    /// Drains the events that an operation of the application, or a write, has caused. Arrivals are the driver's.
    #[cold]
    pub(crate) fn pump_strays(&self, core: &mut Core, event: Event, wakers: &mut Vec<Waker>) {
        let mut arrivals = Arrivals::default();
        core.pump_from(Some(event), wakers, &mut arrivals);
        if !arrivals.is_empty() {
            core.keep_stray(arrivals);
            wakers.extend(core.driver.clone());
        }
    }

    /// Writes what the session has, unless somebody else has the link.
    fn write_directly(&self) {
        let Some(mut link) = self.try_lock_link() else {
            let driver = self.lock().plan_wake();
            if let Some(driver) = driver {
                driver.wake();
            }
            return;
        };
        let Some(driver) = link.driver.take() else {
            // The driver has not run yet; its first poll writes everything.
            return;
        };
        let mut cx = Context::from_waker(&driver);
        // What is left when this returns `Pending` is the driver's: it is registered with the link.
        let transmitted = self.transmit(&mut link, &mut cx, clock::now(), DIRECT_ROUNDS_MAX);
        // So is the time that the session keeps.
        let failed = matches!(transmitted, Poll::Ready(Transmitted::Failed));
        if failed || self.lock().session.awaits_data_time() {
            driver.wake_by_ref();
        }
        link.driver = Some(driver);
    }

    /// Moves frames from the session to the link until there is none, the link is full or `rounds` batches went out.
    ///
    /// `Pending` means that `cx` is registered with the link.
    pub(crate) fn transmit(
        &self,
        state: &mut LinkState,
        cx: &mut Context<'_>,
        now: Instant,
        rounds: usize,
    ) -> Poll<Transmitted> {
        let Some(link) = &mut state.link else {
            return Poll::Ready(Transmitted::All);
        };
        if state.failed {
            return Poll::Ready(Transmitted::Failed);
        }
        if state.lanes.is_some() {
            return self.transmit_lanes(state, cx, now, rounds);
        }
        let mut batch = match state.unsent.take() {
            Some(unsent) => unsent,
            None => worker::take_batch(),
        };
        for _ in 0..rounds {
            let mut more = true;
            if batch.is_empty() && !state.channel.as_ref().is_some_and(|channel| channel.is_writing()) {
                let mut core = self.lock();
                core.flush_pending = false;
                core.wire_blocked = false;
                core.queued_bytes = 0;
                // A session that had nothing to give has to be changed before it is worth asking again.
                let mut wakers = Vec::new();
                let shaping = &self.roster.shaping;
                let most = link
                    .batch_bytes()
                    .map_or(BATCH_BYTES_MAX, |bytes| bytes.min(BATCH_BYTES_MAX));
                let gave = shaping.poll_transmit(&mut core, now, &mut batch, most, LaneSet::ALL, &mut wakers);
                more = gave.is_some() && core.session.wants_transmit();
                // What went out made room for others, or was the last thing to go.
                if let Some(event) = core.session.poll_event() {
                    self.pump_strays(&mut core, event, &mut wakers);
                }
                drop(core);
                wakers.into_iter().for_each(Waker::wake);
            }
            let written = match &mut state.channel {
                None => write_out(&mut **link, cx, Lane::FIRST, &mut batch),
                Some(channel) => channel.write_out(&mut **link, cx, now, &mut batch),
            };
            match written {
                Poll::Ready(Ok(())) if more => {}
                Poll::Ready(Ok(())) => {
                    worker::put_batch(batch);
                    return Poll::Ready(Transmitted::All);
                }
                Poll::Ready(Err(_)) => {
                    // Nobody reads any more. The session learns it from the driver, which reads what is left first:
                    // a peer's CLOSE may say why.
                    state.failed = true;
                    return Poll::Ready(Transmitted::Failed);
                }
                Poll::Pending => {
                    if batch.is_empty() {
                        // The channel holds what is left of it.
                        worker::put_batch(batch);
                    } else {
                        state.unsent = Some(batch);
                    }
                    self.lock().wire_blocked = true;
                    return Poll::Pending;
                }
            }
        }
        worker::put_batch(batch);
        self.wake_for_more();
        Poll::Ready(Transmitted::Some)
    }

    /// The link has just taken a whole batch: the driver goes on, if there is more.
    pub(crate) fn wake_for_more(&self) {
        let mut core = self.lock();
        core.wire_blocked = false;
        let driver = core.plan_wake();
        drop(core);
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

/// How far [`Shared::transmit`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transmitted {
    /// Everything is with the link.
    All,
    /// There is more; the driver has been woken for it.
    Some,
    /// The link does not take anything any more.
    Failed,
}

impl Core {
    /// Decides who writes what has just been pushed. The module's documentation says why nothing is forgotten.
    #[inline]
    fn plan_flush(&mut self, urgency: Urgency) -> Flush {
        if self.flush_pending || self.wire_blocked || !self.session.wants_transmit() {
            return Flush::Nothing;
        }
        if urgency == Urgency::Now || self.queued_bytes >= DIRECT_WRITE_BYTES {
            return Flush::Direct;
        }
        self.flush_pending = true;
        Flush::Wake(self.driver.clone())
    }

    /// The same for somebody who cannot write: the driver, if it has to be woken for what there is to send.
    fn plan_wake(&mut self) -> Option<Waker> {
        if self.flush_pending || self.wire_blocked || !self.session.wants_transmit() {
            return None;
        }
        self.flush_pending = true;
        self.driver.clone()
    }
}

/// Writes a batch until it is empty or the link is full.
pub(crate) fn write_out(
    link: &mut dyn Link,
    cx: &mut Context<'_>,
    lane: Lane,
    batch: &mut Batch,
) -> Poll<std::io::Result<()>> {
    while !batch.is_empty() {
        let written = {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
            let mut count = 0;
            for (slot, chunk) in slices.iter_mut().zip(batch.chunks()) {
                *slot = IoSlice::new(chunk);
                count += 1;
            }
            match link.poll_write(cx, lane, &slices[..count]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        };
        batch.advance(written);
    }
    Poll::Ready(Ok(()))
}

impl LinkState {
    /// Lets go of the link and of everything that was to go through it.
    pub(crate) fn end(&mut self) {
        self.link = None;
        self.unsent = None;
        self.driver = None;
        self.input = BytesMut::new();
        self.channel = None;
        self.lanes = None;
    }

    /// Lets go of the link and keeps what the next one needs.
    pub(crate) fn lose(&mut self) {
        self.link = None;
        self.unsent = None;
        self.failed = false;
        self.deaf = false;
        self.input = BytesMut::new();
        self.channel = None;
        self.lanes = None;
    }

    /// Goes on with another link.
    pub(crate) fn replace(&mut self, carrier: Carrier, lanes: Option<Box<Lanes>>) {
        self.lose();
        self.link = Some(carrier.link);
        self.channel = carrier.channel;
        self.input = carrier.input;
        self.lanes = lanes;
    }

    fn take(&mut self) -> Option<Carrier> {
        Some(Carrier {
            link: self.link.take()?,
            channel: self.channel.take(),
            input: mem::take(&mut self.input),
        })
    }

    fn put_back(&mut self, carrier: Carrier) {
        self.link = Some(carrier.link);
        self.channel = carrier.channel;
    }

    /// Keeps the waker that writers in the driver's place register with the link.
    pub(crate) fn remember_driver(&mut self, waker: &Waker) {
        match &mut self.driver {
            Some(known) => known.clone_from(waker),
            unknown => *unknown = Some(waker.clone()),
        }
    }

    /// The buffer to read into: the one with a frame begun, or the worker's.
    pub(crate) fn take_input(&mut self) -> BytesMut {
        if self.input.is_empty() {
            worker::take_input()
        } else {
            mem::take(&mut self.input)
        }
    }

    /// Keeps the beginning of a frame. Half of a frame that is longer than one read keeps the buffer it lies in;
    /// anything less is copied out of it, so that a peer that stops in the middle of a frame holds little more than it
    /// sent.
    pub(crate) fn put_input(&mut self, mut input: BytesMut, begun_frame_bytes: usize) {
        if input.is_empty() {
            worker::put_input(input);
        } else if begun_frame_bytes < READ_CHUNK_BYTES || input.len() < begun_frame_bytes / 2 {
            let mut kept = BytesMut::with_capacity(input.len());
            kept.extend_from_slice(&input);
            self.input = kept;
            input.clear();
            worker::put_input(input);
        } else {
            self.input = input;
        }
    }
}

/// Bytes of one batch: eight of the largest default frames, and as much as a TCP link lets wait unsent, so that the
/// order of frames is decided late. A link that has been found to be slower is asked how much it wants.
pub(crate) const BATCH_BYTES_MAX: usize = 128 * 1024;

/// Bytes pushed at which the pusher writes by itself although other work is under way. Half a batch: the peer
/// begins to work while this side still pushes, and a system call is shared by more than a hundred small messages.
const DIRECT_WRITE_BYTES: usize = BATCH_BYTES_MAX / 2;

/// Batches that a pusher writes by itself before it leaves the rest to the driver: one caller must not work for all.
const DIRECT_ROUNDS_MAX: usize = 2;

/// Buffers of one vectored write: header and payload of 32 large frames, two batches' worth.
const WRITE_SLICES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;
    use crate::driver::Driver;

    /// What an idle connection costs is these two, the session's settings, and what the runtime and the link take.
    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<Shared>() <= 896, "{}", size_of::<Shared>());
        assert!(size_of::<Driver>() <= 64, "{}", size_of::<Driver>());
        assert!(size_of::<LinkState>() <= 96, "{}", size_of::<LinkState>());
    }

    #[test]
    fn a_call_is_small() {
        assert!(
            size_of::<crate::Call<'_>>() <= 144,
            "{}",
            size_of::<crate::Call<'_>>()
        );
    }
}
