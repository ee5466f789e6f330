//! `valkyrie keys`: identities made, shown, signed, replaced and encrypted.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::pty::Terminal;
use crate::support::{Server, assert_code, home, json_lines, other_home, run, run_as, stderr, stdout, until};

/// What `keys show --json` says of the identity in a directory.
pub(crate) fn shown(home: &Path) -> Value {
    let output = run_as(home, ["keys", "show", "--json"]);
    assert_code(&output, 0);
    json_lines(&output).remove(0)
}

/// Makes an identity of this name, and says its fingerprint.
pub(crate) fn made(home: &Path, name: &str) -> String {
    let output = run_as(home, ["keys", "new", "--name", name, "--json"]);
    assert_code(&output, 0);
    json_lines(&output)[0]["fingerprint"]
        .as_str()
        .expect("a fingerprint")
        .to_owned()
}

#[track_caller]
pub(crate) fn keys(home: &Path, args: &[&str]) -> String {
    let output = run_as(home, ["keys"].iter().chain(args));
    assert_code(&output, 0);
    stdout(&output).to_owned()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[test]
fn an_identity_is_made_on_first_use_and_said_once() {
    let server = Server::start_as(&other_home("server"), &["--listen", "tcp://127.0.0.1:0"]);
    let first = run(["call", server.locator(), "echo", "echo", "--data", "x"]);
    assert_code(&first, 0);
    assert_eq!(
        stderr(&first).matches("made an identity").count(),
        1,
        "{}",
        stderr(&first)
    );
    assert!(stderr(&first).contains(home().to_str().expect("text")));
    let second = run(["call", server.locator(), "echo", "echo", "--data", "x"]);
    assert_eq!((stdout(&second), stderr(&second)), ("x", ""));
    assert_eq!(
        (mode(&home()), mode(&home().join("identity.key"))),
        (0o700, 0o600)
    );
}

#[test]
fn a_new_identity_is_shown_with_what_it_was_given() {
    let output = run([
        "keys",
        "new",
        "--name",
        "build 1",
        "--role",
        "runner",
        "--label",
        "site=attic",
        "--valid",
        "30d",
        "--json",
    ]);
    assert_code(&output, 0);
    let shown = shown(&home());
    assert_eq!(json_lines(&output)[0], shown);
    assert_eq!(
        (&shown["name"], &shown["kind"]),
        (&"build 1".into(), &"node".into())
    );
    assert_eq!(
        (&shown["roles"][0], &shown["labels"]["site"]),
        (&"runner".into(), &"attic".into())
    );
    assert_eq!(shown["signs_with"], serde_json::json!(["Ed25519", "ML-DSA-65"]));
    let text = keys(&home(), &["show"]);
    assert!(
        text.contains(shown["fingerprint"].as_str().expect("text")),
        "{text}"
    );
    assert!(
        text.contains("30 days left") && text.contains("+------ SHA256 -------+"),
        "{text}"
    );
    assert_eq!(
        keys(&home(), &["show", "--fingerprint"]).trim(),
        shown["fingerprint"]
    );
}

#[test]
fn an_identity_is_not_replaced_unless_that_is_said() {
    let before = made(&home(), "ada");
    let refused = run(["keys", "new", "--name", "eve"]);
    assert_code(&refused, 6);
    assert!(stderr(&refused).contains("--replace"), "{}", stderr(&refused));
    assert_eq!(shown(&home())["fingerprint"], before);
    assert_code(&run(["keys", "new", "--name", "eve", "--replace"]), 0);
    assert_ne!(shown(&home())["fingerprint"], before);
}

#[test]
fn an_identity_that_cannot_be_is_the_callers_mistake_and_replaces_nothing() {
    let before = made(&home(), "ada");
    for wrong in [
        ["--valid", "0s"],
        ["--valid", "9999y"],
        ["--name", " "],
        ["--role", "two words"],
        ["--label", "=attic"],
    ] {
        let mut args = vec!["keys", "new", "--replace"];
        args.extend_from_slice(&wrong);
        assert_code(&run(args), 2);
    }
    assert_eq!(shown(&home())["fingerprint"], before);
}

#[test]
fn whoever_revokes_itself_is_told_that_nobody_else_hears_of_it() {
    let own = made(&home(), "ada");
    let revoked = run(["keys", "revoke", &own]);
    assert_code(&revoked, 0);
    assert!(
        stderr(&revoked).contains("this node's own identity"),
        "{}",
        stderr(&revoked)
    );
    let forgotten = run(["keys", "forget", &own]);
    assert_code(&forgotten, 1);
    assert!(
        stderr(&forgotten).contains("trust/revoked"),
        "{}",
        stderr(&forgotten)
    );
    let other = run(["keys", "revoke", &made(&other_home("other"), "eve")]);
    assert_eq!((other.status.code(), stderr(&other)), (Some(0), ""));
}

#[test]
fn a_key_that_others_may_read_is_refused_with_the_command_that_mends_it() {
    made(&home(), "ada");
    let key = home().join("identity.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("permissions");
    for args in [
        &["keys", "show"][..],
        &["ping", "tcp://127.0.0.1:1"],
        &["serve", "--listen", "tcp://127.0.0.1:0"],
    ] {
        let output = run(args);
        assert_code(&output, 6);
        let wanted = format!("run: chmod 600 {}", key.display());
        assert!(stderr(&output).contains(&wanted), "{}", stderr(&output));
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("permissions");
    std::fs::set_permissions(home(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let output = run(["keys", "show"]);
    assert_code(&output, 6);
    assert!(stderr(&output).contains("chmod 700"), "{}", stderr(&output));
}

#[test]
fn an_authority_signs_and_the_others_believe_it() {
    let (ca, node, client) = (other_home("ca"), other_home("node"), other_home("client"));
    let file = |name: &str| other_home(name).to_str().expect("text").to_owned();
    assert_code(&run_as(&ca, ["keys", "new", "--authority", "--name", "home"]), 0);
    made(&node, "build-1");
    keys(&node, &["export", "--request", "--output", &file("node.req")]);
    keys(
        &ca,
        &[
            "sign",
            &file("node.req"),
            "--role",
            "runner",
            "--valid",
            "90d",
            "--output",
            &file("node.doc"),
        ],
    );
    keys(&node, &["import", &file("node.doc")]);
    assert_eq!(
        (&shown(&node)["self_signed"], &shown(&node)["roles"][0]),
        (&false.into(), &"runner".into())
    );

    // A server that is vouched for is believed by those who trust the authority, and by nobody else.
    let server = Server::start_as(&node, &["--listen", "tcp://127.0.0.1:0"]);
    let stranger = run_as(&client, ["ping", server.locator(), "-n", "1"]);
    assert_code(&stranger, 7);
    assert!(
        stderr(&stranger).contains("no authority here"),
        "{}",
        stderr(&stranger)
    );
    keys(
        &client,
        &["trust", ca.join("identity.doc").to_str().expect("text")],
    );
    let output = run_as(&client, ["ping", server.locator(), "-n", "1", "--json"]);
    assert_code(&output, 0);
    let security = &json_lines(&output)[0]["security"];
    assert_eq!(
        (&security["trusted"], &security["name"]),
        (&"authority".into(), &"build-1".into())
    );
    assert_eq!(security["roles"], serde_json::json!(["runner"]));

    // What the authority takes back is believed no more, once its list is taken.
    let fingerprint = shown(&node)["fingerprint"].as_str().expect("text").to_owned();
    keys(&ca, &["revoke", &fingerprint, "--list", &file("revoked")]);
    keys(&client, &["trust", &file("revoked")]);
    let revoked = run_as(&client, ["ping", server.locator(), "-n", "1"]);
    assert_code(&revoked, 7);
    assert!(stderr(&revoked).contains("revoked"), "{}", stderr(&revoked));
}

#[test]
fn only_an_authority_signs_and_only_what_was_asked_for() {
    let file = other_home("node.req").to_str().expect("text").to_owned();
    made(&home(), "ada");
    keys(&home(), &["export", "--request", "--output", &file]);
    let refused = run(["keys", "sign", &file]);
    assert_code(&refused, 6);
    assert!(
        stderr(&refused).contains("only an authority"),
        "{}",
        stderr(&refused)
    );
    std::fs::write(&file, "rubbish").expect("a file");
    let ca = other_home("ca");
    assert_code(&run_as(&ca, ["keys", "new", "--authority", "--name", "home"]), 0);
    assert_code(&run_as(&ca, ["keys", "sign", &file]), 2);
    let served = run_as(&ca, ["serve", "--listen", "tcp://127.0.0.1:0"]);
    assert_code(&served, 6);
    assert!(stderr(&served).contains("authority"), "{}", stderr(&served));
}

#[test]
fn a_key_is_replaced_while_its_server_runs_and_nobody_notices() {
    let (server_home, client) = (other_home("server"), other_home("client"));
    let fingerprint = made(&server_home, "server");
    let server = Server::start_as(&server_home, &["--listen", "tcp://127.0.0.1:0"]);
    assert_code(&run_as(&client, ["ping", server.locator(), "-n", "1"]), 0);
    let lasting = crate::support::valkyrie(["call", server.locator(), "echo", "delay", "--data", "4s"])
        .env("VALKYRIE_HOME", &client)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    let log = server_home.join("audit.log");
    let logged = |what: &str| std::fs::read_to_string(&log).map_or(0, |log| log.matches(what).count());
    // The ping above is one.
    until(|| logged("\"event\":\"accepted\"") >= 2);
    keys(&server_home, &["rotate"]);
    let shown = shown(&server_home);
    assert_eq!(
        shown["fingerprint"], fingerprint,
        "the fingerprint is of the signing keys"
    );
    let static_keys = shown["static_keys"].as_array().expect("keys");
    assert!(
        static_keys.len() == 2 && static_keys[1]["accepted_until"].is_string(),
        "{shown}"
    );
    let ping = || {
        let output = run_as(&client, ["ping", server.locator(), "-n", "1"]);
        assert_code(&output, 0);
        assert_eq!(stderr(&output), "", "it is the peer that is known");
    };
    ping();
    until(|| logged("\"event\":\"key_rotated\"") == 1);
    ping();
    let output = lasting.wait_with_output().expect("it ends");
    assert_eq!(output.stdout, b"4s", "connections live on");
}

#[test]
fn an_encrypted_identity_asks_for_its_passphrase() {
    let secret = other_home("passphrase");
    std::fs::write(&secret, "open sesame\n").expect("a file");
    let file = secret.to_str().expect("text");
    let loose = run(["keys", "new", "--passphrase", "--passphrase-file", file]);
    assert_code(&loose, 6);
    assert!(stderr(&loose).contains("chmod 600"), "{}", stderr(&loose));
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("permissions");
    assert_code(
        &run([
            "keys",
            "new",
            "--name",
            "ada",
            "--passphrase",
            "--passphrase-file",
            file,
        ]),
        0,
    );
    let text = std::fs::read_to_string(home().join("identity.key")).expect("a file");
    assert!(
        text.starts_with("valkyrie sealed key 1\nargon2id m=65536 t=3 p=1 "),
        "{text}"
    );

    let nobody = run(["ping", "tcp://127.0.0.1:1", "-n", "1"]);
    assert_code(&nobody, 6);
    assert!(
        stderr(&nobody).contains("--passphrase-file"),
        "{}",
        stderr(&nobody)
    );
    let server = Server::start_as(&other_home("server"), &["--listen", "tcp://127.0.0.1:0"]);
    assert_code(
        &run(["ping", server.locator(), "-n", "1", "--passphrase-file", file]),
        0,
    );
    // The fingerprint is no secret.
    assert!(keys(&home(), &["show", "--fingerprint"]).starts_with("SHA256:"));

    let mut wrong = Terminal::start(&home(), &["ping", server.locator(), "-n", "1"]);
    wrong.wait_for("passphrase of ");
    wrong.type_line("open barley");
    let (code, shown) = wrong.end();
    assert!(
        code == Some(6) && shown.contains("does not open"),
        "{code:?} {shown}"
    );
    assert!(!shown.contains("barley"), "what is typed is not shown: {shown}");
    let mut right = Terminal::start(&home(), &["ping", server.locator(), "-n", "1"]);
    right.wait_for("passphrase of ");
    right.type_line("open sesame");
    let (code, shown) = right.end();
    assert_eq!(code, Some(0), "{shown}");

    assert_code(
        &run(["keys", "passphrase", "--remove", "--passphrase-file", file]),
        0,
    );
    assert_code(&run(["ping", server.locator(), "-n", "1"]), 0);
}
