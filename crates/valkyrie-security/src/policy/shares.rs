//! What the grants of one policy have in common: compiled rules, and the rates of peers with several connections.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::compiled::Compiled;
use super::rate::{Meter, Rate};
use super::rule::Rule;
use super::subject::Account;

/// Sets of applying rules that are kept compiled. Most policies have fewer kinds of peers than this has places.
const COMPILED_MAX: usize = 256;

/// Rates that are counted, one for each peer and rule: ten thousand peers, most of them under one rule with a rate.
/// About 100 bytes each.
const METERS_MAX: usize = 16_384;

/// Taken only when a connection begins, never when a call is checked.
#[derive(Default)]
pub(super) struct Shares {
    compiled: Mutex<HashMap<Box<[u16]>, Arc<Compiled>>>,
    meters: Mutex<HashMap<(Account, u16), Arc<Meter>>>,
}

impl Shares {
    /// The rules of these numbers, compiled now or earlier.
    pub(super) fn compiled(&self, rules: &Arc<[Rule]>, applying: Box<[u16]>) -> Arc<Compiled> {
        let mut kept = lock(&self.compiled);
        if let Some(compiled) = kept.get(&applying) {
            return Arc::clone(compiled);
        }
        let compiled = Arc::new(Compiled::new(Arc::clone(rules), applying.clone()));
        if kept.len() >= COMPILED_MAX {
            kept.retain(|_, compiled| Arc::strong_count(compiled) > 1);
        }
        if kept.len() < COMPILED_MAX {
            kept.insert(applying, Arc::clone(&compiled));
        }
        compiled
    }

    /// The meter of a peer under a rule: the same for all its connections, and kept after the last one until it is full
    /// again, so that connecting anew gains nothing.
    pub(super) fn meter(&self, account: &Account, rule: u16, rate: &Rate, now: Instant) -> Arc<Meter> {
        let mut kept = lock(&self.meters);
        let key = (account.clone(), rule);
        if let Some(meter) = kept.get(&key) {
            return Arc::clone(meter);
        }
        if kept.len() >= METERS_MAX {
            kept.retain(|_, meter| Arc::strong_count(meter) > 1 || !meter.is_full(now));
        }
        if kept.len() >= METERS_MAX {
            // Not counted together with its other connections, so it begins with nothing saved up.
            return Arc::new(Meter::empty(rate, now));
        }
        let meter = Arc::new(Meter::new(rate, now));
        kept.insert(key, Arc::clone(&meter));
        meter
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares")
            .field("compiled", &lock(&self.compiled).len())
            .field("meters", &lock(&self.meters).len())
            .finish()
    }
}
