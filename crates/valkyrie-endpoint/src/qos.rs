//! The quality of service of an endpoint, replaced while its connections live.
//!
//! It changes what the endpoint was built with and nothing that the wire says: how each session divides what it sends,
//! and how many calls the endpoint works on at once, from that moment on; limits, which peers were told when their
//! connections began, for connections that begin later. Read [`Qos`] first; how it is written in a file is the router's
//! business.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use valkyrie_frame::Class;
use valkyrie_proto::{Config, ConfigError, CriticalRate, DelayTarget, Limits, Policy, Shares, Side};

use crate::admission::{AdmissionError, AdmissionLimits};
use crate::configs::Configs;
use crate::roster::Roster;
use crate::{Endpoint, clock};

/// What an endpoint's quality of service is to be. `None` is what the endpoint was built with, so that the default changes
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Qos {
    /// The classes' shares of what a session sends.
    pub shares: Option<Shares>,
    /// What a session may send on stream 0.
    pub critical: Option<CriticalRate>,
    /// How far delay may grow over its least before the data class yields.
    pub data_delay_target: Option<DelayTarget>,
    /// Limits of connections that begin later.
    pub limits: LimitChanges,
    /// How many calls may be in progress; `None` for any number.
    pub admission: Option<AdmissionLimits>,
    /// What the link below carries, in bytes a second: all connections together send no more, divided among the classes by
    /// their shares and within a class among the connections. `None` leaves that to the link.
    pub capacity: Option<NonZeroU64>,
}

/// Limits that differ from what the endpoint was built with; see [`Limits`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitChanges {
    /// [`Limits::max_message`].
    pub max_message: Option<u32>,
    /// [`Limits::max_exchanges`].
    pub max_exchanges: Option<u16>,
    /// [`Limits::max_streams`].
    pub max_streams: Option<u32>,
    /// [`Limits::reassembly_max`].
    pub reassembly_max: Option<u32>,
    /// [`Limits::pending_request_bytes_max`].
    pub pending_request_bytes_max: Option<u32>,
    /// [`Limits::queued_answer_bytes_max`].
    pub queued_answer_bytes_max: Option<u32>,
    /// [`Limits::send_queue_max`].
    pub send_queue_max: Option<u32>,
    /// [`Limits::best_effort_queue_max`].
    pub best_effort_queue_max: Option<u32>,
}

impl LimitChanges {
    fn apply(&self, limits: &mut Limits) {
        fn set<T: Copy>(limit: &mut T, change: Option<T>) {
            *limit = change.unwrap_or(*limit);
        }
        set(&mut limits.max_message, self.max_message);
        set(&mut limits.max_exchanges, self.max_exchanges);
        set(&mut limits.max_streams, self.max_streams);
        set(&mut limits.reassembly_max, self.reassembly_max);
        set(
            &mut limits.pending_request_bytes_max,
            self.pending_request_bytes_max,
        );
        set(&mut limits.queued_answer_bytes_max, self.queued_answer_bytes_max);
        set(&mut limits.send_queue_max, self.send_queue_max);
        set(&mut limits.best_effort_queue_max, self.best_effort_queue_max);
    }
}

impl Qos {
    /// The configuration with these changes.
    fn over(&self, base: &Config) -> Config {
        let mut config = base.clone();
        let policy = &mut config.policy;
        policy.shares = self.shares.unwrap_or(policy.shares);
        policy.critical = self.critical.unwrap_or(policy.critical);
        policy.data_delay_target = self.data_delay_target.unwrap_or(policy.data_delay_target);
        self.limits.apply(&mut config.limits);
        config
    }
}

/// Why a quality of service was not put in force. The caller is at fault, and what was in force still is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QosRefused {
    /// With what the endpoint was built with it makes a configuration that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The limits of calls in progress cannot work.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
}

/// What an endpoint does for the quality of service, and what it had to refuse for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QosStats {
    /// How often it was put in force, at the building included.
    pub version: u64,
    /// By class, in the order of [`Class::ALL`].
    pub classes: [QosClassStats; Class::COUNT],
}

impl QosStats {
    /// The counters of one class.
    pub const fn class(&self, class: Class) -> &QosClassStats {
        &self.classes[class.index()]
    }
}

/// What an endpoint does for one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QosClassStats {
    /// Calls and streams whose handlers are at work now and had to wait for something.
    pub in_progress: u32,
    /// Calls and streams refused because too many were in progress.
    pub refused: u64,
}

/// What is in force at an endpoint.
#[derive(Debug)]
pub(crate) struct LiveQos {
    base: Base,
    state: Mutex<State>,
    /// Held while a new one is handed to every session, so that no session ends with the older of two.
    changing: Mutex<()>,
}

/// What the endpoint was built with.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) config: Config,
    pub(crate) local_max_frame: u32,
    pub(crate) resume_for: std::time::Duration,
    pub(crate) resume_for_peers: std::time::Duration,
}

impl Base {
    fn with(&self, qos: &Qos) -> Result<Configs, QosRefused> {
        if let Some(admission) = &qos.admission {
            admission.check()?;
        }
        let configs = Configs::new(
            qos.over(&self.config),
            self.local_max_frame,
            self.resume_for,
            self.resume_for_peers,
        )?;
        Ok(configs)
    }
}

#[derive(Debug)]
struct State {
    qos: Arc<Qos>,
    configs: Configs,
    policy: Arc<Policy>,
    version: u64,
}

impl State {
    fn new(qos: Qos, configs: Configs, version: u64) -> Self {
        // They differ in limits alone.
        let policy = configs.of(Side::Dialer, false).policy.clone();
        Self {
            qos: Arc::new(qos),
            configs,
            policy: Arc::new(policy),
            version,
        }
    }

    fn put_in_force(&self, roster: &Roster) {
        roster.admission.set(self.qos.admission.as_ref());
        let capacity = self.qos.capacity.map(NonZeroU64::get);
        roster.shaping.set(capacity, self.policy.shares, clock::now());
    }
}

impl LiveQos {
    pub(crate) fn new(base: Base, qos: Qos) -> Result<Self, QosRefused> {
        let configs = base.with(&qos)?;
        Ok(Self {
            base,
            state: Mutex::new(State::new(qos, configs, 1)),
            changing: Mutex::default(),
        })
    }

    /// Puts in force what concerns all connections together.
    pub(crate) fn begin_with(&self, roster: &Roster) {
        let state = self.state();
        state.put_in_force(roster);
    }

    /// Whether connections that this side dials outlive their links.
    pub(crate) fn outlives_links(&self) -> bool {
        !self.base.resume_for.is_zero()
    }

    /// What a session begins with, and the version of it.
    pub(crate) fn begin(&self, side: Side, local: bool) -> (Arc<Config>, u64) {
        let state = self.state();
        (Arc::clone(state.configs.of(side, local)), state.version)
    }

    /// The policy in force, if it is another than that of `version`.
    pub(crate) fn newer(&self, version: u64) -> Option<(Arc<Policy>, u64)> {
        let state = self.state();
        (state.version != version).then(|| (Arc::clone(&state.policy), state.version))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under this lock is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Endpoint {
    /// Puts another quality of service in force, on every connection there is and every one that begins later, and returns
    /// its version. No message is lost, and none that is queued changes its place in its stream. Limits hold for connections that
    /// begin later.
    ///
    /// # Errors
    /// [`QosRefused`]: the caller is at fault. What was in force still is.
    pub fn set_qos(&self, qos: Qos) -> Result<u64, QosRefused> {
        let live = self.live_qos();
        let _changing = live.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let configs = live.base.with(&qos)?;
        let (policy, version) = {
            let mut state = live.state();
            *state = State::new(qos, configs, state.version + 1);
            state.put_in_force(self.roster());
            (Arc::clone(&state.policy), state.version)
        };
        // Connections that begin from here on have it, or find that there is a newer one when they are on the roster.
        for shared in self.roster().snapshot() {
            shared.set_policy(clock::now(), Arc::clone(&policy));
        }
        Ok(version)
    }

    /// The quality of service in force.
    pub fn qos(&self) -> Arc<Qos> {
        Arc::clone(&self.live_qos().state().qos)
    }

    /// What is done for it and had to be refused, on all connections together.
    pub fn qos_stats(&self) -> QosStats {
        let admission = &self.roster().admission;
        QosStats {
            version: self.live_qos().state().version,
            classes: Class::ALL.map(|class| QosClassStats {
                in_progress: admission.in_progress_of(class),
                refused: admission.refused(class),
            }),
        }
    }
}
