use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;

use super::*;
use crate::log::LogRecord;
use crate::pipeline::{JobIndex, Pipeline};
use crate::schedule::FailReason;

struct Done {
    verdict: Verdict,
    out: String,
    notices: String,
    events: Vec<String>,
}

/// Runs the only job of a file. `on_event` may cancel.
async fn run_with(source: &str, cancel_at: Option<&str>) -> Done {
    let pipeline = Pipeline::parse(source).unwrap();
    let spec = JobSpec::new(&pipeline, &pipeline.jobs[0]);
    let base = tempfile::tempdir().unwrap();
    let workspace = Workspace::create(base.path(), &spec.id, false).unwrap();
    let base_env = inherited();
    let (sender, mut receiver) = mpsc::channel::<LogRecord>(4);
    let mut log = LogWriter::new(JobIndex(0), sender);
    let (handle, cancelled) = cancel_pair();
    let mut events = Vec::new();
    let job = async {
        let plan = JobPlan {
            spec: &spec,
            pipeline: &pipeline.name,
            attempt: 1,
            workspace: workspace.path(),
            artifacts: Some(Path::new("/art")),
            base_env: &base_env,
            grace: Duration::from_secs(1),
        };
        let verdict = execute(plan, &mut log, &cancelled, |event| {
            events.push(match event {
                StepEvent::Started { step } => format!("start {step}"),
                StepEvent::Ended { step, report } => format!("end {step}: {}", report.outcome),
            });
        })
        .await;
        drop(log);
        verdict
    };
    let collect = async {
        let (mut out, mut notices) = (String::new(), String::new());
        while let Some(record) = receiver.recv().await {
            let text = String::from_utf8_lossy(&record.bytes).into_owned();
            if record.stream == Stream::Notice {
                &mut notices
            } else {
                &mut out
            }
            .push_str(&text);
            if cancel_at.is_some_and(|word| out.contains(word)) {
                handle.cancel();
            }
        }
        (out, notices)
    };
    let (verdict, (out, notices)) = tokio::join!(job, collect);
    workspace.close().unwrap();
    assert_eq!(
        std::fs::read_dir(base.path()).unwrap().count(),
        0,
        "the workspace is left"
    );
    Done {
        verdict,
        out,
        notices,
        events,
    }
}

async fn run(source: &str) -> Done {
    run_with(source, None).await
}

#[tokio::test]
async fn steps_share_a_workspace_and_nothing_else() {
    let done = run("steps:\n  - run: X=1; echo kept > f\n  - run: cat f; echo ${X-gone}; pwd\n").await;
    assert_eq!(done.verdict, Verdict::Succeeded);
    assert!(done.out.starts_with("kept\ngone\n/"), "{}", done.out);
}

#[tokio::test]
async fn the_nearest_variable_wins() {
    let source = "\
name: demo
env: {A: pipeline, B: pipeline, C: pipeline}
jobs:
  j:
    env: {B: job, C: job}
    steps:
      - run: echo $A $B $C $CI $VALKYRIE_PIPELINE $VALKYRIE_JOB $VALKYRIE_ATTEMPT $VALKYRIE_STEP $VALKYRIE_ARTIFACTS
        env: {C: step}
";
    assert_eq!(run(source).await.out, "pipeline job step true demo j 1 0 /art\n");
}

#[tokio::test]
async fn the_runners_own_variables_stay_with_it() {
    // Cargo sets this one for every test.
    assert!(std::env::var("CARGO_MANIFEST_DIR").is_ok());
    assert_eq!(
        run("steps: [{run: 'echo ${CARGO_MANIFEST_DIR-hidden}'}]")
            .await
            .out,
        "hidden\n"
    );
}

#[tokio::test]
async fn the_first_failure_ends_the_job() {
    let done = run("steps:\n  - run: echo a\n  - run: exit 3\n  - run: echo b\n").await;
    assert_eq!(
        done.verdict,
        Verdict::Failed {
            step: Some(1),
            reason: FailReason::Exited { code: 3 }
        }
    );
    assert_eq!(done.out, "a\n");
    assert_eq!(
        done.events,
        ["start 0", "end 0: succeeded", "start 1", "end 1: exited with 3"]
    );
}

#[tokio::test]
async fn a_step_that_may_fail_does_not_end_the_job() {
    let source = "steps:\n  - {run: exit 3, continue_on_error: true}\n  - {run: sleep 1000, timeout: 1s, continue_on_error: true}\n  - run: echo on\n";
    let done = run(source).await;
    assert_eq!((done.verdict, done.out.as_str()), (Verdict::Succeeded, "on\n"));
}

#[tokio::test]
async fn the_jobs_time_ends_even_a_step_that_may_fail() {
    let source = "jobs:\n  j:\n    timeout: 1s\n    steps:\n      - {run: sleep 1000, timeout: 5m, continue_on_error: true}\n      - run: echo no\n";
    let done = run(source).await;
    assert_eq!(
        (done.verdict, done.out.as_str()),
        (Verdict::TimedOut { step: Some(0) }, "")
    );
}

#[tokio::test]
async fn a_cancel_ends_the_job_whatever_may_fail() {
    let source = "steps:\n  - {run: echo go; sleep 1000, continue_on_error: true}\n  - run: echo no\n";
    let done = run_with(source, Some("go")).await;
    assert_eq!((done.verdict, done.out.as_str()), (Verdict::Cancelled, "go\n"));
}

#[tokio::test]
async fn the_log_says_when_processes_were_left_behind() {
    let done = run("steps: [{run: 'sleep 1000 >/dev/null 2>&1 &'}]").await;
    assert_eq!(done.verdict, Verdict::Succeeded);
    assert_eq!(
        done.notices,
        "1 background processes outlived the step and were killed\n"
    );
}

#[test]
fn a_kept_workspace_stays() {
    let base = tempfile::tempdir().unwrap();
    let workspace = Workspace::create(base.path(), "j", true).unwrap();
    let kept = workspace.close().unwrap().unwrap();
    assert!(kept.is_dir() && kept.starts_with(base.path()));
}
