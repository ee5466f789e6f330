//! When to dial again after a connection was lost, and what callers do meanwhile. Plain data and arithmetic.

use std::time::Duration;

/// The policy of a [`Dialer`](crate::Dialer).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redial {
    /// The longest wait before the first attempt after a loss. Each further failure doubles it.
    pub first_wait_max: Duration,
    /// The longest wait there is.
    pub wait_max: Duration,
    /// After how many failures in a row to give up; `None` never does.
    pub attempts_max: Option<u32>,
    /// What calls do while there is no connection.
    pub while_down: WhileDown,
}

/// What calls do while there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhileDown {
    /// Wait for one, this long at most.
    Wait(Duration),
    /// Fail at once.
    Fail,
}

impl Default for Redial {
    /// First again within 100 ms, then less and less often up to every 30 s, for ever; calls wait up to 10 s.
    fn default() -> Self {
        Self {
            first_wait_max: Duration::from_millis(100),
            wait_max: Duration::from_secs(30),
            attempts_max: None,
            while_down: WhileDown::Wait(Duration::from_secs(10)),
        }
    }
}

impl Redial {
    /// How long to wait before the attempt after `failures` failures in a row, somewhere between nothing and twice as
    /// much each time ("full jitter": clients that lost the same server come back spread out, and the mean is half the
    /// bound). A peer that named a time is not dialled before it; the jitter comes on top.
    ///
    /// `random` is uniform in 0..1.
    pub fn wait(&self, failures: u32, retry_after: Duration, random: f64) -> Duration {
        let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        let bound = self.first_wait_max.saturating_mul(factor).min(self.wait_max);
        retry_after
            .min(RETRY_AFTER_MAX)
            .saturating_add(bound.mul_f64(random.clamp(0.0, 1.0)))
    }
}

/// When the peer at `place` of `count` is asked to come back: spread so that no more than [`RETURNS_PER_SECOND`] come at once. The
/// side that goes down knows how many there are; none of them does.
///
/// `random` is uniform in 0..1.
pub(crate) fn return_after(place: usize, count: usize, back_in: Duration, random: f64) -> Duration {
    let place = place.min(count.saturating_sub(1)) as f64 + random.clamp(0.0, 1.0);
    back_in.saturating_add(Duration::from_secs_f64(place / RETURNS_PER_SECOND))
}

/// Peers that one which went down wants back in a second: a core makes several times as many handshakes.
const RETURNS_PER_SECOND: f64 = 1000.0;

/// The longest that a peer may send its clients away for: what it says is not authenticated, and an hour is longer
/// than any restart takes.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_are_jittered_below_it() {
        let redial = Redial::default();
        assert_eq!(redial.wait(0, Duration::ZERO, 1.0), Duration::from_millis(100));
        assert_eq!(redial.wait(3, Duration::ZERO, 1.0), Duration::from_millis(800));
        assert_eq!(redial.wait(3, Duration::ZERO, 0.5), Duration::from_millis(400));
        assert_eq!(redial.wait(3, Duration::ZERO, 0.0), Duration::ZERO);
        for failures in [9, 31, 32, u32::MAX] {
            assert_eq!(
                redial.wait(failures, Duration::ZERO, 1.0),
                redial.wait_max,
                "{failures}"
            );
        }
    }

    #[test]
    fn a_peer_that_names_a_time_is_not_dialled_before_it() {
        let redial = Redial::default();
        let named = Duration::from_secs(7);
        assert_eq!(redial.wait(0, named, 0.0), named);
        assert!(redial.wait(0, named, 1.0) > named);
    }

    /// A server that makes so many handshakes in each tenth of a second and refuses the others. Says how many came in each
    /// tenth, until all of them are in.
    fn come_back(clients: usize, per_tenth: usize, first: impl Fn(usize) -> Duration) -> Vec<usize> {
        let mut rng = fastrand::Rng::with_seed(7);
        let redial = Redial::default();
        let mut due: std::collections::BinaryHeap<_> = (0..clients)
            .map(|client| (std::cmp::Reverse(redial.wait(0, first(client), rng.f64())), 0_u32))
            .collect();
        let (mut came, mut taken) = (Vec::new(), Vec::new());
        while let Some((std::cmp::Reverse(at), failures)) = due.pop() {
            let tenth = usize::try_from(at.as_millis() / 100).unwrap();
            came.resize(came.len().max(tenth + 1), 0);
            taken.resize(came.len(), 0);
            came[tenth] += 1;
            if taken[tenth] < per_tenth {
                taken[tenth] += 1;
            } else {
                let failures = failures + 1;
                due.push((
                    std::cmp::Reverse(at + redial.wait(failures, Duration::ZERO, rng.f64())),
                    failures,
                ));
            }
        }
        came
    }

    #[test]
    fn ten_thousand_peers_of_one_that_restarts_come_back_evenly() {
        const CLIENTS: usize = 10_000;
        let back_in = Duration::from_secs(2);
        let mut rng = fastrand::Rng::with_seed(3);
        let named: Vec<Duration> = (0..CLIENTS)
            .map(|place| return_after(place, CLIENTS, back_in, rng.f64()))
            .collect();
        let came = come_back(CLIENTS, 200, |client| named[client]);
        assert_eq!(came[..20], [0; 20], "nobody before it is back");
        assert_eq!(came.iter().sum::<usize>(), CLIENTS, "nobody was turned away");
        assert!(came.iter().all(|&tenth| tenth <= 150), "{came:?}");
        assert!(came.len() <= 20 + 110, "{}", came.len());
    }

    #[test]
    fn ten_thousand_peers_of_one_that_was_killed_are_in_within_half_a_minute() {
        // It can say nothing, so they come together; what it cannot take comes again, later and spread.
        let came = come_back(10_000, 200, |_| Duration::ZERO);
        let seconds: Vec<usize> = came.chunks(10).map(|tenths| tenths.iter().sum()).collect();
        assert!(
            seconds[0] <= 40_000,
            "four times as many as there are: {seconds:?}"
        );
        // From then on hardly more than it can take.
        assert!(seconds[2..].iter().all(|&second| second <= 4_000), "{seconds:?}");
        assert!(seconds.len() <= 30, "{seconds:?}");
    }

    #[test]
    fn a_peer_cannot_send_a_client_away_for_ever() {
        assert_eq!(Redial::default().wait(0, Duration::MAX, 0.0), RETRY_AFTER_MAX);
    }
}
