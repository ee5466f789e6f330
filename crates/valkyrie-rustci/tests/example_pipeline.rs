//! The example pipeline runs for real: schedule, jobs, processes and logs, without a network.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use valkyrie_rustci::execute::{JobPlan, Workspace, cancel_pair, execute, inherited};
use valkyrie_rustci::log::{LineRenderer, LogMerger, LogRecord, LogWriter, RenderOptions};
use valkyrie_rustci::pipeline::{JobIndex, Pipeline};
use valkyrie_rustci::schedule::{Attempt, Event, Limits, RunResult, RunnerId, Schedule, Verdict};
use valkyrie_rustci::tools;
use valkyrie_rustci::wire::JobSpec;

struct Ended {
    job: JobIndex,
    attempt: Attempt,
    runner: RunnerId,
    verdict: Verdict,
    records: Vec<LogRecord>,
}

async fn run_job(
    pipeline: Pipeline,
    job: JobIndex,
    attempt: Attempt,
    runner: RunnerId,
    base: &Path,
) -> Ended {
    let spec = JobSpec::new(&pipeline, &pipeline.jobs[job.as_usize()]);
    let workspace = Workspace::create(&base.join("work"), &spec.id, false).unwrap();
    let artifacts = base.join("artifacts");
    let (sender, mut receiver) = mpsc::channel(4);
    let collect = tokio::spawn(async move {
        let (mut records, mut merger) = (Vec::<LogRecord>::new(), LogMerger::default());
        while let Some(record) = receiver.recv().await {
            records.extend(merger.accept(record).unwrap());
        }
        records
    });
    let base_env = inherited();
    let plan = JobPlan {
        spec: &spec,
        pipeline: &pipeline.name,
        attempt: attempt.0,
        workspace: workspace.path(),
        artifacts: Some(&artifacts),
        base_env: &base_env,
        grace: Duration::from_secs(5),
    };
    let mut log = LogWriter::new(job, sender);
    let (_handle, cancelled) = cancel_pair();
    let verdict = execute(plan, &mut log, &cancelled, |_| {}).await;
    drop(log);
    workspace.close().unwrap();
    Ended {
        job,
        attempt,
        runner,
        verdict,
        records: collect.await.unwrap(),
    }
}

#[tokio::test]
async fn the_example_pipeline_builds_tests_and_packs_a_program() {
    tools::require(
        &["git", "cc", "tar", "sha256sum"],
        &std::env::var("PATH").unwrap(),
    )
    .unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/ci/pipeline.yaml");
    let source = std::fs::read_to_string(file).unwrap();
    let pipeline =
        Pipeline::parse(&source).unwrap_or_else(|error| panic!("{}", error.render(file, &source, false)));
    let base = tempfile::tempdir().unwrap();
    std::fs::create_dir(base.path().join("artifacts")).unwrap();

    let mut schedule = Schedule::new(&pipeline, Limits::default(), Instant::now());
    for runner in 1..=2 {
        schedule.runner_joined(Instant::now(), RunnerId(runner), [], 1);
    }
    let names = pipeline.jobs.iter().map(|job| job.id.clone());
    let mut renderer = LineRenderer::new(
        names,
        RenderOptions {
            colour: false,
            prefix: true,
        },
    );
    let (mut text, mut order, mut together) = (String::new(), Vec::new(), 0);
    let mut running = tokio::task::JoinSet::new();
    let result = 'run: loop {
        while let Some(event) = schedule.poll_event() {
            match event {
                Event::Offer {
                    job, runner, attempt, ..
                } => {
                    let now = Instant::now();
                    schedule.accepted(now, runner, job, attempt).unwrap();
                    schedule.started(now, runner, job, attempt).unwrap();
                    let (pipeline, base) = (pipeline.clone(), base.path().to_owned());
                    running.spawn(async move { run_job(pipeline, job, attempt, runner, &base).await });
                    together = together.max(running.len());
                }
                Event::Done(result) => break 'run result,
                _ => {}
            }
        }
        let ended = running
            .join_next()
            .await
            .expect("something runs until the run is done")
            .unwrap();
        for record in &ended.records {
            renderer.push(record, &mut text);
        }
        renderer.finish(ended.job, &mut text);
        order.push(pipeline.jobs[ended.job.as_usize()].id.clone());
        schedule
            .finished(
                Instant::now(),
                ended.runner,
                ended.job,
                ended.attempt,
                ended.verdict,
            )
            .unwrap();
    };

    assert_eq!(result, RunResult::Succeeded, "{text}");
    assert_eq!(
        (order[0].as_str(), order[1].as_str(), order[4].as_str()),
        ("repo", "build", "package")
    );
    assert_eq!(together, 2, "test and lint run side by side");
    assert!(text.contains("test    | wordcount says 9, wc says 9"), "{text}");
    assert!(text.contains("package | wordcount-1.0.tar.gz: OK"), "{text}");
    assert!(base.path().join("artifacts/wordcount-1.0.tar.gz").is_file());
    assert_eq!(
        std::fs::read_dir(base.path().join("work")).unwrap().count(),
        0,
        "workspaces are left"
    );
}
