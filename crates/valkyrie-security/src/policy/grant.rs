//! What one peer may do on one connection, ready to be asked about every call.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use valkyrie_frame::Class;

use super::classes::Classes;
use super::compiled::Compiled;
use super::denied::{Denied, DeniedReason, What};
use super::rate::Meter;
use super::rule::TopicUse;
use super::table::{CallName, Entry, Seen, Verdict};
use crate::time::UnixTime;
use crate::token::TokenRights;

/// What one peer may do on one connection: the rules that are about it, compiled.
///
/// [`check`](Self::check) is asked at every call, notification and opening of a stream. It is lock-free, and for a call
/// that the rules write out, or that came before on this connection, it is one look-up in a hash table.
///
/// A grant does not change. When the policy does, [`PolicyHandle::version`](super::PolicyHandle::version) tells, and
/// a new grant is made.
#[derive(Debug)]
pub struct Grant {
    pub(super) compiled: Arc<Compiled>,
    /// In the order of `compiled.metered`.
    pub(super) meters: Box<[Arc<Meter>]>,
    pub(super) seen: Seen,
    pub(super) token: Option<Box<TokenGrant>>,
    /// When it was made, by both clocks.
    pub(super) made: (Instant, UnixTime),
    pub(super) expires: Option<(Instant, UnixTime)>,
    pub(super) version: u64,
}

/// What a token adds to the rules.
#[derive(Debug)]
pub(super) struct TokenGrant {
    pub(super) rights: TokenRights,
    /// The classes that the policy lets tokens give.
    pub(super) ceiling: Classes,
}

impl Grant {
    /// Whether the peer may make this call, or open a stream for it, now. Takes one from the rate of the rule that
    /// allows it, if that has one.
    ///
    /// # Errors
    /// [`Denied`] says why not. Nothing has changed then.
    #[inline]
    pub fn check(&self, service: &str, method: &str, class: Class, now: Instant) -> Result<(), Denied> {
        self.look_up(&CallName::new(service, method), class, now)
            .and_then(|pass| self.take(pass, now))
            .map_err(|reason| Denied {
                what: What::Call(class),
                reason,
            })
    }

    /// Whether the peer may make this call now, were its rate not used up. Takes nothing from the rate: for what was let
    /// through before and is looked at anew, such as a stream when the policy has changed.
    ///
    /// # Errors
    /// As [`check`](Self::check), but never for the rate.
    pub fn permits(&self, service: &str, method: &str, class: Class, now: Instant) -> Result<(), Denied> {
        match self.look_up(&CallName::new(service, method), class, now) {
            Ok(_) => Ok(()),
            Err(reason) => Err(Denied {
                what: What::Call(class),
                reason,
            }),
        }
    }

    /// Whether the peer may use this topic now. Takes one from the rate of the rule that allows it, if that has one.
    ///
    /// # Errors
    /// [`Denied`] says why not. Nothing has changed then.
    pub fn topic(&self, topic_use: TopicUse, topic: &str, now: Instant) -> Result<(), Denied> {
        let passed = match self.has_expired(now) {
            true => Err(DeniedReason::Expired),
            false => self.pass(self.compiled.topic(topic_use, topic), || Classes::NONE),
        };
        passed
            .and_then(|pass| self.take(pass, now))
            .map_err(|reason| Denied {
                what: What::Topic(topic_use),
                reason,
            })
    }

    /// The classes in which the peer may do anything at all.
    pub fn classes(&self) -> Classes {
        match &self.token {
            Some(token) => self
                .compiled
                .classes
                .union(token.ceiling.intersection(token.rights.classes())),
            None => self.compiled.classes,
        }
    }

    /// When the grant ends by itself; the connection has no business beyond that.
    pub fn not_after(&self) -> Option<UnixTime> {
        self.expires.map(|(_, at)| at)
    }

    /// The version of the policy that it was made from, as [`PolicyHandle::version`](super::PolicyHandle::version)
    /// counts; 0 when it was made without a handle.
    pub fn version(&self) -> u64 {
        self.version
    }

    #[inline]
    fn has_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|(at, _)| now >= at)
    }

    #[inline]
    fn look_up(&self, name: &CallName<'_>, class: Class, now: Instant) -> Result<Pass, DeniedReason> {
        if self.has_expired(now) {
            return Err(DeniedReason::Expired);
        }
        if self.token.is_none()
            && let Some(entry) = self.compiled.table.find(name).or_else(|| self.seen.find(name))
        {
            return self.by_rules(entry, class);
        }
        self.look_up_slowly(name, class, now)
    }

    #[inline]
    fn by_rules(&self, entry: &Entry, class: Class) -> Result<Pass, DeniedReason> {
        let verdict = entry.verdicts.get(class.index()).copied();
        self.pass(verdict.unwrap_or(Verdict::Unruled), || {
            let open = |class: &Class| {
                matches!(
                    entry.verdicts.get(class.index()),
                    Some(Verdict::Free | Verdict::Metered(_))
                )
            };
            Class::ALL.into_iter().filter(open).collect()
        })
    }

    #[inline]
    fn pass(&self, verdict: Verdict, elsewhere: impl FnOnce() -> Classes) -> Result<Pass, DeniedReason> {
        match verdict {
            Verdict::Free => Ok(Pass::Free),
            Verdict::Metered(place) => Ok(Pass::Metered(place)),
            Verdict::Denied(rule) => Err(DeniedReason::Forbidden {
                line: self.compiled.line(rule),
            }),
            Verdict::Unruled => match elsewhere() {
                Classes::NONE => Err(DeniedReason::NoRule),
                classes => Err(DeniedReason::Class(classes)),
            },
        }
    }

    #[inline]
    fn take(&self, pass: Pass, now: Instant) -> Result<(), DeniedReason> {
        match pass {
            Pass::Free => Ok(()),
            Pass::Metered(place) => match self.meters.get(usize::from(place)) {
                Some(meter) => meter
                    .take(now)
                    .map_err(|retry_after| DeniedReason::Rate { retry_after }),
                None => Err(DeniedReason::NoRule),
            },
        }
    }

    /// A call that has not been decided yet, or a caller with a token.
    #[cold]
    fn look_up_slowly(&self, name: &CallName<'_>, class: Class, now: Instant) -> Result<Pass, DeniedReason> {
        let decided = match self.seen.find(name) {
            Some(entry) => Ok(entry),
            None => {
                let verdicts = self.compiled.decide(name.service, name.method);
                self.seen.insert(name, Box::new(Entry::new(name, verdicts)))
            }
        };
        let entry = match &decided {
            Ok(entry) => entry,
            Err(entry) => &**entry,
        };
        let by_rules = self.by_rules(entry, class);
        let (Err(DeniedReason::NoRule | DeniedReason::Class(_)), Some(token)) = (&by_rules, &self.token)
        else {
            return by_rules;
        };
        match self.token_classes(token, entry, name, now).contains(class) {
            true => Ok(Pass::Free),
            false => by_rules,
        }
    }

    /// The classes in which the token gives the call now. The answer is kept as long as no date in the token can
    /// change it.
    fn token_classes(&self, token: &TokenGrant, entry: &Entry, name: &CallName<'_>, now: Instant) -> Classes {
        let age = now.saturating_duration_since(self.made.0);
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        if let Some(classes) = Kept(entry.token.load(Ordering::Relaxed)).classes_at(age_ms) {
            return classes;
        }
        let time = self.made.1.saturating_add(age);
        let answer = token.rights.ask(name.service, name.method, time);
        let classes = answer.classes.intersection(token.ceiling);
        let good_for = answer.until.since(time).saturating_add(age);
        entry
            .token
            .store(Kept::new(classes, good_for).0, Ordering::Relaxed);
        classes
    }
}

/// A call that may be made.
#[derive(Clone, Copy, Debug)]
enum Pass {
    Free,
    /// Once the meter in this place says so too.
    Metered(u16),
}

/// What a token answered, in one word: the classes in the lowest bits, a bit that says that there is an answer, and
/// above them the age of the grant in milliseconds until which it is good.
struct Kept(u64);

impl Kept {
    const ANSWERED: u64 = 1 << Class::COUNT;
    const AGE_SHIFT: u32 = Class::COUNT as u32 + 1;

    fn new(classes: Classes, good_for: Duration) -> Self {
        let age_ms = u64::try_from(good_for.as_millis()).unwrap_or(u64::MAX);
        let age_ms = age_ms.min(u64::MAX >> Self::AGE_SHIFT);
        let bits = classes.iter().fold(0, |bits, class| bits | 1 << class.index());
        Self(age_ms << Self::AGE_SHIFT | Self::ANSWERED | bits)
    }

    fn classes_at(&self, age_ms: u64) -> Option<Classes> {
        let good = self.0 & Self::ANSWERED != 0 && age_ms < self.0 >> Self::AGE_SHIFT;
        good.then(|| {
            Class::ALL
                .into_iter()
                .filter(|class| self.0 & 1 << class.index() != 0)
                .collect()
        })
    }
}
