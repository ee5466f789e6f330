//! Links with several lanes: what each of them has not taken yet, and what has begun to arrive on it.
//!
//! A lane that is blocked holds up only its own class, unless the link is full: then nothing is asked of the session for any
//! lane but the first until what waits has gone, so that the session decides what goes next and classes get their shares.
//! The session is told which lanes are free and gives frames for one of those at a time; the first lane's buffers are where every link has them, in [`LinkState`].

use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Instant;

use bytes::BytesMut;
use valkyrie_frame::{Batch, Class};
use valkyrie_proto::LaneSet;
use valkyrie_transport::{Lane, Link};

use crate::shared::{BATCH_BYTES_MAX, LinkState, Shared, Transmitted, write_out};
use crate::worker::{self, Pass};

/// The lanes of a link beyond the first.
pub(crate) struct Lanes {
    count: u8,
    /// Frames that a lane has not taken yet, the first lane's among them.
    unsent: [Option<Box<Batch>>; Class::COUNT],
    /// The beginning of a frame, by lane.
    input: [BytesMut; Class::COUNT],
    /// Lanes on which nothing more comes.
    ended: LaneSet,
    /// The link was full the last time. Batches are smaller then, since whoever comes next waits for one of them.
    crowded: bool,
}

impl Lanes {
    /// What is needed for a link of `count` lanes; nothing for one.
    pub(crate) fn new(count: u8) -> Option<Box<Self>> {
        let count = count.min(Class::COUNT as u8);
        (count > 1).then(|| {
            Box::new(Self {
                count,
                unsent: Default::default(),
                input: Default::default(),
                ended: LaneSet::NONE,
                crowded: false,
            })
        })
    }

    /// Whether nothing more comes on this lane.
    pub(crate) fn has_ended(&self, lane: u8) -> bool {
        self.ended.contains(lane)
    }

    pub(crate) fn end(&mut self, lane: u8) {
        self.ended = self.ended.with(lane);
    }

    /// Whether something of a lane waits to be taken.
    fn has_unsent(&self, lane: u8) -> bool {
        self.unsent.get(usize::from(lane)).is_some_and(Option::is_some)
    }

    /// Writes what is left of a lane. `Ready` when it is free.
    fn write(
        &mut self,
        link: &mut dyn Link,
        cx: &mut TaskContext<'_>,
        lane: u8,
    ) -> Poll<std::io::Result<()>> {
        let Some(mut batch) = self.unsent.get_mut(usize::from(lane)).and_then(Option::take) else {
            return Poll::Ready(Ok(()));
        };
        let written = write_out(link, cx, Lane(lane), &mut batch);
        if written.is_pending() {
            self.unsent[usize::from(lane)] = Some(batch);
        } else {
            worker::put_batch(batch);
        }
        written
    }
}

impl Shared {
    /// [`Shared::transmit`] for a link with several lanes.
    ///
    /// `Pending` means that `cx` is registered with each lane that is blocked.
    pub(crate) fn transmit_lanes(
        &self,
        state: &mut LinkState,
        cx: &mut TaskContext<'_>,
        now: Instant,
        rounds: usize,
    ) -> Poll<Transmitted> {
        let (Some(link), Some(lanes)) = (&mut state.link, &mut state.lanes) else {
            return Poll::Ready(Transmitted::All);
        };
        let (mut free, mut full) = (LaneSet::ALL, false);
        for lane in 0..lanes.count {
            if full && lane > 0 && lanes.has_unsent(lane) {
                free = free.without(lane);
                continue;
            }
            match lanes.write(&mut **link, cx, lane) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    state.failed = true;
                    return Poll::Ready(Transmitted::Failed);
                }
                Poll::Pending => {
                    free = free.without(lane);
                    full |= lane > 0 && link.is_full();
                }
            }
        }
        for _ in 0..rounds {
            lanes.crowded |= full;
            let most = if lanes.crowded {
                CROWDED_BATCH_BYTES
            } else {
                BATCH_BYTES_MAX
            };
            // The first lane has room of its own.
            let open = match full {
                true if free.contains(0) => LaneSet::NONE.with(0),
                true => LaneSet::NONE,
                false => free,
            };
            let mut batch = worker::take_batch();
            let mut core = self.lock();
            core.flush_pending = false;
            core.wire_blocked = false;
            core.queued_bytes = 0;
            let mut wakers = Vec::new();
            let shaping = &self.roster.shaping;
            let lane = shaping.poll_transmit(&mut core, now, &mut batch, most, open, &mut wakers);
            if let Some(event) = core.session.poll_event() {
                self.pump_strays(&mut core, event, &mut wakers);
            }
            drop(core);
            wakers.into_iter().for_each(Waker::wake);
            let Some(lane) = lane else {
                worker::put_batch(batch);
                if free == LaneSet::ALL {
                    lanes.crowded = false;
                    return Poll::Ready(Transmitted::All);
                }
                return Poll::Pending;
            };
            lanes.unsent[usize::from(lane)] = Some(batch);
            match lanes.write(&mut **link, cx, lane) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    state.failed = true;
                    return Poll::Ready(Transmitted::Failed);
                }
                Poll::Pending => {
                    free = free.without(lane);
                    full |= lane > 0 && link.is_full();
                }
            }
        }
        self.wake_for_more();
        Poll::Ready(Transmitted::Some)
    }

    /// Reads once from each lane but the first that is not `quiet`, and hands on what came. `true` when something did.
    pub(crate) fn read_lanes(
        &self,
        state: &mut LinkState,
        cx: &mut TaskContext<'_>,
        now: Instant,
        quiet: &mut LaneSet,
        pass: &mut Pass,
    ) -> bool {
        let (Some(link), Some(lanes)) = (&mut state.link, &mut state.lanes) else {
            return false;
        };
        if self.lock().session.awaits_opening() {
            // The other lanes may be faster than the opening; what they bring waits in the link.
            return false;
        }
        let mut any = false;
        for lane in 1..lanes.count {
            if quiet.contains(lane) || lanes.has_ended(lane) || state.deaf {
                continue;
            }
            let kept = &mut lanes.input[usize::from(lane)];
            let mut input = if kept.is_empty() {
                worker::take_input()
            } else {
                std::mem::take(kept)
            };
            let read = link.poll_read(cx, Lane(lane), &mut input);
            match read {
                Poll::Pending => *quiet = quiet.with(lane),
                Poll::Ready(Ok(1..)) => {
                    any = true;
                    let mut core = self.lock();
                    core.seen = now;
                    if core.session.handle_lane_input(now, lane, &mut input).is_err() {
                        state.deaf = true;
                    }
                    core.pump(&mut pass.wakers, &mut pass.arrivals);
                }
                Poll::Ready(_) => {
                    any = true;
                    lanes.end(lane);
                    let mut core = self.lock();
                    if !core.session.is_lane_closed(lane) {
                        state.deaf = true;
                        core.session.handle_link_lost(now);
                        core.pump(&mut pass.wakers, &mut pass.arrivals);
                    }
                }
            }
            if input.is_empty() {
                worker::put_input(input);
            } else {
                lanes.input[usize::from(lane)] = input;
            }
        }
        any
    }
}

/// What a batch holds when the link is full: two of the largest frames, which is as little as costs nothing to send.
const CROWDED_BATCH_BYTES: usize = 32 * 1024;
