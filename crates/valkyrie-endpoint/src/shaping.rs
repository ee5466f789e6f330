//! The capacity of the link below an endpoint, divided among its connections.
//!
//! Whoever is about to write for a connection says what it wants to send and learns what it may. One that has to wait is
//! woken when its turn has come, by a task of the endpoint that exists only while somebody waits. Nothing of this happens,
//! but for one load of an atomic, where no capacity is configured.
//!
//! The lock here is the innermost: it is taken with the core's held, and nobody is woken under it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::Instant;

use tokio::runtime::Handle;
use valkyrie_frame::Batch;
use valkyrie_proto::{LaneSet, MemberKey, Shaper, Shares};

use crate::clock;
use crate::core::Core;

/// A connection's place in the shaper of this generation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    generation: u32,
    key: MemberKey,
}

/// The shaper of an endpoint, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Shaping {
    on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Grows with every shaper that is put up, so that nobody takes its place in an earlier one for one in this.
    generation: u32,
    shaper: Option<Shaper>,
    /// The driver of each member.
    drivers: Vec<Option<Waker>>,
    /// The task runs that wakes whose turn has come.
    paced: bool,
}

impl Shaping {
    /// Puts a capacity in force, in bytes a second, or none. Who waits is woken to ask anew.
    pub(crate) fn set(&self, capacity: Option<u64>, shares: Shares, now: Instant) {
        let mut state = self.lock();
        let mut drivers = Vec::new();
        match (&mut state.shaper, capacity) {
            (Some(shaper), Some(capacity)) => shaper.change(capacity, shares),
            (none @ None, Some(capacity)) => {
                *none = Some(Shaper::new(capacity, shares, now));
                state.generation += 1;
            }
            (_, None) => {
                state.shaper = None;
                drivers = std::mem::take(&mut state.drivers);
            }
        }
        self.on.store(capacity.is_some(), Ordering::Release);
        drop(state);
        drivers.into_iter().flatten().for_each(Waker::wake);
    }

    #[inline]
    fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// Asks the session for `most` bytes of frames, no more than it may send. Says for which lane they are, and leaves in `wakers` whose turn has come
    /// meanwhile.
    #[inline]
    pub(crate) fn poll_transmit(
        self: &Arc<Self>,
        core: &mut Core,
        now: Instant,
        batch: &mut Batch,
        most: usize,
        free: LaneSet,
        wakers: &mut Vec<Waker>,
    ) -> Option<u8> {
        if self.is_on() {
            return self.poll_shaped(core, now, batch, most, free, wakers);
        }
        if core.take_place().is_some() {
            core.session.lift_allowance();
        }
        core.session.poll_transmit_lane(now, batch, most, free)
    }

    #[cold]
    fn poll_shaped(
        self: &Arc<Self>,
        core: &mut Core,
        now: Instant,
        batch: &mut Batch,
        most: usize,
        free: LaneSet,
        wakers: &mut Vec<Waker>,
    ) -> Option<u8> {
        let lane = self.ask(core, now, batch, most, free, wakers);
        if lane.is_none() && core.session.wants_transmit() {
            // It had to ask first, and it is its turn.
            return self.ask(core, now, batch, most, free, wakers);
        }
        lane
    }

    /// Sends what was granted, and asks for what the session wants to send beyond it.
    fn ask(
        self: &Arc<Self>,
        core: &mut Core,
        now: Instant,
        batch: &mut Batch,
        most: usize,
        free: LaneSet,
        wakers: &mut Vec<Waker>,
    ) -> Option<u8> {
        // Not held meanwhile: others may ask while this one's frames are put together.
        let place = self.lock().enter(core);
        let lane = core.session.poll_transmit_lane(now, batch, most, free);
        let (sent, wants) = (core.session.allowance_used(), core.session.wants_by_class());
        let mut state = self.lock();
        // The shaper may be another by now, or gone: then this connection asks anew with its next frame.
        if let Some(Place { generation, key }) = place
            && generation == state.generation
            && let Some(shaper) = &mut state.shaper
        {
            shaper.settle(now, key, &sent, &wants);
            state.grant(now, Some(key), wakers);
            state.tell(core, key);
            if !self.pace(&mut state) {
                // There is no runtime here to wait in; the driver has one.
                wakers.extend(core.driver.clone());
            }
        }
        lane
    }

    /// Sees that somebody wakes those that wait. `false` when nobody can, here.
    fn pace(self: &Arc<Self>, state: &mut State) -> bool {
        if state.paced || state.next().is_none() {
            return true;
        }
        let Ok(runtime) = Handle::try_current() else {
            return false;
        };
        state.paced = true;
        let shaping = Arc::downgrade(self);
        runtime.spawn(Pacer { shaping, over: false }.run());
        true
    }

    /// A connection is over.
    pub(crate) fn leave(&self, core: &mut Core, now: Instant) {
        let Some(Place { generation, key }) = core.take_place() else {
            return;
        };
        let mut state = self.lock();
        if generation == state.generation
            && let Some(shaper) = &mut state.shaper
        {
            shaper.leave(now, key);
            if let Some(driver) = state.drivers.get_mut(key.index()) {
                *driver = None;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics but the shaper, whose own state is then what is left.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Tells the session of a connection what it may send, having made it a member if it is none.
    fn enter(&mut self, core: &mut Core) -> Option<Place> {
        let generation = self.generation;
        let shaper = self.shaper.as_mut()?;
        let place = match core.place() {
            Some(place) if place.generation == generation => place,
            _ => Place {
                generation,
                key: shaper.join(),
            },
        };
        core.set_place(place);
        self.tell(core, place.key);
        Some(place)
    }

    fn tell(&mut self, core: &mut Core, key: MemberKey) {
        let Some(shaper) = &self.shaper else { return };
        let waits = valkyrie_frame::Class::ALL.map(|class| shaper.waits(key, class));
        core.session.set_allowance(shaper.grants(key), waits);
        if self.drivers.len() <= key.index() {
            self.drivers.resize_with(key.index() + 1, || None);
        }
        match (&mut self.drivers[key.index()], &core.driver) {
            (Some(known), Some(driver)) => known.clone_from(driver),
            (known, driver) => *known = driver.clone(),
        }
    }

    /// Gives the wire to those whose turn it is, and leaves their drivers in `wakers`, but for that of `asking`.
    fn grant(&mut self, now: Instant, asking: Option<MemberKey>, wakers: &mut Vec<Waker>) {
        let Some(shaper) = &mut self.shaper else { return };
        while let Some((key, _)) = shaper.poll_grant(now) {
            if Some(key) != asking {
                wakers.extend(self.drivers.get(key.index()).cloned().flatten());
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        self.shaper.as_ref()?.poll_timeout()
    }
}

/// Wakes those whose turn has come, until nobody waits.
struct Pacer {
    shaping: Weak<Shaping>,
    over: bool,
}

impl Pacer {
    async fn run(mut self) {
        while !self.over {
            let next = {
                let Some(shaping) = self.shaping.upgrade() else {
                    return;
                };
                let mut wakers = Vec::new();
                let mut state = shaping.lock();
                state.grant(clock::now(), None, &mut wakers);
                let next = state.next();
                // Under the lock, so that whoever begins to wait from here on finds that nobody wakes it.
                state.paced = next.is_some();
                drop(state);
                wakers.into_iter().for_each(Waker::wake);
                next
            };
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => self.over = true,
            }
        }
    }
}

/// A runtime that ends takes the task with it. Those that wait in others ask anew, and the first finds another.
impl Drop for Pacer {
    fn drop(&mut self) {
        let Some(shaping) = self.shaping.upgrade().filter(|_| !self.over) else {
            return;
        };
        let mut state = shaping.lock();
        state.paced = false;
        let drivers = state.drivers.clone();
        drop(state);
        drivers.into_iter().flatten().for_each(Waker::wake);
    }
}
