//! The quality of service of a server, and files that say it.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Server, assert_code, json_lines, other_home, run, stderr, stdout, until, valkyrie};

fn qos_file(text: &str) -> PathBuf {
    let file = other_home("qos.toml");
    std::fs::write(&file, text).expect("a file");
    file
}

/// So many calls at once, of which data may fill all.
fn admitting(calls: u32) -> String {
    format!("version = 1\n[admission]\ncalls = {calls}\ndata = \"100%\"\njob = \"100%\"\n")
}

fn serve(qos: &Path) -> Server {
    let qos = qos.to_str().expect("text");
    Server::start(&["--listen", "tcp://127.0.0.1:0", "--qos", qos])
}

/// What the server says of a class.
fn class(server: &Server, name: &str) -> Option<Value> {
    let output = run(["call", server.locator(), "node", "qos", "--class", "job"]);
    let report: Value = serde_json::from_slice(&output.stdout).ok()?;
    let mut classes = report["classes"].as_array()?.iter();
    classes.find(|class| class["class"] == name).cloned()
}

/// A call that waits for longer than the test takes, ended with it.
struct Waiting(Child);

impl Waiting {
    fn begin(server: &Server) -> Self {
        let mut command = valkyrie([
            "call",
            server.locator(),
            "echo",
            "delay",
            "--data",
            "10m",
            "--timeout",
            "20m",
        ]);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        Self(child)
    }

    fn still_waits(&mut self) -> bool {
        self.0.try_wait().expect("its state").is_none()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_quality_of_service_is_read_again_when_its_file_changes_and_a_bad_one_is_not_taken() {
    let file = qos_file(&admitting(1));
    let server = serve(&file);
    let echo = || run(["call", server.locator(), "echo", "echo", "--data", "hello"]);
    assert_code(&echo(), 0);
    let mut waiting = Waiting::begin(&server);
    // One is in progress, and that is all there may be. The server tells so: it is asked in a class of its own.
    until(|| echo().status.code() != Some(0));
    let refused = echo();
    assert!(stderr(&refused).contains("overloaded"), "{}", stderr(&refused));

    std::fs::write(&file, admitting(100)).expect("a file");
    until(|| echo().status.code() == Some(0));
    assert!(waiting.still_waits(), "the connection and its call go on");
    let data = class(&server, "data").expect("a report");
    assert_eq!(data["in_progress"], 1, "{data}");
    assert!(
        data["refused"].as_u64().is_some_and(|refused| refused > 0),
        "{data}"
    );

    std::fs::write(&file, "version = 1\n[admission]\ncalls = 1\ncalss = 2\n").expect("a file");
    server.signal(Signal::HUP);
    // The signal and a look at the files later what was in force still is.
    for _ in 0..20 {
        assert_code(&echo(), 0);
    }
    std::fs::write(&file, admitting(1)).expect("a file");
    until(|| echo().status.code() != Some(0));
    assert!(waiting.still_waits());
}

#[test]
fn a_server_does_not_start_with_mistakes_and_they_are_checked_before() {
    let file =
        qos_file("version = 1\n[shares]\nsystem = \"80%\"\njob = \"30%\"\ndata = \"1%\"\nbulk = \"1%\"\n");
    let file = file.to_str().expect("text");
    for args in [
        &["serve", "--listen", "tcp://127.0.0.1:0", "--qos", file][..],
        &["qos", "check", file],
    ] {
        let output = run(args);
        assert_code(&output, 2);
        let said = stderr(&output);
        assert!(
            said.contains(&format!("{file}:2:1: the shares are 112.0% together")) && said.contains("^^^^"),
            "{said}"
        );
    }
    let output = run(["qos", "check", file, "--json"]);
    assert_code(&output, 2);
    let report = json_lines(&output).remove(0);
    assert_eq!(
        (&report["services"], &report["faults"][0]["line"]),
        (&Value::Null, &2.into())
    );

    let good = qos_file("version = 1\n[services.store]\nbalance = \"by-key\"\n");
    let output = run(["qos", "check", good.to_str().expect("text")]);
    assert_code(&output, 0);
    assert!(
        stdout(&output).contains("1 service and no mistake"),
        "{}",
        stdout(&output)
    );
    let missing = [
        "serve",
        "--listen",
        "tcp://127.0.0.1:0",
        "--qos",
        "/does/not/exist",
    ];
    assert_code(&run(missing), 6);
}
