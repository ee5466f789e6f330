//! Certificates from files, whose certificates are taken, and web pages, with the real program and curl.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::support::{Server, assert_code, run, stderr, stdout, tell, until};

/// An authority and what it signed, as files.
struct Signed {
    folder: tempfile::TempDir,
}

impl Signed {
    /// A certificate for this machine's loopback address and name.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let signed = Self { folder };
        signed.replace();
        signed
    }

    /// Another authority and another certificate, in the same files.
    fn replace(&self) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // What has its signer's name has signed itself, to OpenSSL.
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority of tests");
        let authority =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        let key = KeyPair::generate().expect("a key");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).expect("names");
        let certificate = params.signed_by(&key, &authority).expect("a certificate");
        for (name, pem) in [
            ("ca.pem", authority.pem()),
            ("key.pem", key.serialize_pem()),
            ("cert.pem", certificate.pem()),
        ] {
            fs::write(self.path(name), pem).expect("a file");
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("text").to_owned()
    }
}

/// A server that shows `signed`, and listens on each scheme that shows one.
fn server(signed: &Signed, more: &[&str]) -> Server {
    let (cert, key) = (signed.text("cert.pem"), signed.text("key.pem"));
    let mut args = vec!["--tls-cert", &cert, "--tls-key", &key];
    for place in ["quic://127.0.0.1:0", "wss://127.0.0.1:0/", "https://127.0.0.1:0"] {
        args.extend(["--listen", place]);
    }
    args.extend(more);
    Server::start(&args)
}

fn ping(locator: &str, ca: &Path) -> Output {
    run(["ping", locator, "-n", "1", "--tls-ca", ca.to_str().expect("text")])
}

#[test]
fn a_dial_that_wants_an_authority_takes_the_certificates_that_it_signed_and_no_other() {
    let (ours, theirs) = (Signed::new(), Signed::new());
    let server = server(&ours, &[]);
    for locator in &server.locators {
        assert_code(&ping(locator, &ours.path("ca.pem")), 0);
        let refused = ping(locator, &theirs.path("ca.pem"));
        // Whoever answers is not trusted, as by an identity that is not.
        assert_code(&refused, 7);
        let said = stderr(&refused);
        assert!(said.contains("certificate"), "{said}");
        // No system trusts an authority of this test.
        let refused = run(["ping", locator, "-n", "1", "--tls-ca", "system"]);
        assert_ne!(refused.status.code(), Some(0), "{}", stdout(&refused));
        // Who does not ask takes any.
        assert_code(&run(["ping", locator, "-n", "1"]), 0);
    }
}

#[test]
fn a_certificate_is_for_the_name_that_is_dialled() {
    let ours = Signed::new();
    let (cert, key) = (ours.text("cert.pem"), ours.text("key.pem"));
    let server = Server::start(&[
        "--listen",
        "quic://127.0.0.2:0",
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
    ]);
    let refused = ping(server.locator(), &ours.path("ca.pem"));
    assert_ne!(refused.status.code(), Some(0), "{}", stdout(&refused));
}

#[test]
fn a_replaced_certificate_is_shown_without_a_restart() {
    let ours = Signed::new();
    let server = server(&ours, &[]);
    let before = ours.path("before.pem");
    fs::copy(ours.path("ca.pem"), &before).expect("a file");
    ours.replace();
    for locator in &server.locators {
        until(|| ping(locator, &ours.path("ca.pem")).status.success());
        assert_ne!(ping(locator, &before).status.code(), Some(0));
    }
}

#[test]
fn files_that_are_no_certificate_or_not_of_each_other_are_refused_at_the_start() {
    let (ours, theirs) = (Signed::new(), Signed::new());
    let start = |cert: &str, key: &str| {
        run([
            "serve",
            "--listen",
            "quic://127.0.0.1:0",
            "--tls-cert",
            cert,
            "--tls-key",
            key,
        ])
    };
    for (cert, key, says) in [
        (ours.text("cert.pem"), theirs.text("key.pem"), "together"),
        (ours.text("key.pem"), ours.text("key.pem"), "no certificate"),
        (ours.text("nothing.pem"), ours.text("key.pem"), "cannot be read"),
    ] {
        let refused = start(&cert, &key);
        assert_code(&refused, 6);
        assert!(stderr(&refused).contains(says), "{}", stderr(&refused));
    }
    let half = run([
        "serve",
        "--listen",
        "quic://127.0.0.1:0",
        "--tls-cert",
        &ours.text("cert.pem"),
    ]);
    assert_code(&half, 2);
}

#[test]
fn curl_that_knows_the_authority_calls_an_https_gateway() {
    if Command::new("curl").arg("--version").output().is_err() {
        tell("NOT TESTED: there is no curl");
        return;
    }
    let ours = Signed::new();
    let mut server = server(&ours, &["--gateway", "https://127.0.0.1:0"]);
    let gateway = server.event();
    assert_eq!(gateway["event"], "gateway");
    let url = format!(
        "{}/v2/call/echo/echo",
        gateway["locator"].as_str().expect("a locator")
    );
    let curl = |more: &[&str]| {
        let fixed = ["--silent", "--show-error", "--noproxy", "*", "--data", "hello"];
        Command::new("curl")
            .args(fixed)
            .args(more)
            .arg(&url)
            .output()
            .expect("it starts")
    };
    let answered = curl(&["--cacert", &ours.text("ca.pem")]);
    assert_eq!(stdout(&answered), "hello", "{}", stderr(&answered));
    // 60: the peer's certificate cannot be verified.
    assert_eq!(curl(&[]).status.code(), Some(60));
}

/// What a server answers to a request, in plain HTTP/1.1.
fn ask(locator: &str, request: &str) -> String {
    let place = locator
        .split("://")
        .nth(1)
        .expect("a place")
        .trim_end_matches('/');
    let mut stream = TcpStream::connect(place).expect("it listens");
    let request = request.replace("HOST", place);
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("it answers") == 1 {
        answer.push(byte[0]);
    }
    String::from_utf8(answer).expect("text").to_ascii_lowercase()
}

fn upgrade(locator: &str, origin: &str) -> String {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: HOST\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: valkyrie.v2\r\nOrigin: {origin}\r\n\r\n"
    );
    ask(locator, &request)
}

fn preflight(locator: &str, origin: &str) -> String {
    let request = format!(
        "OPTIONS /v2/call/echo/echo HTTP/1.1\r\nHost: HOST\r\nOrigin: {origin}\r\n\
         Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n"
    );
    ask(locator, &request)
}

#[test]
fn pages_of_the_named_origins_may_dial_and_call_and_others_may_not() {
    let app = "https://app.example.org";
    let mut server = Server::start(&[
        "--listen",
        "ws://127.0.0.1:0/",
        "--gateway",
        "http://127.0.0.1:0",
        "--web-origin",
        app,
    ]);
    let gateway = server.event()["locator"].as_str().expect("a locator").to_owned();
    assert!(upgrade(server.locator(), app).starts_with("http/1.1 101"));
    assert!(upgrade(server.locator(), "https://evil.example.org").starts_with("http/1.1 403"));
    let allowed = preflight(&gateway, app);
    assert!(
        allowed.contains(&format!("access-control-allow-origin: {app}\r\n")),
        "{allowed}"
    );
    let refused = preflight(&gateway, "https://evil.example.org");
    assert!(!refused.contains("access-control-allow-origin"), "{refused}");
}

#[test]
fn an_origin_that_no_browser_sends_is_a_mistake() {
    for origin in ["app.example.org", "https://app.example.org/", "https://"] {
        let refused = run(["serve", "--listen", "ws://127.0.0.1:0/", "--web-origin", origin]);
        assert_code(&refused, 2);
        assert!(
            stderr(&refused).contains("as browsers do"),
            "{}",
            stderr(&refused)
        );
    }
}
