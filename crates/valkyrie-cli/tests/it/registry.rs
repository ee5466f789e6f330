//! A registry that is served, and the commands that use it.

use std::io::Write;
use std::path::Path;
use std::process::Output;

use rustix::process::Signal;
use serde_json::Value;

use crate::program::Program;
use crate::support::{assert_code, home, json_lines, other_home, run, run_as, stderr, stdout, valkyrie};

/// A registry at a free port, with an identity of its own.
fn registry(args: &[&str]) -> (Program, String) {
    let mut all = vec!["serve", "--listen", "tcp://127.0.0.1:0"];
    all.extend_from_slice(args);
    let mut program = Program::start(&other_home("registry"), &all);
    let event = program.event();
    assert_eq!(event["event"], "listening");
    assert!(
        event["fingerprint"]
            .as_str()
            .expect("who it is")
            .starts_with("SHA256:")
    );
    let locator = event["locator"].as_str().expect("a locator").to_owned();
    (program, locator)
}

fn ask(locator: &str, args: &[&str]) -> Output {
    ask_as(&home(), locator, args)
}

fn ask_as(home: &Path, locator: &str, args: &[&str]) -> Output {
    let mut all = vec!["registry"];
    all.extend_from_slice(args);
    all.extend(["--registry", locator]);
    run_as(home, all)
}

/// What a command says in one document.
fn document(locator: &str, args: &[&str]) -> Value {
    let mut all = args.to_vec();
    all.push("--json");
    let output = ask(locator, &all);
    assert_code(&output, 0);
    let mut lines = json_lines(&output);
    assert_eq!(lines.len(), 1, "one document");
    lines.remove(0)
}

fn names(listed: &Value) -> Vec<&str> {
    let agents = listed["agents"].as_array().expect("a list");
    agents
        .iter()
        .map(|agent| agent["name"].as_str().expect("a name"))
        .collect()
}

#[test]
fn an_agent_is_there_for_as_long_as_its_command_runs() {
    let (mut served, locator) = registry(&["--memory"]);
    let mut watch = Program::start(&other_home("watcher"), &["watch", "--registry", &locator]);
    assert_eq!(watch.event()["event"], "watching");
    let put = [
        "put",
        "web-1",
        "tcp://10.0.0.1:7000",
        "--registry",
        &locator,
        "--service",
        "orders@1.4.0,tier=gold",
    ];
    let mut agent = Program::start(&home(), &put);
    let registered = agent.event();
    assert_eq!(
        (&registered["event"], &registered["ttl_seconds"]),
        (&"registered".into(), &60.0.into())
    );
    let seen = watch.event();
    assert_eq!(
        (&seen["event"], &seen["agent"]["name"]),
        (&"registered".into(), &"web-1".into())
    );
    assert_eq!(
        (&seen["id"], &seen["revision"]),
        (&registered["id"], &registered["revision"])
    );

    let listed = document(&locator, &["ls"]);
    assert_eq!(names(&listed), ["web-1"]);
    assert_eq!(listed["agents"][0]["services"][0]["labels"]["tier"], "gold");
    assert_eq!(listed["agents"][0]["locators"][0], "tcp://10.0.0.1:7000");
    let health = document(&locator, &["health"]);
    assert_eq!(
        (&health["reachable"], &health["durable"]),
        (&true.into(), &false.into())
    );
    assert_eq!((&health["leases"], &health["refused"]), (&1.into(), &0.into()));
    assert!(
        health["agents"][0]["record_ends_in_seconds"]
            .as_f64()
            .is_some_and(|ends| ends > 3600.0)
    );

    assert_eq!(agent.end(Signal::INT), Some(0));
    let gone = watch.event();
    assert_eq!(
        (&gone["event"], &gone["name"], &gone["cause"]),
        (&"gone".into(), &"web-1".into(), &"deleted".into())
    );
    assert!(names(&document(&locator, &["ls"])).is_empty());
    assert_eq!(watch.end(Signal::INT), Some(0));
    assert_eq!(served.end(Signal::TERM), Some(0));
}

#[test]
fn agents_are_found_by_what_they_offer_and_shown_in_a_table() {
    let (_served, locator) = registry(&["--memory"]);
    for (instance, name, service, zone) in [
        ("a", "web-1", "orders@1.4.0,tier=gold", "eu-1"),
        ("b", "web-2", "orders@1.0.0,tier=silver", "eu-2"),
        ("c", "mail-1", "mail@2.0.0", "eu-1"),
    ] {
        let put = [
            "put",
            name,
            "tcp://10.0.0.1:7000",
            "--once",
            "--ttl",
            "600s",
            "--instance",
            instance,
            "--service",
            service,
            "--zone",
            zone,
            "--label",
            "team=shop",
        ];
        assert_code(&ask(&locator, &put), 0);
    }
    let found = |args: &[&str]| {
        let mut all = vec!["ls"];
        all.extend_from_slice(args);
        let listed = document(&locator, &all);
        names(&listed).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(found(&["--service", "orders"]), ["web-1", "web-2"]);
    assert_eq!(
        found(&["--service", "orders", "--version", ">=1.2, <2"]),
        ["web-1"]
    );
    assert_eq!(found(&["--labels", "tier in (silver, bronze)"]), ["web-2"]);
    assert_eq!(found(&["--labels", "team = shop and not tier"]), ["mail-1"]);
    assert_eq!(found(&["--zone", "eu-1"]), ["web-1", "mail-1"]);
    assert_eq!(found(&["--name", "mail-1"]), ["mail-1"]);
    let table = ask(&locator, &["ls", "--name", "web-1"]);
    assert_code(&table, 0);
    let lines: Vec<&str> = stdout(&table).lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("NAME   STATUS  ZONE"), "{}", lines[0]);
    assert!(
        lines[1].contains("orders@1.4.0,team=shop,tier=gold"),
        "{}",
        lines[1]
    );

    let wrong = ask(&locator, &["ls", "--labels", "tier in (gold"]);
    assert_code(&wrong, 2);
    // Records of another cluster are none, and that is said.
    let elsewhere = ask(&locator, &["ls", "--cluster", "other"]);
    assert_code(&elsewhere, 0);
    assert!(
        stderr(&elsewhere).contains("3 of its records are not believed"),
        "{}",
        stderr(&elsewhere)
    );
}

#[test]
fn an_agent_is_removed_by_itself_or_by_the_registrys_own_identity() {
    let (_served, locator) = registry(&["--memory"]);
    let put = |home: &Path, name: &str, instance: &str| {
        let put = [
            "put",
            name,
            "tcp://10.0.0.1:7000",
            "--once",
            "--ttl",
            "600s",
            "--instance",
            instance,
        ];
        assert_code(&ask_as(home, &locator, &put), 0);
    };
    let other = other_home("other");
    put(&home(), "mine", "main");
    put(&other, "theirs", "main");
    put(&other, "theirs", "second");

    let two = ask(&locator, &["rm", "theirs"]);
    assert_code(&two, 2);
    assert!(stderr(&two).contains("2 agents are meant"), "{}", stderr(&two));
    let listed = document(&locator, &["ls", "--name", "theirs"]);
    let id = listed["agents"][0]["id"].as_str().expect("an id").to_owned();
    let denied = ask(&locator, &["rm", &id]);
    assert_code(&denied, 1);
    assert!(stderr(&denied).contains("hint:"), "{}", stderr(&denied));
    let own = ask(&locator, &["rm", "mine"]);
    assert_code(&own, 0);
    assert!(stdout(&own).starts_with("removed mine ("), "{}", stdout(&own));
    assert_code(&ask(&locator, &["rm", "mine"]), 1);
    assert_code(&ask_as(&other_home("registry"), &locator, &["rm", &id]), 0);
    assert_eq!(names(&document(&locator, &["ls"])), ["theirs"]);
}

#[test]
fn what_is_kept_in_a_file_is_there_after_a_restart_and_what_ran_out_is_seen_to() {
    let folder = tempfile::tempdir().expect("a directory");
    let data = folder.path().join("data");
    let data = data.to_str().expect("text");
    let (mut served, locator) = registry(&["--data", data]);
    let put = ask(
        &locator,
        &[
            "put",
            "web-1",
            "tcp://10.0.0.1:7000",
            "--once",
            "--ttl",
            "2s",
            "--json",
        ],
    );
    assert_code(&put, 0);
    let revision = json_lines(&put)[0]["revision"].as_u64().expect("a revision");
    let second = run_as(
        &other_home("registry"),
        [
            "registry",
            "serve",
            "--listen",
            "tcp://127.0.0.1:0",
            "--data",
            data,
        ],
    );
    assert_code(&second, 6);
    assert!(stderr(&second).contains("in use"), "{}", stderr(&second));
    assert_eq!(served.end(Signal::TERM), Some(0));

    let (_served, locator) = registry(&["--data", data]);
    let after = (revision - 1).to_string();
    let mut watch = Program::start(&home(), &["watch", "--registry", &locator, "--after", &after]);
    assert_eq!(watch.wait_for("registered")["revision"], revision);
    let gone = watch.wait_for("gone");
    assert_eq!(
        (&gone["cause"], &gone["name"]),
        (&"expired".into(), &"web-1".into())
    );
    // From before what there ever was, nothing can be shown.
    let early = ask(&locator, &["watch", "--after", "1"]);
    assert_code(&early, 1);
    assert!(stderr(&early).contains("no longer kept"), "{}", stderr(&early));
}

#[test]
fn an_agent_registers_again_at_a_registry_that_has_forgotten_it() {
    let (served, locator) = registry(&["--memory"]);
    let put = [
        "put",
        "web-1",
        "tcp://10.0.0.1:7000",
        "--ttl",
        "1s",
        "--registry",
        &locator,
    ];
    let mut agent = Program::start(&home(), &put);
    let first = agent.event();
    drop(served);
    let again = ["serve", "--listen", &locator, "--memory"];
    let mut served = Program::start(&other_home("registry"), &again);
    assert_eq!(served.event()["event"], "listening");
    let second = agent.wait_for("registered");
    assert!(
        second["token"].as_u64() > first["token"].as_u64(),
        "tokens grow across restarts"
    );
    assert_eq!(names(&document(&locator, &["ls"])), ["web-1"]);
}

#[test]
fn a_registry_whose_policy_gives_nothing_is_not_read() {
    let folder = tempfile::tempdir().expect("a directory");
    let policy = folder.path().join("policy.toml");
    let text = "version = 1\n[[allow]]\npeers = [\"role:reader\"]\nservices = [\"registry\"]\n";
    std::fs::File::create(&policy)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("a file");
    let (_served, locator) = registry(&["--memory", "--policy", policy.to_str().expect("text")]);
    let denied = ask(&locator, &["ls"]);
    assert_code(&denied, 1);
    assert!(stderr(&denied).contains("not allow"), "{}", stderr(&denied));
}

#[test]
fn what_cannot_be_is_told_before_anybody_is_dialled() {
    let nowhere = run(["registry", "ls"]);
    assert_code(&nowhere, 2);
    assert!(stderr(&nowhere).contains("--registry"), "{}", stderr(&nowhere));
    for bad in [
        &["put", "web 1", "tcp://10.0.0.1:1"][..],
        &["put", "web-1"],
        &["put", "web-1", "tcp://10.0.0.1:1", "--service", "orders"],
        &["put", "web-1", "tcp://10.0.0.1:1", "--label", "a=b"],
        &["put", "web-1", "tcp://10.0.0.1:1", "--plain"],
        &["ls", "--version", "new"],
    ] {
        assert_code(&ask("tcp://127.0.0.1:1", bad), 2);
    }
    assert_code(&run(["registry", "serve", "--listen", "tcp://127.0.0.1:0"]), 2);
    assert_code(&ask("tcp://127.0.0.1:1", &["health"]), 3);
    let with_variable = valkyrie(["registry", "health"])
        .env("VALKYRIE_REGISTRY", "tcp://127.0.0.1:1")
        .output()
        .expect("the program starts");
    assert_code(&with_variable, 3);
}

#[test]
fn a_peer_that_is_no_registry_is_told_apart() {
    let server = crate::support::Server::tcp();
    let other = ask(server.locator(), &["health"]);
    assert_code(&other, 1);
    assert!(!stderr(&other).is_empty());
}
