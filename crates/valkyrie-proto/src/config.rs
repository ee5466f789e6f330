//! What one side decides before a session begins: limits, policy, keepalive, budgets.

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use valkyrie_frame::{Class, MAX_PAYLOAD_BYTES};

/// Everything a session needs to know of its side. Shared by all sessions of an endpoint.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What this side accepts, announced to the peer.
    pub limits: Limits,
    /// How this side divides the wire among the classes.
    pub policy: Policy,
    /// When to ask a silent peer whether it lives.
    pub keepalive: Keepalive,
    /// How much useless work a peer may cause.
    pub budgets: Budgets,
    /// Who this side says it is, at most [`Config::MAX_NODE_ID_BYTES`].
    pub node_id: Bytes,
    /// What names the machine this side runs on, so that peers know which links are possible. `None` says nothing.
    pub machine: Option<[u8; crate::settings::MACHINE_LEN]>,
}

impl Config {
    /// The longest node id.
    pub const MAX_NODE_ID_BYTES: usize = 64;

    /// Checks that the parts agree with each other and with the protocol.
    ///
    /// # Errors
    /// [`ConfigError`]: the caller is at fault.
    pub fn check(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        if !(Limits::MIN_FRAME_BYTES..=Limits::MAX_FRAME_BYTES).contains(&limits.max_frame) {
            return Err(ConfigError::MaxFrame(limits.max_frame));
        }
        if limits.max_message < limits.max_frame || limits.max_message > MAX_PAYLOAD_BYTES {
            return Err(ConfigError::MaxMessage(limits.max_message));
        }
        for class in [Class::System, Class::Job, Class::Data] {
            let window = limits.window(class);
            if window < Limits::min_window(limits.max_frame) {
                return Err(ConfigError::Window { class, window });
            }
        }
        let widest = limits
            .window_system
            .max(limits.window_job_max)
            .max(limits.window_data);
        if limits.window_connection < widest || limits.window_job_max < limits.window_job {
            return Err(ConfigError::ConnectionWindow(limits.window_connection));
        }
        if !limits.resume_for.is_zero() && limits.resume_bytes < Limits::MIN_RESUME_BYTES {
            return Err(ConfigError::ResumeBytes(limits.resume_bytes));
        }
        if limits.max_exchanges == 0 {
            return Err(ConfigError::NoExchanges);
        }
        if self.node_id.len() > Self::MAX_NODE_ID_BYTES {
            return Err(ConfigError::NodeId(self.node_id.len()));
        }
        self.policy.check()
    }
}

/// What one side accepts from the other. Every bound of a session that a peer can press against is
/// here or in [`Budgets`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Payload bytes of one frame, 4 KiB to 1 MiB. The default of 16 KiB takes 131 µs at 1 Gbit/s:
    /// so long a critical frame waits at most.
    pub max_frame: u32,
    /// Bytes of one message, however many frames it takes.
    pub max_message: u32,
    /// Exchanges that the peer may have open at once.
    pub max_exchanges: u16,
    /// Streams that the peer may have open at once, lanes not counted.
    pub max_streams: u32,
    /// Bytes the peer may send ahead on a stream of the system class.
    pub window_system: u32,
    /// The same for the job class, to begin with.
    pub window_job: u32,
    /// How far a job window may grow with bandwidth × delay.
    pub window_job_max: u32,
    /// The same for the data class.
    pub window_data: u32,
    /// Bytes the peer may send ahead on all streams together.
    pub window_connection: u32,
    /// Bytes of half-arrived messages held at once, over all streams.
    pub reassembly_max: u32,
    /// Bytes of requests that handlers may hold unanswered; beyond it requests are refused as
    /// overloaded, which is safe to retry.
    pub pending_request_bytes_max: u32,
    /// Bytes of answers that may wait for a peer to read them; beyond it further requests are
    /// refused as overloaded, unseen by any handler. One answer may go past it.
    pub queued_answer_bytes_max: u32,
    /// Bytes queued unsent on one stream before [`Refusal::Blocked`](crate::Refusal::Blocked).
    /// One message may go past it, so the true bound is this plus `max_message`.
    pub send_queue_max: u32,
    /// Bytes of best-effort messages held for sending, and for reading, per stream, before the
    /// oldest is dropped.
    pub best_effort_queue_max: u32,
    /// How long the opening may take.
    pub handshake_timeout: Duration,
    /// How long a drain waits for what is running before it closes anyway.
    pub drain_timeout: Duration,
    /// How long a session that has lost its link is kept; zero for not at all.
    //= protocol/resume.md#offer
    pub resume_for: Duration,
    /// Bytes of frames retained until the peer has acknowledged them. When so much is under way nothing more is sent,
    /// so it bounds what a session carries in one round trip.
    pub resume_bytes: u32,
}

impl Limits {
    /// The least `max_frame` that may be announced.
    pub const MIN_FRAME_BYTES: u32 = 4 * 1024;
    /// The greatest.
    pub const MAX_FRAME_BYTES: u32 = 1024 * 1024;

    /// The least `resume_bytes` that may be announced.
    pub const MIN_RESUME_BYTES: u32 = 64 * 1024;

    /// Payload bytes of one message on stream 0. A rule of the protocol, not a setting.
    pub const MAX_CRITICAL_BYTES: u32 = 4 * 1024;

    /// The least window that cannot stall: the credit of half a window must let the largest frame
    /// through, header and extensions included.
    pub const fn min_window(max_frame: u32) -> u32 {
        2 * (max_frame + MAX_HEAD_BYTES)
    }

    /// The initial window of a class; 0 for those without credit.
    pub const fn window(&self, class: Class) -> u32 {
        match class {
            Class::System => self.window_system,
            Class::Job => self.window_job,
            Class::Data => self.window_data,
            Class::Critical | Class::Bulk => 0,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame: 16 * 1024,
            max_message: MAX_PAYLOAD_BYTES,
            max_exchanges: 4096,
            max_streams: 1024,
            window_system: 1024 * 1024,
            window_job: 1024 * 1024,
            window_job_max: 8 * 1024 * 1024,
            window_data: 2 * 1024 * 1024,
            window_connection: 16 * 1024 * 1024,
            reassembly_max: 128 * 1024 * 1024,
            pending_request_bytes_max: 64 * 1024 * 1024,
            queued_answer_bytes_max: 128 * 1024 * 1024,
            send_queue_max: 256 * 1024,
            best_effort_queue_max: 256 * 1024,
            handshake_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(30),
            resume_for: Duration::ZERO,
            resume_bytes: 16 * 1024 * 1024,
        }
    }
}

/// How the wire is divided. Data comes down from the router; the mechanism is the session's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The classes' shares under contention.
    pub shares: Shares,
    /// What this side may send on stream 0.
    pub critical: CriticalRate,
    /// How far delay may grow over its least before the data class yields.
    pub data_delay_target: DelayTarget,
}

impl Policy {
    /// Checks that nobody is starved.
    ///
    /// # Errors
    /// [`ConfigError`]: the caller is at fault.
    pub fn check(&self) -> Result<(), ConfigError> {
        for share in [self.shares.system, self.shares.job, self.shares.data] {
            if !(1..=999).contains(&share) {
                return Err(ConfigError::Share(share));
            }
        }
        Ok(())
    }
}

/// Shares in thousandths of what the classes above leave; what is left after `data` is bulk's.
//= protocol/session.md#scheduling
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// System, of the whole.
    pub system: u16,
    /// Job, of what system leaves.
    pub job: u16,
    /// Data, of what system and job leave.
    pub data: u16,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            system: 800,
            job: 600,
            data: 400,
        }
    }
}

/// The token bucket of stream 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CriticalRate {
    /// Bytes per second.
    pub bytes_per_second: u32,
    /// Bytes that may go at once.
    pub burst: u32,
}

impl Default for CriticalRate {
    fn default() -> Self {
        Self {
            bytes_per_second: 1024 * 1024,
            burst: 256 * 1024,
        }
    }
}

/// The delay over the least seen at which data yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelayTarget(pub Duration);

impl Default for DelayTarget {
    /// 25 ms: the target that LEDBAT++ settled on, below what people and probes notice.
    fn default() -> Self {
        Self(Duration::from_millis(25))
    }
}

/// When to ask a silent peer whether it lives.
//= protocol/session.md#keepalive
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// After how much silence a PING goes out; `None` never asks. Raised to what the peer allows.
    pub interval: Option<Duration>,
    /// How long an answer may take before the session ends.
    pub timeout: Duration,
    /// The least interval this side allows the peer.
    pub min_interval: Duration,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            interval: Some(Duration::from_secs(20)),
            timeout: Duration::from_secs(10),
            min_interval: Duration::from_secs(5),
        }
    }
}

/// How much useless work a peer may cause in one second before the session ends.
//= protocol/session.md#budgets
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// PING frames.
    pub pings: u32,
    /// Cancelled exchanges and reset streams.
    pub cancels: u32,
    /// All other frames of the core group.
    pub controls: u32,
    /// CREDIT frames.
    pub credits: u32,
    /// Frames that do nothing: unknown kinds, GREASE, late ones for a reset stream.
    pub idle: u32,
    /// Fragments smaller than [`Budgets::MIN_FRAGMENT_BYTES`] that are not the last.
    pub tiny_fragments: u32,
    /// Bytes of whole frames on stream 0.
    pub critical_bytes: u32,
}

impl Budgets {
    /// No sender of ours cuts smaller fragments than this.
    pub const MIN_FRAGMENT_BYTES: u32 = 1024;
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            pings: 100,
            cancels: 20_000,
            controls: 1000,
            credits: 200_000,
            idle: 1000,
            tiny_fragments: 100,
            critical_bytes: 8 * 1024 * 1024,
        }
    }
}

/// A configuration that cannot work. The caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `max_frame` out of range.
    #[error("max_frame of {0} bytes is not between 4 KiB and 1 MiB")]
    MaxFrame(u32),
    /// `max_message` out of range.
    #[error("max_message of {0} bytes is not between max_frame and 64 MiB")]
    MaxMessage(u32),
    /// A window that could stall.
    #[error("the window of {window} bytes for class {class} is less than two of the largest frames")]
    Window {
        /// Of which class.
        class: Class,
        /// Its bytes.
        window: u32,
    },
    /// The connection's window is smaller than one stream's.
    #[error("the connection's window of {0} bytes is less than a stream's")]
    ConnectionWindow(u32),
    /// Too little is retained for a session to go on.
    #[error("resume_bytes of {0} is less than 64 KiB")]
    ResumeBytes(u32),
    /// No exchange is allowed.
    #[error("max_exchanges is 0: nobody could call")]
    NoExchanges,
    /// The node id is too long.
    #[error("the node id has {0} bytes, the limit is 64")]
    NodeId(usize),
    /// A share that starves somebody.
    #[error("a share of {0} thousandths is not between 1 and 999")]
    Share(u16),
}

/// The longest header with its extensions.
pub(crate) const MAX_HEAD_BYTES: u32 = 20 + 4 * 255;
