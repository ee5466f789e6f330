//! How fast a fleet notices, and what a member holds at most.

use std::time::Duration;

use valkyrie_endpoint::Class;

use crate::wire::MEMBERS_MAX;

/// The times of a [`Swim`](crate::Swim). All members of a fleet should have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SwimConfig {
    /// How often a member probes another. Every other is probed once in so many of these as there are others, and by all of them together
    /// as often as once in each.
    pub probe_every: Duration,
    /// How long a probe waits for its answer before others are asked to try. Less than half of `probe_every`, which is how long those have.
    pub probe_timeout: Duration,
    /// How many others are asked, and told of news.
    pub fanout: usize,
    /// How long somebody who was accused has to answer. Each member waits for itself: that another has waited already is nobody's word to give.
    pub suspect_for: Duration,
    /// How often news are passed on while there are any.
    pub gossip_every: Duration,
    /// How often everything is compared with somebody, for what gossip has missed.
    pub compare_every: Duration,
    /// How often somebody who is gone is tried again, so that a fleet that was cut in two finds itself.
    pub reach_every: Duration,
    /// How often seeds are greeted once others are known; until then it is done as often as the gone are tried.
    pub greet_every: Duration,
    /// Members, this one included. At most [`MEMBERS_MAX`].
    pub members_max: usize,
    /// How long it is remembered who is gone, and at which statement.
    pub remember_for: Duration,
    /// The class that packets travel in.
    pub class: Class,
}

impl Default for SwimConfig {
    /// A crash among eight is declared by all others within 1.0 to 1.6 seconds; see the book for how far that goes with other numbers.
    ///
    /// Packets travel as jobs do: the most urgent class that a policy allows to everybody by default, so that bulk and data do not hold them up.
    fn default() -> Self {
        Self {
            probe_every: Duration::from_millis(120),
            probe_timeout: Duration::from_millis(55),
            fanout: 3,
            suspect_for: Duration::from_millis(885),
            gossip_every: Duration::from_millis(100),
            compare_every: Duration::from_secs(5),
            reach_every: Duration::from_secs(1),
            greet_every: Duration::from_secs(30),
            members_max: MEMBERS_MAX,
            remember_for: Duration::from_secs(3600),
            class: Class::Job,
        }
    }
}

impl SwimConfig {
    /// The default's times, stretched for a network whose longest round trip among members is this: the default's is [`ROUND_TRIP`]. Who does not
    /// answer is declared so much later. Shorter ones give the default.
    #[must_use]
    pub fn for_round_trips(longest: Duration) -> Self {
        let default = Self::default();
        let stretch = (longest.as_secs_f64() / ROUND_TRIP.as_secs_f64()).max(1.0);
        let stretched = |time: Duration| time.mul_f64(stretch.min(STRETCH_MAX));
        Self {
            probe_every: stretched(default.probe_every),
            probe_timeout: stretched(default.probe_timeout),
            suspect_for: stretched(default.suspect_for),
            gossip_every: stretched(default.gossip_every),
            ..default
        }
    }

    /// Checks that the times can work together.
    ///
    /// # Errors
    /// [`SwimConfigError`]: the caller's numbers contradict each other.
    pub fn check(&self) -> Result<(), SwimConfigError> {
        let times = [
            self.probe_timeout,
            self.gossip_every,
            self.compare_every,
            self.reach_every,
            self.greet_every,
        ];
        if times.iter().any(|time| *time < TIME_MIN) || self.fanout == 0 {
            return Err(SwimConfigError::Zero);
        }
        if self.probe_timeout * 2 > self.probe_every {
            return Err(SwimConfigError::ProbeTimeout);
        }
        if self.suspect_for < self.probe_every {
            return Err(SwimConfigError::SuspectFor);
        }
        match (2..=MEMBERS_MAX).contains(&self.members_max) {
            true => Ok(()),
            false => Err(SwimConfigError::Members(self.members_max)),
        }
    }

    /// How much later than it should a timer may be handled before this side takes it that it was not running. A third of what an accused
    /// has to answer is less than would make it accuse others wrongly.
    pub(crate) fn stall(&self) -> Duration {
        self.probe_timeout
    }

    /// The least between two statements that answer accusations: an accuser who does nothing else must not keep this side signing. Two
    /// thirds of the time to answer are left to spread the answer.
    pub(crate) fn refute_every(&self) -> Duration {
        self.suspect_for / 3
    }
}

/// The times of a configuration contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SwimConfigError {
    /// A time is shorter than a millisecond, or nobody is asked or told.
    #[error("every time has to be a millisecond at least, and the fanout one")]
    Zero,
    /// There is no time left for others to probe.
    #[error("a probe's timeout may be half of the time between probes at most")]
    ProbeTimeout,
    /// An accused member could not answer before it is declared gone.
    #[error("who is accused has to have as long as there is between two probes at least")]
    SuspectFor,
    /// Fewer than two members, or more than lists have room for.
    #[error("{0} members: at least 2 and at most {MEMBERS_MAX} are possible")]
    Members(usize),
}

/// The longest round trip among members that the default's times are for.
pub const ROUND_TRIP: Duration = Duration::from_millis(50);
/// No network takes longer than a minute and a half.
const STRETCH_MAX: f64 = 2000.0;
/// Times are counted in milliseconds.
const TIME_MIN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_for_any_round_trip_can_work_together() {
        assert_eq!(SwimConfig::for_round_trips(Duration::ZERO), SwimConfig::default());
        assert_eq!(SwimConfig::for_round_trips(ROUND_TRIP), SwimConfig::default());
        for millis in [51, 77, 200, 1_000, 100_000, u64::MAX] {
            let config = SwimConfig::for_round_trips(Duration::from_millis(millis));
            assert_eq!(config.check(), Ok(()), "{millis} ms");
            assert!(config.probe_timeout > Duration::from_millis(millis.min(100_000)));
        }
        let wide = SwimConfig::for_round_trips(ROUND_TRIP * 4);
        assert_eq!(wide.suspect_for, SwimConfig::default().suspect_for * 4);
    }
}
