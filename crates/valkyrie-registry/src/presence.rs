//! An agent that stays registered: a task that renews, registers anew when the registration is lost, and leaves when told.
//!
//! It is the loop around a [`Registrar`] that every agent needs. A store that is away is waited for, for as long as it takes; what
//! the agent says can be changed at any time, and is said as soon as the store can be told.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use valkyrie_security::UnixTime;

use crate::agent::{Description, Status};
use crate::registrar::{RegisterError, Registrar, Registration};
use crate::store::StoreError;

/// Keeps an agent registered. Dropping it stops that: the registration ends with its lease. See [`Presence::leave`].
pub struct Presence {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<PresenceState>,
    task: AbortHandle,
}

/// How far a [`Presence`] has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresenceState {
    /// Not registered yet, or not any more.
    Away {
        /// Why the last attempt failed, if there was one.
        failure: Option<RegisterError>,
    },
    /// Registered, as of the last answer of the store.
    Registered(Registration),
    /// Registered as far as is known: the store did not answer when the lease was to be renewed, and is asked again while there is time.
    Unconfirmed {
        /// As of its last answer.
        registration: Registration,
        /// What it failed with since.
        failure: RegisterError,
    },
}

impl PresenceState {
    /// The registration, as of the last answer of the store; `None` while there is none.
    pub fn registration(&self) -> Option<&Registration> {
        match self {
            Self::Away { .. } => None,
            Self::Registered(registration) | Self::Unconfirmed { registration, .. } => Some(registration),
        }
    }
}

enum Command {
    Describe(Box<Description>, oneshot::Sender<()>),
    Say(Status, oneshot::Sender<()>),
    Leave(oneshot::Sender<Result<(), StoreError>>),
}

impl Presence {
    /// Registers an agent and keeps it registered, by the time of day that `clock` tells.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn keep(
        registrar: Registrar,
        description: Description,
        ttl: Duration,
        clock: impl Fn() -> UnixTime + Send + Sync + 'static,
    ) -> Self {
        let (publish, state) = watch::channel(PresenceState::Away { failure: None });
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let keeper = Keeper {
            registrar,
            description,
            ttl,
            clock: Box::new(clock),
            publish,
            inbox,
        };
        let task = tokio::spawn(keeper.run()).abort_handle();
        Self {
            commands,
            state,
            task,
        }
    }

    /// How far it has come.
    pub fn state(&self) -> PresenceState {
        self.state.borrow().clone()
    }

    /// Waits until the agent is registered.
    ///
    /// # Errors
    /// [`Gone`]: the task has ended, with its runtime.
    pub async fn registered(&self) -> Result<Registration, Gone> {
        let mut state = self.state.clone();
        let found = state
            .wait_for(|state| state.registration().is_some())
            .await
            .map_err(|_| Gone)?;
        found.registration().cloned().ok_or(Gone)
    }

    /// Waits until it is in another state than it was at the last call, and says which.
    ///
    /// # Errors
    /// [`Gone`]: the task has ended, with its runtime.
    pub async fn changed(&mut self) -> Result<PresenceState, Gone> {
        self.state.changed().await.map_err(|_| Gone)?;
        Ok(self.state.borrow_and_update().clone())
    }

    /// Says something else about the agent from now on. Ready once the store has it, which is never while the store is away; what
    /// was said counts nevertheless.
    ///
    /// # Errors
    /// [`Gone`]: the task has ended, with its runtime.
    pub async fn describe(&self, description: Description) -> Result<(), Gone> {
        self.tell(|told| Command::Describe(Box::new(description), told))
            .await
    }

    /// Says how the agent is doing from now on; the rest of what it says stays. Otherwise as [`Presence::describe`].
    ///
    /// # Errors
    /// [`Gone`]: the task has ended, with its runtime.
    pub async fn say(&self, status: Status) -> Result<(), Gone> {
        self.tell(|told| Command::Say(status, told)).await
    }

    async fn tell(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) -> Result<(), Gone> {
        let (told, wait) = oneshot::channel();
        self.commands.send(command(told)).await.map_err(|_| Gone)?;
        wait.await.map_err(|_| Gone)
    }

    /// Leaves: the entry is deleted and the lease given back.
    ///
    /// # Errors
    /// [`StoreError`]; what is left ends with the lease.
    pub async fn leave(self) -> Result<(), StoreError> {
        let (told, wait) = oneshot::channel();
        let gone = || StoreError::Unavailable(Gone.to_string());
        self.commands
            .send(Command::Leave(told))
            .await
            .map_err(|_| gone())?;
        wait.await.map_err(|_| gone())?
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// A presence's task has ended, with its runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task that kept the agent registered has ended")]
pub struct Gone;

struct Keeper {
    registrar: Registrar,
    description: Description,
    ttl: Duration,
    clock: Box<dyn Fn() -> UnixTime + Send + Sync>,
    publish: watch::Sender<PresenceState>,
    inbox: mpsc::Receiver<Command>,
}

/// Why a registration is not kept any longer.
enum Ended {
    /// It is lost: register anew.
    Lost,
    /// The agent has left, or nobody wants it any more.
    Left,
}

impl Keeper {
    async fn run(mut self) {
        // Whoever described it while it was not registered waits for the next registration.
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        loop {
            let Some(registration) = self.register(&mut waiting).await else {
                return;
            };
            self.publish
                .send_replace(PresenceState::Registered(registration.clone()));
            for told in waiting.drain(..) {
                let _ = told.send(());
            }
            match self.hold(registration, &mut waiting).await {
                Ended::Lost => {
                    self.publish.send_replace(PresenceState::Away { failure: None });
                }
                Ended::Left => return,
            }
        }
    }

    /// Registers, for as long as it takes. `None` when the agent left meanwhile.
    async fn register(&mut self, waiting: &mut Vec<oneshot::Sender<()>>) -> Option<Registration> {
        let mut pause = PAUSE_MIN;
        loop {
            let now = (self.clock)();
            let attempt = self.registrar.register(now, &self.description, self.ttl);
            let failure = match within(self.patience(), attempt).await {
                Ok(registration) => return Some(registration),
                Err(failure) => failure,
            };
            self.publish.send_replace(PresenceState::Away {
                failure: Some(failure),
            });
            // Not all at once when the store is back.
            let until = Instant::now() + pause.mul_f64(0.5 + 0.5 * jitter(&self.registrar, now));
            pause = (pause * 2).min(PAUSE_MAX);
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => break,
                    command = self.inbox.recv() => match command {
                        Some(Command::Describe(description, told)) => {
                            self.description = *description;
                            waiting.push(told);
                        }
                        Some(Command::Say(status, told)) => {
                            self.description.status = status;
                            waiting.push(told);
                        }
                        Some(Command::Leave(told)) => {
                            // There is nothing to delete that does not end by itself.
                            let _ = told.send(Ok(()));
                            return None;
                        }
                        None => return None,
                    },
                }
            }
        }
    }

    /// Renews for as long as the registration is there.
    async fn hold(
        &mut self,
        mut registration: Registration,
        waiting: &mut Vec<oneshot::Sender<()>>,
    ) -> Ended {
        let every = registration.renew_every();
        let mut next = Instant::now() + every;
        // What the store has not been told yet.
        let mut unsaid = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => {
                    next = Instant::now() + every;
                    match within(self.patience(), self.registrar.renew(&registration)).await {
                        Ok(true) => self.confirmed(&registration),
                        Ok(false) => return Ended::Lost,
                        // The next may still come in time.
                        Err(failure) => {
                            self.unconfirmed(&registration, failure.into());
                            next = Instant::now() + every / RETRIES_FOR_A_RENEWAL;
                        }
                    }
                }
                command = self.inbox.recv() => match command {
                    Some(Command::Describe(description, told)) => {
                        self.description = *description;
                        waiting.push(told);
                        unsaid = true;
                    }
                    Some(Command::Say(status, told)) => {
                        self.description.status = status;
                        waiting.push(told);
                        unsaid = true;
                    }
                    Some(Command::Leave(told)) => {
                        let left = within(self.patience(), self.registrar.deregister(registration)).await;
                        let _ = told.send(left);
                        return Ended::Left;
                    }
                    None => return Ended::Left,
                },
            }
            let now = (self.clock)();
            if unsaid || now >= registration.update_by() {
                let update = self.registrar.update(now, &mut registration, &self.description);
                match within(self.patience(), update).await {
                    Ok(()) => {
                        unsaid = false;
                        self.publish
                            .send_replace(PresenceState::Registered(registration.clone()));
                        for told in waiting.drain(..) {
                            let _ = told.send(());
                        }
                    }
                    // Whether it was written is unknown, and a second update would be refused if it was.
                    Err(RegisterError::Lost | RegisterError::Store(StoreError::Unknown(_))) => {
                        return Ended::Lost;
                    }
                    // Once more with the next renewal, which comes soon.
                    Err(failure) => {
                        self.unconfirmed(&registration, failure);
                        next = next.min(Instant::now() + every / RETRIES_FOR_A_RENEWAL);
                    }
                }
            }
        }
    }

    /// The store has answered. Whoever waits for a change is told only where it was doubted.
    fn confirmed(&self, registration: &Registration) {
        self.publish.send_if_modified(|state| {
            let doubted = matches!(state, PresenceState::Unconfirmed { .. });
            if doubted {
                *state = PresenceState::Registered(registration.clone());
            }
            doubted
        });
    }

    fn unconfirmed(&self, registration: &Registration, failure: RegisterError) {
        self.publish.send_replace(PresenceState::Unconfirmed {
            registration: registration.clone(),
            failure,
        });
    }

    /// How long one operation may take: one that does not come back must not cost the lease.
    fn patience(&self) -> Duration {
        (self.ttl / 3).max(PATIENCE_MIN)
    }
}

/// A store's answer, or that it did not come in time.
async fn within<T, E: From<StoreError>>(
    patience: Duration,
    operation: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let late = || StoreError::Unknown(format!("no answer within {} ms", patience.as_millis()));
    tokio::time::timeout(patience, operation)
        .await
        .unwrap_or_else(|_| Err(late().into()))
}

/// In 0..1, different for different agents and times: nothing about it needs to be unpredictable.
fn jitter(registrar: &Registrar, now: UnixTime) -> f64 {
    use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((registrar.id(), now.millis()));
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

/// Commands that wait while the store is being asked.
const COMMANDS: usize = 16;
/// The first pause after the store could not be told, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The least that an operation is given.
const PATIENCE_MIN: Duration = Duration::from_millis(500);
/// How often a renewal that failed is tried again in the time of one.
const RETRIES_FOR_A_RENEWAL: u32 = 4;

#[cfg(test)]
mod tests;
