//! Peers that are not there, or are not what they should be.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::support::{assert_code, run, stderr};

/// Answers the first connection with `answer`, and says where.
fn stranger(answer: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let locator = format!("tcp://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        if let Ok((stream, _)) = listener.accept() {
            answer(stream);
        }
    });
    locator
}

#[test]
fn nobody_there_is_unreachable() {
    // A port that was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let locator = format!("tcp://{}", listener.local_addr().expect("an address"));
    drop(listener);
    // The first run says that it made an identity.
    assert_code(&run(["ping", &locator]), 3);
    for args in [
        vec!["ping", &locator],
        vec!["call", &locator, "echo", "echo"],
        vec!["bench", &locator],
        vec!["ping", "uds:///does/not/exist.sock"],
    ] {
        let output = run(&args);
        assert_code(&output, 3);
        assert_eq!(
            stderr(&output).lines().count(),
            1,
            "one clear sentence: {}",
            stderr(&output)
        );
    }
}

#[test]
fn a_scheme_that_nobody_speaks_is_a_usage_error() {
    let output = run(["ping", "carrier-pigeon://roof"]);
    assert_code(&output, 2);
    assert!(stderr(&output).contains("tcp, uds, quic"), "{}", stderr(&output));
}

#[test]
fn a_web_server_is_recognised_as_something_else() {
    let locator = stranger(|mut stream| {
        let mut request = [0; 64];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let output = run(["call", &locator, "echo", "echo"]);
    assert_code(&output, 4);
    assert!(stderr(&output).contains("web server"), "{}", stderr(&output));
}

#[test]
fn a_peer_of_another_version_is_named_as_such() {
    let locator = stranger(|mut stream| {
        let _ = stream.write_all(&[0x52, 0x43, 3, 1, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let output = run(["ping", &locator]);
    assert_code(&output, 4);
    assert!(stderr(&output).contains("version 3"), "{}", stderr(&output));
}

#[test]
fn a_peer_that_hangs_up_is_unreachable() {
    let locator = stranger(drop);
    let output = run(["ping", &locator]);
    assert_code(&output, 3);
    assert!(stderr(&output).contains("hint: "), "{}", stderr(&output));
}

#[test]
fn a_peer_that_says_nothing_runs_into_the_deadline() {
    let locator = stranger(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let output = run(["ping", &locator, "--connect-timeout", "100ms"]);
    assert_code(&output, 5);
    assert!(
        stderr(&output).contains("--connect-timeout"),
        "{}",
        stderr(&output)
    );
}
