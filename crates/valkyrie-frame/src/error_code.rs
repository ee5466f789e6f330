//! Error codes: a number whose hundreds say what to do about it.

use core::fmt;

#[cfg(test)]
mod tests;

/// What an error means for the one that receives it.
//= protocol/errors.md#families
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// 1xx: the protocol was broken; reconnect.
    Protocol,
    /// 2xx: not authenticated or not allowed; refresh the credentials.
    Auth,
    /// 3xx: one stream or exchange failed; it is reset, the connection lives.
    Stream,
    /// 4xx: a job failed; retry or reschedule it.
    Job,
    /// 5xx: the service or its machine is in trouble; open the breaker.
    System,
    /// 6xx: the network is in trouble; fail over.
    Network,
    /// 7xx: an attack or its like; close and keep a record.
    Security,
}

/// A number that travels in ERROR, RESET, CLOSE and failed RESPONSE frames.
//= protocol/errors.md#codes
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode(u32);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal, grpc $grpc:literal, http $http:literal;)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// Every code that has a name.
            pub const KNOWN: &'static [Self] = &[$(Self::$name),*];

            /// The name that the specification gives the code.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }

            /// The gRPC status code, 0 to 16.
            pub const fn grpc_status(self) -> u8 {
                match self.0 {
                    $($value => $grpc,)*
                    other => family_grpc(other),
                }
            }

            /// The HTTP status code.
            pub const fn http_status(self) -> u16 {
                match self.0 {
                    $($value => $http,)*
                    other => family_http(other),
                }
            }
        }
    };
}

codes! {
    /// No error: an orderly end.
    OK = 0, "ok", grpc 0, http 200;
    /// A frame broke the protocol.
    PROTOCOL = 100, "protocol", grpc 13, http 502;
    /// The versions of the two sides have nothing in common.
    VERSION = 101, "version", grpc 12, http 505;
    /// A frame is larger than was agreed.
    FRAME_SIZE = 102, "frame_size", grpc 8, http 413;
    /// The peer sent past its credit.
    FLOW_CONTROL = 103, "flow_control", grpc 8, http 502;
    /// A frame came in a phase that does not allow it.
    UNEXPECTED_FRAME = 104, "unexpected_frame", grpc 13, http 502;
    /// The peer used up a budget against abuse.
    EXCESSIVE_LOAD = 105, "excessive_load", grpc 8, http 429;
    /// The peer said nothing for too long.
    TIMEOUT = 106, "timeout", grpc 14, http 504;
    /// The opening was not finished in time.
    HANDSHAKE_TIMEOUT = 107, "handshake_timeout", grpc 14, http 504;
    /// The session cannot be continued on this link.
    RESUME_REFUSED = 108, "resume_refused", grpc 14, http 503;
    /// The caller has not proved who it is.
    UNAUTHENTICATED = 200, "unauthenticated", grpc 16, http 401;
    /// The caller may not do this.
    PERMISSION_DENIED = 201, "permission_denied", grpc 7, http 403;
    /// The credentials have expired.
    CREDENTIALS_EXPIRED = 202, "credentials_expired", grpc 16, http 401;
    /// The identity has been revoked.
    IDENTITY_REVOKED = 203, "identity_revoked", grpc 16, http 401;
    /// The identity is proved, but nobody whom the receiver trusts vouches for it.
    IDENTITY_UNTRUSTED = 204, "identity_untrusted", grpc 16, http 401;
    /// The sender gave up on the stream or exchange.
    CANCELLED = 300, "cancelled", grpc 1, http 499;
    /// The deadline passed.
    DEADLINE_EXCEEDED = 301, "deadline_exceeded", grpc 4, http 504;
    /// The exchange was refused before it was looked at; it is safe to try again.
    REFUSED = 302, "refused", grpc 14, http 503;
    /// There is no such service or method.
    NOT_FOUND = 303, "not_found", grpc 12, http 404;
    /// The message is larger than the receiver takes.
    MESSAGE_SIZE = 304, "message_size", grpc 8, http 413;
    /// The request makes no sense to the method.
    INVALID_ARGUMENT = 305, "invalid_argument", grpc 3, http 400;
    /// The stream does not exist or is not open in this direction.
    STREAM_STATE = 306, "stream_state", grpc 9, http 409;
    /// What the request needs is in another state.
    FAILED_PRECONDITION = 307, "failed_precondition", grpc 9, http 412;
    /// The job failed by itself.
    JOB_FAILED = 400, "job_failed", grpc 2, http 500;
    /// The job took longer than it may.
    JOB_TIMEOUT = 401, "job_timeout", grpc 4, http 504;
    /// The job was cancelled.
    JOB_CANCELLED = 402, "job_cancelled", grpc 1, http 499;
    /// The runner is gone and the job with it.
    RUNNER_LOST = 403, "runner_lost", grpc 14, http 503;
    /// The lease on the job is not the newest.
    LEASE_LOST = 404, "lease_lost", grpc 10, http 409;
    /// No runner can take the job.
    NO_RUNNER = 405, "no_runner", grpc 14, http 503;
    /// Something broke inside the service.
    INTERNAL = 500, "internal", grpc 13, http 500;
    /// The service is overloaded.
    OVERLOADED = 501, "overloaded", grpc 8, http 503;
    /// A bound was reached.
    RESOURCE_EXHAUSTED = 502, "resource_exhausted", grpc 8, http 429;
    /// The service is not there at the moment.
    UNAVAILABLE = 503, "unavailable", grpc 14, http 503;
    /// The service does not do that.
    UNIMPLEMENTED = 504, "unimplemented", grpc 12, http 501;
    /// The handler panicked.
    HANDLER_PANICKED = 505, "handler_panicked", grpc 13, http 500;
    /// The link broke.
    LINK_LOST = 600, "link_lost", grpc 14, http 502;
    /// Nobody can be reached at that place.
    UNREACHABLE = 601, "unreachable", grpc 14, http 502;
    /// The peer is draining; try again elsewhere or later.
    DRAINING = 602, "draining", grpc 14, http 503;
    /// A check of integrity failed.
    INTEGRITY = 700, "integrity", grpc 16, http 403;
    /// A message came twice.
    REPLAY = 701, "replay", grpc 16, http 403;
    /// Something tried to weaken what was agreed.
    DOWNGRADE = 702, "downgrade", grpc 16, http 403;
}

impl ErrorCode {
    /// The code of a number, known or not.
    #[inline]
    pub const fn new(code: u32) -> Self {
        Self(code)
    }

    /// The number.
    #[inline]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// What the code's hundreds mean; `None` for 0 and for numbers that no family has.
    pub const fn family(self) -> Option<Family> {
        Some(match self.0 / 100 {
            1 => Family::Protocol,
            2 => Family::Auth,
            3 => Family::Stream,
            4 => Family::Job,
            5 => Family::System,
            6 => Family::Network,
            7 => Family::Security,
            _ => return None,
        })
    }
}

/// The gRPC status of a code without a name, by its family: UNKNOWN where there is none.
const fn family_grpc(code: u32) -> u8 {
    match code / 100 {
        1 => 13,
        2 => 16,
        4 => 10,
        5 => 13,
        6 => 14,
        7 => 7,
        _ => 2,
    }
}

/// The HTTP status of a code without a name, by its family.
const fn family_http(code: u32) -> u16 {
    match code / 100 {
        1 => 502,
        2 => 401,
        3 => 400,
        6 => 502,
        7 => 403,
        _ => 500,
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Number and name: `303 not_found`.
impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} {name}", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}
