//! The control plane: takes pipelines, hands their jobs to runners, keeps their logs.
//!
//! [`RustCIControlPlane`] listens on any number of places and serves runners and clients as
//! `docs/protocol/rustci.md` says. What it knows is in memory and ends with it: after a restart runs
//! are gone, and runners that come back are told to stop what they hold. Logs are in files below
//! [`ServerConfig::logs`], so a long log costs disk and no memory.
//!
//! It runs no job itself (see [`runner`](crate::runner)). Who its peers are is what their connections prove, and
//! [`ServerConfig::policy`] says what they may do: a client of it can run commands on its runners.
//! Read [`RustCIControlPlane`] first.

mod clients;
mod jobs;
mod logs;
mod registry;
mod run;
mod spool;
mod state;
#[cfg(test)]
mod tests;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use valkyrie_endpoint::{
    BuildError, Endpoint, ErrorCode, Failure, ListenError, Locator, PolicyHandle, Services, ServicesError,
};

use self::state::State;
use crate::access::Access;
use crate::schedule::Limits;
use crate::wire;

pub use self::registry::RUNNERS_MAX;

/// Runs that have not ended, at once. A run with many jobs costs a few hundred kilobytes.
pub const RUNS_OPEN_MAX: usize = 256;
/// Runs that have ended and can still be watched. The oldest is forgotten with its logs.
pub const RUNS_KEPT_MAX: usize = 64;
/// Bytes of one attempt's log unless told otherwise: far more than anyone reads, and less than most
/// disks have.
pub const LOG_BYTES_MAX_DEFAULT: u64 = 64 << 30;

/// What a control plane is made with.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The folder for logs. It must exist, and be this server's alone.
    pub logs: PathBuf,
    /// Where jobs leave what they make, if there is such a place.
    pub artifacts: Option<Artifacts>,
    /// Who the server is, and whom it trusts.
    pub access: Access,
    /// What peers may do, see [`policy_by_roles`](crate::access::policy_by_roles).
    pub policy: PolicyHandle,
    /// Times and counts.
    pub limits: Limits,
    /// Bytes of one attempt's log. A job that prints more fails.
    pub log_bytes_max: u64,
}

impl ServerConfig {
    /// A server with the usual limits and without artifacts.
    pub fn new(logs: impl Into<PathBuf>, access: Access, policy: impl Into<PolicyHandle>) -> Self {
        Self {
            logs: logs.into(),
            artifacts: None,
            access,
            policy: policy.into(),
            limits: Limits::default(),
            log_bytes_max: LOG_BYTES_MAX_DEFAULT,
        }
    }
}

/// The directory that the jobs of a run share. Runners must see it under the same path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Artifacts {
    /// This very directory, for a server that has one run.
    Whole(PathBuf),
    /// A directory for each run below this one.
    Each(PathBuf),
}

impl Artifacts {
    fn of_run(&self, run: u64) -> PathBuf {
        match self {
            Self::Whole(path) => path.clone(),
            Self::Each(path) => path.join(format!("run-{run}")),
        }
    }
}

/// A control plane did not start. Nothing listens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The handlers could not be put together.
    #[error(transparent)]
    Services(#[from] ServicesError),
    /// The endpoint could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// A control plane that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct RustCIControlPlane {
    plane: Arc<Plane>,
    endpoint: Endpoint,
    timer: AbortHandle,
}

/// What the handlers share.
#[derive(Debug)]
struct Plane {
    config: ServerConfig,
    state: Mutex<State>,
    /// Tells the timer to look again.
    changed: Notify,
    /// Which life of the server this is.
    life: u64,
}

impl RustCIControlPlane {
    /// Starts. It listens nowhere yet.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: ServerConfig) -> Result<Self, StartError> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let life = state::millis(since.unwrap_or_default());
        let plane = Arc::new(Plane {
            config,
            state: Mutex::new(State::new(life)),
            changed: Notify::new(),
            life,
        });
        let endpoint = plane
            .config
            .access
            .endpoint()
            .policy(plane.config.policy.clone())
            .services(services(&plane)?)
            .build()?;
        let timer = tokio::spawn(keep_time(Arc::clone(&plane))).abort_handle();
        Ok(Self {
            plane,
            endpoint,
            timer,
        })
    }

    /// Listens on one more place and says which, with what was left open filled in.
    ///
    /// # Errors
    /// [`ListenError`]; nothing is bound.
    pub async fn listen(&self, locator: &Locator) -> Result<Locator, ListenError> {
        self.endpoint.listen(locator).await
    }

    /// A runner's process is known to have ended: its jobs are offered again at once.
    pub fn runner_ended(&self, name: &str) {
        self.plane.change(|state, now| {
            if let Some(runner) = state.registry.named(name) {
                state.drop_runner(runner, now);
            }
        });
    }

    /// How many runners are connected.
    pub fn runners(&self) -> usize {
        let connected = |state: &mut State, _| {
            state
                .registry
                .iter()
                .filter(|(_, entry)| entry.outbox.is_some())
                .count()
        };
        self.plane.look(connected)
    }

    /// How many runs have not ended.
    pub fn open_runs(&self) -> usize {
        self.plane.look(|state, _| state.open_runs().len())
    }

    /// Cancels everything, waits at most `timeout` for the runs to end, and stops.
    pub async fn stop(self, timeout: Duration) {
        let open = self.plane.change(|state, now| {
            let open = state.open_runs();
            for run in &open {
                state.call(*run, now, |schedule| schedule.cancel_all(now));
            }
            open
        });
        let ended = async {
            for run in open {
                let seen = self
                    .plane
                    .look(|state, _| state.run(run).map(run::Run::subscribe));
                let Some(mut seen) = seen else { continue };
                let is_open = || {
                    self.plane
                        .look(|state, _| state.run(run).is_some_and(|run| run.result().is_none()))
                };
                while is_open() && seen.changed().await.is_ok() {}
            }
        };
        // A run that does not end in time ends with the server.
        let _ = tokio::time::timeout(timeout, ended).await;
        self.endpoint.drain(GOODBYE).await;
    }
}

impl Drop for RustCIControlPlane {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

impl Plane {
    /// Changes something, and lets the timer know.
    fn change<T>(&self, change: impl FnOnce(&mut State, Instant) -> T) -> T {
        let answer = self.look(|state, now| {
            let answer = change(state, now);
            state.settle(now);
            answer
        });
        self.changed.notify_one();
        answer
    }

    fn look<T>(&self, look: impl FnOnce(&mut State, Instant) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        look(&mut state, Instant::now())
    }

    /// Whether the number of a run was given out by this life of the server.
    fn same_life(&self, life: Option<u64>) -> Result<(), Failure> {
        match life.is_none_or(|life| life == self.life) {
            true => Ok(()),
            false => Err(Failure::new(
                ErrorCode::NOT_FOUND,
                "the server was started anew since, and knows nothing of the run",
            )),
        }
    }
}

/// Calls the state when its time has come.
async fn keep_time(plane: Arc<Plane>) {
    loop {
        let next = plane.look(|state, _| state.poll_timeout());
        let sleep = async {
            match next {
                Some(next) => tokio::time::sleep_until(next.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep => plane.look(State::settle),
            () = plane.changed.notified() => {}
        }
    }
}

fn services(plane: &Arc<Plane>) -> Result<Services, ServicesError> {
    let [register, jobs, log, submit, watch, cancel] = std::array::from_fn(|_| Arc::clone(plane));
    Services::builder()
        .unary(wire::SERVICE, wire::METHOD_REGISTER, move |context, payload| {
            let answer = jobs::register(&register, &context, &payload);
            async move { answer }
        })
        .stream(wire::SERVICE, wire::METHOD_JOBS, move |context, send, recv| {
            jobs::serve(Arc::clone(&jobs), context, send, recv)
        })
        .stream(wire::SERVICE, wire::METHOD_LOG, move |context, send, recv| {
            logs::serve(Arc::clone(&log), context, send, recv)
        })
        .unary(wire::SERVICE, wire::METHOD_SUBMIT, move |_, payload| {
            clients::submit(Arc::clone(&submit), payload)
        })
        .stream(wire::SERVICE, wire::METHOD_WATCH, move |_, send, recv| {
            watch::serve(Arc::clone(&watch), send, recv)
        })
        .unary(wire::SERVICE, wire::METHOD_CANCEL, move |_, payload| {
            let answer = clients::cancel(&cancel, &payload);
            async move { answer }
        })
        .build()
}

/// A message that cannot be read, as an answer to its sender.
fn unreadable(error: &wire::WireError) -> Failure {
    Failure::new(ErrorCode::INVALID_ARGUMENT, error.to_string())
}

/// How long a stopping server waits for its peers to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
