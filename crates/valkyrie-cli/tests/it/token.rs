//! Tokens made, narrowed and used by a caller that the server does not know.

use std::os::unix::fs::PermissionsExt;

use crate::keys::made;
use crate::support::{Server, assert_code, home, json_lines, other_home, run, run_as, stderr, stdout};

fn file(name: &str) -> String {
    other_home(name).to_str().expect("text").to_owned()
}

/// The root of the tokens that `home` mints.
fn root(home: &std::path::Path) -> String {
    let token = file("first.token");
    assert_code(
        &run_as(
            home,
            ["token", "mint", "echo", "--expires", "1h", "--output", &token],
        ),
        0,
    );
    let shown = run_as(home, ["token", "show", &token, "--json"]);
    assert_code(&shown, 0);
    json_lines(&shown)[0]["root"].as_str().expect("a root").to_owned()
}

#[test]
fn a_token_opens_what_it_says_and_no_more() {
    let server_home = other_home("server");
    made(&server_home, "server");
    let root = root(&server_home);
    let policy = file("policy.toml");
    std::fs::write(&policy, format!("version = 1\n[tokens]\nroots = [\"{root}\"]\n")).expect("a file");
    let server = Server::start_as(
        &server_home,
        &["--listen", "tcp://127.0.0.1:0", "--policy", &policy],
    );
    let call = |token: &str, service: &str, method: &str| {
        run([
            "call",
            server.locator(),
            service,
            method,
            "--data",
            "3",
            "--token",
            token,
        ])
    };
    // Without a token this caller may do nothing: the policy knows no peers at all.
    assert_code(&run(["call", server.locator(), "echo", "echo"]), 1);

    let (whole, less) = (file("whole.token"), file("less.token"));
    assert_code(
        &run_as(
            &server_home,
            ["token", "mint", "echo", "--expires", "1h", "--output", &whole],
        ),
        0,
    );
    assert_eq!(
        std::fs::metadata(&whole).expect("a file").permissions().mode() & 0o777,
        0o600
    );
    let opened = call(&whole, "echo", "echo");
    assert_code(&opened, 0);
    assert_eq!(stdout(&opened), "3");
    assert_code(&call(&whole, "health", "check"), 1);

    // Whoever has it hands on less of it.
    assert_code(
        &run([
            "token",
            "attenuate",
            &whole,
            "--method",
            "fail",
            "--output",
            &less,
        ]),
        0,
    );
    assert_code(&call(&less, "echo", "echo"), 1);
    assert!(
        stderr(&call(&less, "echo", "fail")).contains("3"),
        "it is the handler that fails"
    );
    let wider = run([
        "token",
        "attenuate",
        &less,
        "--method",
        "echo",
        "--output",
        &file("wider.token"),
    ]);
    assert_code(&wider, 0);
    assert_code(&call(&file("wider.token"), "echo", "echo"), 1);

    // One of another key is refused in the handshake.
    let foreign = file("foreign.token");
    assert_code(
        &run(["token", "mint", "echo", "--expires", "1h", "--output", &foreign]),
        0,
    );
    let refused = call(&foreign, "echo", "echo");
    assert_code(&refused, 7);
    assert!(
        stderr(&refused).contains("of the roots that its policy names"),
        "{}",
        stderr(&refused)
    );

    // One whose time is over is refused with another word.
    let over = file("over.token");
    let narrowed = run([
        "token",
        "attenuate",
        &whole,
        "--expires",
        "1ms",
        "--output",
        &over,
    ]);
    assert_code(&narrowed, 0);
    let refused = call(&over, "echo", "echo");
    assert_code(&refused, 7);
    assert!(
        stderr(&refused).contains("credentials_expired")
            && stderr(&refused).contains("not good at this time"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn a_token_that_others_may_read_is_refused_and_one_that_is_written_is_for_its_owner_alone() {
    made(&home(), "ada");
    let token = file("a.token");
    std::fs::write(&token, "something that was there").expect("a file");
    let mode = |mode: u32| {
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(mode)).expect("permissions");
    };
    mode(0o644);
    let minted = run(["token", "mint", "echo", "--expires", "1h", "--output", &token]);
    assert_code(&minted, 0);
    let found = std::fs::metadata(&token).expect("a file").permissions().mode() & 0o777;
    assert_eq!(found, 0o600);
    assert_code(&run(["token", "show", &token]), 0);
    mode(0o640);
    for args in [
        vec!["token", "show", &token],
        vec!["token", "attenuate", &token, "--expires", "1m"],
        vec!["ping", "tcp://127.0.0.1:1", "--token", &token],
    ] {
        let refused = run(args);
        assert_code(&refused, 6);
        let wanted = format!("run: chmod 600 {token}");
        assert!(stderr(&refused).contains(&wanted), "{}", stderr(&refused));
    }
}

#[test]
fn a_token_is_shown_with_how_long_it_is_good() {
    made(&home(), "ada");
    let token = file("a.token");
    assert_code(
        &run([
            "token",
            "mint",
            "store/get:bulk",
            "*/list",
            "--expires",
            "2h",
            "--output",
            &token,
        ]),
        0,
    );
    let shown = run(["token", "show", &token, "--json"]);
    assert_code(&shown, 0);
    let shown = &json_lines(&shown)[0];
    assert_eq!((&shown["good"], &shown["blocks"]), (&true.into(), &1.into()));
    assert!(shown["not_after"].is_string(), "{shown}");
    // Through standard output and input, narrowed twice and sealed.
    let once = run(["token", "attenuate", &token, "--class", "bulk"]);
    assert_code(&once, 0);
    let input = once.stdout.clone();
    let sealed =
        crate::support::run_with_input(&["token", "attenuate", "-", "--expires", "1m", "--seal"], &input);
    assert_code(&sealed, 0);
    let again =
        crate::support::run_with_input(&["token", "attenuate", "-", "--expires", "1s"], &sealed.stdout);
    assert_code(&again, 2);
    assert!(stderr(&again).contains("sealed"), "{}", stderr(&again));
    // Another node knows no root for it, and can be told one that did not sign it.
    let unknown = run_as(&other_home("other"), ["token", "show", &token]);
    assert_code(&unknown, 1);
    assert!(stdout(&unknown).contains("--root"), "{}", stdout(&unknown));
    for wrong in [
        &["token", "mint", "--expires", "1h"][..],
        &["token", "mint", "echo"],
        &["token", "mint", "/x", "--expires", "1h"],
    ] {
        assert_code(&run(wrong), 2);
    }
    std::fs::write(&token, "rubbish").expect("a file");
    assert_code(&run(["token", "show", &token]), 2);
}
