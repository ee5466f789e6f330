//! A watch that outlives the connection that it began on.
//!
//! It is where it has come to, and a stream that goes on from there. What has arrived and was not handed out is forgotten with a stream, and comes
//! again on the next: so nothing is missed and nothing comes twice.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::{Duration, Instant, timeout};
use valkyrie_endpoint::{RecvError, RecvStream, SendStream};
use valkyrie_registry::Prefix;
use valkyrie_registry::store::{Batch, Certificate, Change, Revision, StoreError, Watch, WatchError};

use super::{BoxFuture, RemoteStore, no_connection, out_of_turn};
use crate::fault::{of_recv, unreadable};
use crate::wire::{Request, WatchMessage};

pub(super) struct RemoteWatch {
    store: RemoteStore,
    prefix: Prefix,
    /// Up to here everything was handed out.
    after: Revision,
    stream: Option<Stream>,
    /// What has arrived and was not handed out.
    arrived: Arrived,
    /// How often in a row it has gone on and was lost again at once.
    resumes: u32,
}

/// Our direction is kept open for as long as the watch is wanted.
struct Stream {
    _send: SendStream,
    recv: RecvStream,
    since: Instant,
}

#[derive(Default)]
struct Arrived {
    changes: VecDeque<Arc<Change>>,
    /// How far they go.
    revision: Revision,
    certificate: Certificate,
}

impl RemoteWatch {
    pub(super) async fn begin(
        store: RemoteStore,
        prefix: Prefix,
        after: Revision,
    ) -> Result<Self, WatchError> {
        let mut watch = Self {
            store,
            prefix,
            after,
            stream: None,
            arrived: Arrived::default(),
            resumes: 0,
        };
        watch.stream = Some(watch.open().await?);
        Ok(watch)
    }

    /// Opens a stream from where the watch is, and waits until the registry has agreed.
    async fn open(&self) -> Result<Stream, WatchError> {
        for _ in 0..OPENINGS {
            let request = Request::Watch {
                prefix: self.prefix.clone(),
                after: self.after,
            };
            let (send, mut recv) = self.store.open(&request).await?;
            let said = timeout(self.store.call_timeout, recv.recv()).await;
            let message = match said {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return Err(out_of_turn().into()),
                // It was opened on a connection that was about to end.
                Ok(Err(RecvError::Lost(_))) if self.store.has_another() => continue,
                Ok(Err(error)) => return Err(of_recv(error).into()),
                Err(_) => {
                    let text = "the registry did not begin the watch in time".to_owned();
                    return Err(StoreError::Unavailable(text).into());
                }
            };
            return match WatchMessage::decode(&message.payload).map_err(|error| unreadable(&error))? {
                WatchMessage::Begun => Ok(Stream {
                    _send: send,
                    recv,
                    since: Instant::now(),
                }),
                WatchMessage::Ended(end) => Err(end.into()),
                WatchMessage::Batch(_) => Err(out_of_turn().into()),
            };
        }
        Err(no_connection().into())
    }

    /// Waits for the next message of the stream. `None`: the connection is over, or about to be.
    async fn message(stream: &mut Stream) -> Result<Option<WatchMessage>, WatchError> {
        let connection = stream.recv.connection().clone();
        let received = tokio::select! {
            // What has arrived is taken before anybody leaves.
            biased;
            received = stream.recv.recv() => received,
            _ = connection.peer_draining() => return Ok(None),
        };
        match received {
            Ok(Some(message)) => {
                let message = WatchMessage::decode(&message.payload);
                Ok(Some(message.map_err(|error| unreadable(&error))?))
            }
            // A registry ends its direction only after it has said why.
            Ok(None) => Err(out_of_turn().into()),
            Err(RecvError::Lost(_)) => Ok(None),
            Err(error) => Err(of_recv(error).into()),
        }
    }

    fn take(&mut self, batch: Batch) -> Result<(), WatchError> {
        let covered =
            |change: &Arc<Change>| change.events.iter().all(|event| self.prefix.covers(event.key()));
        let first = batch.changes.first().map(|change| change.revision);
        if first.is_some_and(|first| first <= self.after)
            || batch.revision < self.after
            || !batch.changes.iter().all(covered)
        {
            let text = "the registry gives changes that were not asked for".to_owned();
            return Err(StoreError::Broken(text).into());
        }
        self.arrived = Arrived {
            changes: batch.changes.into(),
            revision: batch.revision,
            certificate: batch.certificate,
        };
        Ok(())
    }

    /// Hands out what has arrived, `max` changes at most.
    fn hand_out(&mut self, max: usize) -> Batch {
        let arrived = &mut self.arrived;
        let count = arrived.changes.len().min(max.max(1));
        let changes: Vec<_> = arrived.changes.drain(..count).collect();
        self.after = match (arrived.changes.is_empty(), changes.last()) {
            (false, Some(last)) => last.revision,
            _ => arrived.revision,
        };
        Batch {
            changes,
            revision: self.after,
            certificate: arrived.certificate.clone(),
        }
    }
}

impl Watch for RemoteWatch {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Batch, WatchError>> {
        Box::pin(async move {
            loop {
                if !self.arrived.changes.is_empty() {
                    return Ok(self.hand_out(max));
                }
                let Some(stream) = &mut self.stream else {
                    let stream = self.open().await?;
                    self.stream = Some(stream);
                    continue;
                };
                match Self::message(stream).await? {
                    Some(WatchMessage::Batch(batch)) => {
                        self.resumes = 0;
                        self.take(batch)?;
                        if self.arrived.changes.is_empty() {
                            return Ok(self.hand_out(max));
                        }
                    }
                    Some(WatchMessage::Ended(end)) => return Err(end.into()),
                    Some(WatchMessage::Begun) => return Err(out_of_turn().into()),
                    None => {
                        if stream.since.elapsed() >= STEADY {
                            self.resumes = 0;
                        }
                        self.stream = None;
                        self.resumes += 1;
                        if self.resumes > RESUMES_MAX || !self.store.has_another() {
                            return Err(no_connection().into());
                        }
                    }
                }
            }
        })
    }
}

/// How often a stream is opened that is lost before the registry has said anything.
const OPENINGS: u32 = 3;
/// How often in a row a watch goes on that is lost again at once, so that one that cannot go on is told rather than tried for ever.
const RESUMES_MAX: u32 = 8;
/// How long a stream has to last for its loss to be the first again, as for a connection that is dialled.
const STEADY: Duration = Duration::from_secs(10);
