//! What someone does who wants a pipeline run: submit, watch, cancel.
//!
//! [`CiClient`] keeps a connection to a control plane up. A watch goes on over a lost connection where
//! it was. It shows nothing; see [`progress`](crate::progress) for that.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use valkyrie_endpoint::{
    BuildError, CallError, Class, ConnectError, Connection, Dialer, DialerError, Endpoint, Kind, Locator,
    Message, OpenError, RecvError, Redial, SendError, WhileDown,
};
use valkyrie_security::trust::UnknownPeer;

use crate::access::Access;
use crate::log::LogRecord;
use crate::schedule::{Attempt, RunResult};
use crate::wire::{
    CancelRun, FromServer, LogFrame, LogPlace, METHOD_CANCEL, METHOD_SUBMIT, METHOD_WATCH, Refused, SERVICE,
    StatusUpdate, Submit, Submitted, Watch, WireError,
};

/// How long a call may take.
const CALL_WITHIN: Duration = Duration::from_secs(30);
/// How long a watch looks for a server whose connection was lost.
const RECONNECT_WITHIN: Duration = Duration::from_secs(30);
/// The longest wait between two attempts.
const REDIAL_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long the server may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The endpoint could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// There is no server to talk to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server did not answer in time.
    #[error("{0} did not answer in time")]
    Silent(Locator),
    /// The connection was lost and could not be made again.
    #[error("the connection to the server was lost: {0}; the run goes on there")]
    Lost(#[from] DialerError),
    /// The pipeline file has mistakes; no run was made.
    #[error("{}", .0.message.trim_end())]
    Refused(Refused),
    /// The call had no answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The stream could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The server ended the watch.
    #[error("the server ended the watch: {0}")]
    Watch(RecvError),
    /// The watch could not be asked for.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The server left out log bytes.
    #[error("the server left out log bytes {expected} to {found} of job {job}")]
    Gap {
        /// The job's position.
        job: u32,
        /// The first missing byte.
        expected: u64,
        /// Where the log went on.
        found: u64,
    },
    /// A message could not be written or read.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Whoever should take the updates is gone.
    #[error("nobody takes what the watch sees")]
    Unwatched,
}

impl ClientError {
    /// The server, where nobody vouches for it and somebody may be asked.
    pub fn unknown_peer(&self) -> Option<&UnknownPeer> {
        match self {
            Self::Connect(error) => error.unknown_peer(),
            _ => None,
        }
    }
}

/// What a watch sees.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Update {
    /// How the run stands.
    Status(StatusUpdate),
    /// What a job printed, every byte of an attempt once and in order.
    Log(Attempt, LogRecord),
}

/// A connection to a control plane.
#[derive(Clone, Debug)]
pub struct CiClient {
    endpoint: Endpoint,
    dialer: Dialer,
}

impl CiClient {
    /// Connects. The first connection has to succeed within `within`; later ones are made as needed. A server that nobody
    /// vouches for may be asked about: see [`ClientError::unknown_peer`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn connect(server: &Locator, access: &Access, within: Duration) -> Result<Self, ClientError> {
        let endpoint = access.endpoint().build()?;
        // Dialled once by hand, because here a refusal is an answer and not a reason to try again.
        let first = tokio::time::timeout(within, endpoint.connect_expecting(server, access.expected())).await;
        let first = first.map_err(|_| ClientError::Silent(server.clone()))??;
        let redial = Redial {
            wait_max: REDIAL_WAIT_MAX,
            while_down: WhileDown::Wait(RECONNECT_WITHIN),
            ..Redial::default()
        };
        let dialer = endpoint.dialer_expecting(server, access.expected(), redial)?;
        dialer.connection().await?;
        first.close();
        Ok(Self { endpoint, dialer })
    }

    /// Submits a pipeline file. `file` is its name, for messages.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with every mistake, and the rest.
    pub async fn submit(&self, source: String, file: String) -> Result<Submitted, ClientError> {
        let submit = Submit { source, file }.encode()?;
        let answer = self.call(METHOD_SUBMIT, submit).await?;
        match Submitted::decode(&answer) {
            Ok(submitted) => Ok(submitted),
            Err(unreadable) => {
                Err(Refused::decode(&answer).map_or(ClientError::Wire(unreadable), ClientError::Refused))
            }
        }
    }

    /// Asks for a run to be cancelled. Its end is seen by watching.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cancel(&self, run: u64, server: Option<u64>) -> Result<(), ClientError> {
        let cancel = CancelRun {
            run,
            job: None,
            server,
        };
        self.call(METHOD_CANCEL, cancel.encode()?).await.map(|_| ())
    }

    async fn call(&self, method: &str, payload: Bytes) -> Result<Bytes, ClientError> {
        let connection = self.dialer.connection().await?;
        let call = connection.call((SERVICE, method), payload);
        Ok(call.class(Class::Job).timeout(CALL_WITHIN).await?)
    }

    /// Watches a run to its end, however often the connection is lost. `updates` is filled as fast as
    /// it is emptied.
    ///
    /// # Errors
    /// [`ClientError`]; the run is not affected.
    pub async fn watch(
        &self,
        run: u64,
        server: Option<u64>,
        logs: bool,
        updates: &mpsc::Sender<Update>,
    ) -> Result<RunResult, ClientError> {
        let mut watch = Watch {
            run,
            server,
            log_from: Vec::new(),
            logs,
        };
        loop {
            let connection = self.dialer.connection().await?;
            match watch_once(&connection, &mut watch, updates).await {
                Err(ClientError::Watch(RecvError::Lost(_))) => connection.close(),
                ended => return ended,
            }
        }
    }

    /// Ends the connection.
    pub async fn close(self) {
        let endpoint = self.endpoint.clone();
        drop(self.dialer);
        endpoint.drain(GOODBYE).await;
    }
}

/// Watches over one connection. `watch` keeps up with what has arrived.
async fn watch_once(
    connection: &Connection,
    watch: &mut Watch,
    updates: &mpsc::Sender<Update>,
) -> Result<RunResult, ClientError> {
    let (mut send, mut recv) = connection
        .open((SERVICE, METHOD_WATCH))
        .class(Class::Data)
        .await?;
    send.send(Message::data(watch.encode()?)).await?;
    loop {
        let message = recv.recv().await.map_err(ClientError::Watch)?;
        let Some(message) = message else {
            return Err(ClientError::Watch(RecvError::Lost(
                valkyrie_endpoint::CloseReason::LinkLost,
            )));
        };
        let update = if message.kind == Kind::LOG {
            let Ok(LogFrame::Data { at, record }) = LogFrame::decode(&message.payload) else {
                continue;
            };
            arrived(watch, at.attempt, &record)?;
            Update::Log(at.attempt, record)
        } else {
            match FromServer::decode(message.kind.byte(), &message.payload) {
                Ok(FromServer::Status(status)) => Update::Status(status),
                // A newer server may say more.
                _ => continue,
            }
        };
        let end = match update {
            Update::Status(StatusUpdate::End { result, .. }) => Some(result),
            _ => None,
        };
        updates.send(update).await.map_err(|_| ClientError::Unwatched)?;
        if let Some(result) = end {
            send.finish();
            return Ok(result);
        }
    }
}

/// Notes that a record has arrived, and checks that nothing is missing before it.
fn arrived(watch: &mut Watch, attempt: Attempt, record: &LogRecord) -> Result<(), ClientError> {
    let at = record.job.as_usize();
    if at >= crate::pipeline::JOBS_MAX {
        return Ok(());
    }
    if watch.log_from.len() <= at {
        watch.log_from.resize(at + 1, LogPlace::default());
    }
    let place = &mut watch.log_from[at];
    if place.attempt != attempt.0 {
        *place = LogPlace {
            attempt: attempt.0,
            offset: 0,
        };
    }
    if record.offset != place.offset {
        return Err(ClientError::Gap {
            job: record.job.0,
            expected: place.offset,
            found: record.offset,
        });
    }
    place.offset = record.end();
    Ok(())
}
