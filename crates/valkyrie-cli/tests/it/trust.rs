//! Whom the command line trusts: within the machine, elsewhere, at a terminal and without one.

use std::net::UdpSocket;

use crate::keys::{keys, made};
use crate::pty::Terminal;
use crate::support::{
    Server, assert_code, home, json_lines, other_home, run, run_as, stderr, stdout, tell, until,
};

/// A server with an identity of its own.
fn server() -> Server {
    Server::start_as(&other_home("server"), &["--listen", "tcp://127.0.0.1:0"])
}

/// A server that is reached by an address that other machines could have. Nothing where this machine has none.
fn server_elsewhere(args: &[&str]) -> Option<(Server, String)> {
    // Nothing is sent: it is asked which address would be used.
    let asked = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    let address = asked
        .ok()
        .map(|address| address.ip())
        .filter(|address| !address.is_loopback());
    let Some(address) = address else {
        tell("this machine has no address but its own; trust elsewhere was not tested");
        return None;
    };
    let place = format!("tcp://{address}:0");
    let mut all = vec!["--listen", &place];
    all.extend_from_slice(args);
    let server = Server::start_as(&other_home("server"), &all);
    let locator = server.locator().to_owned();
    Some((server, locator))
}

fn known_peers() -> String {
    std::fs::read_to_string(home().join("known_peers")).unwrap_or_default()
}

#[test]
fn within_the_machine_a_peer_is_trusted_on_first_use_and_remembered() {
    let socket = other_home("v.sock");
    let uds = format!("uds://{}", socket.display());
    made(&home(), "client");
    let fingerprint = made(&other_home("server"), "server");
    let server = Server::start_as(
        &other_home("server"),
        &["--listen", "tcp://127.0.0.1:0", "--listen", &uds],
    );
    for locator in &server.locators {
        let first = run(["ping", locator, "-n", "1"]);
        assert_code(&first, 0);
        assert_eq!(stderr(&first).lines().count(), 1, "one note: {}", stderr(&first));
        assert!(stderr(&first).contains(&fingerprint), "{}", stderr(&first));
        let second = run(["ping", locator, "-n", "1"]);
        assert_eq!(stderr(&second), "");
        assert!(
            known_peers().contains(&format!("{locator} {fingerprint} ")),
            "{}",
            known_peers()
        );
    }
}

#[test]
fn a_peer_that_has_changed_is_refused_until_it_is_forgotten() {
    let server_home = other_home("server");
    made(&home(), "client");
    let before = made(&server_home, "server");
    let mut first = server();
    let locator = first.locator().to_owned();
    assert_code(&run(["ping", &locator, "-n", "1"]), 0);
    first.signal(rustix::process::Signal::TERM);
    first.wait();
    assert_code(
        &run_as(&server_home, ["keys", "new", "--name", "server", "--replace"]),
        0,
    );
    let now = keys(&server_home, &["show", "--fingerprint"]);
    let _second = Server::start_as(&server_home, &["--listen", &locator]);
    for args in [
        vec!["ping", &locator],
        vec!["call", &locator, "echo", "echo"],
        vec!["bench", &locator],
    ] {
        let refused = run(&args);
        assert_code(&refused, 7);
        let said = stderr(&refused);
        assert!(
            said.contains("HAS CHANGED") && said.contains(&before) && said.contains(now.trim()),
            "{said}"
        );
        assert!(
            said.contains(&format!("valkyrie keys forget {locator}")),
            "{said}"
        );
    }
    keys(&home(), &["forget", &locator]);
    assert_code(&run(["ping", &locator, "-n", "1"]), 0);
}

#[test]
fn elsewhere_a_script_is_told_what_to_do_and_can_say_whom_to_trust() {
    let fingerprint = made(&other_home("server"), "server");
    made(&home(), "client");
    let Some((_server, locator)) = server_elsewhere(&[]) else {
        return;
    };
    let refused = run(["call", &locator, "echo", "echo", "--data", "x"]);
    assert_code(&refused, 7);
    let said = stderr(&refused);
    assert!(
        said.contains(&format!("--trust {fingerprint}")) && said.contains("valkyrie keys trust"),
        "{said}"
    );
    assert_eq!(known_peers(), "", "nobody is remembered by failing");

    let trusted = run([
        "call",
        &locator,
        "echo",
        "echo",
        "--data",
        "x",
        "--trust",
        &fingerprint,
    ]);
    assert_code(&trusted, 0);
    assert_eq!((stdout(&trusted), stderr(&trusted)), ("x", ""));
    assert_code(&run(["ping", &locator, "-n", "1"]), 7);

    let other = made(&other_home("other"), "other");
    let wrong = run(["ping", &locator, "-n", "1", "--trust", &other]);
    assert_code(&wrong, 7);
    let nonsense = run(["ping", &locator, "--trust", "SHA256:short"]);
    assert_code(&nonsense, 2);

    keys(&home(), &["trust", &fingerprint, "--name", "the server"]);
    let pinned = run(["ping", &locator, "-n", "1", "--json"]);
    assert_code(&pinned, 0);
    let security = &json_lines(&pinned)[0]["security"];
    assert_eq!(
        (&security["trusted"], &security["name"]),
        (&"pin".into(), &"the server".into())
    );
}

#[test]
fn elsewhere_a_person_is_asked_and_the_answer_is_remembered() {
    let fingerprint = made(&other_home("server"), "server");
    made(&home(), "client");
    let Some((_server, locator)) = server_elsewhere(&[]) else {
        return;
    };
    let answered = |answer: &str| {
        let mut terminal = Terminal::start(&home(), &["ping", &locator, "-n", "1"]);
        terminal.wait_for("Trust it? (yes, no, or the fingerprint) ");
        terminal.type_line(answer);
        terminal.end()
    };
    let (code, shown) = answered("no");
    assert!(
        code == Some(7) && shown.contains(&fingerprint),
        "{code:?} {shown}"
    );
    assert!(
        shown.contains("+------ SHA256 -------+"),
        "the picture is shown: {shown}"
    );
    let (code, shown) = answered(&made(&other_home("other"), "other"));
    assert!(
        code == Some(7) && shown.contains("is not the peer's"),
        "{code:?} {shown}"
    );
    assert_eq!(known_peers(), "");

    let (code, shown) = answered(&fingerprint);
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        known_peers().contains(&format!("{locator} {fingerprint} ")),
        "{}",
        known_peers()
    );
    let again = run(["ping", &locator, "-n", "1"]);
    assert_code(&again, 0);
    assert_eq!(stderr(&again), "");

    keys(&home(), &["forget", &fingerprint]);
    let mut terminal = Terminal::start(&home(), &["ping", &locator, "-n", "1"]);
    terminal.wait_for("Trust it? ");
    terminal.type_line("perhaps");
    terminal.wait_for("Write yes, no, or the whole fingerprint");
    terminal.type_line("yes");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
}

#[test]
fn ctrl_c_at_the_question_ends_the_command() {
    made(&home(), "client");
    made(&other_home("server"), "server");
    let Some((_server, locator)) = server_elsewhere(&[]) else {
        return;
    };
    let mut terminal = Terminal::start(&home(), &["ping", &locator, "-n", "1"]);
    terminal.wait_for("Trust it? ");
    terminal.interrupt();
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(130), "{shown}");
    assert_eq!(known_peers(), "");
}

#[test]
fn a_server_with_a_policy_takes_nobody_from_elsewhere_whom_it_does_not_know() {
    made(&other_home("server"), "server");
    let fingerprint = made(&home(), "client");
    let policy = other_home("policy.toml");
    std::fs::write(
        &policy,
        "version = 1\n[[allow]]\npeers = [\"any\"]\nservices = [\"*\"]\n",
    )
    .expect("a file");
    let Some((_server, locator)) = server_elsewhere(&["--policy", policy.to_str().expect("text")]) else {
        return;
    };
    let server = keys(&other_home("server"), &["show", "--fingerprint"]);
    let call = || {
        run([
            "call",
            &locator,
            "echo",
            "echo",
            "--data",
            "x",
            "--trust",
            server.trim(),
        ])
    };
    let refused = call();
    assert_code(&refused, 7);
    assert!(
        stderr(&refused).contains("does not trust this side"),
        "{}",
        stderr(&refused)
    );
    keys(&other_home("server"), &["trust", &fingerprint]);
    until(|| call().status.code() != Some(7));
    assert_eq!(stdout(&call()), "x");
}

#[test]
fn plain_is_for_those_who_both_ask_for_it() {
    let closed = server();
    let refused = run(["call", closed.locator(), "echo", "echo", "--plain"]);
    assert_code(&refused, 7);
    assert!(stderr(&refused).contains("--plain"), "{}", stderr(&refused));
    assert!(!home().exists(), "nobody needs an identity for that");

    let open = Server::start_as(&other_home("open"), &["--listen", "tcp://127.0.0.1:0", "--plain"]);
    let plain = run(["ping", open.locator(), "-n", "1", "--plain", "--json"]);
    assert_code(&plain, 0);
    let security = &json_lines(&plain)[0]["security"];
    assert_eq!(
        (&security["trusted"], &security["suite"]),
        (&"plain".into(), &serde_json::Value::Null)
    );
    let secure = run(["ping", open.locator(), "-n", "1", "--json"]);
    assert_code(&secure, 0);
    assert_eq!(json_lines(&secure)[0]["security"]["post_quantum"], true);
    let text = run(["ping", open.locator(), "-n", "1", "--plain", "-v"]);
    assert!(
        stdout(&text).contains("none: the connection is plain"),
        "{}",
        stdout(&text)
    );
}

#[test]
fn over_a_unix_socket_the_system_may_say_who_is_there_where_both_ask_for_that() {
    let uid = rustix::process::geteuid().as_raw();
    let policy = other_home("policy.toml");
    std::fs::write(
        &policy,
        format!("version = 1\n[[allow]]\npeers = [\"uid:{uid}\"]\nservices = [\"echo\"]\n"),
    )
    .expect("a file");
    let policy = policy.to_str().expect("text");
    let uds = |name: &str| format!("uds://{}", other_home(name).display());
    let (closed_place, open_place) = (uds("closed.sock"), uds("open.sock"));
    let _closed = Server::start_as(&other_home("server"), &["--listen", &closed_place]);
    let open = Server::start_as(
        &other_home("open"),
        &[
            "--listen",
            &open_place,
            "--listen",
            "tcp://127.0.0.1:0",
            "--peer-credentials",
            "--policy",
            policy,
        ],
    );
    made(&home(), "client");
    let security = |locator: &str| {
        let output = run(["ping", locator, "-n", "1", "--json", "--peer-credentials"]);
        assert_code(&output, 0);
        json_lines(&output)[0]["security"].clone()
    };
    let named = security(&open_place);
    assert_eq!(
        (&named["trusted"], &named["suite"]),
        (&"peer-credentials".into(), &serde_json::Value::Null)
    );
    let echo = |more: &[&str]| {
        let mut args = vec!["call", &open_place, "echo", "echo"];
        args.extend_from_slice(more);
        run(args).status.code()
    };
    assert_eq!(
        (echo(&["--peer-credentials"]), echo(&[])),
        (Some(0), Some(1)),
        "the policy knows the user, and no identity"
    );
    // Where the system names nobody, it is the handshake as ever.
    assert_eq!(security(&open.locators[1])["post_quantum"], true);
    // A server that was not told takes none, one that was takes no others.
    let refused = run(["ping", &closed_place, "-n", "1", "--peer-credentials"]);
    assert_code(&refused, 7);
    assert!(
        stderr(&refused).contains("--peer-credentials"),
        "{}",
        stderr(&refused)
    );
    let plain = run(["ping", &open.locators[1], "-n", "1", "--plain"]);
    assert_code(&plain, 7);
    for more in [
        &["--plain"][..],
        &["--trust", "SHA256:9VeWAsbOtzlUu/HseRrk/iyAjvCwanI0nxntcdT/vNw"],
    ] {
        let mut args = vec!["ping", &open_place, "--peer-credentials"];
        args.extend_from_slice(more);
        assert_code(&run(args), 2);
    }
}

#[test]
fn ping_says_who_the_peer_is_and_what_protects_the_connection() {
    let fingerprint = made(&other_home("server"), "server");
    let server = server();
    let output = run(["ping", server.locator(), "-n", "1", "-v"]);
    assert_code(&output, 0);
    let said = stdout(&output);
    for wanted in [
        "server (by its own word)",
        &fingerprint,
        "trusted on first use",
        "hfs_25519+MLKEM768_",
        "_SHA256",
        "full",
    ] {
        assert!(said.contains(wanted), "`{wanted}` is missing:\n{said}");
    }
    assert!(
        said.contains("AES-256-GCM") || said.contains("ChaCha20-Poly1305"),
        "{said}"
    );
    let json = run(["ping", server.locator(), "-n", "1", "--json"]);
    let security = &json_lines(&json)[0]["security"];
    assert_eq!(
        (&security["trusted"], &security["resumed"]),
        (&"first-use".into(), &false.into())
    );
    assert_eq!(security["fingerprint"], fingerprint);
}

#[test]
fn a_benchmark_says_whether_it_was_encrypted() {
    let server = Server::start(&["--listen", "tcp://127.0.0.1:0", "--plain"]);
    let bench = |more: &[&str]| {
        let mut args = vec![
            "bench",
            server.locator(),
            "--json",
            "--messages",
            "20",
            "--warm-up",
            "0",
        ];
        args.extend_from_slice(more);
        let output = run(&args);
        assert_code(&output, 0);
        json_lines(&output).remove(0)
    };
    let (secure, plain) = (bench(&[]), bench(&["--plain"]));
    assert_eq!((&secure["plain"], &plain["plain"]), (&false.into(), &true.into()));
    assert!(
        secure["suite"]
            .as_str()
            .is_some_and(|suite| suite.contains("MLKEM768")),
        "{secure}"
    );
    assert!(plain["suite"].is_null());
}

#[test]
fn whoever_is_revoked_loses_the_connection_that_it_has() {
    let fingerprint = made(&home(), "client");
    let server = server();
    let call = crate::support::valkyrie([
        "call",
        server.locator(),
        "echo",
        "delay",
        "--data",
        "1h",
        "--timeout",
        "2h",
    ])
    .stdout(std::process::Stdio::piped())
    .stderr(std::process::Stdio::piped())
    .spawn()
    .expect("the program starts");
    let connections = || {
        let output = run_as(
            &other_home("server"),
            ["call", server.locator(), "health", "process"],
        );
        let report: serde_json::Value = serde_json::from_str(stdout(&output)).expect("JSON");
        report["connections"].as_u64().expect("a number")
    };
    until(|| connections() >= 2);
    keys(&other_home("server"), &["revoke", &fingerprint]);
    let output = call.wait_with_output().expect("the call ends");
    assert!(stderr(&output).contains("revoked"), "{}", stderr(&output));
    assert_ne!(output.status.code(), Some(0));
    let again = run(["call", server.locator(), "echo", "echo"]);
    assert_code(&again, 7);
}
