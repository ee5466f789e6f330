//! Which of many stand out from the others by failing or by being slow.
//!
//! A [breaker](crate::Breaker) sees failures in a row. Whoever fails every third time never has enough of them, and whoever is
//! slow fails not at all; both are seen only beside the others. Success rates are judged as Envoy's outlier detection does:
//! so many standard deviations below the mean of all.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// When something stands out.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct OutlierLimits {
    /// Answers in an interval below which nothing is said about a way: chance would say it.
    pub answers_min: u32,
    /// Ways with enough answers below which nobody stands out.
    pub ways_min: usize,
    /// Standard deviations below the mean success rate.
    pub deviations: f64,
    /// Success rates at or above this never stand out, however good the others are.
    pub success_enough: f64,
    /// How many times the median delay is too slow.
    pub slower: f64,
    /// Delays up to this are never too slow.
    pub delay_enough: Duration,
}

impl Default for OutlierLimits {
    /// Envoy's volumes and factor; a way is slow at five times the median, and never below 10 ms.
    fn default() -> Self {
        Self {
            answers_min: 100,
            ways_min: 5,
            deviations: 1.9,
            success_enough: 0.99,
            slower: 5.0,
            delay_enough: Duration::from_millis(10),
        }
    }
}

/// What came of the messages of one way since somebody last looked.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    good: AtomicU32,
    bad: AtomicU32,
}

impl Outcomes {
    pub(crate) fn note(&self, good: bool) {
        let count = if good { &self.good } else { &self.bad };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// What there was, and begins anew.
    pub(crate) fn take(&self, delay: Duration) -> Sample {
        Sample {
            good: self.good.swap(0, Ordering::Relaxed),
            bad: self.bad.swap(0, Ordering::Relaxed),
            delay,
        }
    }
}

/// How one way has done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) good: u32,
    pub(crate) bad: u32,
    /// Zero where nothing is known.
    pub(crate) delay: Duration,
}

impl Sample {
    fn answers(&self) -> u32 {
        self.good.saturating_add(self.bad)
    }

    fn rate(&self) -> f64 {
        f64::from(self.good) / f64::from(self.answers().max(1))
    }
}

/// The places of those that stand out, ascending.
pub(crate) fn find(samples: &[Sample], limits: &OutlierLimits) -> Vec<usize> {
    let judged: Vec<(usize, &Sample)> = samples
        .iter()
        .enumerate()
        .filter(|(_, sample)| sample.answers() >= limits.answers_min.max(1))
        .collect();
    if judged.is_empty() || judged.len() < limits.ways_min {
        return Vec::new();
    }
    let count = judged.len() as f64;
    let mean = judged.iter().map(|(_, sample)| sample.rate()).sum::<f64>() / count;
    let variance = judged
        .iter()
        .map(|(_, sample)| (sample.rate() - mean).powi(2))
        .sum::<f64>()
        / count;
    let too_bad = (mean - limits.deviations * variance.sqrt()).min(limits.success_enough);
    let mut delays: Vec<Duration> = judged.iter().map(|(_, sample)| sample.delay).collect();
    let (_, median, _) = delays.select_nth_unstable(judged.len() / 2);
    let too_slow = median.mul_f64(limits.slower).max(limits.delay_enough);
    judged
        .into_iter()
        .filter(|(_, sample)| sample.rate() < too_bad || sample.delay > too_slow)
        .map(|(at, _)| at)
        .collect()
}
