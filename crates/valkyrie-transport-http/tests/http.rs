//! What is particular to links over HTTP/2: who else comes to the port, what peers may send, and how links end.

mod support;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use support::{close, read, within, write_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use valkyrie_transport::tls::{Certificates, Roots};
use valkyrie_transport::{Fault, Lane, Link, Listener, Locator, Transport, TransportError, accept};
use valkyrie_transport_http::{HttpTransport, LinkFault, OpenError, WINDOW_BYTES, WINDOW_FIRST_BYTES};

async fn listen(transport: &HttpTransport) -> (Box<dyn Listener>, Locator) {
    let place = Locator::new(transport.scheme(), "127.0.0.1:0").unwrap();
    let listener = transport.listen(&place).await.unwrap();
    let place = listener.locator().clone();
    (listener, place)
}

async fn pair(transport: &HttpTransport) -> (Box<dyn Link>, Box<dyn Link>) {
    let (mut listener, place) = listen(transport).await;
    let (dialled, accepted) = tokio::join!(transport.dial(&place), accept(&mut *listener));
    (dialled.unwrap(), accepted.unwrap())
}

fn secure() -> HttpTransport {
    HttpTransport::secure(Certificates::self_signed(), Roots::Any)
}

/// What a stranger gets that sends `bytes`, and what the listener says of it.
async fn stranger(bytes: &[u8]) -> (String, OpenError) {
    let (mut listener, place) = listen(&HttpTransport::new()).await;
    let mut stream = TcpStream::connect(place.rest()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let reading = async {
        // A listener that hangs up with bytes unread resets the connection.
        let _ = stream.read_to_end(&mut answer).await;
        drop(stream);
    };
    let (_, accepted) = within(async { tokio::join!(reading, accept(&mut *listener)) }).await;
    (
        String::from_utf8_lossy(&answer).into_owned(),
        open_error(accepted.err().unwrap()),
    )
}

fn open_error(error: TransportError) -> OpenError {
    match error {
        TransportError::Aborted { source, .. } => {
            let inner = source.into_inner().unwrap();
            *inner.downcast().unwrap()
        }
        error => panic!("{error}"),
    }
}

fn fault(error: &io::Error) -> &LinkFault {
    error.get_ref().unwrap().downcast_ref().unwrap()
}

#[tokio::test]
async fn those_who_speak_something_else_are_told() {
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100));
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\na: {}", "b".repeat(20_000));
    for (said, status) in [
        ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", 404),
        ("POST /v2/link HTTP/1.1\r\nhost: x\r\n\r\n", 426),
        ("GET /v2/link?x HTTP/1.0\r\n\r\n", 426),
        ("PRI * HTTP/1.1\r\n\r\n", 404),
        ("valkyrie?\r\n\r\n", 400),
        (&many, 431),
        (&long, 431),
    ] {
        let (answer, error) = stranger(said.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{said:.40} gave {answer:?}"
        );
        assert!(
            answer.contains("content-type: application/problem+json\r\n"),
            "{answer}"
        );
        assert!(
            matches!(error, OpenError::Turned { status: told, .. } if told == status),
            "{error:?}"
        );
    }
    let (answer, _) = stranger(b"POST /v2/link HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.contains("\r\nupgrade: HTTP/2.0\r\n"), "{answer}");
}

#[tokio::test]
async fn tls_on_a_plain_place_gets_no_answer_and_a_clear_error() {
    let (answer, error) = stranger(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await;
    assert_eq!(answer, "");
    assert!(matches!(error, OpenError::TlsOnPlain), "{error:?}");

    let (mut listener, place) = listen(&HttpTransport::new()).await;
    let place = Locator::new("https", place.rest()).unwrap();
    let transport = secure();
    let (dialled, _) = within(async { tokio::join!(transport.dial(&place), accept(&mut *listener)) }).await;
    let error = dialled.err().unwrap();
    assert_eq!(error.fault(), Fault::Peer);
}

#[tokio::test]
async fn a_plain_dialler_of_a_place_with_tls_is_refused() {
    let (mut listener, place) = listen(&secure()).await;
    let place = Locator::new("http", place.rest()).unwrap();
    let transport = HttpTransport::new();
    let (dialled, accepted) =
        within(async { tokio::join!(transport.dial(&place), accept(&mut *listener)) }).await;
    assert!(matches!(dialled, Err(TransportError::Aborted { .. })));
    assert!(matches!(open_error(accepted.err().unwrap()), OpenError::Tls(_)));
}

#[tokio::test]
async fn a_preface_cut_anywhere_ends_in_an_error() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    for cut in 0..preface.len() {
        let (mut listener, place) = listen(&HttpTransport::new()).await;
        let mut stream = TcpStream::connect(place.rest()).await.unwrap();
        stream.write_all(&preface[..cut]).await.unwrap();
        drop(stream);
        let accepted = within(accept(&mut *listener)).await;
        assert!(
            matches!(accepted, Err(TransportError::Aborted { .. })),
            "cut at {cut}"
        );
    }
}

#[tokio::test]
async fn requests_for_something_else_are_answered_over_http2() {
    for (method, path, kind, status) in [
        ("GET", "/", None, 404),
        ("GET", "/v2/link", None, 405),
        ("POST", "/v2/link", None, 415),
        ("POST", "/v2/link", Some("text/plain"), 415),
        ("POST", "/v2/links", Some("application/vnd.valkyrie.v2"), 404),
    ] {
        let (mut listener, place) = listen(&HttpTransport::new()).await;
        let asking = async {
            let stream = TcpStream::connect(place.rest()).await.unwrap();
            let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let mut request = http::Request::builder()
                .method(method)
                .uri(format!("http://x{path}"));
            if let Some(kind) = kind {
                request = request.header("content-type", kind);
            }
            let (response, _) = requests.send_request(request.body(()).unwrap(), true).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), status, "{method} {path}");
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            let body = response.into_body().data().await.unwrap().unwrap();
            assert!(String::from_utf8_lossy(&body).contains(&format!("\"status\":{status}")));
        };
        let (_, accepted) = within(async { tokio::join!(asking, accept(&mut *listener)) }).await;
        let error = open_error(accepted.err().unwrap());
        assert!(
            matches!(error, OpenError::Turned { status: told, .. } if told == status),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let (mut listener, place) = listen(&HttpTransport::new()).await;
    let asking = async {
        let stream = TcpStream::connect(place.rest()).await.unwrap();
        let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
        let driving = tokio::spawn(connection);
        let mut request = http::Request::post("http://x/v2/link");
        for number in 0..1000 {
            request = request.header(format!("x-{number}"), "y".repeat(100));
        }
        let sent = requests.send_request(request.body(()).unwrap(), true);
        if let Ok((response, _)) = sent {
            assert!(response.await.is_ok_and(|response| response.status() == 431) || driving.is_finished());
        }
    };
    let (_, accepted) = within(async { tokio::join!(asking, accept(&mut *listener)) }).await;
    assert!(accepted.is_err());
}

#[tokio::test]
async fn an_acceptor_that_is_none_is_a_clear_error() {
    for (said, expected) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"[..],
            "HTTP/2",
        ),
        (&b""[..], "hung up"),
    ] {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = Locator::new("http", &server.local_addr().unwrap().to_string()).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = server.accept().await.unwrap();
            stream.write_all(said).await.unwrap();
            let _ = stream.shutdown().await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        });
        let error = within(HttpTransport::new().dial(&place)).await.err().unwrap();
        let TransportError::Aborted { source, .. } = &error else {
            panic!("{error:?}")
        };
        assert!(source.to_string().contains(expected), "{source}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dialler_that_dawdles_is_hung_up_on() {
    for said in [
        &b""[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v2/link HTT",
    ] {
        let (mut listener, place) = listen(&HttpTransport::new()).await;
        let mut stream = TcpStream::connect(place.rest()).await.unwrap();
        stream.write_all(said).await.unwrap();
        let error = open_error(accept(&mut *listener).await.err().unwrap());
        assert!(matches!(error, OpenError::TooSlow), "{error:?}");
    }
}

#[tokio::test]
async fn a_flood_of_dawdlers_keeps_nobody_out() {
    let transport = HttpTransport::new().with_handshakes_max(8);
    let (mut listener, place) = listen(&transport).await;
    let mut dawdlers = Vec::new();
    for _ in 0..64 {
        dawdlers.push(TcpStream::connect(place.rest()).await.unwrap());
    }
    let accepting = async {
        loop {
            match accept(&mut *listener).await {
                Ok(link) => return link,
                Err(error) => assert!(matches!(open_error(error), OpenError::GaveWay)),
            }
        }
    };
    let (dialled, mut accepted) = within(async { tokio::join!(transport.dial(&place), accepting) }).await;
    within(write_all(&mut *dialled.unwrap(), b"hello")).await.unwrap();
    assert_eq!(within(read(&mut *accepted, 5)).await.unwrap(), "hello");
}

/// Writes as long as it is taken, and says how much that was.
fn fill(link: &mut dyn Link, bytes: &[u8]) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    let mut taken = 0;
    while let Poll::Ready(count) = link.poll_write(&mut cx, Lane::FIRST, &[IoSlice::new(bytes)]) {
        taken += count.unwrap();
        assert!(taken < 64 * 1024 * 1024, "nothing holds the writer up");
    }
    taken
}

#[tokio::test]
async fn a_peer_that_nobody_reads_gets_the_first_window_and_no_more() {
    let (mut dialled, mut accepted) = pair(&HttpTransport::new()).await;
    for link in [&mut dialled, &mut accepted] {
        let taken = fill(&mut **link, &[7; 10_000]);
        let first = WINDOW_FIRST_BYTES as usize;
        assert!((first / 2..=first).contains(&taken), "{taken} bytes were taken");
    }
}

#[tokio::test]
async fn the_window_grows_once_a_link_is_read() {
    let (mut dialled, mut accepted) = pair(&HttpTransport::new()).await;
    let writer = tokio::spawn(async move {
        // No pause in between: more than twice the first window can only pass when it is given back.
        write_all(&mut *dialled, &vec![1; 3 * WINDOW_FIRST_BYTES as usize])
            .await
            .unwrap();
        dialled
    });
    within(read(&mut *accepted, 3 * WINDOW_FIRST_BYTES as usize))
        .await
        .unwrap();
    let mut dialled = within(writer).await.unwrap();
    // The acceptor writes, and so takes in what comes, but nobody reads it.
    let filling = async {
        let mut taken = 0;
        while taken <= WINDOW_BYTES as usize / 2 {
            taken += fill(&mut *dialled, &[7; 10_000]);
            write_all(&mut *accepted, b"x").await.unwrap();
            read(&mut *dialled, 1).await.unwrap();
        }
    };
    within(filling).await;
}

#[tokio::test]
async fn many_frames_of_one_byte_that_nobody_reads_do_no_harm() {
    let (mut dialled, mut accepted) = pair(&HttpTransport::new()).await;
    let count = WINDOW_FIRST_BYTES as usize;
    let mut taken = 0;
    while taken < count {
        taken += within(poll_fn(|cx| {
            dialled.poll_write(cx, Lane::FIRST, &[IoSlice::new(b"x")])
        }))
        .await
        .unwrap();
        if taken % 1024 == 0 {
            // The acceptor writes, and so takes in what came, but does not read.
            within(write_all(&mut *accepted, b"y")).await.unwrap();
            within(read(&mut *dialled, 1)).await.unwrap();
        }
    }
    assert_eq!(within(read(&mut *accepted, count)).await.unwrap().len(), count);
}

#[tokio::test]
async fn a_drop_is_a_reset_with_a_reason() {
    for transport in [HttpTransport::new(), secure()] {
        let (dialled, mut accepted) = pair(&transport).await;
        drop(dialled);
        let error = within(read(&mut *accepted, 1)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(
            *fault(&error),
            LinkFault::Reset {
                reason: "CANCEL".to_owned()
            }
        );
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_is_no_end() {
    let (mut listener, place) = listen(&HttpTransport::new()).await;
    let asking = async {
        let stream = TcpStream::connect(place.rest()).await.unwrap();
        let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
        let driving = tokio::spawn(connection);
        let request =
            http::Request::post("http://x/v2/link").header("content-type", "application/vnd.valkyrie.v2");
        let (response, mut body) = requests.send_request(request.body(()).unwrap(), false).unwrap();
        response.await.unwrap();
        body.send_data("half".into(), false).unwrap();
        (driving, body, requests)
    };
    let ((driving, _body, _requests), accepted) =
        within(async { tokio::join!(asking, accept(&mut *listener)) }).await;
    let mut accepted = accepted.unwrap();
    assert_eq!(within(read(&mut *accepted, 4)).await.unwrap(), "half");
    driving.abort();
    let error = within(read(&mut *accepted, 1)).await.unwrap_err();
    // Systems differ in whether bytes that nobody read make a reset of it.
    assert!(
        matches!(fault(&error), LinkFault::Cut | LinkFault::Io { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn what_was_written_before_a_close_arrives_though_the_link_is_dropped() {
    for transport in [HttpTransport::new(), secure()] {
        let (mut dialled, mut accepted) = pair(&transport).await;
        let bytes = vec![5; 1_000_000];
        let sending = async {
            write_all(&mut *dialled, &bytes).await.unwrap();
            close(&mut *dialled).await.unwrap();
            drop(dialled);
        };
        let (_, arrived) =
            within(async { tokio::join!(sending, read(&mut *accepted, bytes.len() + 1)) }).await;
        assert_eq!(arrived.unwrap().len(), bytes.len());
    }
}

#[tokio::test]
async fn a_second_request_on_the_connection_of_a_link_is_refused() {
    let (mut listener, place) = listen(&HttpTransport::new()).await;
    let asking = async {
        let stream = TcpStream::connect(place.rest()).await.unwrap();
        let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = || {
            let request = http::Request::post("http://x/v2/link");
            request
                .header("content-type", "application/vnd.valkyrie.v2")
                .body(())
                .unwrap()
        };
        let (first, body) = requests.send_request(request(), false).unwrap();
        assert_eq!(first.await.unwrap().status(), 200);
        let second = async {
            let (second, _body) = requests.clone().send_request(request(), false)?;
            second.await
        };
        (second.await.map(|_| ()), body)
    };
    let accepting = async {
        let mut link = accept(&mut *listener).await.unwrap();
        // Reading drives the connection; it goes on until the client has its answer.
        let reading = tokio::spawn(async move {
            let _ = read(&mut *link, 1).await;
            link
        });
        (reading, listener)
    };
    let ((second, _body), _accepting) = within(async { tokio::join!(asking, accepting) }).await;
    assert!(
        second.is_err(),
        "a second link shares the connection of the first"
    );
}

#[tokio::test]
async fn only_ends_of_one_tls_connection_are_bound() {
    let (dialled, accepted) = pair(&secure()).await;
    assert!(dialled.channel_binding().is_some());
    assert_eq!(dialled.channel_binding(), accepted.channel_binding());
    let (dialled, accepted) = pair(&secure().without_binding()).await;
    assert_eq!(
        (dialled.channel_binding(), dialled.capabilities().secure),
        (None, false)
    );
    assert_eq!(
        (accepted.channel_binding(), accepted.capabilities().secure),
        (None, false)
    );
    let (dialled, _) = pair(&HttpTransport::new()).await;
    assert_eq!(
        (dialled.channel_binding(), dialled.capabilities().secure),
        (None, false)
    );
}

#[tokio::test]
async fn a_locator_with_a_path_is_refused() {
    for rest in ["127.0.0.1:1/x", "127.0.0.1:1?x", "user@127.0.0.1:1"] {
        let place = Locator::new("http", rest).unwrap();
        let transport = HttpTransport::new().with_connect_timeout(Duration::from_secs(5));
        let error = transport.dial(&place).await.err().unwrap();
        assert_eq!(error.fault(), Fault::Caller, "{error}");
    }
}
