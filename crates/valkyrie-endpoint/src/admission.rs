//! How many calls an endpoint works on at once, all its connections together, and who is refused when they are too many.
//!
//! The lowest class is refused first: each may begin as long as fewer calls are in progress than its part of the limit,
//! and the parts do not grow down the classes. So what bulk and data may never take is kept for job and system, and critical is never
//! refused here. One that is refused has not been looked at, so its caller may try again, and is told when.
//!
//! A call that is answered in the pass that read it is never in progress: it is there and gone within the thread's turn.
//! What waits for something is counted where it becomes a task, so that with the limit nearly reached as many more may
//! begin as there are threads.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use thiserror::Error;
use valkyrie_frame::{Class, ErrorCode};
use valkyrie_proto::Failure;

/// How many calls may be in progress, and what part of them each class may fill.
///
/// A call is a request whose handler had to wait for something, or a stream that a handler serves. Notifications are none: they have no
/// answer that could refuse them, and the sender's credit bounds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Calls of all connections and classes together.
    pub calls: u32,
    /// In thousandths of `calls`: a system call is refused while so many calls of any class are in progress.
    pub system: u16,
    /// The same for a job call.
    pub job: u16,
    /// The same for a data call.
    pub data: u16,
    /// The same for a bulk call.
    pub bulk: u16,
}

impl AdmissionLimits {
    /// So many calls, of which bulk may fill six tenths, data eight, job nine and system all.
    pub const fn new(calls: u32) -> Self {
        Self {
            calls,
            system: 1000,
            job: 900,
            data: 800,
            bulk: 600,
        }
    }

    /// The part of a class in thousandths; critical is not limited.
    pub const fn part(&self, class: Class) -> Option<u16> {
        match class {
            Class::Critical => None,
            Class::System => Some(self.system),
            Class::Job => Some(self.job),
            Class::Data => Some(self.data),
            Class::Bulk => Some(self.bulk),
        }
    }

    /// How many calls there may be for one of `class` still to begin, at least one.
    fn room(&self, class: Class) -> u32 {
        let Some(part) = self.part(class) else {
            return UNLIMITED;
        };
        let room = u64::from(self.calls) * u64::from(part) / 1000;
        (room as u32).max(1)
    }

    /// Checks that something can begin and that no class is refused before one below it.
    ///
    /// # Errors
    /// [`AdmissionError`]: the caller is at fault.
    pub fn check(&self) -> Result<(), AdmissionError> {
        if self.calls == 0 {
            return Err(AdmissionError::NoCalls);
        }
        let mut above = (Class::Critical, 1000);
        for class in Class::ALL {
            let Some(part) = self.part(class) else { continue };
            if !(1..=1000).contains(&part) {
                return Err(AdmissionError::Part { class, part });
            }
            if part > above.1 {
                return Err(AdmissionError::Order {
                    class,
                    above: above.0,
                });
            }
            above = (class, part);
        }
        Ok(())
    }
}

/// Limits that cannot work. The caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AdmissionError {
    /// No call could ever begin.
    #[error("admission of 0 calls: nobody could call")]
    NoCalls,
    /// A part that is none.
    #[error("the part of class {class} is {part} thousandths, not 1 to 1000")]
    Part {
        /// Of which class.
        class: Class,
        /// In thousandths.
        part: u16,
    },
    /// A class would be refused before one that is below it.
    #[error("class {class} may fill more than class {above}, which is above it")]
    Order {
        /// The lower class.
        class: Class,
        /// The one above it.
        above: Class,
    },
}

/// The counts of an endpoint. No lock: a call costs a comparison, one that becomes a task two additions.
#[derive(Debug)]
pub(crate) struct Admission {
    /// How many calls there may be for one of the class still to begin.
    room: [AtomicU32; Class::COUNT],
    in_progress: [AtomicU32; Class::COUNT],
    refused: [AtomicU64; Class::COUNT],
    /// Calls that were refused, and that ended, within the last second.
    lately_refused: Recent,
    lately_ended: Recent,
    epoch: Instant,
}

impl Admission {
    /// One that refuses nobody.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            room: std::array::from_fn(|_| AtomicU32::new(UNLIMITED)),
            in_progress: Default::default(),
            refused: Default::default(),
            lately_refused: Recent::default(),
            lately_ended: Recent::default(),
            epoch: now,
        }
    }

    /// Puts limits in force; calls that are in progress stay so.
    pub(crate) fn set(&self, limits: Option<&AdmissionLimits>) {
        for class in Class::ALL {
            let room = limits.map_or(UNLIMITED, |limits| limits.room(class));
            self.room[class.index()].store(room, Ordering::Relaxed);
        }
    }

    /// Whether a call of this class may begin now.
    ///
    /// # Errors
    /// What its caller is told. It is counted.
    #[inline]
    pub(crate) fn admit(&self, class: Class, now: Instant) -> Result<(), Failure> {
        let room = self.room[class.index()].load(Ordering::Relaxed);
        if room == UNLIMITED || self.in_progress() < room {
            return Ok(());
        }
        Err(self.refuse(class, now))
    }

    /// A call is in progress from now on, until [`Admission::leave`].
    pub(crate) fn enter(&self, class: Class) {
        self.in_progress[class.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self, class: Class, now: Instant) {
        self.in_progress[class.index()].fetch_sub(1, Ordering::Relaxed);
        if self.room[Class::System.index()].load(Ordering::Relaxed) != UNLIMITED {
            self.lately_ended.note(self.second(now));
        }
    }

    /// Calls of all classes that are in progress.
    pub(crate) fn in_progress(&self) -> u32 {
        let counts = self.in_progress.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn in_progress_of(&self, class: Class) -> u32 {
        self.in_progress[class.index()].load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self, class: Class) -> u64 {
        self.refused[class.index()].load(Ordering::Relaxed)
    }

    #[cold]
    fn refuse(&self, class: Class, now: Instant) -> Failure {
        self.refused[class.index()].fetch_add(1, Ordering::Relaxed);
        let second = self.second(now);
        let refused = self.lately_refused.note(second);
        let wait = retry_after(refused, self.lately_ended.count(second));
        let text = format!("too many calls are in progress for one more of class {class}");
        let mut failure = Failure::new(ErrorCode::OVERLOADED, text);
        // Half of it by chance: those that were refused together do not come back together.
        let wait_ms = wait.as_millis() as u32;
        failure.retry_after_ms = fastrand::u32(wait_ms / 2..=wait_ms);
        failure
    }

    /// Seconds and their fractions, see [`Recent`].
    fn second(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch)
    }
}

/// How long it takes to serve as many calls as were refused within the last second, at the rate at which calls have ended
/// meanwhile: the more are refused, the later they come back.
fn retry_after(refused: u32, ended: u32) -> Duration {
    let wait = Duration::from_secs(1).mul_f64(f64::from(refused) / f64::from(ended.max(1)));
    wait.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
}

/// How often something has happened within the last second: the count of this second, and as much of the last one's as it
/// reaches back into. In one word, with no lock: 16 bits of the second's number and 24 for each count, which is more than
/// a node refuses.
#[derive(Debug, Default)]
struct Recent(AtomicU64);

impl Recent {
    /// Counts one more, at this time since the epoch. Says how many there were lately, with it.
    fn note(&self, at: Duration) -> u32 {
        let mut held = self.0.load(Ordering::Relaxed);
        loop {
            let (last, this) = unpack(held, at);
            let this = (this + 1).min(COUNT_MAX);
            match self.0.compare_exchange_weak(
                held,
                pack(at, last, this),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return weigh(last, this, at),
                Err(other) => held = other,
            }
        }
    }

    /// How many there were lately.
    fn count(&self, at: Duration) -> u32 {
        let (last, this) = unpack(self.0.load(Ordering::Relaxed), at);
        weigh(last, this, at)
    }
}

const COUNT_MAX: u64 = (1 << 24) - 1;

fn pack(at: Duration, last: u64, this: u64) -> u64 {
    (at.as_secs() & 0xffff) << 48 | last << 24 | this
}

/// The counts of the second before `at`'s and of its own.
fn unpack(held: u64, at: Duration) -> (u64, u64) {
    let (last, this) = (held >> 24 & COUNT_MAX, held & COUNT_MAX);
    // A clock that is behind by a moment is that of another thread.
    match (at.as_secs() as u16).wrapping_sub((held >> 48) as u16) {
        0 | u16::MAX => (last, this),
        1 => (this, 0),
        _ => (0, 0),
    }
}

fn weigh(last: u64, this: u64, at: Duration) -> u32 {
    let left = 1_000_000_000 - u64::from(at.subsec_nanos());
    (this + last * left / 1_000_000_000) as u32
}

/// The room of a class that is not limited.
const UNLIMITED: u32 = u32::MAX;

/// A caller that was refused comes back after half of this at the soonest: several times what a call in a network takes.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);

/// After this it comes back at the latest, so that an overload is forgotten within it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(limits: AdmissionLimits) -> (Admission, Instant) {
        let now = Instant::now();
        let admission = Admission::new(now);
        limits.check().unwrap();
        admission.set(Some(&limits));
        (admission, now)
    }

    #[test]
    fn the_lowest_class_is_refused_first_and_critical_never() {
        let (admission, now) = admission(AdmissionLimits::new(10));
        let admitted = |classes: &[Class]| {
            for class in Class::ALL {
                assert_eq!(
                    admission.admit(class, now).is_ok(),
                    classes.contains(&class),
                    "{class} with {} in progress",
                    admission.in_progress()
                );
            }
        };
        admitted(&Class::ALL);
        let rooms = [(6, 4), (2, 3), (1, 2), (1, 1)];
        for (more, classes) in rooms {
            (0..more).for_each(|_| admission.enter(Class::Data));
            admitted(&Class::ALL[..classes]);
        }
        (0..1000).for_each(|_| admission.enter(Class::Critical));
        admitted(&[Class::Critical]);
        (0..1010).for_each(|number| {
            let class = if number < 10 { Class::Data } else { Class::Critical };
            admission.leave(class, now);
        });
        admitted(&Class::ALL);
        assert_eq!(admission.refused(Class::Bulk), 5);
        assert_eq!(admission.refused(Class::Critical), 0);
    }

    #[test]
    fn without_limits_nobody_is_refused_and_calls_are_counted_all_the_same() {
        let now = Instant::now();
        let admission = Admission::new(now);
        for _ in 0..100_000 {
            assert_eq!(admission.admit(Class::Bulk, now), Ok(()));
            admission.enter(Class::Bulk);
        }
        admission.set(Some(&AdmissionLimits::new(10)));
        assert!(admission.admit(Class::System, now).is_err());
        admission.set(None);
        assert_eq!(admission.admit(Class::Bulk, now), Ok(()));
        assert_eq!(admission.in_progress_of(Class::Bulk), 100_000);
    }

    #[test]
    fn the_more_are_refused_the_later_they_come_back() {
        let (admission, begin) = admission(AdmissionLimits::new(1));
        admission.enter(Class::Job);
        let mut now = begin;
        let mut wait = |step: Duration, ended: u32| {
            now += step;
            for _ in 0..ended {
                admission.enter(Class::Job);
                admission.leave(Class::Job, now);
            }
            admission.admit(Class::Job, now).unwrap_err().retry_after_ms
        };
        // A hundred end in this second. One refused waits for little; hundreds have to wait their turn.
        assert!((50..=100).contains(&wait(Duration::from_millis(10), 100)));
        let mut last = 0;
        (0..299).for_each(|_| last = wait(Duration::ZERO, 0));
        assert!(
            (1500..=3000).contains(&last),
            "300 for a hundred a second: {last}"
        );
        (0..100_000).for_each(|_| last = wait(Duration::ZERO, 0));
        assert!(
            (2500..=5000).contains(&last),
            "and never longer than this: {last}"
        );
        assert!(
            (50..=100).contains(&wait(Duration::from_secs(3), 100)),
            "it is forgotten"
        );
    }

    #[test]
    fn what_happened_lately_is_what_happened_within_a_second() {
        let recent = Recent::default();
        let at = |ms: u64| Duration::from_millis(ms);
        (0..100).for_each(|_| {
            recent.note(at(500));
        });
        assert_eq!(recent.count(at(900)), 100);
        assert_eq!(recent.count(at(1000)), 100);
        assert_eq!(recent.count(at(1500)), 50);
        assert_eq!(recent.note(at(1750)), 26);
        assert_eq!(recent.count(at(2000)), 1);
        assert_eq!(recent.count(at(3000)), 0);
        assert_eq!(recent.count(at(65_536_000 + 4000)), 0);
    }

    #[test]
    fn limits_that_turn_the_order_around_are_refused() {
        let good = AdmissionLimits::new(100);
        assert_eq!(good.check(), Ok(()));
        let order = AdmissionLimits { bulk: 900, ..good };
        assert!(matches!(order.check(), Err(AdmissionError::Order { .. })));
        let part = AdmissionLimits { bulk: 0, ..good };
        assert!(matches!(part.check(), Err(AdmissionError::Part { .. })));
        assert_eq!(AdmissionLimits::new(0).check(), Err(AdmissionError::NoCalls));
    }
}
