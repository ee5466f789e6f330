//! What flapping costs: each recovery adds one to a penalty that halves with time, and above a threshold an agent is held back
//! until it has sunk below a lower one, as route flap damping does (RFC 2439).

use std::time::Duration;

use super::HealthConfig;
use crate::Moment;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Penalty {
    value: f64,
    at: Moment,
    held: bool,
}

impl Penalty {
    /// After one more recovery.
    #[must_use]
    pub(super) fn raised(self, config: &HealthConfig, now: Moment) -> Self {
        let value = (self.value_at(config, now) + 1.0).min(config.flap_suppress * CEILING);
        Self {
            value,
            at: now,
            held: self.held || value > config.flap_suppress,
        }
    }

    /// Whether the agent is held back.
    pub(super) fn holds(&mut self, config: &HealthConfig, now: Moment) -> bool {
        self.held = self.held && self.value_at(config, now) > config.flap_reuse;
        self.held
    }

    /// When it no longer is, if nothing happens until then.
    pub(super) fn holds_until(&self, config: &HealthConfig, now: Moment) -> Moment {
        let value = self.value_at(config, now);
        if !self.held || value <= config.flap_reuse {
            return now;
        }
        let half_lives = (value / config.flap_reuse).log2();
        let millis = config.flap_half_life.as_secs_f64() * 1000.0 * half_lives;
        // One more, so that it is below by then and not just at it.
        now.saturating_add(Duration::from_millis(millis.ceil() as u64 + 1))
    }

    fn value_at(&self, config: &HealthConfig, now: Moment) -> f64 {
        let half_lives = now.since(self.at).as_secs_f64() / config.flap_half_life.as_secs_f64();
        self.value * 0.5f64.powf(half_lives)
    }
}

/// How far above the threshold the penalty grows: an agent that flapped all night is back within a few half-lives.
const CEILING: f64 = 4.0;
