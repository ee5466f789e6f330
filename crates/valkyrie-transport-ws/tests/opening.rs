//! Who is let in, who is turned away and how, and who cannot keep others out.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use valkyrie_transport::tls::{Certificates, Roots};
use valkyrie_transport::{Fault, Listener, Locator, Transport, TransportError, accept};
use valkyrie_transport_ws::{HEAD_BYTES_MAX, UpgradeError, WsTransport};

async fn listen(transport: &WsTransport) -> Box<dyn Listener> {
    let locator = Locator::new(transport.scheme(), "127.0.0.1:0/valkyrie").unwrap();
    transport.listen(&locator).await.unwrap()
}

fn address(listener: &dyn Listener) -> String {
    listener.locator().rest().split('/').next().unwrap().to_owned()
}

/// Names and values.
type Fields<'a> = &'a [(&'a str, &'a str)];

/// Every field of a right request, with a line changed, left out, or added.
fn request(host: &str, line: &str, fields: Fields<'_>) -> String {
    let mut text = format!("{line}\r\n");
    let right = [
        ("Host", host),
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "other, valkyrie.v2"),
    ];
    for (name, value) in right {
        match fields.iter().find(|(changed, _)| *changed == name) {
            Some((_, "")) => {}
            Some((_, changed)) => text.push_str(&format!("{name}: {changed}\r\n")),
            None => text.push_str(&format!("{name}: {value}\r\n")),
        }
    }
    for (name, value) in fields {
        if !right.iter().any(|(known, _)| known == name) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    text + "\r\n"
}

/// Sends bytes and reads to the end of the answer.
async fn ask(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The listener may hang up before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut buf = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut buf).await {
        answer.extend_from_slice(&buf[..count]);
        if answer.starts_with(b"HTTP/1.1 101") {
            break;
        }
    }
    String::from_utf8(answer).unwrap()
}

/// What the listener says of the one connection it had.
async fn told(listener: &mut dyn Listener) -> UpgradeError {
    match accept(listener).await {
        Err(TransportError::Aborted { source, .. }) => *source.into_inner().unwrap().downcast().unwrap(),
        Err(other) => panic!("told as {other:?}"),
        Ok(_) => panic!("was let in"),
    }
}

#[tokio::test]
async fn every_wrong_request_gets_its_status_and_a_sentence() {
    const GET: &str = "GET /valkyrie HTTP/1.1";
    let long = "x".repeat(HEAD_BYTES_MAX);
    let many: Vec<(String, &str)> = (0..65).map(|index| (format!("X-{index}"), "y")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let cases: &[(&str, Fields<'_>, u16, &str)] = &[
        ("POST /valkyrie HTTP/1.1", &[], 405, "Allow: GET"),
        ("GET /elsewhere HTTP/1.1", &[], 404, "path"),
        ("GET /valkyrie HTTP/1.0", &[], 505, "HTTP/1.1"),
        ("PRI * HTTP/2.0", &[], 505, "HTTP/1.1"),
        ("\u{1}\u{2}\u{3}", &[], 400, "HTTP/1.1"),
        (GET, &[("Upgrade", "")], 426, "Upgrade: websocket"),
        (GET, &[("Connection", "close")], 426, "valkyrie.v2"),
        (
            GET,
            &[("Sec-WebSocket-Version", "8")],
            426,
            "Sec-WebSocket-Version: 13",
        ),
        (GET, &[("Host", "")], 400, "host"),
        (GET, &[("Sec-WebSocket-Key", "c2hvcnQ=")], 400, "Key"),
        (GET, &[("Sec-WebSocket-Protocol", "")], 400, "valkyrie.v2"),
        (
            GET,
            &[("Sec-WebSocket-Protocol", "valkyrie.v1")],
            400,
            "valkyrie.v2",
        ),
        (GET, &[("Origin", "https://evil.example")], 403, "origin"),
        (GET, &[("X-Long", &long)], 431, "long"),
        (GET, &many, 431, "long"),
    ];
    let mut listener = listen(&WsTransport::new()).await;
    let place = address(&*listener);
    for (line, fields, status, sentence) in cases {
        let bytes = request(&place, line, fields);
        let (answer, told) = tokio::join!(ask(&place, bytes.as_bytes()), told(&mut *listener));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line} {fields:?}: {answer}"
        );
        assert!(answer.contains(sentence), "{line} {fields:?}: {answer}");
        assert!(answer.contains("Connection: close"), "{answer}");
        assert!(
            matches!(told, UpgradeError::Turned { status: told, .. } if told == *status),
            "{told:?}"
        );
    }
    // After all of that a right one is let in.
    let bytes = request(&place, "GET /valkyrie?token=x HTTP/1.1", &[]);
    let (answer, accepted) = tokio::join!(ask(&place, bytes.as_bytes()), accept(&mut *listener));
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    // RFC 6455, section 1.3.
    assert!(
        answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "{answer}"
    );
    assert!(
        answer.contains("Sec-WebSocket-Protocol: valkyrie.v2\r\n"),
        "{answer}"
    );
    assert!(accepted.is_ok());
}

#[tokio::test]
async fn a_request_that_trickles_in_is_answered_when_it_is_whole() {
    let mut listener = listen(&WsTransport::new()).await;
    let place = address(&*listener);
    let bytes = request(&place, "GET /valkyrie HTTP/1.1", &[]);
    let trickling = async {
        let mut stream = TcpStream::connect(&place).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in bytes.bytes() {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101");
        stream
    };
    let (_stream, accepted) = tokio::join!(trickling, accept(&mut *listener));
    assert!(accepted.is_ok());
}

#[tokio::test]
async fn compression_that_is_offered_is_not_agreed_on() {
    let mut listener = listen(&WsTransport::new()).await;
    let place = address(&*listener);
    let offer = [(
        "Sec-WebSocket-Extensions",
        "permessage-deflate; client_max_window_bits",
    )];
    let bytes = request(&place, "GET /valkyrie HTTP/1.1", &offer);
    let (answer, accepted) = tokio::join!(ask(&place, bytes.as_bytes()), accept(&mut *listener));
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(!answer.to_lowercase().contains("extensions"), "{answer}");
    assert!(accepted.is_ok());
}

#[tokio::test]
async fn pages_of_a_list_of_origins_are_let_in_and_others_are_not() {
    let transport = WsTransport::new().with_origins(["https://app.example.org"]);
    let mut listener = listen(&transport).await;
    let place = address(&*listener);
    let same = format!("http://{place}");
    for (origin, status) in [("https://app.example.org", 101), (&same, 403), ("null", 403)] {
        let bytes = request(&place, "GET /valkyrie HTTP/1.1", &[("Origin", origin)]);
        let (answer, _) = tokio::join!(ask(&place, bytes.as_bytes()), accept(&mut *listener));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{origin}: {answer}"
        );
    }
}

#[tokio::test]
async fn tls_on_a_plain_place_is_told_as_what_it_is() {
    let mut listener = listen(&WsTransport::new()).await;
    let secure = WsTransport::secure(Certificates::self_signed(), Roots::Any);
    let locator = Locator::new("wss", listener.locator().rest()).unwrap();
    let (dialled, told) = tokio::join!(secure.dial(&locator), told(&mut *listener));
    assert!(matches!(dialled.err(), Some(TransportError::Aborted { .. })));
    assert!(matches!(told, UpgradeError::TlsOnPlain), "{told:?}");
}

#[tokio::test]
async fn a_plain_dialler_at_a_secure_place_is_turned_away() {
    let secure = WsTransport::secure(Certificates::self_signed(), Roots::Any);
    let mut listener = listen(&secure).await;
    let locator = Locator::new("ws", listener.locator().rest()).unwrap();
    let plain = WsTransport::new();
    let (dialled, told) = tokio::join!(plain.dial(&locator), told(&mut *listener));
    assert!(matches!(dialled.err(), Some(TransportError::Aborted { .. })));
    assert!(matches!(told, UpgradeError::Tls(_)), "{told:?}");
}

#[tokio::test]
async fn a_wrong_path_and_a_server_of_something_else_are_told_to_the_dialler() {
    let transport = WsTransport::new();
    let mut listener = listen(&transport).await;
    let elsewhere: Locator = format!("ws://{}/elsewhere", address(&*listener)).parse().unwrap();
    let (dialled, _) = tokio::join!(transport.dial(&elsewhere), told(&mut *listener));
    let Err(TransportError::Aborted { source, .. }) = dialled else {
        panic!("was let in");
    };
    assert!(source.to_string().contains("404"), "{source}");

    for (answer, sentence) in [
        ("HTTP/1.1 200 OK\r\n\r\n", "200"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "HTTP"),
        (
            "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "key",
        ),
        ("", "hung up"),
    ] {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let locator: Locator = format!("ws://{}/", server.local_addr().unwrap()).parse().unwrap();
        let serve = async {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut buf = [0; 1024];
            assert!(stream.read(&mut buf).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (dialled, ()) = tokio::join!(transport.dial(&locator), serve);
        let Err(error @ TransportError::Aborted { .. }) = dialled else {
            panic!("was let in");
        };
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(sentence), "{answer:?}: {source}");
        assert_eq!(error.fault(), Fault::Peer);
    }
}

#[tokio::test]
async fn those_who_dawdle_keep_nobody_out() {
    let transport = WsTransport::new().with_handshakes_max(8);
    let mut listener = listen(&transport).await;
    let place = address(&*listener);
    let mut slow = Vec::new();
    for _ in 0..30 {
        let mut stream = TcpStream::connect(&place).await.unwrap();
        stream.write_all(b"GET /valkyrie HT").await.unwrap();
        slow.push(stream);
    }
    let locator = listener.locator().clone();
    let accepting = async {
        let mut gave_way = 0;
        loop {
            match accept(&mut *listener).await {
                Ok(link) => return (link, gave_way),
                Err(TransportError::Aborted { source, .. }) => {
                    assert!(source.to_string().contains("gave way"), "{source}");
                    gave_way += 1;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    };
    let (dialled, (_, gave_way)) = tokio::join!(transport.dial(&locator), accepting);
    assert!(dialled.is_ok());
    // Those at the end of the line were still in their time.
    assert!((22..=23).contains(&gave_way), "{gave_way} gave way");
}

#[tokio::test(start_paused = true)]
async fn a_dialler_that_is_not_done_in_time_is_hung_up_on() {
    let mut listener = listen(&WsTransport::new()).await;
    let place = address(&*listener);
    let mut slow = TcpStream::connect(&place).await.unwrap();
    slow.write_all(b"GET /valkyrie HTTP/1.1\r\nHost: h")
        .await
        .unwrap();
    // The clock stands still but for timers, so this is done at once.
    let told = told(&mut *listener).await;
    assert!(matches!(told, UpgradeError::TooSlow), "{told:?}");
    let mut rest = Vec::new();
    assert_eq!(slow.read_to_end(&mut rest).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_locator_that_makes_no_sense_is_the_callers_fault() {
    let transport = WsTransport::new();
    for text in [
        "ws://localhost",
        "ws:///path",
        "ws://:7/path",
        "ws://h:70000/",
        "ws://h:7/a b",
        "ws://h:7/a?b",
        "ws://h:7/ä",
    ] {
        let locator: Locator = text.parse().unwrap();
        for error in [
            transport.dial(&locator).await.err(),
            transport.listen(&locator).await.err(),
        ] {
            assert_eq!(error.unwrap().fault(), Fault::Caller, "{text}");
        }
    }
}

#[tokio::test]
async fn certificates_are_checked_where_roots_say_so() {
    let listening = WsTransport::secure(Certificates::self_signed(), Roots::Any);
    let mut listener = listen(&listening).await;
    let dialling = WsTransport::secure(Certificates::self_signed(), Roots::System)
        .with_connect_timeout(Duration::from_secs(30));
    let locator = listener.locator().clone();
    let refused = tokio::select! {
        dialled = dialling.dial(&locator) => dialled.err(),
        told = told(&mut *listener) => panic!("the listener saw the end before the dialler: {told:?}"),
    };
    // A machine without a store of roots says so, which is as little use to dial again.
    assert!(
        matches!(
            refused,
            Some(TransportError::Unusable { .. } | TransportError::Untrusted { .. })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn only_links_that_may_be_bound_say_that_they_are_secure() {
    let bound = WsTransport::secure(Certificates::self_signed(), Roots::Any);
    let mut listener = listen(&bound).await;
    let locator = listener.locator().clone();
    let unbound = bound.clone().without_binding();
    let (dialled, accepted) = tokio::join!(unbound.dial(&locator), accept(&mut *listener));
    let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
    assert_eq!(dialled.channel_binding(), None);
    assert!(!dialled.capabilities().secure);
    assert!(accepted.channel_binding().is_some());
    assert!(accepted.capabilities().secure);

    let (dialled, accepted) = tokio::join!(bound.dial(&locator), accept(&mut *listener));
    assert_eq!(
        dialled.unwrap().channel_binding(),
        accepted.unwrap().channel_binding()
    );
}
