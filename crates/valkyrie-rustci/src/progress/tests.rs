use std::time::Duration;

use super::*;
use crate::pipeline::JobIndex;
use crate::schedule::RunResult;
use crate::wire::{JobPhase, JobStatus, RunStatus, StatusUpdate};

fn job(job: u32, id: &str, state: JobPhase) -> JobStatus {
    JobStatus {
        job: JobIndex(job),
        id: id.to_owned(),
        state,
        attempt: 1,
        runner: Some(String::from("r1")),
        started_ms: Some(1_000),
        ended_ms: None,
        detail: None,
        step: Some(0),
        steps: 3,
    }
}

fn view() -> RunView {
    let mut view = RunView::default();
    let jobs = vec![
        job(0, "build", JobPhase::Queued),
        job(1, "test-all", JobPhase::Queued),
    ];
    let lines = view.apply(
        &StatusUpdate::Run(RunStatus {
            run: 1,
            name: String::from("demo"),
            jobs,
        }),
        false,
    );
    assert_eq!(lines, "", "that jobs wait is no news");
    view
}

#[test]
fn lines_say_what_changed_once() {
    let mut view = view();
    let running = StatusUpdate::Job(job(0, "build", JobPhase::Running));
    assert_eq!(view.apply(&running, false), "  running build on r1\n");
    assert_eq!(view.apply(&running, false), "");
    let mut failed = job(0, "build", JobPhase::Failed);
    failed.ended_ms = Some(3_500);
    failed.detail = Some(String::from("step 2 \"compile\": exited with 1"));
    let line = view.apply(&StatusUpdate::Job(failed), false);
    assert_eq!(
        line,
        "   failed build in 2.5s: step 2 \"compile\": exited with 1\n"
    );
    let again = job(0, "build", JobPhase::Queued);
    assert_eq!(
        view.apply(&StatusUpdate::Job(again), false),
        "   queued build\n",
        "a retry is news"
    );
}

#[test]
fn the_table_has_every_job() {
    let mut view = view();
    let mut done = job(0, "build", JobPhase::Succeeded);
    done.ended_ms = Some(62_000);
    view.apply(&StatusUpdate::Job(done), false);
    let mut skipped = job(1, "test-all", JobPhase::Skipped);
    (skipped.started_ms, skipped.detail) = (None, Some(String::from("needs build")));
    view.apply(&StatusUpdate::Job(skipped), false);
    view.apply(
        &StatusUpdate::End {
            run: 1,
            result: RunResult::Failed,
        },
        false,
    );
    assert_eq!(view.result(), Some(RunResult::Failed));
    let expected = "\
job       state      duration  reason
build     succeeded     1m01s
test-all  skipped           -  needs build
";
    assert_eq!(view.table(false), expected);
}

#[test]
fn the_live_block_fits_and_shows_what_runs() {
    let mut view = view();
    view.apply(&StatusUpdate::Job(job(1, "test-all", JobPhase::Running)), false);
    let lines = view.live(4_200, 80, 10, false);
    assert_eq!(
        lines,
        ["demo 0/2 jobs 4.2s", "  running test-all     3.2s step 1/3 on r1"]
    );
    assert!(
        view.live(4_200, 12, 10, false)
            .iter()
            .all(|line| line.chars().count() <= 12)
    );
    assert_eq!(view.live(4_200, 80, 1, false).len(), 1);
}

#[test]
fn the_block_is_erased_before_it_is_drawn_again() {
    let mut block = LiveBlock::default();
    assert_eq!(
        block.redraw("log\n", &[String::from("a"), String::from("b")]),
        "log\na\nb\n"
    );
    assert_eq!(
        block.redraw("more\n", &[String::from("c")]),
        "\r\x1b[2A\x1b[Jmore\nc\n"
    );
    assert_eq!(block.clear(), "\r\x1b[1A\x1b[J");
    assert_eq!(block.clear(), "");
}

#[test]
fn names_from_the_wire_cannot_drive_the_terminal() {
    let mut view = view();
    let mut hostile = job(0, "\x1b[2Jb", JobPhase::Failed);
    hostile.detail = Some(String::from("\x1b]0;x\x07\r\n"));
    let mut text = view.apply(&StatusUpdate::Job(hostile), false);
    text += &view.table(false);
    assert!(text.chars().all(|c| !c.is_control() || c == '\n'), "{text:?}");
    assert_eq!(text.lines().count(), 4);
}

#[test]
fn an_update_is_one_line_of_json() {
    let line = json_line(&StatusUpdate::Job(job(0, "build", JobPhase::TimedOut)));
    assert!(
        line.starts_with(r#"{"status":"job","job":0,"id":"build","state":"timed_out""#),
        "{line}"
    );
    assert!(!line.contains('\n'));
}

#[test]
fn durations_are_short() {
    let text = |ms| view::duration(Duration::from_millis(ms));
    assert_eq!(
        [text(40), text(59_990), text(61_000), text(7_260_000)],
        ["0.0s", "59.9s", "1m01s", "2h01m"]
    );
}
