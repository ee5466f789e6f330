//! A runner: dials a control plane, takes jobs, runs them, and sends what they print.
//!
//! [`run`] is the whole of it. The link to the server comes and goes; jobs do not notice. What they
//! print is kept until it is acknowledged, and how they ended until it is settled, so a runner that
//! comes back within its lease goes on where it was. It does not decide anything: which job runs
//! where is the server's [`schedule`](crate::schedule). Read [`RunnerConfig`] first.

mod attempt;
mod hub;
mod link;
mod log_out;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use valkyrie_endpoint::{BuildError, ConnectError, DialerError, Locator, Redial, WhileDown};

use self::hub::Hub;
use self::link::Left;
use crate::access::Access;

/// The longest wait between two attempts to reach the server: short beside a lease, so that a runner
/// whose server is back is not given up for want of trying.
const REDIAL_WAIT_MAX: Duration = Duration::from_secs(3);
/// How long the server may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// What a runner is.
#[derive(Clone, Debug)]
pub struct RunnerConfig {
    /// Where the server listens.
    pub server: Locator,
    /// Its name, for people.
    pub name: String,
    /// What `runs_on` may ask for.
    pub labels: Vec<String>,
    /// Jobs it takes at once.
    pub slots: u32,
    /// Where jobs get their directories.
    pub workspaces: PathBuf,
    /// Whether those directories stay.
    pub keep_workspaces: bool,
    /// Who the runner is, and which server it wants to meet.
    pub access: Access,
    /// How long to look for a server that cannot be reached.
    pub unreachable_max: Duration,
}

/// Something that a person who looks at the runner may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunnerNews {
    /// The server has taken the runner in.
    Registered {
        /// Who is at the other end.
        peer: String,
    },
    /// The connection is gone; the runner looks for another.
    Disconnected {
        /// What happened.
        reason: String,
    },
    /// A job begins.
    Took {
        /// Its id.
        job: String,
    },
    /// A job has ended and the server knows.
    Settled {
        /// Its id.
        job: String,
        /// How it ended, in words.
        verdict: String,
    },
    /// A workspace could not be removed, or was kept.
    Workspace {
        /// In words.
        text: String,
    },
}

/// How far a runner is to stop. Each is stronger than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Not at all.
    #[default]
    No,
    /// Take nothing new, finish what runs, leave.
    Drain,
    /// Cancel what runs, report it, leave.
    Cancel,
    /// Kill what runs and leave without a word.
    Now,
}

/// Why a runner ended otherwise than as asked. Nothing it started is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// The endpoint could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The locator can never be dialled.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server could not be reached for as long as the runner looks.
    #[error("the server at {server} could not be reached: {reason}")]
    Unreachable {
        /// Where.
        server: Locator,
        /// What the dialler said.
        reason: DialerError,
    },
    /// The server does not want this runner.
    #[error("the server refused the runner: {0}")]
    Refused(String),
    /// This process could not become the parent of orphans.
    #[error("this process cannot adopt what jobs leave behind: {0}")]
    Adopt(std::io::Error),
}

/// Runs until told to stop, or until the server cannot be reached any more.
///
/// # Errors
/// [`RunnerError`].
pub async fn run(
    config: RunnerConfig,
    mut stop: watch::Receiver<Stop>,
    news: impl Fn(RunnerNews) + Send + Sync + 'static,
) -> Result<(), RunnerError> {
    crate::process::adopt_orphans().map_err(RunnerError::Adopt)?;
    let endpoint = config.access.endpoint().build()?;
    let redial = Redial {
        wait_max: REDIAL_WAIT_MAX,
        while_down: WhileDown::Wait(config.unreachable_max),
        ..Redial::default()
    };
    let dialer = endpoint.dialer_expecting(&config.server, config.access.expected(), redial)?;
    let hub = Hub::new(config, news);
    let obey = {
        let hub = Arc::clone(&hub);
        async move {
            loop {
                let wanted = *stop.borrow_and_update();
                hub.stop(wanted);
                if wanted == Stop::Now || stop.changed().await.is_err() {
                    return wanted;
                }
            }
        }
    };
    let work = async {
        loop {
            let connection = tokio::select! {
                connection = dialer.connection() => connection,
                () = hub.emptied() => return Ok(()),
            };
            let connection = match connection {
                Ok(connection) => connection,
                Err(reason) => {
                    let server = hub.config.server.clone();
                    return Err(RunnerError::Unreachable { server, reason });
                }
            };
            match link::serve(&hub, &connection).await {
                Left::Done => return Ok(()),
                Left::Refused(reason) => return Err(RunnerError::Refused(reason)),
                Left::Broken(reason) => {
                    connection.close();
                    hub.news(RunnerNews::Disconnected { reason });
                }
            }
        }
    };
    tokio::pin!(obey);
    let ended = tokio::select! {
        ended = work => ended,
        Stop::Now = &mut obey => Ok(()),
    };
    // Whatever still runs is ended, and waited for: workspaces are removed when their jobs are dead.
    hub.abandon().await;
    let own = std::process::id();
    // Blocks for moments; a task that panicked has swept too, or cannot.
    let _ = tokio::task::spawn_blocking(move || crate::process::kill_steps_of(own)).await;
    endpoint.drain(GOODBYE).await;
    ended
}
