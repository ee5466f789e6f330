//! serve, ping and call with each other.

use serde_json::Value;

use crate::support::{Server, assert_code, json_lines, run, run_with_input, stderr, stdout};

#[test]
fn a_call_goes_over_tcp_and_uds_and_comes_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = format!("uds://{}/v.sock", directory.path().display());
    let server = Server::start(&[
        "--listen",
        "tcp://127.0.0.1:0",
        "--listen",
        &path,
        "--uds-mode",
        "600",
    ]);
    assert_eq!(server.locators.len(), 2);
    assert!(
        !server.locators[0].ends_with(":0"),
        "the port is the one that was chosen"
    );
    for locator in &server.locators {
        let output = run(["call", locator, "echo", "echo", "--data", "hello"]);
        assert_code(&output, 0);
        assert_eq!(stdout(&output), "hello");
    }
}

#[test]
fn a_server_says_where_it_listens_in_one_line_each() {
    let mut child = crate::support::valkyrie([
        "serve",
        "--listen",
        "tcp://127.0.0.1:0",
        "--listen",
        "tcp://127.0.0.1:0",
    ])
    .stdout(std::process::Stdio::piped())
    .stderr(std::process::Stdio::null())
    .spawn()
    .expect("the program starts");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("a pipe")));
    for _ in 0..2 {
        let line = lines.next().expect("a line").expect("text");
        let port = line
            .strip_prefix("listening on tcp://127.0.0.1:")
            .expect("the form");
        assert_ne!(port.parse::<u16>().expect("a port"), 0);
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

#[test]
fn data_comes_from_text_a_file_or_standard_input() {
    let server = Server::tcp();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("data.bin");
    let bytes: Vec<u8> = (0..200_000_u32).map(|at| at as u8).collect();
    std::fs::write(&file, &bytes).expect("a file");
    let from_file = run([
        "call",
        server.locator(),
        "echo",
        "echo",
        "--data",
        &format!("@{}", file.display()),
    ]);
    assert_code(&from_file, 0);
    assert!(from_file.stdout == bytes, "every byte of a file comes back");
    let from_stdin = run_with_input(
        &["call", server.locator(), "echo", "echo", "--data", "@-"],
        &bytes,
    );
    assert!(
        from_stdin.stdout == bytes,
        "every byte of standard input comes back"
    );
    let literal = run(["call", server.locator(), "echo", "echo", "--data", "@@home"]);
    assert_eq!(stdout(&literal), "@home");
    let missing = run([
        "call",
        server.locator(),
        "echo",
        "echo",
        "--data",
        "@/does/not/exist",
    ]);
    assert_code(&missing, 6);
}

#[test]
fn json_holds_the_answer_as_what_it_is() {
    let server = Server::tcp();
    let call = |data: &str| {
        let output = run(["call", server.locator(), "echo", "echo", "--json", "--data", data]);
        assert_code(&output, 0);
        json_lines(&output).remove(0)
    };
    assert_eq!(call("plain")["text"], "plain");
    assert_eq!(call(r#"{"a":[1]}"#)["json"]["a"][0], 1);
    assert!(call("x")["us"].as_f64().is_some_and(|us| us > 0.0));
    let output = run_with_input(
        &["call", server.locator(), "echo", "echo", "--json", "--data", "@-"],
        &[0xff, 0x00],
    );
    assert_eq!(json_lines(&output)[0]["hex"], "ff00");
}

#[test]
fn the_built_in_services_describe_themselves() {
    let server = Server::tcp();
    let answer = |service: &str, method: &str| -> Value {
        let output = run(["call", server.locator(), service, method]);
        assert_code(&output, 0);
        serde_json::from_str(stdout(&output)).expect("JSON")
    };
    assert_eq!(answer("health", "check")["status"], "serving");
    let process = answer("health", "process");
    assert_eq!(process["pid"], server.pid());
    assert!(
        process["cpu_seconds"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.0)
    );
    let described = answer("describe", "services");
    let methods = described["methods"].as_array().expect("a list");
    assert!(methods.len() >= 9 && methods.iter().all(|method| method["about"] != ""));
}

#[test]
fn failures_have_their_exit_codes() {
    let server = Server::tcp();
    let call = |args: &[&str]| {
        let mut all = vec!["call", server.locator()];
        all.extend_from_slice(args);
        run(all)
    };
    let failed = call(&["echo", "fail", "--data", "501"]);
    assert_code(&failed, 1);
    assert!(stderr(&failed).contains("501 overloaded"), "{}", stderr(&failed));
    let unknown = call(&["no", "such"]);
    assert_code(&unknown, 1);
    assert!(stderr(&unknown).contains("hint: "), "{}", stderr(&unknown));
    let late = call(&["echo", "delay", "--data", "1h", "--timeout", "50ms"]);
    assert_code(&late, 5);
    let priority = call(&["echo", "echo", "--priority", "255"]);
    assert_code(&priority, 2);
    assert!(stderr(&priority).contains("50 to 99"), "{}", stderr(&priority));
}

#[test]
fn every_class_carries_a_call_where_the_policy_gives_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let policy = directory.path().join("policy.toml");
    let text = "version = 1\n[[allow]]\npeers = [\"any\"]\nservices = [\"echo\"]\n\
                classes = [\"critical\", \"system\", \"job\", \"data\", \"bulk\"]\n";
    std::fs::write(&policy, text).expect("a file");
    let policy = policy.to_str().expect("text");
    let server = Server::start(&["--listen", "tcp://127.0.0.1:0", "--policy", policy]);
    for class in ["critical", "system", "job", "data", "bulk"] {
        let output = run([
            "call",
            server.locator(),
            "echo",
            "echo",
            "--data",
            class,
            "--class",
            class,
        ]);
        assert_code(&output, 0);
        assert_eq!(stdout(&output), class);
    }
}

#[test]
fn a_call_is_repeated_on_one_connection() {
    let server = Server::tcp();
    let output = run([
        "call",
        server.locator(),
        "echo",
        "echo",
        "--data",
        "x",
        "--repeat",
        "5",
    ]);
    assert_code(&output, 0);
    assert_eq!(stdout(&output), "xxxxx");
    assert!(stderr(&output).contains("5 calls"), "{}", stderr(&output));
}

#[test]
fn pings_are_answered_and_summed_up() {
    let server = Server::tcp();
    let output = run([
        "ping",
        server.locator(),
        "--count",
        "3",
        "--interval",
        "20ms",
        "--json",
    ]);
    assert_code(&output, 0);
    let events = json_lines(&output);
    assert_eq!(events.iter().filter(|event| event["event"] == "pong").count(), 3);
    assert_eq!(events[0]["event"], "connected");
    let summary = events.last().expect("a summary");
    assert_eq!((&summary["sent"], &summary["answered"]), (&3.into(), &3.into()));
    let text = run(["ping", server.locator(), "--count", "1"]);
    assert!(stdout(&text).contains("1 of 1 answered"), "{}", stdout(&text));
}

#[test]
fn an_address_in_use_is_a_local_error() {
    let server = Server::tcp();
    let output = run(["serve", "--listen", server.locator()]);
    assert_code(&output, 6);
    assert!(stderr(&output).contains("in use"), "{}", stderr(&output));
}
