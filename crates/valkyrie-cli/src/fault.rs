//! From the library's errors to what a person reads and a script tests.

use valkyrie::frame::{DecodeError, Family, HeaderError};
use valkyrie::proto::SessionError;
use valkyrie::security::Fingerprint;
use valkyrie::security::handshake::Culprit;
use valkyrie::security::trust::TrustError;
use valkyrie::transport::Fault;
use valkyrie::{
    BuildError, CallError, CloseReason, ConnectError, ErrorCode, HandshakeError, ListenError, NotifyError,
    OpenError, PingError, RecvError, Refusal, SendError, TransportError,
};
use valkyrie_registry::embedded::OpenError as StoreOpenError;
use valkyrie_registry::registrar::RegisterError;
use valkyrie_registry::store::{StoreError, WatchError};

use crate::exit::{CliError, Exit};

impl From<BuildError> for CliError {
    fn from(error: BuildError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

impl From<ListenError> for CliError {
    fn from(error: ListenError) -> Self {
        let message = error.to_string();
        match error {
            ListenError::Locator(_) => Self::new(Exit::Usage, message).hint(LOCATOR_HINT),
            ListenError::Scheme(_) => Self::new(Exit::Usage, message).hint(SCHEME_HINT),
            ListenError::Transport(error) => Self::new(transport_exit(&error, Exit::Local), message),
            _ => Self::new(Exit::Local, message),
        }
    }
}

impl From<ConnectError> for CliError {
    fn from(error: ConnectError) -> Self {
        let message = error.to_string();
        match error {
            ConnectError::Locator(_) => Self::new(Exit::Usage, message).hint(LOCATOR_HINT),
            ConnectError::Scheme(_) => Self::new(Exit::Usage, message).hint(SCHEME_HINT),
            ConnectError::Transport(error) => Self::new(transport_exit(&error, Exit::Unreachable), message),
            ConnectError::Handshake { source, .. } => handshake_fault(*source, message),
            ConnectError::Session { reason, .. } => {
                let error = Self::new(close_exit(&reason), message);
                match reason {
                    CloseReason::Error(SessionError::Decode(DecodeError::Header(HeaderError::Magic {
                        ..
                    }))) => error.hint("something else listens there, a web server perhaps; check the port"),
                    CloseReason::Refused(failure) => match failure.code {
                        ErrorCode::UNAUTHENTICATED => error.with_exit(Exit::Distrust).hint(
                            "a peer that takes no such connections says so; leave --plain or --peer-credentials away, or give it to both",
                        ),
                        code if is_about_identity(code) => {
                            error.with_exit(Exit::Distrust).hint(refused_hint(code))
                        }
                        _ => error,
                    },
                    CloseReason::LinkLost => {
                        error.hint("the peer hung up without a word; it may speak another protocol")
                    }
                    CloseReason::HandshakeTimeout(_) => error.hint(
                        "something listens there and is silent; it may speak another protocol, or hang",
                    ),
                    _ => error,
                }
            }
            _ => Self::new(Exit::Unreachable, message),
        }
    }
}

/// A handshake that came to nothing, and what a person can do about it.
fn handshake_fault(error: HandshakeError, message: String) -> CliError {
    let distrust = CliError::new(Exit::Distrust, message.clone());
    match error {
        HandshakeError::Trust(error) => match error {
            TrustError::Unknown(peer) => distrust.hint(trust_hint(peer.fingerprint())),
            TrustError::Untrusted { fingerprint, .. } => distrust.hint(trust_hint(fingerprint)),
            TrustError::Changed { place, .. } => distrust.hint(format!(
                "only if its operator says that the peer has a new identity: valkyrie keys forget {place}"
            )),
            TrustError::UnknownIssuer { .. } => {
                distrust.hint("`valkyrie keys trust FILE` trusts an authority by its document")
            }
            TrustError::Expired(_) => {
                distrust.hint("its operator has to renew its identity, or one of the two clocks is wrong")
            }
            TrustError::AuthorityExpired(_) => {
                distrust.hint("its newer document is taken with `valkyrie keys trust FILE`")
            }
            TrustError::NotYetValid(_) => distrust.hint("one of the two clocks may be wrong"),
            TrustError::NotExpected { .. } => {
                distrust.hint("nothing was sent; check the locator and --trust")
            }
            _ => distrust,
        },
        HandshakeError::Refused(refusal) => distrust.hint(refused_hint(refusal.code)),
        HandshakeError::RefusedInClear(_) => distrust,
        HandshakeError::Frame(DecodeError::Header(HeaderError::Magic { .. })) => {
            CliError::new(Exit::Protocol, message)
                .hint("something else listens there, a web server perhaps; check the port")
        }
        HandshakeError::LinkLost => CliError::new(Exit::Unreachable, message)
            .hint("the peer hung up without a word; it may speak another protocol"),
        HandshakeError::TimedOut => CliError::new(Exit::Unreachable, message)
            .hint("something listens there and is silent; it may speak another protocol, or hang"),
        HandshakeError::Busy { .. } => CliError::new(Exit::Unreachable, message),
        error if error.culprit() == Culprit::Peer => CliError::new(Exit::Protocol, message),
        _ => CliError::new(Exit::Local, message),
    }
}

/// The peer says that it is about who this side is.
fn is_about_identity(code: ErrorCode) -> bool {
    matches!(code.family(), Some(Family::Auth | Family::Security))
}

/// What somebody can do whom the peer refuses.
fn refused_hint(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::CREDENTIALS_EXPIRED => {
            "what this side showed is not good at this time: look with `valkyrie keys show`, or `valkyrie token show`; one of the two \
             clocks may be wrong"
        }
        ErrorCode::IDENTITY_REVOKED => {
            "only those who revoked it can say why: the peer's operator, or this side's authority"
        }
        _ => TRUST_US_HINT,
    }
}

fn trust_hint(fingerprint: Fingerprint) -> String {
    format!(
        "compare the fingerprint with what `valkyrie keys show` says there, then: --trust {fingerprint}, \
         or for good: valkyrie keys trust {fingerprint}"
    )
}

impl From<CallError> for CliError {
    fn from(error: CallError) -> Self {
        let message = error.to_string();
        let retry_after_ms = error.retry_after_ms();
        let described = match error {
            CallError::Failed(failure) => match failure.code {
                ErrorCode::DEADLINE_EXCEEDED => Self::new(Exit::Deadline, message),
                ErrorCode::PERMISSION_DENIED => Self::new(Exit::Failed, message)
                    .hint("the peer's policy says who may do what; its operator can look with `valkyrie policy explain`"),
                ErrorCode::NOT_FOUND => Self::new(Exit::Failed, message)
                    .hint("`valkyrie call LOCATOR describe services` lists what a valkyrie server has"),
                _ => Self::new(Exit::Failed, message),
            },
            CallError::DeadlineExceeded => {
                Self::new(Exit::Deadline, message).hint("allow more with --timeout")
            }
            CallError::NotSent(refusal) => Self::new(refusal_exit(&refusal), message),
            CallError::Method(_) => Self::new(Exit::Usage, message),
            CallError::Lost(reason) => Self::new(close_exit(&reason), message),
            _ => Self::new(Exit::Unreachable, message),
        };
        match retry_after_ms {
            Some(ms) => described.hint(format!("the peer asks to try again in {ms} ms")),
            None => described,
        }
    }
}

impl From<PingError> for CliError {
    fn from(error: PingError) -> Self {
        let message = error.to_string();
        match error {
            PingError::Lost(reason) => Self::new(close_exit(&reason), message),
            _ => Self::new(Exit::Unreachable, message),
        }
    }
}

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> Self {
        let message = error.to_string();
        match error {
            OpenError::Refused(refusal) => Self::new(refusal_exit(&refusal), message),
            _ => Self::new(Exit::Usage, message),
        }
    }
}

impl From<NotifyError> for CliError {
    fn from(error: NotifyError) -> Self {
        let message = error.to_string();
        match error {
            NotifyError::NotSent(refusal) => Self::new(refusal_exit(&refusal), message),
            _ => Self::new(Exit::Usage, message),
        }
    }
}

impl From<SendError> for CliError {
    fn from(error: SendError) -> Self {
        Self::new(refusal_exit(&error.refusal), error.to_string())
    }
}

impl From<RecvError> for CliError {
    fn from(error: RecvError) -> Self {
        let message = error.to_string();
        match error {
            RecvError::Reset(failure) if failure.code == ErrorCode::DEADLINE_EXCEEDED => {
                Self::new(Exit::Deadline, message)
            }
            RecvError::Lost(reason) => Self::new(close_exit(&reason), message),
            _ => Self::new(Exit::Failed, message),
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Unavailable(_) => Self::new(Exit::Unreachable, message),
            StoreError::Unknown(_) => {
                Self::new(Exit::Unreachable, message).hint("`valkyrie registry ls` says what is there now")
            }
            StoreError::ReadOnly(_) => Self::new(Exit::Failed, message)
                .hint("a node becomes a member with `valkyrie serve --swim --join LOCATOR`, and who fails is taken out by the others"),
            StoreError::Denied(_) => Self::new(Exit::Failed, message).hint(
                "everybody writes what is their own; more is for whom the registry's policy gives registry-operator, \
                 and without a policy for the registry's own identity",
            ),
            _ => Self::new(Exit::Failed, message),
        }
    }
}

impl From<WatchError> for CliError {
    fn from(error: WatchError) -> Self {
        let message = error.to_string();
        match error {
            WatchError::Store(error) => error.into(),
            _ => Self::new(Exit::Failed, message).hint("a watch without --after begins at what is there now"),
        }
    }
}

impl From<RegisterError> for CliError {
    fn from(error: RegisterError) -> Self {
        let message = error.to_string();
        match error {
            RegisterError::Store(error) => error.into(),
            RegisterError::Seal(_) => Self::new(Exit::Usage, message),
            _ => Self::new(Exit::Failed, message),
        }
    }
}

impl From<StoreOpenError> for CliError {
    fn from(error: StoreOpenError) -> Self {
        let described = Self::new(Exit::Local, error.to_string());
        match error {
            StoreOpenError::Corrupt { .. } => {
                described.hint("started again it begins anew, and agents that are alive register again")
            }
            _ => described,
        }
    }
}

/// The code of a session's end that was not asked for.
pub(crate) fn close_exit(reason: &CloseReason) -> Exit {
    match reason {
        CloseReason::Error(_) | CloseReason::Refused(_) => Exit::Protocol,
        _ => Exit::Unreachable,
    }
}

fn refusal_exit(refusal: &Refusal) -> Exit {
    match refusal {
        Refusal::MessageSize { .. } | Refusal::Misuse(_) => Exit::Usage,
        Refusal::Reset(_) => Exit::Failed,
        _ => Exit::Unreachable,
    }
}

fn transport_exit(error: &TransportError, otherwise: Exit) -> Exit {
    match error {
        TransportError::PermissionDenied { .. }
        | TransportError::AddressInUse { .. }
        | TransportError::AddressNotAvailable { .. } => Exit::Local,
        TransportError::Untrusted { .. } => Exit::Distrust,
        error if error.fault() == Fault::Caller => Exit::Usage,
        error if error.fault() == Fault::Machine => Exit::Local,
        _ => otherwise,
    }
}

pub(crate) const TRUST_US_HINT: &str = "the peer does not trust this side: its operator runs `valkyrie keys trust` with what \
                             `valkyrie keys show --fingerprint` says here";

const LOCATOR_HINT: &str = "locators look like tcp://host:port, uds:///absolute/path or uds://@name";

const SCHEME_HINT: &str =
    "this program speaks tcp, uds, quic, auto, ws, wss, http, https, redis and rediss, each followed by ://";
