//! Server, runners and clients as programs of their own.

use rustix::process::Signal;

use crate::support::{Place, Running};

/// A server on a port and on a socket.
pub(crate) struct Server {
    running: Option<Running>,
    pub(crate) tcp: String,
    pub(crate) uds: String,
}

impl Server {
    pub(crate) fn start(place: &Place, args: &[&str]) -> Self {
        let socket = format!("uds://{}", place.path("ci.sock").display());
        let mut command = place.valkyrie([
            "ci",
            "server",
            "--listen",
            "tcp://127.0.0.1:0",
            "--listen",
            &socket,
        ]);
        let mut running = Running::start(command.args(args));
        let tcp = running.word_after("listening on ");
        let uds = running.word_after("listening on ");
        Self {
            running: Some(running),
            tcp,
            uds,
        }
    }

    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.signal(Signal::TERM);
        running.end().assert_code(0);
    }
}

/// A runner of a server.
pub(crate) fn runner(place: &Place, server: &str, args: &[&str]) -> Running {
    Running::start(place.valkyrie(["ci", "runner", "--server", server]).args(args))
}

/// Submits a pipeline and watches it.
pub(crate) fn submit(place: &Place, server: &str, pipeline: &str, args: &[&str]) -> Running {
    let file = place.pipeline(pipeline);
    Running::start(
        place
            .valkyrie(["ci", "submit", "--server", server])
            .args(args)
            .arg(file),
    )
}

#[test]
fn server_runners_and_submit_run_the_example_over_tcp_and_uds() {
    let place = Place::new();
    let mut server = Server::start(&place, &["--artifacts", "results"]);
    let mut runners = [
        runner(&place, &server.tcp, &["--name", "t"]),
        runner(&place, &server.uds, &["--name", "u"]),
    ];
    for runner in &mut runners {
        runner.wait_for("registered");
    }
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/ci/pipeline.yaml");
    for (number, locator) in [(1, &server.tcp), (2, &server.uds)] {
        let mut command = place.valkyrie(["ci", "submit", "--server", locator, example]);
        Running::start(&mut command)
            .end()
            .assert_code(0)
            .assert_out("wordcount succeeded");
        let result = place.path(&format!("results/run-{number}/wordcount-1.0.tar.gz"));
        assert!(result.is_file(), "{}", result.display());
    }
    for runner in runners {
        runner.signal(Signal::INT);
        runner.end().assert_code(0);
    }
    server.stop();
    place.assert_clean();
}

#[test]
fn a_detached_run_can_be_watched_and_cancelled() {
    let place = Place::new();
    let mut server = Server::start(&place, &[]);
    let mut worker = runner(&place, &server.uds, &[]);
    worker.wait_for("registered");
    let detached = submit(
        &place,
        &server.tcp,
        "steps: [{run: 'echo up; sleep MARK'}]\n",
        &["--detach"],
    )
    .end();
    detached.assert_code(0);
    assert_eq!(detached.out, "run 1\n");
    let mut watch = Running::start(&mut place.valkyrie(["ci", "watch", "--server", &server.uds, "1"]));
    watch.wait_for("up");
    let mut cancel = place.valkyrie(["ci", "cancel", "--server", &server.tcp, "1"]);
    Running::start(&mut cancel).end().assert_code(0);
    watch.end().assert_code(1).assert_out("cancelled");
    let late = Running::start(&mut place.valkyrie(["ci", "watch", "--server", &server.uds, "1"])).end();
    late.assert_code(1).assert_out("main | up");
    let mut nobody = place.valkyrie(["ci", "watch", "--server", &server.uds, "7"]);
    Running::start(&mut nobody)
        .end()
        .assert_code(1)
        .assert_err("knows no run 7");
    worker.signal(Signal::TERM);
    worker.end().assert_code(0);
    server.stop();
    place.assert_clean();
}

#[test]
fn ctrl_c_on_submit_cancels_the_run_on_the_server() {
    let place = Place::new();
    let mut server = Server::start(&place, &[]);
    let mut worker = runner(&place, &server.tcp, &[]);
    worker.wait_for("registered");
    let mut watched = submit(
        &place,
        &server.tcp,
        "steps: [{run: 'echo up; sleep MARK'}]\n",
        &[],
    );
    watched.wait_for("up");
    watched.signal(Signal::INT);
    watched.end().assert_code(130).assert_out("main  cancelled");
    worker.wait_for("main cancelled");
    worker.signal(Signal::TERM);
    worker.end().assert_code(0);
    server.stop();
    place.assert_clean();
}

#[test]
fn a_server_that_stops_cancels_what_runs() {
    let place = Place::new();
    let mut server = Server::start(&place, &[]);
    let mut worker = runner(&place, &server.tcp, &["--unreachable", "1s"]);
    worker.wait_for("registered");
    let mut watched = submit(
        &place,
        &server.uds,
        "steps: [{run: 'echo up; sleep MARK'}]\n",
        &[],
    );
    watched.wait_for("up");
    server.stop();
    watched.end().assert_code(1).assert_out("main  cancelled");
    worker.end().assert_code(3).assert_err("could not be reached");
    place.assert_clean();
}

#[test]
fn a_server_that_is_not_there_is_said_to_be_unreachable() {
    let place = Place::new();
    let nobody = format!("uds://{}", place.path("nobody.sock").display());
    submit(&place, &nobody, "steps: [{run: 'true'}]\n", &[])
        .end()
        .assert_code(3)
        .assert_err("error:");
    runner(&place, &nobody, &["--unreachable", "1s"])
        .end()
        .assert_code(3);
    place.assert_clean();
}

/// The fingerprint of the identity in a directory, made if need be.
fn fingerprint(place: &Place, home: &str) -> String {
    let new = place
        .valkyrie(["keys", "new", "--identity", home])
        .output()
        .unwrap();
    assert!(new.status.success(), "{}", String::from_utf8_lossy(&new.stderr));
    let show = place
        .valkyrie(["keys", "show", "--fingerprint", "--identity", home])
        .output()
        .unwrap();
    String::from_utf8(show.stdout).unwrap().trim().to_owned()
}

fn keys(place: &Place, args: &[&str]) {
    let output = place.valkyrie(["keys"]).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn nobody_gets_in_without_a_role_and_with_one_only_as_far_as_it_goes() {
    let place = Place::new();
    let (client, worker) = (fingerprint(&place, "client"), fingerprint(&place, "worker"));
    let mut server = Server::start(&place, &[]);
    let pipeline = "steps: [{run: 'echo inside'}]\n";
    // Unknown: the handshake ends it, over TCP and over the socket.
    for locator in [&server.tcp, &server.uds] {
        submit(&place, locator, pipeline, &["--identity", "client"])
            .end()
            .assert_code(7)
            .assert_err("not trusted")
            .assert_err("keys trust FINGERPRINT --role client");
    }
    runner(&place, &server.tcp, &["--identity", "worker"])
        .end()
        .assert_code(7)
        .assert_err("not trusted")
        .assert_err("keys trust FINGERPRINT --role runner");
    // Known, each with the role of the other: the policy ends it. Only the server's files are changed, and it runs on.
    keys(&place, &["trust", &client, "--role", "runner", "--name", "c"]);
    keys(&place, &["trust", &worker, "--role", "client", "--name", "w"]);
    settled(&place, &server.tcp, "client", pipeline, "permission_denied");
    runner(&place, &server.tcp, &["--identity", "worker"])
        .end()
        .assert_code(3)
        .assert_err("permission_denied");
    // With their own.
    keys(&place, &["trust", &client, "--role", "client", "--name", "c"]);
    keys(&place, &["trust", &worker, "--role", "runner", "--name", "w"]);
    let mut working = loop {
        let mut working = runner(&place, &server.tcp, &["--identity", "worker"]);
        match working.try_wait_for("registered") {
            true => break working,
            // The server looks at its files once a second.
            false => drop(working),
        }
    };
    settled(&place, &server.uds, "client", pipeline, "");
    // Revoked while it works: the server ends its connection, and takes no other from it.
    keys(&place, &["revoke", &worker]);
    working.wait_for("connection lost");
    working.end().assert_code(7).assert_err("revoked");
    server.stop();
    place.assert_clean();
}

/// Submits until the server has read its files: until it fails with this text, or succeeds where that is empty.
#[track_caller]
fn settled(place: &Place, server: &str, home: &str, pipeline: &str, text: &str) {
    let until = std::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let ended = submit(place, server, pipeline, &["--identity", home]).end();
        let as_wanted = match text {
            "" => ended.code == Some(0) && ended.out.contains("inside"),
            text => ended.code == Some(1) && ended.err.contains(text),
        };
        if as_wanted {
            return;
        }
        assert!(std::time::Instant::now() < until, "{ended:?}");
    }
}

#[test]
fn plain_works_where_both_ends_say_so_and_nowhere_else() {
    let place = Place::new();
    let pipeline = "steps: [{run: 'echo inside'}]\n";
    let mut closed = Server::start(&place, &[]);
    submit(&place, &closed.tcp, pipeline, &["--plain"])
        .end()
        .assert_code(7)
        .assert_err("unauthenticated");
    closed.stop();
    let mut open = Server::start(&place, &["--plain"]);
    let mut worker = runner(&place, &open.tcp, &["--plain"]);
    worker.wait_for("registered");
    submit(&place, &open.uds, pipeline, &["--plain"])
        .end()
        .assert_code(0)
        .assert_out("inside");
    worker.signal(Signal::TERM);
    worker.end().assert_code(0);
    open.stop();
    place.assert_clean();
}

#[test]
fn json_is_one_value_a_line() {
    let place = Place::new();
    let file = place.pipeline("name: n\nsteps: [{name: s, run: 'printf \"h\\303\\251\"; exit 4'}]\n");
    let ended = Running::start(place.valkyrie(["--json", "ci", "run"]).arg(file)).end();
    ended.assert_code(1);
    let values: Vec<serde_json::Value> = ended
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(values[0]["status"], "run");
    assert!(
        values.iter().any(|value| value["log"]["text"] == "hé"),
        "{}",
        ended.out
    );
    let last = values.last().unwrap();
    assert_eq!(
        (&last["status"], &last["result"]),
        (&"end".into(), &"failed".into())
    );
    place.assert_clean();
}

#[test]
fn runs_share_the_slots_of_one_runner() {
    let place = Place::new();
    let mut server = Server::start(&place, &[]);
    let mut worker = runner(&place, &server.tcp, &["--slots", "1"]);
    worker.wait_for("registered");
    // Each job fails if another one is inside at the same time.
    let lock = place.path("lock");
    let pipeline = format!(
        "jobs:
  a: {{steps: [{{run: 'mkdir {lock}; sleep 0.1; rmdir {lock}'}}]}}
  b: {{steps: [{{run: 'mkdir {lock}; sleep 0.1; rmdir {lock}'}}]}}
",
        lock = lock.display()
    );
    let file = place.pipeline(&pipeline);
    let start = |_| {
        Running::start(
            place
                .valkyrie(["ci", "submit", "--server", &server.tcp])
                .arg(&file),
        )
    };
    let runs: Vec<Running> = (0..3).map(start).collect();
    for run in runs {
        run.end().assert_code(0);
    }
    worker.signal(Signal::TERM);
    worker.end().assert_code(0);
    server.stop();
}
