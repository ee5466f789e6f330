//! How jobs and runs end, and that they end whole.

use rustix::process::Signal;

use crate::support::{Place, Running};

#[test]
fn the_example_succeeds_and_its_result_stays() {
    let place = Place::new();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/ci/pipeline.yaml");
    let mut command = place.valkyrie(["ci", "run", "--artifacts", "results", example]);
    let ended = Running::start(&mut command).end();
    ended.assert_code(0);
    ended
        .assert_out("test    | wordcount says 9, wc says 9")
        .assert_out("package  succeeded");
    assert!(place.path("results/wordcount-1.0.tar.gz").is_file());
    assert!(
        ended.out.contains("on uds") && ended.out.contains("on tcp"),
        "{}",
        ended.out
    );
    place.assert_clean();
}

#[test]
fn a_failed_step_is_named_with_its_reason_and_what_needs_it_is_skipped() {
    let place = Place::new();
    let ended = place
        .ci_run(
            "jobs:
  good: {steps: [{run: 'echo fine'}]}
  bad:
    steps:
      - {name: first, run: 'true'}
      - {name: second, run: 'echo going down >&2; exit 3'}
  after: {needs: bad, steps: [{run: 'echo never'}]}
",
        )
        .end();
    ended.assert_code(1);
    ended
        .assert_out("failed bad in")
        .assert_out("step 2 \"second\": exited with 3")
        .assert_out("bad   ! going down")
        .assert_out("skipped after: needs bad, which did not succeed")
        .assert_out("good   succeeded");
    assert!(!ended.out.contains("never"), "{}", ended.out);
    place.assert_clean();
}

#[test]
fn a_bad_file_is_refused_with_line_and_column() {
    let place = Place::new();
    let ended = place.ci_run("jobs:\n  a:\n    step: [{run: 'true'}]\n").end();
    ended.assert_code(2);
    ended.assert_err("pipeline.yaml:3:5");
    assert_eq!(ended.out, "");
    Running::start(&mut place.valkyrie(["ci", "run", "nowhere.yaml"]))
        .end()
        .assert_code(2)
        .assert_err("nowhere.yaml cannot be read");
    place.assert_clean();
}

#[test]
fn a_timeout_ends_the_whole_group() {
    let place = Place::new();
    let pipeline =
        "steps: [{name: hang, run: 'sleep MARK & (sleep MARK; true) & sleep MARK', timeout: 1s}]\n";
    let ended = place.ci_run(pipeline).end();
    ended
        .assert_code(1)
        .assert_out("step 1 \"hang\": ran out of time, the step may take 1s");
    place.assert_clean();
}

#[test]
fn crashing_forking_and_hanging_jobs_are_told_apart() {
    let place = Place::new();
    let ended = place
        .ci_run(
            "jobs:
  segv: {steps: [{run: 'kill -SEGV $$'}]}
  abort: {steps: [{run: 'sh -c \"kill -ABRT \\$\\$\"'}]}
  missing: {steps: [{run: 'no-such-program'}]}
  forks: {steps: [{run: 'for i in 1 2 3; do (sleep MARK & sleep MARK) >/dev/null 2>&1 & done; echo forked'}]}
  escapes: {steps: [{run: '(setsid sleep MARK >/dev/null 2>&1 &) ; sleep 0.2; echo away'}]}
  hangs: {timeout: 1s, steps: [{run: 'sleep MARK'}]}
",
        )
        .end();
    ended.assert_code(1);
    ended
        .assert_out("killed by signal 11")
        .assert_out("exited with 134 (128 + 6")
        .assert_out("exited with 127 (a command was not found)")
        .assert_out("forks    succeeded")
        .assert_out("background processes outlived the step and were killed")
        .assert_out("left the step's group and was killed")
        .assert_out("hangs    timed out")
        .assert_out("ran out of time, the job may take 1s");
    place.assert_clean();
}

#[test]
fn ctrl_c_cancels_everything() {
    let place = Place::new();
    let pipeline = "jobs:
  one: {steps: [{run: 'echo up one; sleep MARK & sleep MARK'}]}
  two: {steps: [{run: 'echo up two; sleep MARK'}]}
  later: {needs: [one, two], steps: [{run: 'echo never'}]}
";
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut running = place.ci_run(pipeline);
        running.wait_for("up ");
        running.wait_for("up ");
        running.signal(signal);
        let ended = running.end();
        ended
            .assert_code(code)
            .assert_out("one    cancelled")
            .assert_out("later  cancelled");
        place.assert_clean();
    }
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_a_stubborn_job() {
    let place = Place::new();
    let mut running =
        place.ci_run("steps: [{run: \"trap '' TERM INT; echo up; while :; do sleep MARK; done\"}]\n");
    running.wait_for("up");
    running.signal(Signal::INT);
    running.wait_for("cancelling");
    running.signal(Signal::INT);
    running.end().assert_code(130);
    place.assert_clean();
}

#[test]
fn a_reader_that_goes_away_ends_the_run() {
    use std::io::BufRead as _;
    let place = Place::new();
    let file = place.pipeline("steps: [{run: 'while :; do echo up; done; sleep MARK'}]\n");
    let mut child = place
        .valkyrie(["ci", "run"])
        .arg(file)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(out.any(|line| line.unwrap().contains("up")));
    drop(out);
    assert_eq!(child.wait().unwrap().code(), Some(141));
    place.assert_clean();
}
