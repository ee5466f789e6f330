//! Suspicion by the accrual of silence, after Hayashibara and others, "The φ accrual failure detector" (SRDS 2004).
//!
//! Intervals between signs of life are taken to be normally distributed with the mean and deviation of the last of them. φ is
//! minus the decimal logarithm of the chance that an interval is longer than the silence so far.

use std::time::Duration;

use super::HealthConfig;
use crate::Moment;

/// The last intervals between heartbeats of one agent.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// Milliseconds, a ring.
    intervals: [f32; WINDOW],
    len: usize,
    next: usize,
    /// The last heartbeat, from which intervals count.
    last: Moment,
    /// The last sign of life of any kind, from which silence counts.
    alive: Moment,
}

impl Arrivals {
    /// Of an agent that has just been seen.
    pub(super) fn new(config: &HealthConfig, now: Moment) -> Self {
        let mut arrivals = Self {
            intervals: [0.0; WINDOW],
            len: 0,
            next: 0,
            last: now,
            alive: now,
        };
        // What is expected stands for what is not known yet, and is forgotten as intervals come.
        let expected = millis(config.interval);
        arrivals.push(expected * 0.75);
        arrivals.push(expected * 1.25);
        arrivals
    }

    /// A heartbeat came.
    pub(super) fn heard(&mut self, now: Moment) {
        let interval = millis(now.since(self.last));
        // Heartbeats of several observers in one breath are one.
        if interval >= 1.0 {
            self.push(interval);
        }
        self.last = now;
        self.alive(now);
    }

    /// It is alive, and that says nothing about when the next heartbeat comes.
    pub(super) fn alive(&mut self, now: Moment) {
        self.alive = self.alive.max(now);
    }

    pub(super) fn phi(&self, config: &HealthConfig, now: Moment) -> f64 {
        let (mean, deviation) = self.distribution(config);
        phi(millis(now.since(self.alive)), mean, deviation)
    }

    /// When φ reaches what makes suspect, if nothing is heard until then.
    pub(super) fn suspect_at(&self, config: &HealthConfig) -> Moment {
        let (mean, deviation) = self.distribution(config);
        // φ grows with silence; forty deviations are past anything that anybody configures.
        let (mut early, mut late) = (0.0, mean + 40.0 * deviation);
        while late - early > 0.5 {
            let middle = f64::midpoint(early, late);
            match phi(middle, mean, deviation) >= config.phi_suspect {
                true => late = middle,
                false => early = middle,
            }
        }
        let silence = Duration::from_millis(late.ceil() as u64);
        self.alive.saturating_add(silence)
    }

    fn push(&mut self, interval: f64) {
        self.intervals[self.next] = interval as f32;
        self.next = (self.next + 1) % WINDOW;
        self.len = (self.len + 1).min(WINDOW);
    }

    fn distribution(&self, config: &HealthConfig) -> (f64, f64) {
        let held = || {
            self.intervals[..self.len]
                .iter()
                .map(|interval| f64::from(*interval))
        };
        let count = self.len as f64;
        let mean = held().sum::<f64>() / count;
        let variance = held().map(|interval| (interval - mean).powi(2)).sum::<f64>() / count;
        (mean, variance.sqrt().max(millis(config.deviation_min)).max(1.0))
    }
}

/// Minus the decimal logarithm of the chance that a normal variable exceeds `silence`, by the logistic approximation of the
/// normal distribution (Bowling and others, 2009), which is good to 0.00014.
fn phi(silence: f64, mean: f64, deviation: f64) -> f64 {
    let y = (silence - mean) / deviation;
    let exponent = y * (1.5976 + 0.070_566 * y * y);
    // The chance is 1 / (1 + e^exponent). Far out, 1 is nothing beside the power, which itself would overflow.
    match exponent > 30.0 {
        true => exponent * std::f64::consts::LOG10_E,
        false => exponent.exp().ln_1p() * std::f64::consts::LOG10_E,
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Intervals that are remembered: a minute of heartbeats at two seconds, 128 bytes an agent.
const WINDOW: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phi_is_the_logarithm_of_a_small_chance() {
        // One in two at the mean, and one in 43.96 at two deviations.
        assert!((phi(1000.0, 1000.0, 100.0) - 2f64.log10()).abs() < 1e-6);
        assert!((phi(1200.0, 1000.0, 100.0) - 43.96f64.log10()).abs() < 0.01);
        assert!(phi(1e12, 1000.0, 100.0).is_finite());
        assert!(phi(0.0, 1000.0, 1.0) >= 0.0);
    }

    #[test]
    fn the_moment_of_suspicion_is_when_phi_gets_there() {
        let config = HealthConfig::DEFAULT;
        let mut arrivals = Arrivals::new(&config, Moment::START);
        for beat in 1..=60 {
            arrivals.heard(Moment::from_millis(beat * 2000));
        }
        let at = arrivals.suspect_at(&config);
        assert!(arrivals.phi(&config, at) >= config.phi_suspect);
        let before = Moment::from_millis(at.millis() - 2);
        assert!(arrivals.phi(&config, before) < config.phi_suspect);
    }
}
