//! Identities that are not good yet, or not any more.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use valkyrie::security::UnixTime;
use valkyrie_keystore::{Home, KeyFiles, KeyRing, NewIdentity, Terms};

use crate::keys::{keys, made, shown};
use crate::support::{Server, assert_code, home, other_home, run, run_as, stderr, until, valkyrie};

const HOUR: Duration = Duration::from_secs(3600);

fn now() -> UnixTime {
    SystemTime::now().into()
}

/// A node for which its authority signed at `from` and for `lifetime`, in the directory `server`; the authority's document.
fn signed(from: UnixTime, lifetime: Duration) -> PathBuf {
    let authority = KeyRing::generate(&NewIdentity::authority("works"), now().saturating_sub(48 * HOUR));
    let authority = authority.expect("an authority");
    let mut node = KeyRing::generate(&NewIdentity::node("build-1"), now()).expect("a node");
    let terms = Terms {
        name: None,
        roles: Vec::new(),
        labels: Vec::new(),
        lifetime,
    };
    let request = node
        .request(now())
        .expect("a request")
        .document()
        .expect("a document");
    let signed = authority
        .sign(&request, &terms, from)
        .expect("the authority's word");
    node.adopt(signed.document().expect("a document"), now(), HOUR)
        .expect("its own document");
    for (ring, directory) in [(node, "server"), (authority, "works")] {
        let home = Home::make(other_home(directory)).expect("a directory");
        KeyFiles::create(&home, ring, None).expect("files");
    }
    other_home("works").join("identity.doc")
}

fn serve() -> Server {
    Server::start_as(&other_home("server"), &["--listen", "tcp://127.0.0.1:0"])
}

fn trusted(document: &Path) {
    made(&home(), "client");
    keys(&home(), &["trust", document.to_str().expect("text")]);
}

#[test]
fn a_peer_whose_time_is_over_or_has_not_come_is_refused_with_what_to_look_at() {
    for (from, said, hint) in [
        (
            now().saturating_sub(24 * HOUR),
            "was good until ",
            "renew its identity",
        ),
        (now().saturating_add(24 * HOUR), "is not good before ", "clock"),
    ] {
        let document = signed(from, HOUR);
        let server = serve();
        trusted(&document);
        let refused = run(["ping", server.locator(), "-n", "1"]);
        assert_code(&refused, 7);
        let told = stderr(&refused);
        assert!(told.contains(said) && told.contains(hint), "{told}");

        // Who it is about is told as well, before anybody refuses it.
        let own = run_as(&other_home("server"), ["ping", server.locator(), "-n", "1"]);
        let told = stderr(&own);
        assert!(
            told.starts_with("warning: the identity in ") && told.contains(said),
            "{told}"
        );
        drop(server);
        for directory in [home(), other_home("server"), other_home("works")] {
            std::fs::remove_dir_all(directory).expect("a directory");
        }
    }
}

#[test]
fn an_identity_that_ends_while_its_server_runs_ends_connections_and_is_told_of() {
    let document = signed(now(), Duration::from_secs(5));
    trusted(&document);
    let mut server = serve();
    let call = valkyrie([
        "call",
        server.locator(),
        "echo",
        "delay",
        "--data",
        "1h",
        "--timeout",
        "2h",
    ])
    .stdout(Stdio::null())
    .stderr(Stdio::piped())
    .spawn()
    .expect("the program starts");
    let output = call.wait_with_output().expect("it ends");
    assert_ne!(output.status.code(), Some(0));
    // It was there before its time was over, or a slow machine was too late even for that.
    assert!(
        stderr(&output).contains("expired") || stderr(&output).contains("was good until"),
        "{}",
        stderr(&output)
    );
    server.wait_for_remark("was good until");
    assert_code(&run(["ping", server.locator(), "-n", "1"]), 7);

    // An authority's newer word is taken by the server that runs.
    let request = other_home("request");
    let newer = other_home("newer");
    keys(
        &other_home("server"),
        &["export", "--request", "-o", request.to_str().expect("text")],
    );
    keys(
        &other_home("works"),
        &[
            "sign",
            request.to_str().expect("text"),
            "-o",
            newer.to_str().expect("text"),
        ],
    );
    keys(&other_home("server"), &["import", newer.to_str().expect("text")]);
    until(|| run(["ping", server.locator(), "-n", "1"]).status.code() == Some(0));
    assert_eq!(shown(&other_home("server"))["self_signed"], false);
}

#[test]
fn an_identity_that_signs_itself_is_renewed_before_its_time_is_over() {
    assert_code(&run(["keys", "new", "--name", "ada", "--valid", "2s"]), 0);
    let first = shown(&home());
    let server = serve();
    until(|| {
        assert_code(&run(["ping", server.locator(), "-n", "1"]), 0);
        shown(&home())["serial"] != first["serial"]
    });
    assert_eq!(shown(&home())["fingerprint"], first["fingerprint"]);
}
