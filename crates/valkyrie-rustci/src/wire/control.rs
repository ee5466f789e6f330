//! All JSON messages of frames, by who sends them, with their one encoder and decoder.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Bounded, WireError};
use super::job::{
    Accept, Cancel, CancelAck, Complete, Failed, Lease, LeaseReply, Progress, Reject, Request, Settled, Start,
};
use super::observe::{Health, Metrics, StatusUpdate};
use super::{CONTROL_BYTES_MAX, Kind};

/// Defines the messages of one direction: variant, frame kind, payload.
macro_rules! direction {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $kind:ident($payload:ty)),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* $variant($payload),)+
        }

        impl $name {
            /// The kind of frame this travels in.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$variant(_) => Kind::$kind,)+
                }
            }

            /// The payload.
            ///
            /// # Errors
            /// [`WireError::Limit`] or [`WireError::TooLong`] when this side made it too large.
            pub fn encode(&self) -> Result<Bytes, WireError> {
                match self {
                    $(Self::$variant(payload) => encode(Kind::$kind, payload),)+
                }
            }

            /// Reads a payload of a frame with this kind code.
            ///
            /// # Errors
            /// [`WireError`]; the message is to be ignored.
            pub fn decode(kind: u8, payload: &[u8]) -> Result<Self, WireError> {
                match Kind::from_code(kind) {
                    $(Some(Kind::$kind) => decode(Kind::$kind, payload).map(Self::$variant),)+
                    _ => Err(WireError::UnexpectedKind(kind)),
                }
            }
        }

        $(impl From<$payload> for $name {
            fn from(payload: $payload) -> Self {
                Self::$variant(payload)
            }
        })+
    };
}

direction! {
    /// What a server sends in frames: to runners, and [`StatusUpdate`]s to watchers.
    FromServer {
        /// An offer.
        Request = Request(Request),
        /// Stop.
        Cancel = Cancel(Cancel),
        /// The lease is renewed.
        Lease = Lease(LeaseReply),
        /// A final report was settled.
        Settled = Complete(Settled),
        /// How a run stands.
        Status = Status(StatusUpdate),
    }
}

direction! {
    /// What a runner sends in frames.
    FromRunner {
        /// It takes the job.
        Accept = Accept(Accept),
        /// It does not.
        Reject = Reject(Reject),
        /// The first step starts.
        Start = Start(Start),
        /// A step started or ended.
        Progress = Progress(Progress),
        /// The attempt succeeded.
        Complete = Complete(Complete),
        /// The attempt ended otherwise.
        Failed = Failed(Failed),
        /// A cancel was heard.
        CancelAck = Cancel(CancelAck),
        /// It is alive and holds these.
        Lease = Lease(Lease),
        /// Numbers.
        Metrics = Metrics(Metrics),
        /// Whether it can take jobs.
        Health = Health(Health),
    }
}

fn encode<T: Serialize + Bounded>(kind: Kind, payload: &T) -> Result<Bytes, WireError> {
    payload.check()?;
    let json = serde_json::to_vec(payload).map_err(|error| WireError::Malformed {
        kind,
        error: error.to_string(),
    })?;
    short_enough(kind, json.len())?;
    Ok(Bytes::from(json))
}

fn decode<T: DeserializeOwned + Bounded>(kind: Kind, payload: &[u8]) -> Result<T, WireError> {
    short_enough(kind, payload.len())?;
    let message: T = serde_json::from_slice(payload).map_err(|error| WireError::Malformed {
        kind,
        error: error.to_string(),
    })?;
    message.check()?;
    Ok(message)
}

fn short_enough(kind: Kind, length: usize) -> Result<(), WireError> {
    match length <= CONTROL_BYTES_MAX {
        true => Ok(()),
        false => Err(WireError::TooLong {
            kind,
            length,
            max: CONTROL_BYTES_MAX,
        }),
    }
}
