//! Which lane of a link a frame takes.
//!
//! Most links have one, and then all of this is a comparison. A link with more keeps the classes apart, so that what is
//! lost of one holds up no other.

use valkyrie_frame::{Class, Kind, StreamId};

use crate::PeerMisbehaved;
use crate::resume::counted_class;

use super::Session;

/// A set of lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneSet(u8);

impl LaneSet {
    /// Every lane that a link may have.
    pub const ALL: Self = Self(u8::MAX);
    /// No lane.
    pub const NONE: Self = Self(0);

    /// Whether `lane` is among them.
    #[inline]
    pub const fn contains(self, lane: u8) -> bool {
        self.0 & mask(lane) != 0
    }

    /// These and `lane`.
    #[must_use]
    pub const fn with(self, lane: u8) -> Self {
        Self(self.0 | mask(lane))
    }

    /// These without `lane`.
    #[must_use]
    pub const fn without(self, lane: u8) -> Self {
        Self(self.0 & !mask(lane))
    }
}

/// The bit of a lane; none for one that no link has.
const fn mask(lane: u8) -> u8 {
    if lane < 8 { 1 << lane } else { 0 }
}

/// Where the frames of one batch may go. The first frame decides, and all others take the same lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outlet {
    free: LaneSet,
    lanes: u8,
    pub(super) lane: Option<u8>,
}

impl Outlet {
    /// Whether a frame of this lane may be appended.
    #[inline]
    pub(super) fn would_take(&self, lane: u8) -> bool {
        match self.lane {
            Some(chosen) => chosen == lane,
            None => self.free.contains(lane),
        }
    }

    /// Appends a frame of this lane, if it may.
    #[inline]
    #[must_use]
    pub(super) fn take(&mut self, lane: u8) -> bool {
        let takes = self.would_take(lane);
        if takes {
            self.lane = Some(lane);
        }
        takes
    }

    #[inline]
    pub(super) fn lane_of(&self, class: Class) -> u8 {
        lane_of(class, self.lanes)
    }
}

/// The lane of a class on a link of so many.
//= protocol/resume.md#lanes
#[inline]
fn lane_of(class: Class, lanes: u8) -> u8 {
    (class.index() as u8).min(lanes - 1)
}

impl Session {
    /// Says how many lanes the link has, before anything is sent or received on it. One, if nothing is said.
    pub fn set_lanes(&mut self, lanes: u8) {
        self.lanes = lanes.clamp(1, Class::COUNT as u8);
        self.free_lanes = LaneSet::ALL;
    }

    /// Whether nothing but the first frame of the link is taken, and nothing from other lanes than the first: what has
    /// overtaken it there waits, and is to be handed over again once this is `false`.
    pub const fn awaits_opening(&self) -> bool {
        self.awaits_opening
    }

    /// How many lanes it uses.
    pub const fn lanes(&self) -> u8 {
        self.lanes
    }

    #[inline]
    pub(super) fn lane_of(&self, class: Class) -> u8 {
        lane_of(class, self.lanes)
    }

    /// Whether the lane took everything when it was last asked.
    #[inline]
    pub(super) fn is_free(&self, lane: u8) -> bool {
        self.free_lanes.contains(lane)
    }

    pub(super) fn outlet(&mut self, free: LaneSet) -> Outlet {
        self.free_lanes = free;
        Outlet {
            free,
            lanes: self.lanes,
            lane: None,
        }
    }

    /// The lane of a control frame that is not CLOSE.
    #[inline]
    pub(super) fn control_lane(&self, kind: Kind, stream: StreamId, payload: &[u8]) -> u8 {
        if self.lanes == 1 {
            return 0;
        }
        counted_class(kind, stream, payload).map_or(0, |class| self.lane_of(class))
    }

    /// Refuses a frame that came on a lane which is not its class's.
    #[inline]
    pub(super) fn check_link_lane(
        &self,
        lane: u8,
        kind: Kind,
        stream: StreamId,
        payload: &[u8],
    ) -> Result<(), PeerMisbehaved> {
        if self.is_lane_closed(lane) {
            return Err(PeerMisbehaved::UnexpectedFrame(kind));
        }
        if self.lanes == 1 || kind == Kind::CLOSE || self.control_lane(kind, stream, payload) == lane {
            return Ok(());
        }
        Err(PeerMisbehaved::WrongLane(kind))
    }

    /// CLOSE has come on a lane. `true` when it has come on all.
    pub(super) fn close_lane(&mut self, lane: u8) -> bool {
        self.closed_lanes |= mask(lane);
        self.closed_lanes.count_ones() >= u32::from(self.lanes)
    }

    /// Whether the peer has said that nothing more comes on this lane.
    pub fn is_lane_closed(&self, lane: u8) -> bool {
        self.closed_lanes & mask(lane) != 0
    }
}
