//! Errors of stores as codes that travel, and back.
//!
//! A code says two things: whether anything was done, and whether it may work later. What a store refused for a reason that has numbers in
//! it travels in the answer instead ([`crate::wire::Refused`]).

use valkyrie_endpoint::{CallError, DialerError, ErrorCode, Failure, OpenError, Processed, RecvError};
use valkyrie_frame::Family;
use valkyrie_registry::store::StoreError;

use crate::wire::WireError;

/// What an operation does to a store, and so what it means that its answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing: it can always be asked again.
    Reads,
    /// Something: nobody knows whether it was done.
    Writes,
}

impl Effect {
    /// An operation that may have been carried out and was not answered.
    fn unanswered(self, text: String) -> StoreError {
        match self {
            Self::Reads => StoreError::Unavailable(text),
            Self::Writes => StoreError::Unknown(text),
        }
    }
}

/// What a peer is told that a store could not serve.
//= protocol/registry.md#failures
pub(crate) fn to_failure(error: StoreError) -> Failure {
    match error {
        StoreError::Unavailable(text) => Failure::new(ErrorCode::UNAVAILABLE, text),
        StoreError::Unknown(text) => Failure::new(ErrorCode::LINK_LOST, text),
        StoreError::Broken(text) => Failure::new(ErrorCode::INTERNAL, text),
        StoreError::Denied(text) => Failure::new(ErrorCode::PERMISSION_DENIED, text),
        StoreError::ReadOnly(text) => Failure::new(ErrorCode::UNIMPLEMENTED, text),
        // What has numbers in it has been answered before this.
        StoreError::Refused(error) => Failure::new(ErrorCode::INVALID_ARGUMENT, error.to_string()),
        other => Failure::new(ErrorCode::INTERNAL, other.to_string()),
    }
}

/// What a registry's failure says about its store.
//= protocol/registry.md#failures
pub(crate) fn of_failure(failure: Failure, effect: Effect) -> StoreError {
    let Failure { code, text, .. } = failure;
    match code {
        ErrorCode::UNAVAILABLE
        | ErrorCode::REFUSED
        | ErrorCode::DRAINING
        | ErrorCode::OVERLOADED
        | ErrorCode::RESOURCE_EXHAUSTED => StoreError::Unavailable(text),
        ErrorCode::INTERNAL => StoreError::Broken(text),
        ErrorCode::UNIMPLEMENTED if effect == Effect::Writes => StoreError::ReadOnly(text),
        ErrorCode::NOT_FOUND
        | ErrorCode::UNIMPLEMENTED
        | ErrorCode::INVALID_ARGUMENT
        | ErrorCode::MESSAGE_SIZE => {
            StoreError::Broken(format!("the peer is no registry that we can use: {text}"))
        }
        code if matches!(code.family(), Some(Family::Auth | Family::Security)) => StoreError::Denied(text),
        ErrorCode::LINK_LOST => effect.unanswered(text),
        code => effect.unanswered(format!("{code}: {text}")),
    }
}

pub(crate) fn of_call(error: CallError, effect: Effect) -> StoreError {
    match error {
        CallError::Failed(failure) => of_failure(failure, effect),
        CallError::NoConnection(error) => of_dialer(&error),
        error if error.processed() == Processed::No => StoreError::Unavailable(error.to_string()),
        error => effect.unanswered(error.to_string()),
    }
}

pub(crate) fn of_dialer(error: &DialerError) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

pub(crate) fn of_open(error: &OpenError) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

/// Streams read, so what breaks one has done nothing.
pub(crate) fn of_recv(error: RecvError) -> StoreError {
    match error {
        RecvError::Reset(failure) => of_failure(failure, Effect::Reads),
        error => StoreError::Unavailable(error.to_string()),
    }
}

/// The registry said something that cannot be read.
pub(crate) fn unreadable(error: &WireError) -> StoreError {
    StoreError::Broken(format!("the registry's answer cannot be read: {error}"))
}

/// The client said something that cannot be read.
pub(crate) fn invalid(error: &WireError) -> Failure {
    Failure::new(
        ErrorCode::INVALID_ARGUMENT,
        format!("the request cannot be read: {error}"),
    )
}

/// The store said something that cannot be passed on.
pub(crate) fn unsayable(error: &WireError) -> Failure {
    Failure::new(
        ErrorCode::INTERNAL,
        format!("the store's answer cannot be passed on: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_comes_back_as_what_it_was() {
        let text = || "why".to_owned();
        for error in [
            StoreError::Unavailable(text()),
            StoreError::Unknown(text()),
            StoreError::Broken(text()),
            StoreError::Denied(text()),
            StoreError::ReadOnly(text()),
        ] {
            assert_eq!(of_failure(to_failure(error.clone()), Effect::Writes), error);
        }
    }

    #[test]
    fn an_answer_that_was_lost_is_unknown_only_where_something_may_have_been_done() {
        let lost = |effect| of_call(CallError::DeadlineExceeded, effect);
        assert!(matches!(lost(Effect::Writes), StoreError::Unknown(_)));
        assert!(matches!(lost(Effect::Reads), StoreError::Unavailable(_)));
        for code in [
            ErrorCode::CANCELLED,
            ErrorCode::HANDLER_PANICKED,
            ErrorCode::new(999),
        ] {
            let error = of_failure(Failure::new(code, ""), Effect::Writes);
            assert!(matches!(error, StoreError::Unknown(_)), "{code}: {error}");
        }
        for code in [ErrorCode::REFUSED, ErrorCode::DRAINING, ErrorCode::OVERLOADED] {
            let error = of_failure(Failure::new(code, ""), Effect::Writes);
            assert!(matches!(error, StoreError::Unavailable(_)), "{code}: {error}");
        }
        assert!(matches!(
            of_call(CallError::NotProcessed, Effect::Writes),
            StoreError::Unavailable(_)
        ));
    }
}
