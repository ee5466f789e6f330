//! What went wrong with a request, judged by one question: can it have been done?
//!
//! etcd says what it refuses in words that are part of its interface; its own clients go by them as well.

use std::error::Error as _;

use etcd_client::Error;
use tonic::{Code, Status};

use crate::store::StoreError;

/// Why there is no answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The member could not be reached: the request was never sent.
    Unreachable(String),
    /// The member got it and did not begin with it: it has no leader, or has too much to do. Another may.
    NotNow(String),
    /// Sent, and not answered. It may have been done.
    Lost(String),
    /// The member does not know the token of this client any more. Nothing was done.
    Token(String),
    /// Whoever this client is may not do that. Nothing was done.
    Denied(String),
    /// It names a lease that is not there. Nothing was done.
    NoSuchLease,
    /// It is about a revision that is no longer kept. Nothing was done.
    Compacted,
    /// The answer, or the refusal, is none that a store may give.
    Broken(String),
}

impl Fault {
    /// The judgement on what the client library says.
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::GRpcStatus(status) => Self::of_status(status),
            // The words that the library has for a renewal that was answered with no time left.
            Error::LeaseKeepAliveError(reason) if reason == "lease not found" => Self::NoSuchLease,
            other => Self::Lost(other.to_string()),
        }
    }

    fn of_status(status: &Status) -> Self {
        let said = status.message();
        if never_sent(status) {
            return Self::Unreachable(said.to_owned());
        }
        let reason = said.strip_prefix("etcdserver: ").unwrap_or(said);
        let owned = || reason.to_owned();
        match (reason, status.code()) {
            ("requested lease not found", _) => Self::NoSuchLease,
            ("mvcc: required revision has been compacted", _) => Self::Compacted,
            ("no leader" | "too many requests" | "raft proposal dropped" | "not capable", _) => {
                Self::NotNow(owned())
            }
            ("invalid auth token" | "revision of auth store is old" | "user name is empty", _)
            | (_, Code::Unauthenticated) => Self::Token(owned()),
            (_, Code::PermissionDenied)
            | ("authentication failed, invalid user ID or password" | "authentication is not enabled", _) => {
                Self::Denied(owned())
            }
            // It takes less than a transaction may have, or speaks another protocol.
            (_, Code::InvalidArgument | Code::Unimplemented | Code::DataLoss | Code::OutOfRange) => {
                Self::Broken(format!("it cannot be used as a store: {reason}"))
            }
            // Also "database space exceeded": the request that fills the space is done, and answered with that.
            _ => Self::Lost(owned()),
        }
    }

    /// The judgement on why a watch was not begun. It comes as text alone, and which text it is for a token that etcd has forgotten
    /// differs from version to version.
    pub(super) fn of_cancelled(reason: &str) -> Self {
        match ["permission denied", "auth token", "auth store"]
            .iter()
            .any(|sign| reason.contains(sign))
        {
            true => Self::Token(reason.to_owned()),
            false => Self::NotNow(reason.to_owned()),
        }
    }

    /// What a caller is told who did not ask for anything to be done.
    pub(super) fn of_reading(self) -> StoreError {
        match self {
            Self::Compacted => StoreError::Unavailable("what was being read is no longer kept".to_owned()),
            Self::Broken(reason) => StoreError::Broken(reason),
            Self::NoSuchLease => StoreError::Broken("it misses a lease that nobody named".to_owned()),
            Self::Token(reason) | Self::Denied(reason) => {
                StoreError::Unavailable(format!("etcd refuses this user: {reason}"))
            }
            Self::Unreachable(reason) | Self::NotNow(reason) | Self::Lost(reason) => {
                StoreError::Unavailable(reason)
            }
        }
    }

    /// What a caller is told who asked for something to be done.
    pub(super) fn of_writing(self) -> StoreError {
        match self {
            Self::Lost(reason) => StoreError::Unknown(reason),
            other => other.of_reading(),
        }
    }
}

/// Whether there was no connection to send it on.
fn never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: Code, message: &str) -> Fault {
        Fault::of(&Error::GRpcStatus(Status::new(code, message)))
    }

    #[test]
    fn what_may_have_been_done_is_never_called_undone() {
        for message in [
            "etcdserver: request timed out",
            "etcdserver: request timed out, possibly due to previous leader failure",
            "etcdserver: request timed out, possibly due to connection lost",
            "etcdserver: server stopped",
            "etcdserver: leader changed",
            "something that no etcd of today says",
        ] {
            for code in [
                Code::Unavailable,
                Code::Unknown,
                Code::DeadlineExceeded,
                Code::Cancelled,
            ] {
                let error = told(code, message).of_writing();
                assert!(
                    matches!(error, StoreError::Unknown(_)),
                    "{code:?} {message}: {error}"
                );
            }
        }
        let full = told(
            Code::ResourceExhausted,
            "etcdserver: mvcc: database space exceeded",
        );
        assert!(matches!(full.of_writing(), StoreError::Unknown(_)));
    }

    #[test]
    fn what_was_turned_away_at_the_door_is_undone() {
        for (code, message) in [
            (Code::Unavailable, "etcdserver: no leader"),
            (Code::ResourceExhausted, "etcdserver: too many requests"),
            (Code::Unknown, "raft proposal dropped"),
            (Code::PermissionDenied, "etcdserver: permission denied"),
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
        ] {
            let error = told(code, message).of_writing();
            assert!(matches!(error, StoreError::Unavailable(_)), "{message}: {error}");
        }
        let missing = told(Code::NotFound, "etcdserver: requested lease not found");
        assert_eq!(missing, Fault::NoSuchLease);
    }

    #[test]
    fn a_watch_is_refused_in_words_alone() {
        for reason in [
            "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token",
            "etcdserver: permission denied",
            "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
        ] {
            assert!(matches!(Fault::of_cancelled(reason), Fault::Token(_)), "{reason}");
        }
        assert!(matches!(
            Fault::of_cancelled("etcdserver: no leader"),
            Fault::NotNow(_)
        ));
    }

    #[test]
    fn a_read_that_was_lost_is_only_not_there() {
        let lost = told(Code::Unavailable, "etcdserver: leader changed");
        assert!(matches!(lost.of_reading(), StoreError::Unavailable(_)));
    }
}
