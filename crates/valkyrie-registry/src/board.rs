//! What the stores of this crate show their readers: the last state of their ledger, replaced as a whole, and a bell.
//!
//! Reading takes no lock and holds up nobody: a listing and a watch keep the state that they have loaded, and load the newest when
//! they are done with it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use valkyrie_transport::BoxFuture;

use crate::ledger::{Compacted, State};
use crate::store::{
    Answer, Batch, Certificate, Entry, Listing, Page, Revision, StoreError, Watch, WatchError,
};
use crate::{Key, Prefix};

#[derive(Debug)]
pub(crate) struct Board {
    state: ArcSwap<State>,
    bell: watch::Sender<Bell>,
}

#[derive(Clone, Debug, Default)]
struct Bell {
    revision: Revision,
    failure: Option<StoreError>,
}

impl Board {
    pub(crate) fn new(state: State) -> Arc<Self> {
        let revision = state.revision();
        Arc::new(Self {
            state: ArcSwap::from_pointee(state),
            bell: watch::Sender::new(Bell {
                revision,
                failure: None,
            }),
        })
    }

    /// Shows a later state to everybody.
    pub(crate) fn publish(&self, state: State) {
        let revision = state.revision();
        self.state.store(Arc::new(state));
        self.bell.send_if_modified(|bell| {
            let news = bell.revision != revision;
            bell.revision = revision;
            news
        });
    }

    /// Tells everybody that there will be no later state.
    #[cfg(feature = "embedded")]
    pub(crate) fn fail(&self, failure: StoreError) {
        self.bell.send_modify(|bell| bell.failure = Some(failure));
    }

    /// Why there will be no later state, if there will not.
    #[cfg(feature = "embedded")]
    pub(crate) fn failure(&self) -> Option<StoreError> {
        self.bell.borrow().failure.clone()
    }

    pub(crate) fn get(&self, key: &Key) -> Answer<Option<Arc<Entry>>> {
        let state = self.state.load();
        answer(state.get(key).cloned(), &state)
    }

    pub(crate) fn list(&self, prefix: &Prefix) -> Answer<Box<dyn Listing>> {
        let state = self.state.load_full();
        let listing = BoardListing {
            prefix: prefix.clone(),
            after: None,
            state: Arc::clone(&state),
        };
        answer(Box::new(listing), &state)
    }

    pub(crate) fn watch(
        self: &Arc<Self>,
        prefix: &Prefix,
        after: Revision,
    ) -> Result<Box<dyn Watch>, WatchError> {
        let state = self.state.load();
        if after > state.revision() {
            return Err(WatchError::Behind {
                revision: state.revision(),
            });
        }
        // What is compacted is told now rather than with the first batch.
        state.changes(prefix, after, 1).map_err(compacted)?;
        Ok(Box::new(BoardWatch {
            board: Arc::clone(self),
            bell: self.bell.subscribe(),
            prefix: prefix.clone(),
            after,
        }))
    }
}

/// An answer that holds at a state.
pub(crate) fn answer<T>(value: T, state: &State) -> Answer<T> {
    Answer {
        value,
        revision: state.revision(),
        at: Some(state.at()),
        certificate: Certificate::none(),
    }
}

struct BoardListing {
    prefix: Prefix,
    after: Option<Key>,
    state: Arc<State>,
}

impl Listing for BoardListing {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Option<Page>, StoreError>> {
        let entries = self.state.page(&self.prefix, self.after.as_ref(), max.max(1));
        let Some(last) = entries.last() else {
            return Box::pin(std::future::ready(Ok(None)));
        };
        self.after = Some(last.key.clone());
        let page = Page {
            entries,
            certificate: Certificate::none(),
        };
        Box::pin(std::future::ready(Ok(Some(page))))
    }
}

struct BoardWatch {
    board: Arc<Board>,
    bell: watch::Receiver<Bell>,
    prefix: Prefix,
    after: Revision,
}

impl Watch for BoardWatch {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Batch, WatchError>> {
        Box::pin(async move {
            loop {
                // Before the state is loaded, so that what is published in between rings again.
                let failure = self.bell.borrow_and_update().failure.clone();
                let state = self.board.state.load_full();
                let (changes, revision) = state
                    .changes(&self.prefix, self.after, max.max(1))
                    .map_err(compacted)?;
                if revision > self.after {
                    self.after = revision;
                    if !changes.is_empty() {
                        return Ok(Batch {
                            changes,
                            revision,
                            certificate: Certificate::none(),
                        });
                    }
                }
                if let Some(failure) = failure {
                    return Err(failure.into());
                }
                if self.bell.changed().await.is_err() {
                    return Err(StoreError::Unavailable("it was closed".to_owned()).into());
                }
            }
        })
    }
}

fn compacted(Compacted { oldest }: Compacted) -> WatchError {
    WatchError::Compacted { oldest }
}
