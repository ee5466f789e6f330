//! A job that prints more than the server keeps fails and says so; it does not hang.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use valkyrie_rustci::client::{CiClient, Update};
use valkyrie_rustci::runner::{self, RunnerConfig, Stop};
use valkyrie_rustci::schedule::RunResult;
use valkyrie_rustci::server::{RustCIControlPlane, ServerConfig};
use valkyrie_rustci::wire::{JobPhase, StatusUpdate};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_prints_more_than_the_server_keeps_fails() {
    let place = tempfile::tempdir().unwrap();
    let mut config = ServerConfig::new(place.path());
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
        secret: None,
        unreachable_max: Duration::from_secs(5),
    };
    let working = tokio::spawn(runner::run(runner, stopping, |_| {}));

    let client = CiClient::connect(&server, None, Duration::from_secs(5))
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
