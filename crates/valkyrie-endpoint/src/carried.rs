//! What a connection's present link is called and can do, kept where it can always be read.
//!
//! Links of one kind can do the same, so that what they can do is kept once and shared: an idle connection pays for a
//! reference.

use std::sync::{Arc, Mutex, PoisonError};

use valkyrie_transport::{Capabilities, Link};

/// A connection's link, for people.
pub(crate) struct Carried {
    /// Who is at the other end; `None` while it is whom the connection began with.
    pub(crate) peer: Option<Box<str>>,
    pub(crate) capabilities: Arc<Capabilities>,
}

impl Carried {
    /// The link that a connection begins on, whose peer is kept elsewhere.
    pub(crate) fn first(link: &dyn Link) -> Self {
        Self {
            peer: None,
            capabilities: shared(link.capabilities()),
        }
    }

    /// One that it has gone on to.
    pub(crate) fn later(link: &dyn Link) -> Self {
        Self {
            peer: Some(link.peer().into_boxed_str()),
            capabilities: shared(link.capabilities()),
        }
    }
}

/// The process id that the system named is a hint and differs with each peer; everything else is shared.
fn shared(mut capabilities: Capabilities) -> Arc<Capabilities> {
    static KNOWN: Mutex<Vec<Arc<Capabilities>>> = Mutex::new(Vec::new());
    if let Some(credentials) = &mut capabilities.peer_credentials {
        credentials.pid = None;
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.iter().find(|known| ***known == capabilities) {
        return Arc::clone(known);
    }
    let new = Arc::new(capabilities);
    if known.len() < KNOWN_MAX {
        known.push(Arc::clone(&new));
    }
    new
}

/// Kinds of links that are kept: one for each transport, and for each user of this machine that dials.
const KNOWN_MAX: usize = 64;
