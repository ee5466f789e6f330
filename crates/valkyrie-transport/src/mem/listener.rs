//! The table of names, and the listener that holds one of them.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::WAITING_LINKS_MAX;
use super::link::MemLink;
use crate::{Link, Listener, Locator, TransportError};

/// Who listens where. One entry for each listener that lives; its size is bounded by what the program listens on.
#[derive(Debug, Default)]
pub(super) struct Names {
    table: Mutex<HashMap<Locator, Waiting>>,
}

/// The links that were dialled and are not accepted yet.
#[derive(Debug, Default)]
struct Waiting {
    links: VecDeque<MemLink>,
    waker: Option<Waker>,
}

impl Names {
    /// Puts a link before the listener of its name.
    pub(super) fn offer(&self, locator: &Locator, link: MemLink) -> Result<(), TransportError> {
        let mut table = self.lock();
        let Some(waiting) = table.get_mut(locator) else {
            let source = io::ErrorKind::ConnectionRefused.into();
            return Err(TransportError::Refused {
                locator: locator.clone(),
                source,
            });
        };
        if waiting.links.len() >= WAITING_LINKS_MAX {
            return Err(TransportError::Busy {
                locator: locator.clone(),
            });
        }
        waiting.links.push_back(link);
        let waker = waiting.waker.take();
        drop(table);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Locator, Waiting>> {
        // Every change under this lock is a single insertion or removal: a poisoned lock is as good as another.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct MemListener {
    names: Arc<Names>,
    locator: Locator,
}

impl MemListener {
    pub(super) fn bind(names: &Arc<Names>, locator: &Locator) -> Result<Self, TransportError> {
        match names.lock().entry(locator.clone()) {
            Entry::Occupied(_) => {
                let source = io::ErrorKind::AddrInUse.into();
                return Err(TransportError::AddressInUse {
                    locator: locator.clone(),
                    source,
                });
            }
            Entry::Vacant(vacant) => vacant.insert(Waiting::default()),
        };
        Ok(Self {
            names: Arc::clone(names),
            locator: locator.clone(),
        })
    }
}

impl Listener for MemListener {
    fn locator(&self) -> &Locator {
        &self.locator
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<dyn Link>, TransportError>> {
        let mut table = self.names.lock();
        // The entry lives exactly as long as this listener does.
        let waiting = table.entry(self.locator.clone()).or_default();
        match waiting.links.pop_front() {
            Some(link) => Poll::Ready(Ok(Box::new(link))),
            None => {
                waiting.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for MemListener {
    fn drop(&mut self) {
        let waiting = self.names.lock().remove(&self.locator);
        // Links nobody accepted end here, outside the lock: their peers are woken and see an abrupt close.
        drop(waiting);
    }
}
