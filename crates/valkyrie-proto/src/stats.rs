//! Counters of a session.

use valkyrie_frame::Class;

/// What a class has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassStats {
    /// Frames sent.
    pub frames_sent: u64,
    /// Bytes of those frames, headers included.
    pub bytes_sent: u64,
    /// Frames received.
    pub frames_received: u64,
    /// Bytes of those frames.
    pub bytes_received: u64,
    /// Best-effort messages dropped before they were sent.
    pub dropped_sending: u64,
    /// Best-effort messages dropped because nobody read them.
    pub dropped_receiving: u64,
    /// Priorities outside the class's band, clamped: violations of the quality of service.
    pub priority_clamped: u64,
    /// Exchanges and streams whose deadline passed, begun by either side.
    pub deadlines_passed: u64,
    /// Those of them that were begun here and had not wholly gone out by then: they waited here for too long.
    pub deadlines_passed_unsent: u64,
}

/// What a session has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// By class, in the order of [`Class::ALL`].
    pub classes: [ClassStats; Class::COUNT],
    /// Requests refused because too many bytes of them were pending.
    pub requests_refused: u64,
    /// Exchanges or streams whose deadline passed.
    pub deadlines_passed: u64,
    /// Streams reset by either side.
    pub resets: u64,
}

impl Stats {
    /// The counters of one class.
    pub const fn class(&self, class: Class) -> &ClassStats {
        &self.classes[class.index()]
    }
}
