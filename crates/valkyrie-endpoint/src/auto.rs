//! `auto://host:port`: QUIC where it gets through, TCP where it does not.
//!
//! Both are tried as RFC 8305 tries addresses: the one that worked last time, or QUIC, and the other when that has not
//! answered for a moment. What worked is remembered. A connection that outlives its links keeps both ways, so that it
//! moves to TCP when a firewall begins to swallow UDP, and back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use valkyrie_security::trust::Expect;
use valkyrie_transport::Locator;

use crate::endpoint::Inner;
use crate::mover::STAGGER;
use crate::secure::Greeted;
use crate::{ConnectError, clock};

/// The scheme that stands for several.
pub(crate) const SCHEME: &str = "auto";

/// What it stands for, the better one first.
const SCHEMES: [&str; 2] = ["quic", "tcp"];

/// Which ways have worked lately.
#[derive(Debug, Default)]
pub(crate) struct Worked {
    by_place: Mutex<HashMap<Locator, (Locator, Instant)>>,
}

impl Worked {
    fn last(&self, place: &Locator, now: Instant) -> Option<Locator> {
        let worked = self.by_place.lock().unwrap_or_else(PoisonError::into_inner);
        let (way, at) = worked.get(place)?;
        (now.saturating_duration_since(*at) < REMEMBERED_FOR).then(|| way.clone())
    }

    fn note(&self, place: &Locator, way: Locator, now: Instant) {
        let mut worked = self.by_place.lock().unwrap_or_else(PoisonError::into_inner);
        if worked.len() >= REMEMBERED_MAX && !worked.contains_key(place) {
            worked.retain(|_, (_, at)| now.saturating_duration_since(*at) < REMEMBERED_FOR);
            if worked.len() >= REMEMBERED_MAX {
                return;
            }
        }
        worked.insert(place.clone(), (way, now));
    }
}

/// The ways to a place.
pub(crate) fn ways(locator: &Locator) -> Vec<Locator> {
    if locator.scheme() != SCHEME {
        return vec![locator.clone()];
    }
    let ways = SCHEMES
        .iter()
        .filter_map(|scheme| Locator::new(scheme, locator.rest()).ok());
    ways.collect()
}

/// Tries all ways and takes the first that answers. The others are abandoned.
///
/// # Errors
/// The [`ConnectError`] of the last that failed, when all have.
pub(crate) async fn race(
    endpoint: &Arc<Inner>,
    worked: &Worked,
    place: &Locator,
    mut ways: Vec<Locator>,
    expect: &Expect,
) -> Result<Greeted, ConnectError> {
    if let Some(last) = worked.last(place, clock::now())
        && let Some(at) = ways.iter().position(|way| *way == last)
    {
        ways[..=at].rotate_right(1);
    }
    let mut attempts = JoinSet::new();
    let mut ways = ways.into_iter();
    let mut failure = None;
    loop {
        let next = ways.next();
        let more = next.is_some();
        if let Some(way) = next {
            let (endpoint, expect) = (Arc::clone(endpoint), expect.clone());
            attempts.spawn(async move {
                let greeted = endpoint.greet(&way, &expect).await;
                (way, greeted)
            });
        }
        let result = if more {
            match tokio::time::timeout(STAGGER, attempts.join_next()).await {
                Ok(result) => result,
                Err(_) => continue,
            }
        } else {
            attempts.join_next().await
        };
        match result {
            Some(Ok((way, Ok(greeted)))) => {
                worked.note(place, way, clock::now());
                return Ok(greeted);
            }
            Some(Ok((_, Err(error)))) => failure = Some(error),
            // It panicked, or the runtime is going down.
            Some(Err(_)) => {}
            None if !more => break,
            None => {}
        }
    }
    Err(failure.unwrap_or_else(|| ConnectError::Scheme(place.without_credentials())))
}

/// How long what worked is tried first: a network that lets QUIC through again is noticed by then.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// Places that are remembered at once.
const REMEMBERED_MAX: usize = 1024;
