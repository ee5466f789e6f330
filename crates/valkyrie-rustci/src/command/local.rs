//! `ci run`: a control plane in this process, two runners beside it, one pipeline, and nothing left
//! behind.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio::sync::mpsc;
use valkyrie_endpoint::{Expect, Locator, Security};
use valkyrie_keystore::{Home, KeyFiles, KeyRing, Keystore, KeystoreError, NewIdentity};
use valkyrie_security::trust::{Pin, Pins};
use valkyrie_security::{Fingerprint, Live, Trust, UnixTime};

use super::args::RunArgs;
use super::children::{Children, Death};
use super::remote::{exit_of_run, read_pipeline};
use super::screen::{Notice, Screen, UPDATES_MAX};
use super::signals::Signals;
use super::{CiExit, IoOptions, exit_of};
use crate::access::{Access, ROLE_CLIENT, ROLE_RUNNER, policy_by_roles};
use crate::client::{CiClient, ClientError};
use crate::pipeline::Pipeline;
use crate::runner::Stop;
use crate::schedule::RunResult;
use crate::server::{Artifacts, RustCIControlPlane, ServerConfig};
use crate::wire::LABELS_MAX;

/// How long a runner on this machine may be silent. That one has died is seen at once; this is for one
/// that hangs.
const LEASE: Duration = Duration::from_secs(10);
/// How long runners look for a server that was on this machine a moment ago.
const UNREACHABLE: &str = "10s";
/// How long runners that have nothing to do may take to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// How long the connection to ourselves may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long the control plane may take to stop when nothing runs any more.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// Where runners find their identities, below the run's temporary directory.
const KEYS_FOLDER: &str = "keys";
/// How long the identities of a run are good: longer than any run.
const IDENTITY_LIFETIME: Duration = Duration::from_secs(30 * 86_400);
/// The runners, by the transport that reaches the server.
const RUNNERS: [&str; 2] = ["uds", "tcp"];

/// Everything that was set up for one run.
struct Setup {
    folder: TempDir,
    plane: RustCIControlPlane,
    uds: Locator,
    tcp: Locator,
    /// Whom the runners have to meet.
    server: Fingerprint,
    /// Who this process is when it submits.
    client: Access,
}

/// `ci run`.
pub(super) async fn run(args: &RunArgs, io: IoOptions) -> CiExit {
    let (source, pipeline) = match read_pipeline(&args.file, io) {
        Ok(read) => read,
        Err(exit) => return exit,
    };
    let mut signals = match Signals::install() {
        Ok(signals) => signals,
        Err(error) => return io.fail(CiExit::Local, format!("signals cannot be watched: {error}")),
    };
    let mut setup = match set_up(args).await {
        Ok(setup) => setup,
        Err(error) => return io.fail(CiExit::Local, error),
    };
    let exit = run_in(&setup, args, io, source, &pipeline, &mut signals).await;
    if args.artifacts.is_none() && !args.keep && exit == CiExit::Succeeded {
        mention_artifacts(&setup.folder.path().join("artifacts"), io);
    }
    setup.plane.stop(STOP_WITHIN).await;
    if args.keep {
        // What a run leaves behind is for people to look at, and keys are not.
        if let Err(error) = std::fs::remove_dir_all(setup.folder.path().join(KEYS_FOLDER)) {
            io.remark(format_args!("the keys of the run could not be removed: {error}"));
        }
        setup.folder.disable_cleanup(true);
        io.remark(format_args!("kept {}", setup.folder.path().display()));
    } else if let Err(error) = setup.folder.close() {
        io.remark(format_args!(
            "a temporary directory could not be removed: {error}"
        ));
    }
    exit
}

async fn set_up(args: &RunArgs) -> Result<Setup, String> {
    let folder = tempfile::Builder::new().prefix("valkyrie-ci-").tempdir();
    let folder = folder.map_err(|error| format!("no temporary directory could be made: {error}"))?;
    let logs = folder.path().join("logs");
    let artifacts = args
        .artifacts
        .clone()
        .unwrap_or_else(|| folder.path().join("artifacts"));
    for path in [&logs, &artifacts] {
        std::fs::create_dir_all(path)
            .map_err(|error| format!("{} cannot be made: {error}", path.display()))?;
    }
    let artifacts = std::path::absolute(&artifacts).map_err(|error| error.to_string())?;
    let Identities {
        server,
        access,
        client,
    } = Identities::make(folder.path()).map_err(|error| format!("no identities could be made: {error}"))?;
    let policy = policy_by_roles(None).map_err(|error| error.to_string())?;
    let mut config = ServerConfig::new(logs, access, policy);
    config.artifacts = Some(Artifacts::Whole(artifacts));
    config.limits.lease = LEASE;
    let plane = RustCIControlPlane::start(config).map_err(|error| error.to_string())?;
    let socket = format!("uds://{}", folder.path().join("control.sock").display());
    let uds = listen(&plane, &socket).await?;
    let tcp = listen(&plane, "tcp://127.0.0.1:0").await?;
    Ok(Setup {
        folder,
        plane,
        uds,
        tcp,
        server,
        client,
    })
}

/// Who is who in one run. The port on the loopback interface is open to every user of the machine, so everybody proves who
/// they are: this process holds what the server and the client need, and the runners read theirs from files that nobody
/// else may read and that go with the run.
struct Identities {
    server: Fingerprint,
    access: Access,
    client: Access,
}

impl Identities {
    fn make(folder: &Path) -> Result<Self, KeystoreError> {
        let now = UnixTime::from(SystemTime::now());
        let ring = |name: &str| {
            let plan = NewIdentity {
                lifetime: IDENTITY_LIFETIME,
                ..NewIdentity::node(name)
            };
            KeyRing::generate(&plan, now)
        };
        let pin = |ring: &KeyRing, role: &str| Pin {
            name: Some(ring.document().name().to_owned()),
            roles: vec![role.to_owned()],
            ..Pin::new(ring.fingerprint())
        };
        let access = |ring: &KeyRing, pins: Pins| -> Result<Access, KeystoreError> {
            let trust = Trust::default().with_pins(pins);
            Ok(Access::secure(Security::new(
                Live::new(ring.identity(now)?),
                Live::new(trust),
            )))
        };
        let (server, client) = (ring("server")?, ring("client")?);
        let mut known = Pins::default();
        let mut add = |pin: Pin| known.add(pin).map_err(|_| KeystoreError::Mismatch);
        add(pin(&client, ROLE_CLIENT))?;
        for name in RUNNERS {
            let runner = ring(name)?;
            add(pin(&runner, ROLE_RUNNER))?;
            let home = Home::make(home_of(folder, name))?;
            drop(KeyFiles::create(&home, runner, None)?);
            Keystore::open(home.path(), now, &mut |_| Ok(None))?.pin(pin(&server, "server"))?;
        }
        let mut server_alone = Pins::default();
        server_alone
            .add(pin(&server, "server"))
            .map_err(|_| KeystoreError::Mismatch)?;
        let fingerprint = server.fingerprint();
        Ok(Self {
            server: fingerprint,
            access: access(&server, known)?,
            client: access(&client, server_alone)?.expecting(Expect::Fingerprint(fingerprint)),
        })
    }
}

/// Where a runner of this run has its identity.
fn home_of(folder: &Path, runner: &str) -> PathBuf {
    folder.join(KEYS_FOLDER).join(runner)
}

async fn listen(plane: &RustCIControlPlane, locator: &str) -> Result<Locator, String> {
    let locator: Locator = locator.parse().map_err(|error| format!("{locator}: {error}"))?;
    plane.listen(&locator).await.map_err(|error| error.to_string())
}

async fn run_in(
    setup: &Setup,
    args: &RunArgs,
    io: IoOptions,
    source: String,
    pipeline: &Pipeline,
    signals: &mut Signals,
) -> CiExit {
    let (notices, told) = mpsc::channel(UPDATES_MAX);
    let places = RUNNERS.into_iter().zip([&setup.uds, &setup.tcp]);
    let runners = RUNNERS.len();
    let (mut children, mut deaths) = Children::new(notices.clone(), runners);
    for (name, server) in places {
        if let Err(error) = children.start(name, runner_args(name, server, setup, args, pipeline)) {
            children.stop(Stop::Now).await;
            return io.fail(CiExit::Local, format!("a runner cannot be started: {error}"));
        }
    }
    let mut run = Watched {
        setup,
        io,
        interrupted: None,
        runners,
        notices,
    };
    let exit = run.watch(source, args, told, &mut deaths, signals).await;
    drop(run);
    let now = exit != CiExit::Succeeded && exit != CiExit::Failed;
    if now
        || tokio::time::timeout(LEAVE_WITHIN, children.stop(Stop::Drain))
            .await
            .is_err()
    {
        children.stop(Stop::Now).await;
    }
    exit
}

fn runner_args(
    name: &str,
    server: &Locator,
    setup: &Setup,
    args: &RunArgs,
    pipeline: &Pipeline,
) -> Vec<OsString> {
    let mut line: Vec<OsString> = [
        "ci",
        "runner",
        "--quiet",
        "--until-stdin-ends",
        "--unreachable",
        UNREACHABLE,
    ]
    .into_iter()
    .map(OsString::from)
    .collect();
    let (slots, trusted) = (args.slots.to_string(), setup.server.to_string());
    for (option, value) in [
        ("--server", server.as_str()),
        ("--trust", &trusted),
        ("--name", name),
        ("--slots", &slots),
    ] {
        line.extend([OsString::from(option), OsString::from(value)]);
    }
    line.extend([
        OsString::from("--identity"),
        home_of(setup.folder.path(), name).into_os_string(),
    ]);
    line.extend([
        OsString::from("--workspaces"),
        setup.folder.path().join("work").into_os_string(),
    ]);
    if args.keep {
        line.push(OsString::from("--keep"));
    }
    // Here every job runs on this machine whatever it asks for, so both runners have every label.
    let mut labels: Vec<&String> = pipeline.jobs.iter().flat_map(|job| &job.runs_on).collect();
    labels.sort();
    labels.dedup();
    for label in labels.into_iter().take(LABELS_MAX) {
        line.extend([OsString::from("--label"), OsString::from(label)]);
    }
    line
}

/// The run while it is watched.
struct Watched<'a> {
    setup: &'a Setup,
    io: IoOptions,
    interrupted: Option<CiExit>,
    runners: usize,
    notices: mpsc::Sender<Notice>,
}

impl Watched<'_> {
    async fn watch(
        &mut self,
        source: String,
        args: &RunArgs,
        told: mpsc::Receiver<Notice>,
        deaths: &mut mpsc::Receiver<Death>,
        signals: &mut Signals,
    ) -> CiExit {
        let io = self.io;
        let client = match CiClient::connect(&self.setup.uds, &self.setup.client, CONNECT_WITHIN).await {
            Ok(client) => client,
            Err(error) => return io.fail(exit_of(&error), error),
        };
        let submitted = match client.submit(source, args.file.display().to_string()).await {
            Ok(submitted) => submitted,
            Err(error) => return io.fail(exit_of(&error), error),
        };
        let (updates, arrived) = mpsc::channel(UPDATES_MAX);
        let mut screen = tokio::spawn(Screen::new(io, &args.show).show(arrived, told));
        let watched = {
            let watching = client.watch(
                submitted.run,
                Some(submitted.server),
                !args.show.no_logs,
                &updates,
            );
            tokio::pin!(watching);
            loop {
                tokio::select! {
                    watched = &mut watching => break Some(watched),
                    Some(death) = deaths.recv() => {
                        self.died(death).await;
                        if self.runners == 0 {
                            self.cancel(&client, submitted.run).await;
                        }
                    }
                    exit = signals.next() => {
                        if self.interrupted.replace(exit).is_some() {
                            break None;
                        }
                        self.tell(String::from("cancelling; Ctrl-C again kills what runs"));
                        self.cancel(&client, submitted.run).await;
                    }
                }
            }
        };
        let Some(watched) = watched else {
            screen.abort();
            return self.interrupted.unwrap_or(CiExit::Interrupted);
        };
        drop(updates);
        // Notices end with the updates, or the screen would wait for them.
        let shown = tokio::select! {
            shown = &mut screen => Some(shown),
            // A reader that does not read holds up the end; a signal says not to wait for it.
            exit = signals.next() => {
                self.interrupted = Some(exit);
                None
            }
        };
        client.close().await;
        self.exit(shown, watched)
    }

    fn exit(
        &self,
        shown: Option<Result<Result<Screen, CiExit>, tokio::task::JoinError>>,
        watched: Result<RunResult, ClientError>,
    ) -> CiExit {
        let exit = match (shown, watched) {
            (Some(Ok(Err(exit))), _) => exit,
            (_, Err(error)) => self.io.fail(exit_of(&error), error),
            (_, Ok(_)) if self.runners == 0 && self.interrupted.is_none() => self
                .io
                .fail(CiExit::Failed, "both runners ended before the run did"),
            (_, Ok(result)) => exit_of_run(result),
        };
        self.interrupted.unwrap_or(exit)
    }

    /// A runner has died. What it was running is killed before its jobs are given to the other: two
    /// attempts must not work side by side.
    async fn died(&mut self, death: Death) {
        self.runners = self.runners.saturating_sub(1);
        let Death { name, pid, how } = death;
        let killed = tokio::task::spawn_blocking(move || crate::process::kill_steps_of(pid))
            .await
            .unwrap_or(0);
        let left = match killed {
            0 => String::new(),
            1 => String::from(" and left a process, which was killed"),
            many => format!(" and left {many} processes, which were killed"),
        };
        self.tell(format!("runner {name} {how}{left}"));
        self.setup.plane.runner_ended(&name);
    }

    async fn cancel(&self, client: &CiClient, run: u64) {
        if let Err(error) = client.cancel(run, None).await {
            self.tell(format!("the run could not be cancelled: {error}"));
        }
    }

    fn tell(&self, notice: String) {
        // A screen that is gone or behind loses remarks, not the run.
        let _ = self.notices.try_send(notice);
    }
}

/// Results that will be gone in a moment are worth a word.
fn mention_artifacts(folder: &Path, io: IoOptions) {
    let found = std::fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.file_name()));
    let mut names: Vec<PathBuf> = found
        .map(|names| names.map(PathBuf::from).collect())
        .unwrap_or_default();
    names.sort();
    if !names.is_empty() {
        let names: Vec<String> = names.iter().map(|name| name.display().to_string()).collect();
        io.remark(format_args!(
            "results not kept: {} (--artifacts DIR keeps them)",
            names.join(", ")
        ));
    }
}
