//! How many retries there may be, so that they do not become the load that breaks what is left.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// What a budget allows.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RetryBudgetLimits {
    /// Retries for each first attempt, over time: 0.2 lets load grow by a fifth when everything fails.
    pub share: f64,
    /// Retries a second that are allowed beside that, so that those who rarely call may retry at all.
    pub per_second: f64,
    /// For how long what was not used is kept; it bounds a burst.
    pub window: Duration,
}

impl Default for RetryBudgetLimits {
    fn default() -> Self {
        Self {
            share: 0.2,
            per_second: 10.0,
            window: Duration::from_secs(10),
        }
    }
}

/// A budget of retries, shared by all calls to one service.
#[derive(Debug)]
pub struct RetryBudget {
    limits: RetryBudgetLimits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Retries that may be made now.
    balance: f64,
    /// First attempts a second, averaged over the window.
    rate: f64,
    at: Instant,
}

impl RetryBudget {
    /// A budget that begins with what the window holds of retries a second.
    pub fn new(limits: RetryBudgetLimits, now: Instant) -> Self {
        let state = State {
            balance: limits.per_second * limits.window.as_secs_f64(),
            rate: 0.0,
            at: now,
        };
        Self {
            limits,
            state: Mutex::new(state),
        }
    }

    /// Notes a first attempt.
    pub fn attempted(&self, now: Instant) {
        let mut state = self.turned(now);
        let window = self.limits.window.as_secs_f64();
        state.balance += self.limits.share;
        state.rate += 1.0 / window;
        let most = (self.limits.per_second + self.limits.share * state.rate) * window;
        state.balance = state.balance.min(most);
    }

    /// Takes one retry out of the budget. `false` when there is none: then the failure is to be told instead.
    #[must_use]
    pub fn may_retry(&self, now: Instant) -> bool {
        let mut state = self.turned(now);
        if state.balance < 1.0 {
            return false;
        }
        state.balance -= 1.0;
        true
    }

    fn turned(&self, now: Instant) -> std::sync::MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(state.at).as_secs_f64();
        if passed > 0.0 {
            let window = self.limits.window.as_secs_f64();
            state.rate *= (-passed / window).exp();
            let most = (self.limits.per_second + self.limits.share * state.rate) * window;
            state.balance = (state.balance + self.limits.per_second * passed).min(most);
            state.at = now;
        }
        state
    }
}
