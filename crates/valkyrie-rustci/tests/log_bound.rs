//! A job that prints more than the server keeps fails and says so; it does not hang.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use valkyrie_endpoint::AccessPolicy;
use valkyrie_rustci::access::{Access, policy_by_roles};
use valkyrie_rustci::client::{CiClient, Update};
use valkyrie_rustci::runner::{self, RunnerConfig, Stop};
use valkyrie_rustci::schedule::RunResult;
use valkyrie_rustci::server::{RustCIControlPlane, ServerConfig};
use valkyrie_rustci::wire::{JobPhase, StatusUpdate};
use valkyrie_security::trust::{Pin, Pins};
use valkyrie_security::{Identity, Live, Security, Trust};

/// One identity that all three share, as on one machine, and a policy by which it may do everything.
fn one_for_all() -> (Access, AccessPolicy) {
    let identity = Identity::generate("all of it", std::time::SystemTime::now().into()).unwrap();
    let own = identity.fingerprint().unwrap();
    let mut pins = Pins::default();
    pins.add(Pin::new(own)).unwrap();
    let trust = Trust::default().with_pins(pins);
    let security = Security::new(Live::new(identity), Live::new(trust));
    (Access::secure(security), policy_by_roles(Some(own)).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_prints_more_than_the_server_keeps_fails() {
    let place = tempfile::tempdir().unwrap();
    let (access, policy) = one_for_all();
    let mut config = ServerConfig::new(place.path(), access.clone(), policy);
    config.log_bytes_max = 200_000;
    let plane = RustCIControlPlane::start(config).unwrap();
    let socket = format!("uds://{}/ci.sock", place.path().display());
    let server = plane.listen(&socket.parse().unwrap()).await.unwrap();
    let (stop, stopping) = watch::channel(Stop::No);
    let runner = RunnerConfig {
        server: server.clone(),
        name: String::from("r"),
        labels: Vec::new(),
        slots: 1,
        workspaces: place.path().join("work"),
        keep_workspaces: false,
        access: access.clone(),
        unreachable_max: Duration::from_secs(5),
    };
    let working = tokio::spawn(runner::run(runner, stopping, |_| {}));

    let client = CiClient::connect(&server, &access, Duration::from_secs(5))
        .await
        .unwrap();
    let source = "jobs:
  loud: {steps: [{run: 'while :; do echo line after line; done'}]}
  quiet: {steps: [{run: 'echo fine'}]}
";
    let submitted = client.submit(String::from(source), String::new()).await.unwrap();
    let (updates, mut arrived) = mpsc::channel(4);
    let collect = tokio::spawn(async move {
        let (mut bytes, mut ends) = (0, Vec::new());
        while let Some(update) = arrived.recv().await {
            match update {
                Update::Log(_, record) => bytes += record.bytes.len(),
                Update::Status(StatusUpdate::Job(job)) if job.state.is_terminal() => {
                    ends.push((job.id, job.state, job.detail.unwrap_or_default()));
                }
                _ => {}
            }
        }
        (bytes, ends)
    });
    let result = client
        .watch(submitted.run, Some(submitted.server), true, &updates)
        .await
        .unwrap();
    drop(updates);
    assert_eq!(result, RunResult::Failed);
    let (bytes, mut ends) = collect.await.unwrap();
    ends.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(
        bytes > 0 && bytes <= 200_000 + "fine\n".len(),
        "{bytes} bytes were kept"
    );
    assert_eq!(ends.len(), 2);
    assert_eq!((ends[0].0.as_str(), ends[0].1), ("loud", JobPhase::Failed));
    assert!(ends[0].2.contains("the log took no more output"), "{}", ends[0].2);
    assert_eq!((ends[1].0.as_str(), ends[1].1), ("quiet", JobPhase::Succeeded));

    stop.send_replace(Stop::Drain);
    working.await.unwrap().unwrap();
    client.close().await;
    plane.stop(Duration::from_secs(1)).await;
}
