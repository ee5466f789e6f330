//! Credit: how far a sender may go, as absolute counts of bytes.
//!
//! The unit is the whole frame as it lies on the wire, header and extensions included, so that
//! empty messages are not free. Limits only ever rise; a limit says "up to byte N since the
//! beginning", so a repeated or reordered update does no harm.

/// What this side may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SendCredit {
    /// Bytes sent since the beginning.
    pub(crate) sent: u64,
    /// Bytes that may have been sent.
    pub(crate) limit: u64,
}

impl SendCredit {
    pub(crate) const fn new(limit: u64) -> Self {
        Self { sent: 0, limit }
    }

    #[inline]
    pub(crate) const fn available(&self) -> u64 {
        self.limit - self.sent
    }

    #[inline]
    pub(crate) fn spend(&mut self, bytes: u64) {
        self.sent += bytes;
        debug_assert!(self.sent <= self.limit, "credit is checked before a frame is cut");
    }

    /// Raises the limit. `Ok(true)` when it rose.
    pub(crate) fn raise(&mut self, limit: u64) -> Result<bool, ()> {
        if limit > LIMIT_MAX {
            return Err(());
        }
        let rose = limit > self.limit;
        self.limit = self.limit.max(limit);
        Ok(rose)
    }
}

/// What the peer may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecvWindow {
    /// Bytes received since the beginning.
    pub(crate) received: u64,
    /// The limit that the peer was told.
    pub(crate) announced: u64,
    /// Bytes of whole messages that nobody has read yet.
    pub(crate) unread: u64,
    /// How far the peer may be ahead of the reader.
    pub(crate) window: u32,
}

impl RecvWindow {
    pub(crate) const fn new(window: u32) -> Self {
        Self {
            received: 0,
            announced: window as u64,
            unread: 0,
            window,
        }
    }

    /// Counts a frame; `false` when the peer had no credit for it.
    #[inline]
    #[must_use]
    pub(crate) fn receive(&mut self, bytes: u64) -> bool {
        self.received += bytes;
        self.received <= self.announced
    }

    /// The limit that the peer should have now. A message that has only partly arrived does not
    /// hold its credit back: it could never be completed if it were larger than the window.
    #[inline]
    pub(crate) fn target(&self) -> u64 {
        (self.received + u64::from(self.window).saturating_sub(self.unread)).max(self.announced)
    }

    /// Whether the difference to the announced limit is worth a frame: half a window.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.target() - self.announced >= u64::from(self.window / 2)
    }

    /// Takes the target as announced and gives it.
    pub(crate) fn announce(&mut self) -> u64 {
        self.announced = self.target();
        self.announced
    }
}

/// No limit is past this, so that sums cannot overflow.
pub(crate) const LIMIT_MAX: u64 = 1 << 62;
