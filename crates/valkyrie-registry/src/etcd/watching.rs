//! Watches: a stream of etcd's, and another from where that one broke, so that whoever reads sees one.
//!
//! A stream is begun at the last revision that was seen rather than at the one after it, and what was seen is skipped. For a stream
//! whose first revision has been compacted away etcd says so; but up to version 3.4.35 it leaves out, without a word, a key that was
//! deleted at the very revision that it compacted at. Beginning one earlier, that revision is never the first that we lack.

use std::collections::VecDeque;
use std::sync::Arc;

use etcd_client::{Client, WatchOptions, WatchStream};
use tokio::sync::watch;
use tokio::time::Instant;
use valkyrie_transport::BoxFuture;

use super::changes::Changes;
use super::cluster::{ANSWER_TIME_MAX, Again, Cluster, Round, attempt};
use super::fault::Fault;
use super::place::{Place, revision_number};
use crate::Prefix;
use crate::store::{Batch, Certificate, Change, Revision, StoreError, Watch, WatchError};

/// What is watched.
#[derive(Clone)]
struct Watched {
    cluster: Arc<Cluster>,
    place: Place,
    prefix: Prefix,
}

struct EtcdWatch {
    watched: Watched,
    stream: Stream,
    changes: Changes,
    /// Changes that are whole and not yet given to the reader.
    ready: VecDeque<Arc<Change>>,
    /// Up to here the reader has everything.
    given: Revision,
}

enum Stream {
    Open(Box<Live>),
    /// It is kept here so that a wait that is given up does not begin anew.
    Opening(BoxFuture<'static, Result<Box<Live>, WatchError>>),
}

/// A stream at a member.
struct Live {
    stream: WatchStream,
    silences: watch::Receiver<u64>,
}

/// Begins a watch.
pub(super) async fn watch(
    cluster: &Arc<Cluster>,
    place: &Place,
    prefix: &Prefix,
    after: Revision,
) -> Result<Box<dyn Watch>, WatchError> {
    let watched = Watched {
        cluster: Arc::clone(cluster),
        place: place.clone(),
        prefix: prefix.clone(),
    };
    let live = open(watched.clone(), after).await?;
    Ok(Box::new(EtcdWatch {
        changes: Changes::after(place.clone(), after),
        watched,
        stream: Stream::Open(live),
        ready: VecDeque::new(),
        given: after,
    }))
}

/// A stream from a revision on, at whichever member has one.
async fn open(watched: Watched, after: Revision) -> Result<Box<Live>, WatchError> {
    let Some(number) = revision_number(after) else {
        let revision = watched.cluster.revision().await?;
        return Err(WatchError::Behind { revision });
    };
    let (start, end) = watched.place.range(&watched.prefix);
    let options = WatchOptions::new()
        .with_range(end)
        // Zero would mean from now on; there is no change of revision 1.
        .with_start_revision(number.max(1))
        .with_progress_notify()
        .with_fragment();
    let cluster = &*watched.cluster;
    let mut round = Round::new(cluster, Again::Yes);
    loop {
        let index = cluster.asked();
        let member = cluster.member(index);
        let silences = member.silences();
        let until = round.deadline.min(Instant::now() + ANSWER_TIME_MAX);
        let ask = |client: &Client| {
            let mut watches = client.watch_client().max_decoding_message_size(MESSAGE_BYTES_MAX);
            let (start, options) = (start.clone(), options.clone());
            async move {
                let mut stream = watches.watch(start, Some(options)).await?;
                let first = stream.message().await?;
                Ok((stream, first))
            }
        };
        let fault = match attempt(member, &member.watches, until, &ask).await {
            Ok((stream, Some(first))) if first.created() && !first.canceled() => {
                // This member may only be late, so the cluster is asked.
                if cluster.revision_of(first.header())? < after {
                    let revision = cluster.revision().await?;
                    if revision < after {
                        return Err(WatchError::Behind { revision });
                    }
                }
                return Ok(Box::new(Live { stream, silences }));
            }
            Ok((_, Some(first))) => Fault::of_cancelled(first.cancel_reason()),
            Ok((_, None)) => Fault::NotNow("a watch ended before it began".to_owned()),
            Err(fault) => fault,
        };
        round
            .after(index, &member.watches, fault)
            .await
            .map_err(Fault::of_reading)?;
    }
}

impl EtcdWatch {
    /// Goes on after the last change that came whole.
    fn open_again(&mut self) {
        self.changes.forget_parts();
        let opening = open(self.watched.clone(), self.changes.seen());
        self.stream = Stream::Opening(Box::pin(opening));
    }

    /// Waits for what comes next on the stream and takes it.
    async fn turn(&mut self) -> Result<(), WatchError> {
        match &mut self.stream {
            Stream::Opening(opening) => match opening.await {
                Ok(live) => self.stream = Stream::Open(live),
                Err(error) => {
                    self.open_again();
                    return Err(error);
                }
            },
            Stream::Open(live) => {
                let message = tokio::select! {
                    message = live.stream.message() => message,
                    // Its sender lives as long as the cluster, which is kept here.
                    _ = live.silences.changed() => Ok(None),
                };
                match message {
                    Ok(Some(message)) if message.compact_revision() > 0 => {
                        let oldest = Revision::new(message.compact_revision().unsigned_abs());
                        return Err(WatchError::Compacted { oldest });
                    }
                    Ok(Some(message)) if !message.canceled() => {
                        let revision = self.watched.cluster.revision_of(message.header())?;
                        self.changes.take(message.0, revision, &mut self.ready)?;
                    }
                    Ok(_) => self.open_again(),
                    Err(error) => match Fault::of(&error) {
                        Fault::Broken(reason) => return Err(StoreError::Broken(reason).into()),
                        _ => self.open_again(),
                    },
                }
            }
        }
        Ok(())
    }
}

impl Watch for EtcdWatch {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Batch, WatchError>> {
        Box::pin(async move {
            while self.ready.is_empty() && self.changes.seen() <= self.given {
                self.turn().await?;
            }
            let count = self.ready.len().min(max.max(1));
            let changes: Vec<_> = self.ready.drain(..count).collect();
            self.given = match changes.last() {
                Some(last) if !self.ready.is_empty() => last.revision,
                _ => self.changes.seen(),
            };
            Ok(Batch {
                changes,
                revision: self.given,
                certificate: Certificate::none(),
            })
        })
    }
}

/// Bytes of a message. etcd cuts what is larger than a request may be, a mebibyte and a half unless told otherwise; here is room for
/// those who told it otherwise.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
