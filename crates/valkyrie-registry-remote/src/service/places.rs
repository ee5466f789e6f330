//! How many listings and watches there are, by connection and in all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use valkyrie_endpoint::{ErrorCode, Failure};

use super::ServiceBounds;
use crate::wire::Method;

/// The places that are taken.
#[derive(Debug)]
pub(super) struct Places {
    bounds: ServiceBounds,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    by_connection: HashMap<(u64, Method), usize>,
    watches: usize,
}

/// A place that is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    connection: u64,
    method: Method,
}

impl Places {
    pub(super) fn new(bounds: ServiceBounds) -> Self {
        Self {
            bounds,
            taken: Mutex::default(),
        }
    }

    /// A place for a stream of a connection.
    ///
    /// # Errors
    /// What the peer is told: there are as many as there may be.
    pub(super) fn take(self: &Arc<Self>, connection: u64, method: Method) -> Result<Place, Failure> {
        let full = |text: String| Err(Failure::new(ErrorCode::RESOURCE_EXHAUSTED, text));
        let bounds = &self.bounds;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (max, what) = match method {
            Method::Watch => (bounds.watches_per_connection_max, "watches"),
            _ => (bounds.listings_per_connection_max, "listings"),
        };
        let held = taken
            .by_connection
            .get(&(connection, method))
            .copied()
            .unwrap_or(0);
        if held >= max {
            return full(format!(
                "this connection has {max} {what}, as many as it may have"
            ));
        }
        if method == Method::Watch {
            if taken.watches >= bounds.watches_max {
                return full(format!(
                    "there are {} watches, as many as there may be",
                    bounds.watches_max
                ));
            }
            taken.watches += 1;
        }
        taken.by_connection.insert((connection, method), held + 1);
        Ok(Place {
            places: Arc::clone(self),
            connection,
            method,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if self.method == Method::Watch {
            taken.watches -= 1;
        }
        let key = (self.connection, self.method);
        if let Some(held) = taken.by_connection.get_mut(&key) {
            *held -= 1;
            if *held == 0 {
                taken.by_connection.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let places = Arc::new(Places::new(ServiceBounds {
            listings_per_connection_max: 1,
            watches_per_connection_max: 2,
            watches_max: 3,
            ..ServiceBounds::DEFAULT
        }));
        let listing = places.take(1, Method::List).unwrap();
        assert!(places.take(1, Method::List).is_err());
        let other = places.take(2, Method::List).unwrap();
        let watches: Vec<_> = [1, 1, 2]
            .map(|connection| places.take(connection, Method::Watch).unwrap())
            .into();
        for connection in [1, 3] {
            let refused = places.take(connection, Method::Watch).unwrap_err();
            assert_eq!(refused.code, ErrorCode::RESOURCE_EXHAUSTED);
        }
        drop((listing, other, watches));
        let taken = places.taken.lock().unwrap();
        assert!(taken.by_connection.is_empty() && taken.watches == 0);
    }
}
