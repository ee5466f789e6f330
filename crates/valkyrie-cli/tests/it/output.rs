//! Help, colour, completions, and output that nobody reads.

use std::process::Stdio;

use crate::support::{assert_code, run, stderr, stdout, valkyrie};

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(["completions", shell]);
        assert_code(&output, 0);
        for command in [
            "serve", "ping", "call", "bench", "decode", "keys", "policy", "token", "audit",
        ] {
            assert!(stdout(&output).contains(command), "{command} for {shell}");
        }
    }
}

#[test]
fn version_and_help_go_to_standard_output() {
    let version = run(["--version"]);
    assert_code(&version, 0);
    let mut lines = stdout(&version).lines();
    assert_eq!(
        lines.next(),
        Some(concat!("valkyrie ", env!("CARGO_PKG_VERSION")))
    );
    // What the licence of a library wants to be told with the program.
    assert!(
        lines
            .next()
            .is_some_and(|line| line.contains("Mozilla Public License"))
    );
    let help = run(["--help"]);
    assert_code(&help, 0);
    assert!(stdout(&help).contains("Exit codes:"));
}

#[test]
fn the_help_of_every_command_has_an_example() {
    for command in [
        "serve",
        "ping",
        "call",
        "bench",
        "decode",
        "keys",
        "policy",
        "token",
        "audit",
        "completions",
    ] {
        let output = run([command, "--help"]);
        assert_code(&output, 0);
        assert!(
            stdout(&output).contains(&format!("valkyrie {command} ")),
            "{command}"
        );
    }
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for args in [
        &["nonsense"][..],
        &["serve"],
        &["ping"],
        &["ping", "no-locator"],
        &["ping", "tcp://127.0.0.1:1", "--interval", "1ms"],
        &["call", "tcp://127.0.0.1:1", "echo", "echo", "--class", "golden"],
        &["bench", "tcp://127.0.0.1:1", "--class", "critical"],
        &["decode", "00", "--file", "x"],
    ] {
        let output = run(args);
        assert_code(&output, 2);
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn colour_is_for_terminals_unless_it_is_asked_for() {
    let frame = "5243020200ff0000000000000000000000000007";
    let colored = |args: &[&str], no_color: bool| {
        let mut command = valkyrie(args);
        if no_color {
            command.env("NO_COLOR", "1");
        }
        command
            .output()
            .expect("the program starts")
            .stdout
            .contains(&0x1b)
    };
    assert!(!colored(&["decode", frame], false), "a pipe is no terminal");
    assert!(colored(&["decode", frame, "--color", "always"], false));
    assert!(
        colored(&["decode", frame, "--color", "always"], true),
        "an explicit wish wins"
    );
    assert!(!colored(&["decode", frame, "--color", "never"], false));
    assert!(
        !colored(&["decode", frame, "--color", "always", "--json"], false),
        "JSON has no colour"
    );
    assert!(colored(&["--help", "--color=always"], false));
}

#[test]
fn errors_are_json_when_results_are() {
    let output = run(["decode", "--json", "474554"]);
    assert_code(&output, 4);
    let error: serde_json::Value = serde_json::from_str(stderr(&output)).expect("JSON");
    assert_eq!(error["exit_code"], 4);
    assert!(
        error["error"]
            .as_str()
            .is_some_and(|text| text.contains("another protocol"))
    );
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let mut child = valkyrie(["decode", "--format", "binary", "--file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().expect("a pipe");
    let frame = [0x52, 0x43, 2, 2, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    // More than any buffer between holds; ends with an error when the program has ended.
    while std::io::Write::write_all(&mut stdin, &frame.repeat(4096)).is_ok() {}
    let output = child.wait_with_output().expect("the program ends");
    assert_code(&output, 141);
    assert_eq!(stderr(&output), "");
}
