//! Listings and watches: streams of messages at the pace of whoever reads them.
//!
//! Nothing is queued for a reader but what its stream holds. A watch is a revision, and what comes after it is read from the store when there
//! is room; a watcher that is slower than the store's history is told so, and nobody else notices.

use std::sync::Arc;

use bytes::Bytes;
use valkyrie_endpoint::{Context, ErrorCode, Failure, RecvStream, SendStream};
use valkyrie_registry::Prefix;
use valkyrie_registry::store::{Answer, Revision, WatchError};

use super::Registry;
use crate::fault::{invalid, to_failure, unsayable};
use crate::wire::{ListMessage, Method, Request, WatchEnd, WatchMessage, WireError};

/// Serves one stream until it is over.
pub(super) async fn serve(
    registry: Arc<Registry>,
    method: Method,
    context: Context,
    send: SendStream,
    recv: RecvStream,
) -> Result<(), Failure> {
    let request = Request::decode(method, context.payload()).map_err(|error| invalid(&error))?;
    let _place = registry.places.take(context.connection().id(), method)?;
    match request {
        Request::Watch { prefix, after } => watch(&registry, &prefix, after, send, recv).await,
        Request::List(prefix) => list(&registry, &prefix, send).await,
        _ => Err(Failure::new(ErrorCode::INTERNAL, "this method is no stream")),
    }
}

async fn list(registry: &Registry, prefix: &Prefix, mut send: SendStream) -> Result<(), Failure> {
    let Answer {
        value: mut listing,
        revision,
        at,
        certificate,
    } = registry.store.list(prefix).await.map_err(to_failure)?;
    let begun = ListMessage::Begun(Answer {
        value: (),
        revision,
        at,
        certificate,
    });
    send_in_time(registry, &mut send, begun.encode()).await?;
    while let Some(page) = listing.next(PAGE_ENTRIES).await.map_err(to_failure)? {
        for message in ListMessage::cut(page) {
            send_in_time(registry, &mut send, message.encode()).await?;
        }
    }
    Ok(())
}

async fn send_in_time(
    registry: &Registry,
    send: &mut SendStream,
    message: Result<Bytes, WireError>,
) -> Result<(), Failure> {
    let message = message.map_err(|error| unsayable(&error))?;
    match tokio::time::timeout(registry.bounds.listing_stall, send.send(message)).await {
        Ok(sent) => Ok(sent?),
        Err(_) => Err(Failure::new(
            ErrorCode::DEADLINE_EXCEEDED,
            "the listing was not read for too long",
        )),
    }
}

async fn watch(
    registry: &Registry,
    prefix: &Prefix,
    after: Revision,
    mut send: SendStream,
    mut recv: RecvStream,
) -> Result<(), Failure> {
    let mut watch = match registry.store.watch(prefix, after).await {
        Ok(watch) => watch,
        Err(error) => return end(error, &mut send).await,
    };
    say(&mut send, &WatchMessage::Begun).await?;
    loop {
        let batch = tokio::select! {
            batch = watch.next(BATCH_CHANGES) => batch,
            said = recv.recv() => return match said {
                // The end of the watcher's direction is the end of the watch.
                Ok(None) | Err(_) => Ok(()),
                Ok(Some(_)) => Err(Failure::new(ErrorCode::INVALID_ARGUMENT, "a watcher has nothing to say")),
            },
        };
        match batch {
            Ok(batch) => {
                for message in WatchMessage::cut(batch) {
                    say(&mut send, &message).await?;
                }
            }
            Err(error) => return end(error, &mut send).await,
        }
    }
}

/// Tells a watcher why there is nothing more.
async fn end(error: WatchError, send: &mut SendStream) -> Result<(), Failure> {
    let end = match error {
        WatchError::Compacted { oldest } => WatchEnd::Compacted(oldest),
        WatchError::Behind { revision } => WatchEnd::Behind(revision),
        WatchError::Store(error) => return Err(to_failure(error)),
        other => return Err(Failure::new(ErrorCode::INTERNAL, other.to_string())),
    };
    say(send, &WatchMessage::Ended(end)).await
}

async fn say(send: &mut SendStream, message: &WatchMessage) -> Result<(), Failure> {
    let message = message.encode().map_err(|error| unsayable(&error))?;
    Ok(send.send(message).await?)
}

/// Entries that are taken from a listing at a time: a few messages.
const PAGE_ENTRIES: usize = 256;
/// Changes that are taken from a watch at a time, likewise.
const BATCH_CHANGES: usize = 256;
