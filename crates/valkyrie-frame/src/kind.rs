//! The kind of a frame: the header's type byte.

use core::fmt;

#[cfg(test)]
mod tests;

/// What a frame is. Kinds up to [`Kind::LAST`] belong to the protocol; of those above it only
/// the GREASE values may appear, and they are ignored.
///
/// A kind is an open set on the wire (a later minor version may add one), hence a newtype with
/// constants rather than an enum.
//= protocol/types.md#types
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(u8);

/// The five groups of kinds, sixteen values each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// 0x00–0x0F: connection control, on stream 0.
    Core,
    /// 0x10–0x1F: authentication.
    Auth,
    /// 0x20–0x2F: the life of a job.
    Job,
    /// 0x30–0x3F: streams and exchanges.
    Stream,
    /// 0x40–0x4F: what a node says about itself and its jobs.
    Observe,
}

impl Kind {
    /// The dialling side's opening: versions, features and limits.
    pub const HELLO: Self = Self(0x00);
    /// The accepting side's answer to a HELLO; traffic may begin.
    pub const HELLO_ACK: Self = Self(0x01);
    /// Asks for a PONG with the same payload.
    pub const PING: Self = Self(0x02);
    /// Answers a PING, payload unchanged.
    pub const PONG: Self = Self(0x03);
    /// Says why the connection is about to close.
    pub const ERROR: Self = Self(0x04);
    /// The last frame of a side; nothing follows.
    pub const CLOSE: Self = Self(0x05);
    /// Reserved for moving a connection to a later version.
    pub const UPGRADE: Self = Self(0x06);
    /// Reserved for changing settings in mid-connection.
    pub const NEGOTIATE: Self = Self(0x07);
    /// Asks the peer to start nothing new, in two phases.
    pub const DRAIN: Self = Self(0x08);
    /// Continues a session on a new link.
    pub const RESUME: Self = Self(0x09);
    /// Accepts a RESUME.
    pub const RESUME_ACK: Self = Self(0x0A);
    /// Raises absolute limits of streams, the connection and the number of streams.
    pub const CREDIT: Self = Self(0x0B);
    /// A challenge to be answered.
    pub const AUTH_CHALLENGE: Self = Self(0x10);
    /// The answer to a challenge.
    pub const AUTH_RESPONSE: Self = Self(0x11);
    /// The peer is who it says.
    pub const AUTH_SUCCESS: Self = Self(0x12);
    /// The peer is refused.
    pub const AUTH_FAILURE: Self = Self(0x13);
    /// One message of the handshake.
    pub const KEY_EXCHANGE: Self = Self(0x14);
    /// Asks for a certificate.
    pub const CERT_REQUEST: Self = Self(0x15);
    /// Announces fresh keys.
    pub const REKEY: Self = Self(0x16);
    /// Offers or asks for a job.
    pub const JOB_REQUEST: Self = Self(0x20);
    /// Takes an offered job.
    pub const JOB_ACCEPT: Self = Self(0x21);
    /// Declines an offered job.
    pub const JOB_REJECT: Self = Self(0x22);
    /// The job has begun.
    pub const JOB_START: Self = Self(0x23);
    /// How far the job is.
    pub const JOB_PROGRESS: Self = Self(0x24);
    /// The job ended well; from the server, that the final report is settled.
    pub const JOB_COMPLETE: Self = Self(0x25);
    /// The job ended badly, with the reason.
    pub const JOB_FAILED: Self = Self(0x26);
    /// Asks for the job to stop.
    pub const JOB_CANCEL: Self = Self(0x27);
    /// Moves a job to another runner.
    pub const JOB_MIGRATE: Self = Self(0x28);
    /// Holds a job.
    pub const JOB_PAUSE: Self = Self(0x29);
    /// Continues a held job.
    pub const JOB_RESUME: Self = Self(0x2A);
    /// Renews the right to run jobs.
    pub const JOB_LEASE: Self = Self(0x2B);
    /// Opens a stream.
    pub const OPEN: Self = Self(0x30);
    /// A message, or a fragment of one, on an open stream.
    pub const DATA: Self = Self(0x31);
    /// Ends the sender's direction of a stream without a message.
    pub const STREAM_CLOSE: Self = Self(0x32);
    /// Says that a stream is over, after a reset or in order; its id is free again.
    pub const STREAM_ACK: Self = Self(0x33);
    /// Ends a stream or an exchange at once, with an error.
    pub const RESET: Self = Self(0x34);
    /// Begins a file.
    pub const FILE_START: Self = Self(0x35);
    /// A part of a file.
    pub const FILE_CHUNK: Self = Self(0x36);
    /// Ends a file, with its digest.
    pub const FILE_END: Self = Self(0x37);
    /// Begins an exchange.
    pub const REQUEST: Self = Self(0x38);
    /// Ends an exchange.
    pub const RESPONSE: Self = Self(0x39);
    /// A message that has no answer.
    pub const NOTIFY: Self = Self(0x3A);
    /// A message to a topic.
    pub const PUBLISH: Self = Self(0x3B);
    /// Asks for the messages of a topic.
    pub const SUBSCRIBE: Self = Self(0x3C);
    /// Ends a subscription.
    pub const UNSUBSCRIBE: Self = Self(0x3D);
    /// Measurements.
    pub const METRICS: Self = Self(0x40);
    /// Log bytes.
    pub const LOG: Self = Self(0x41);
    /// A span of a trace.
    pub const SPAN: Self = Self(0x42);
    /// The health of a node.
    pub const HEALTH: Self = Self(0x43);
    /// The state of a job or node.
    pub const STATUS: Self = Self(0x44);
    /// Something that wants attention.
    pub const ALERT: Self = Self(0x45);

    /// The highest value that the protocol may ever assign.
    pub const LAST: Self = Self(0x4F);

    /// Every kind that has a meaning today.
    pub const KNOWN: &'static [Self] = &[
        Self::HELLO,
        Self::HELLO_ACK,
        Self::PING,
        Self::PONG,
        Self::ERROR,
        Self::CLOSE,
        Self::UPGRADE,
        Self::NEGOTIATE,
        Self::DRAIN,
        Self::RESUME,
        Self::RESUME_ACK,
        Self::CREDIT,
        Self::AUTH_CHALLENGE,
        Self::AUTH_RESPONSE,
        Self::AUTH_SUCCESS,
        Self::AUTH_FAILURE,
        Self::KEY_EXCHANGE,
        Self::CERT_REQUEST,
        Self::REKEY,
        Self::JOB_REQUEST,
        Self::JOB_ACCEPT,
        Self::JOB_REJECT,
        Self::JOB_START,
        Self::JOB_PROGRESS,
        Self::JOB_COMPLETE,
        Self::JOB_FAILED,
        Self::JOB_CANCEL,
        Self::JOB_MIGRATE,
        Self::JOB_PAUSE,
        Self::JOB_RESUME,
        Self::JOB_LEASE,
        Self::OPEN,
        Self::DATA,
        Self::STREAM_CLOSE,
        Self::STREAM_ACK,
        Self::RESET,
        Self::FILE_START,
        Self::FILE_CHUNK,
        Self::FILE_END,
        Self::REQUEST,
        Self::RESPONSE,
        Self::NOTIFY,
        Self::PUBLISH,
        Self::SUBSCRIBE,
        Self::UNSUBSCRIBE,
        Self::METRICS,
        Self::LOG,
        Self::SPAN,
        Self::HEALTH,
        Self::STATUS,
        Self::ALERT,
    ];

    /// The kinds without meaning that senders emit now and then, so that receivers stay able to
    /// ignore what they do not know.
    //= protocol/types.md#grease
    pub const GREASE: [Self; 10] = [
        Self(0x6A),
        Self(0x7A),
        Self(0x8A),
        Self(0x9A),
        Self(0xAA),
        Self(0xBA),
        Self(0xCA),
        Self(0xDA),
        Self(0xEA),
        Self(0xFA),
    ];

    /// The kind of a header byte, whatever it may be.
    #[inline]
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// The header byte.
    #[inline]
    pub const fn byte(self) -> u8 {
        self.0
    }

    /// The group that the kind belongs to; `None` above [`Kind::LAST`].
    pub const fn group(self) -> Option<Group> {
        match self.0 >> 4 {
            0 => Some(Group::Core),
            1 => Some(Group::Auth),
            2 => Some(Group::Job),
            3 => Some(Group::Stream),
            4 => Some(Group::Observe),
            _ => None,
        }
    }

    /// Whether this is one of the ten GREASE values.
    #[inline]
    pub const fn is_grease(self) -> bool {
        self.0 >= 0x6A && self.0 & 0x0F == 0x0A
    }

    /// Whether the value may appear on the wire at all: assigned, assignable or GREASE.
    #[inline]
    pub const fn is_allowed(self) -> bool {
        self.0 <= Self::LAST.0 || self.is_grease()
    }

    /// Whether the kind has a meaning today.
    #[inline]
    pub const fn is_known(self) -> bool {
        // One bit for each kind of a group. The session asks this for every frame, hence no search.
        const BITS: [u16; 5] = [0x0FFF, 0x007F, 0x0FFF, 0x3FFF, 0x003F];
        self.0 <= Self::LAST.0 && BITS[(self.0 >> 4) as usize] >> (self.0 & 0x0F) & 1 == 1
    }

    /// The name that the specification gives the kind.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::HELLO => "HELLO",
            Self::HELLO_ACK => "HELLO_ACK",
            Self::PING => "PING",
            Self::PONG => "PONG",
            Self::ERROR => "ERROR",
            Self::CLOSE => "CLOSE",
            Self::UPGRADE => "UPGRADE",
            Self::NEGOTIATE => "NEGOTIATE",
            Self::DRAIN => "DRAIN",
            Self::RESUME => "RESUME",
            Self::RESUME_ACK => "RESUME_ACK",
            Self::CREDIT => "CREDIT",
            Self::AUTH_CHALLENGE => "AUTH_CHALLENGE",
            Self::AUTH_RESPONSE => "AUTH_RESPONSE",
            Self::AUTH_SUCCESS => "AUTH_SUCCESS",
            Self::AUTH_FAILURE => "AUTH_FAILURE",
            Self::KEY_EXCHANGE => "KEY_EXCHANGE",
            Self::CERT_REQUEST => "CERT_REQUEST",
            Self::REKEY => "REKEY",
            Self::JOB_REQUEST => "JOB_REQUEST",
            Self::JOB_ACCEPT => "JOB_ACCEPT",
            Self::JOB_REJECT => "JOB_REJECT",
            Self::JOB_START => "JOB_START",
            Self::JOB_PROGRESS => "JOB_PROGRESS",
            Self::JOB_COMPLETE => "JOB_COMPLETE",
            Self::JOB_FAILED => "JOB_FAILED",
            Self::JOB_CANCEL => "JOB_CANCEL",
            Self::JOB_MIGRATE => "JOB_MIGRATE",
            Self::JOB_PAUSE => "JOB_PAUSE",
            Self::JOB_RESUME => "JOB_RESUME",
            Self::JOB_LEASE => "JOB_LEASE",
            Self::OPEN => "OPEN",
            Self::DATA => "DATA",
            Self::STREAM_CLOSE => "STREAM_CLOSE",
            Self::STREAM_ACK => "STREAM_ACK",
            Self::RESET => "RESET",
            Self::FILE_START => "FILE_START",
            Self::FILE_CHUNK => "FILE_CHUNK",
            Self::FILE_END => "FILE_END",
            Self::REQUEST => "REQUEST",
            Self::RESPONSE => "RESPONSE",
            Self::NOTIFY => "NOTIFY",
            Self::PUBLISH => "PUBLISH",
            Self::SUBSCRIBE => "SUBSCRIBE",
            Self::UNSUBSCRIBE => "UNSUBSCRIBE",
            Self::METRICS => "METRICS",
            Self::LOG => "LOG",
            Self::SPAN => "SPAN",
            Self::HEALTH => "HEALTH",
            Self::STATUS => "STATUS",
            Self::ALERT => "ALERT",
            _ => return None,
        })
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The kind's name, or its number when it has none.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#04x}", self.0),
        }
    }
}
