//! What a link declares about itself, so that the floors above refuse what it cannot carry.

/// What a link can do. What it cannot honour it declares; it does not imitate.
///
/// Built from [`Capabilities::default`] (one lane, reliable, ordered, and nothing else) with the `with_*` methods:
///
/// ```
/// use valkyrie_transport::Capabilities;
///
/// let quic = Capabilities::default().with_lanes(5).with_secure(true);
/// assert_eq!(quic.lanes, 5);
/// assert!(quic.reliable && quic.ordered && quic.secure && !quic.vectored);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// How many lanes there are, at least 1. Lanes are numbered from 0.
    pub lanes: u8,
    /// What is written arrives, or the link fails.
    pub reliable: bool,
    /// What arrives on a lane arrives in the order it was written.
    pub ordered: bool,
    /// The link itself encrypts and authenticates. The session's handshake is run regardless.
    pub secure: bool,
    /// One write takes several buffers in one operation.
    pub vectored: bool,
    /// The most bytes one write takes, if the link has such a bound.
    pub max_write: Option<usize>,
    /// Both ends are on this machine, and nobody elsewhere can be in between.
    pub local: bool,
    /// Who the peer is according to the operating system, where it says.
    pub peer_credentials: Option<PeerCredentials>,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            lanes: 1,
            reliable: true,
            ordered: true,
            secure: false,
            vectored: false,
            max_write: None,
            local: false,
            peer_credentials: None,
        }
    }
}

impl Capabilities {
    /// All that a link can be able to do. None is like that; it stands for one that is not known yet.
    pub const EVERYTHING: Self = Self {
        lanes: u8::MAX,
        reliable: true,
        ordered: true,
        secure: true,
        vectored: true,
        max_write: None,
        local: true,
        peer_credentials: None,
    };

    /// With `lanes` lanes; zero is read as one, because every link has a first lane.
    #[must_use]
    pub fn with_lanes(mut self, lanes: u8) -> Self {
        self.lanes = lanes.max(1);
        self
    }

    /// With or without the promise that what is written arrives.
    #[must_use]
    pub fn with_reliable(mut self, reliable: bool) -> Self {
        self.reliable = reliable;
        self
    }

    /// With or without the promise of order within a lane.
    #[must_use]
    pub fn with_ordered(mut self, ordered: bool) -> Self {
        self.ordered = ordered;
        self
    }

    /// With or without encryption by the link itself.
    #[must_use]
    pub fn with_secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// With or without vectored writes.
    #[must_use]
    pub fn with_vectored(mut self, vectored: bool) -> Self {
        self.vectored = vectored;
        self
    }

    /// With a bound on what one write takes.
    #[must_use]
    pub fn with_max_write(mut self, max_write: Option<usize>) -> Self {
        self.max_write = max_write;
        self
    }

    /// With or without both ends on this machine.
    #[must_use]
    pub fn with_local(mut self, local: bool) -> Self {
        self.local = local;
        self
    }

    /// With what the operating system says about the peer.
    #[must_use]
    pub fn with_peer_credentials(mut self, credentials: Option<PeerCredentials>) -> Self {
        self.peer_credentials = credentials;
        self
    }
}

/// The process at the other end of a local link, as the kernel reports it.
///
/// It is what held when the connection was made: the process may have ended since, and its id may have been reused.
/// Trust `uid` and `gid`; treat `pid` as a hint for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerCredentials {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Process id, where the system reports it.
    pub pid: Option<i32>,
}
