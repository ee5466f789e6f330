//! What a server's peers may do, and files that say so.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::keys::made;
use crate::support::{Server, assert_code, home, json_lines, other_home, run, stderr, stdout, until};

fn policy_file(text: &str) -> PathBuf {
    let file = other_home("policy.toml");
    std::fs::write(&file, text).expect("a file");
    file
}

/// Everything of these services for everybody.
fn allow(services: &str) -> String {
    format!("version = 1\n[[allow]]\npeers = [\"any\"]\nservices = [{services}]\n")
}

fn serve(policy: &Path) -> Server {
    let policy = policy.to_str().expect("text");
    Server::start_as(
        &other_home("server"),
        &["--listen", "tcp://127.0.0.1:0", "--policy", policy],
    )
}

fn code_of(server: &Server, service: &str, method: &str) -> Option<i32> {
    run(["call", server.locator(), service, method]).status.code()
}

#[test]
fn without_a_policy_anybody_may_try_the_connection_out_and_no_more() {
    let server = Server::start_as(&other_home("server"), &["--listen", "tcp://127.0.0.1:0"]);
    for (service, method) in [("echo", "echo"), ("health", "check"), ("describe", "services")] {
        assert_eq!(code_of(&server, service, method), Some(0));
    }
    for (service, class) in [("echo", "critical"), ("echo", "system"), ("store", "data")] {
        let denied = run(["call", server.locator(), service, "echo", "--class", class]);
        assert_code(&denied, 1);
        assert!(
            stderr(&denied).contains("permission_denied"),
            "{}",
            stderr(&denied)
        );
        assert!(stderr(&denied).contains("hint: "), "{}", stderr(&denied));
    }
}

#[test]
fn a_policy_is_read_again_when_its_file_changes_and_a_bad_one_is_not_taken() {
    let file = policy_file(&allow("\"echo\""));
    let server = serve(&file);
    assert_eq!(
        (
            code_of(&server, "echo", "echo"),
            code_of(&server, "health", "check")
        ),
        (Some(0), Some(1))
    );
    std::fs::write(&file, allow("\"health\"")).expect("a file");
    until(|| code_of(&server, "health", "check") == Some(0));
    assert_eq!(code_of(&server, "echo", "echo"), Some(1));
    std::fs::write(&file, "version = 1\n[[allow]]\npeers = 7\n").expect("a file");
    server.signal(Signal::HUP);
    // The signal and one look at the files later the old policy still holds.
    for _ in 0..20 {
        assert_eq!(code_of(&server, "health", "check"), Some(0));
    }
    std::fs::write(&file, allow("\"echo\", \"health\"")).expect("a file");
    until(|| code_of(&server, "echo", "echo") == Some(0));
}

#[test]
fn a_server_does_not_start_with_a_policy_that_has_mistakes() {
    let file = policy_file("version = 1\n[[allow]]\npeers = [\"nobody-knows\"]\nservices = [\"echo\"]\n");
    let file = file.to_str().expect("text");
    let output = run(["serve", "--listen", "tcp://127.0.0.1:0", "--policy", file]);
    assert_code(&output, 2);
    assert!(
        stderr(&output).contains(&format!("{file}:3:")),
        "{}",
        stderr(&output)
    );
    assert_code(
        &run([
            "serve",
            "--listen",
            "tcp://127.0.0.1:0",
            "--policy",
            "/does/not/exist",
        ]),
        6,
    );
}

#[test]
fn a_policy_that_every_user_may_change_is_not_used() {
    let file = policy_file(&allow("\"echo\""));
    let path = file.to_str().expect("text");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).expect("permissions");
    for args in [
        vec!["policy", "check", path],
        vec!["policy", "explain", path, "--peer", "any", "echo/echo"],
        vec!["serve", "--listen", "tcp://127.0.0.1:0", "--policy", path],
    ] {
        let refused = run(args);
        assert_code(&refused, 6);
        assert!(stderr(&refused).contains("chmod o-w"), "{}", stderr(&refused));
    }
}

#[test]
fn a_policy_file_is_checked_with_the_place_of_every_mistake() {
    let good = policy_file(&allow("\"echo\""));
    let good = good.to_str().expect("text").to_owned();
    let output = run(["policy", "check", &good]);
    assert_code(&output, 0);
    assert!(
        stdout(&output).contains("1 rule and no mistake"),
        "{}",
        stdout(&output)
    );
    std::fs::write(
        &good,
        "version = 1\n[[allow]]\npeers = [\"any\"]\nservises = [\"echo\"]\n",
    )
    .expect("a file");
    let output = run(["policy", "check", &good]);
    assert_code(&output, 2);
    assert!(
        stderr(&output).contains(&format!("{good}:4:1")) && stderr(&output).contains("^^^^"),
        "{}",
        stderr(&output)
    );
    let output = run(["policy", "check", &good, "--json"]);
    assert_code(&output, 2);
    let faults = json_lines(&output)[0]["faults"].clone();
    assert!(
        faults
            .as_array()
            .is_some_and(|faults| faults.iter().any(|fault| fault["line"] == 4)),
        "{faults}"
    );
}

#[test]
fn a_decision_is_explained_with_the_line_of_its_rule() {
    let fingerprint = made(&home(), "ada");
    let file = policy_file(
        "version = 1\n\n[[allow]]\npeers = [\"role:runner\"]\ncalls = [\"rustci/register\"]\n\n[[deny]]\npeers = [\"name:eve\"]\n",
    );
    let file = file.to_str().expect("text");
    let explain = |more: &[&str]| {
        let mut args = vec!["policy", "explain", file, "--json"];
        args.extend_from_slice(more);
        let output = run(&args);
        (output.status.code(), json_lines(&output).remove(0))
    };
    let (code, said) = explain(&["--peer", "role:runner", "rustci/register", "--class", "job"]);
    assert_eq!(
        (code, &said["decision"], &said["line"]),
        (Some(0), &"allowed".into(), &3.into())
    );
    let (code, said) = explain(&[
        "--peer",
        "role:runner",
        "--peer",
        "name:eve",
        "rustci/register",
        "--class",
        "job",
    ]);
    assert_eq!(
        (code, &said["decision"], &said["line"]),
        (Some(1), &"forbidden".into(), &7.into())
    );
    for peer in [
        &*fingerprint,
        "anonymous",
        "plain",
        "uid:0",
        "label:a=b",
        "spiffe://example.org/a",
    ] {
        let (code, said) = explain(&["--peer", peer, "rustci/register"]);
        assert_eq!((code, &said["decision"]), (Some(1), &"unruled".into()), "{peer}");
    }
    let text = run([
        "policy",
        "explain",
        file,
        "--peer",
        "role:runner",
        "rustci/register",
        "--class",
        "critical",
    ]);
    assert_code(&text, 1);
    assert!(
        stdout(&text).contains("no rule allows it") && stdout(&text).contains("line 3"),
        "{}",
        stdout(&text)
    );
    assert_code(&run(["policy", "explain", file, "--peer", "nonsense", "a/b"]), 2);
    assert_code(&run(["policy", "explain", file, "--peer", "any", "nonsense"]), 2);
}
