//! Runners that die, and runners that leave.

use rustix::process::Signal;

use crate::programs::{Server, runner};
use crate::support::{Place, Running, await_end, kill, pids_with};

#[test]
fn a_runner_that_is_killed_loses_its_job_to_the_other() {
    let place = Place::new();
    let mut running = place.ci_run(
        "steps:
  - run: |
      if [ $VALKYRIE_ATTEMPT = 1 ]; then echo runner $PPID; sleep MARK; else echo second try; fi
",
    );
    let pid = running.word_after("| runner ");
    kill(&pid);
    let ended = running.end();
    ended
        .assert_code(0)
        .assert_out("was killed by signal 9")
        .assert_out("attempt 1 was lost with runner")
        .assert_out("second try");
    place.assert_clean();
}

#[test]
fn a_run_whose_runners_all_die_fails() {
    let place = Place::new();
    let mut running = place.ci_run("steps: [{run: 'echo runner $PPID; sleep MARK'}]\n");
    for _ in 0..2 {
        let pid = running.word_after("| runner ");
        kill(&pid);
        running.wait_for("was killed by signal 9");
    }
    running
        .end()
        .assert_code(1)
        .assert_err("both runners ended before the run did");
    place.assert_clean();
}

#[test]
fn a_runner_elsewhere_that_is_killed_is_given_up_after_its_lease() {
    let place = Place::new();
    let mut server = Server::start(&place, &["--lease", "2s"]);
    let mut first = runner(&place, &server.tcp, &["--name", "first"]);
    first.wait_for("registered");
    let file = place.pipeline(
        "steps: [{run: 'if [ $VALKYRIE_ATTEMPT = 1 ]; then echo runner $PPID; sleep MARK; else echo second try; fi'}]\n",
    );
    let mut submit = Running::start(
        place
            .valkyrie(["ci", "submit", "--server", &server.tcp])
            .arg(file),
    );
    let pid = submit.word_after("| runner ");
    let mut second = runner(&place, &server.uds, &["--name", "second"]);
    second.wait_for("registered");
    kill(&pid);
    let ended = submit.end();
    ended
        .assert_code(0)
        .assert_out("attempt 1 was lost with runner first")
        .assert_out("second try");
    second.signal(Signal::TERM);
    second.end().assert_code(0);
    server.stop();
}

#[test]
fn a_runner_that_drains_finishes_what_it_has() {
    let place = Place::new();
    let mut server = Server::start(&place, &[]);
    let mut first = runner(&place, &server.uds, &[]);
    first.wait_for("registered");
    let gate = place.path("gate");
    let file = place.pipeline(&format!(
        "steps: [{{run: 'echo up; while [ ! -e {} ]; do sleep 0.05; done; echo done'}}]\n",
        gate.display()
    ));
    let mut submit = Running::start(
        place
            .valkyrie(["ci", "submit", "--server", &server.tcp])
            .arg(file),
    );
    submit.wait_for("up");
    first.signal(Signal::TERM);
    std::fs::write(gate, "").unwrap();
    submit.end().assert_code(0).assert_out("done");
    first
        .end()
        .assert_code(0)
        .assert_out("main succeeded")
        .assert_err("finishing what runs");
    server.stop();
}

#[test]
fn jobs_do_not_outlive_a_run_that_is_killed() {
    let place = Place::new();
    let mut running = place.ci_run("steps: [{run: 'echo up; sleep MARK & sleep MARK'}]\n");
    running.wait_for("| up");
    let tmp = place.path("tmp").display().to_string();
    let mut started = pids_with(&place.mark);
    started.extend(pids_with(&tmp));
    assert!(started.len() >= 4, "two runners and their job: {started:?}");
    running.signal(Signal::KILL);
    // The runners notice by themselves; nobody is left to end them.
    for (pid, line) in started {
        assert!(await_end(pid), "{line}");
    }
}
