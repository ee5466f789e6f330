//! Requests and answers of calls, and what opens a watch.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{Bounded, WireError, WireLimit, within};
use super::{CONTROL_BYTES_MAX, HELD_MAX, JobRef, LABELS_MAX, SLOTS_MAX, TEXT_BYTES_MAX};
use crate::pipeline::{FILE_BYTES_MAX, JOBS_MAX, JobIndex, NAME_BYTES_MAX, PipelineError};
use crate::schedule::RunnerId;

/// Bytes of the rendered mistakes of a refused pipeline: twenty, each with a line of source.
const REFUSED_BYTES_MAX: usize = 64 << 10;

/// A runner presents itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// [`PROTOCOL`](super::PROTOCOL).
    pub protocol: u16,
    /// For people.
    pub name: String,
    /// What `runs_on` may ask for.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Jobs it may hold at once.
    pub slots: u32,
    /// Attempts it still holds from an earlier connection.
    #[serde(default)]
    pub held: Vec<JobRef>,
    /// The id it had then, when it wants those attempts back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<RunnerId>,
}

/// The server knows the runner now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// [`PROTOCOL`](super::PROTOCOL), or an older one that both speak.
    pub protocol: u16,
    /// The runner's id.
    pub runner: RunnerId,
    /// Milliseconds of silence after which the runner counts as lost.
    pub lease_ms: u64,
    /// Attempts to stop and forget.
    #[serde(default)]
    pub stop: Vec<JobRef>,
}

/// A pipeline to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submit {
    /// The file as it is; the server checks it.
    pub source: String,
    /// Its name, for messages about mistakes.
    #[serde(default)]
    pub file: String,
}

/// The run exists and is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Its number.
    pub run: u64,
    /// Which life of the server gave the number: a server that starts anew counts from 1 again.
    #[serde(default)]
    pub server: u64,
}

/// The file has mistakes; no run was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// All mistakes, ready to print.
    pub message: String,
}

impl Refused {
    /// The mistakes of a file.
    pub fn new(error: &PipelineError, submit: &Submit) -> Self {
        let mut message = error.render(&submit.file, &submit.source, false);
        let mut cut = message.len().min(REFUSED_BYTES_MAX);
        while !message.is_char_boundary(cut) {
            cut -= 1;
        }
        message.truncate(cut);
        Self { message }
    }
}

/// Opens a watch: the first and only message of the client on the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The run.
    pub run: u64,
    /// The life of the server that the run belongs to; nothing takes whatever run has the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<u64>,
    /// What the watcher has of each job's log already, by position; missing ones are nothing.
    #[serde(default)]
    pub log_from: Vec<LogPlace>,
    /// Whether to send logs at all.
    #[serde(default = "yes")]
    pub logs: bool,
}

/// How much of a job's log a watcher has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPlace {
    /// Of which attempt; 0 for none. Another attempt's log is sent from its beginning.
    pub attempt: u32,
    /// Bytes.
    pub offset: u64,
}

fn yes() -> bool {
    true
}

/// Cancels a run or one job of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRun {
    /// The run.
    pub run: u64,
    /// Only this job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobIndex>,
    /// The life of the server that the run belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<u64>,
}

impl Bounded for Register {
    fn check(&self) -> Result<(), WireLimit> {
        within("name", self.name.len(), NAME_BYTES_MAX)?;
        within("labels", self.labels.len(), LABELS_MAX)?;
        within("slots", self.slots as usize, SLOTS_MAX as usize)?;
        within("held", self.held.len(), HELD_MAX)?;
        self.labels
            .iter()
            .try_for_each(|label| within("label", label.len(), NAME_BYTES_MAX))
    }
}

impl Bounded for Registered {
    fn check(&self) -> Result<(), WireLimit> {
        within("stop", self.stop.len(), HELD_MAX)
    }
}

impl Bounded for Submit {
    fn check(&self) -> Result<(), WireLimit> {
        within("source", self.source.len(), FILE_BYTES_MAX)?;
        within("file", self.file.len(), TEXT_BYTES_MAX)
    }
}

impl Bounded for Refused {
    fn check(&self) -> Result<(), WireLimit> {
        within("message", self.message.len(), REFUSED_BYTES_MAX)
    }
}

impl Bounded for Watch {
    fn check(&self) -> Result<(), WireLimit> {
        within("log_from", self.log_from.len(), JOBS_MAX)
    }
}

impl Bounded for Submitted {
    fn check(&self) -> Result<(), WireLimit> {
        Ok(())
    }
}

impl Bounded for CancelRun {
    fn check(&self) -> Result<(), WireLimit> {
        Ok(())
    }
}

/// Gives each call message its `encode` and `decode`.
macro_rules! calls {
    ($($message:ty),+) => {$(
        impl $message {
            /// The JSON of this message.
            ///
            /// # Errors
            /// [`WireError::Limit`] when this side made it too large.
            pub fn encode(&self) -> Result<Bytes, WireError> {
                self.check()?;
                let json = serde_json::to_vec(self);
                json.map(Bytes::from).map_err(|error| WireError::MalformedCall { error: error.to_string() })
            }

            /// Reads the JSON of this message.
            ///
            /// # Errors
            /// [`WireError`]; the call is to be refused.
            pub fn decode(json: &[u8]) -> Result<Self, WireError> {
                let message: Self = parse(json)?;
                message.check()?;
                Ok(message)
            }
        }
    )+};
}
calls!(Register, Registered, Submit, Submitted, Refused, Watch, CancelRun);

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, WireError> {
    within("call", json.len(), CONTROL_BYTES_MAX)?;
    serde_json::from_slice(json).map_err(|error| WireError::MalformedCall {
        error: error.to_string(),
    })
}
