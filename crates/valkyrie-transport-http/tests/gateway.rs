//! The gateway before clients of all kinds: those that behave, those that do not, and curl.
#![cfg(feature = "gateway")]

use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use valkyrie_transport::BoxFuture;
use valkyrie_transport_http::gateway::{Asked, Failure, Gateway, Offer, Replies, Shape, Upstream};

/// Says back what it was asked, waits for ever, fails as it is told, or counts.
#[derive(Clone, Default)]
struct Test {
    asked: Arc<Mutex<Vec<Asked>>>,
    waiting: Arc<AtomicUsize>,
}

struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Upstream for Test {
    fn call(&self, asked: Asked) -> BoxFuture<'_, Result<Bytes, Failure>> {
        self.asked.lock().unwrap().push(asked.clone());
        Box::pin(async move {
            match asked.method.as_str() {
                "echo" => Ok(asked.body),
                "fail" => {
                    let code: u32 = String::from_utf8_lossy(&asked.body).parse().unwrap();
                    let mut failure = Failure::new(valkyrie_frame::ErrorCode::new(code), "as you \"wished\"");
                    failure.retry_after = Some(Duration::from_millis(1500));
                    Err(failure)
                }
                "wait" => {
                    self.waiting.fetch_add(1, SeqCst);
                    let _waiting = Waiting(Arc::clone(&self.waiting));
                    std::future::pending().await
                }
                _ => Err(Failure::not_found("there is no such method")),
            }
        })
    }

    fn stream(&self, asked: Asked) -> BoxFuture<'_, Result<Box<dyn Replies>, Failure>> {
        Box::pin(async move {
            let replies: VecDeque<_> = match asked.method.as_str() {
                "count" => (0..3)
                    .map(|n| Ok(Bytes::from(format!("{{\"n\":{n}}}"))))
                    .collect(),
                "lines" => [Ok(Bytes::from("a\nb")), Ok(Bytes::from(&b"\xff\x00"[..]))].into(),
                "break" => [
                    Ok(Bytes::from("one")),
                    Err(Failure::new(valkyrie_frame::ErrorCode::UNAVAILABLE, "gone")),
                ]
                .into(),
                "wait" => {
                    self.waiting.fetch_add(1, SeqCst);
                    let forever = Forever(Waiting(Arc::clone(&self.waiting)));
                    return Ok(Box::new(forever) as Box<dyn Replies>);
                }
                _ => return Err(Failure::not_found("there is no such stream")),
            };
            Ok(Box::new(Listed(replies)) as Box<dyn Replies>)
        })
    }

    fn describe(&self) -> Vec<Offer> {
        vec![Offer {
            service: "test it".to_owned(),
            method: "echo".to_owned(),
            shape: Shape::Unary,
            about: "says it back".to_owned(),
        }]
    }
}

struct Listed(VecDeque<Result<Bytes, Failure>>);

impl Replies for Listed {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        Poll::Ready(self.0.pop_front())
    }
}

struct Forever(#[allow(dead_code, reason = "dropped with the stream")] Waiting);

impl Replies for Forever {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        Poll::Pending
    }
}

struct Running {
    place: String,
    upstream: Test,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn run(options: impl FnOnce(Gateway) -> Gateway) -> Running {
    let upstream = Test::default();
    let gateway = options(Gateway::new(upstream.clone()));
    let server = gateway
        .listen(&"http://127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let place = server.locator().rest().to_owned();
    let (end, ended) = oneshot::channel();
    let task = tokio::spawn(server.run(async {
        let _ = ended.await;
    }));
    Running {
        place,
        upstream,
        end,
        task,
    }
}

impl Running {
    /// Sends `head`, with what every request has, and `body`, and reads the answer to the end.
    async fn ask(&self, head: &str, body: &str) -> String {
        let length = body.len();
        let request = format!(
            "{head}\r\nhost: {}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}",
            self.place
        );
        self.send(request.as_bytes()).await
    }

    async fn send(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.place).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        read_to_end(&mut stream).await
    }

    fn last_asked(&self) -> Asked {
        self.upstream.asked.lock().unwrap().last().unwrap().clone()
    }

    async fn expect_waiting(&self, count: usize) {
        within(async {
            while self.upstream.waiting.load(SeqCst) != count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    match within(stream.read_to_end(&mut answer)).await {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    String::from_utf8_lossy(&answer).into_owned()
}

async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(30), future).await.expect("it hangs")
}

fn json(answer: &str) -> serde_json::Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[tokio::test]
async fn a_call_is_answered_in_the_type_it_was_asked_in() {
    let gateway = run(|gateway| gateway).await;
    let answer = gateway
        .ask(
            "POST /v2/call/a%20service/echo HTTP/1.1\r\ncontent-type: application/json; charset=utf-8",
            "{\"a\":1}",
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n{\"a\":1}"), "{answer}");
    let asked = gateway.last_asked();
    assert_eq!(
        (asked.service.as_str(), asked.method.as_str()),
        ("a service", "echo")
    );

    // What is not JSON comes back as bytes, so that no browser takes it for a page.
    let answer = gateway
        .ask(
            "POST /v2/call/a/echo HTTP/1.1\r\ncontent-type: text/html",
            "<script>",
        )
        .await;
    assert!(
        answer.contains("content-type: application/octet-stream\r\n"),
        "{answer}"
    );
    assert!(answer.contains("x-content-type-options: nosniff\r\n"), "{answer}");
}

#[tokio::test]
async fn trace_token_and_timeout_are_handed_on() {
    let gateway = run(|gateway| gateway).await;
    let head = "POST /v2/call/a/echo HTTP/1.1\r\n\
                traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
                authorization: bearer abc.def\r\nvalkyrie-timeout: 250ms";
    gateway.ask(head, "").await;
    let asked = gateway.last_asked();
    let trace = asked.metadata.trace_context.unwrap();
    assert_eq!(trace[..5], [0x00, 0x0a, 0xf7, 0x65, 0x19]);
    assert_eq!(trace[25], 1);
    let token = asked.metadata.token.clone().unwrap();
    assert_eq!(token.expose(), "abc.def");
    assert!(!format!("{asked:?}").contains("abc.def"), "the token is printed");
    assert!(asked.timeout <= Duration::from_millis(250));

    gateway
        .ask(
            "POST /v2/call/a/echo HTTP/1.1\r\ngrpc-timeout: 2S\r\ntraceparent: 00-zz-1-01",
            "",
        )
        .await;
    let asked = gateway.last_asked();
    assert_eq!(asked.metadata.trace_context, None);
    assert!(asked.timeout > Duration::from_millis(250) && asked.timeout <= Duration::from_secs(2));
}

#[tokio::test]
async fn every_code_becomes_its_status_with_a_problem() {
    let gateway = run(|gateway| gateway).await;
    for &code in valkyrie_frame::ErrorCode::KNOWN {
        let answer = gateway
            .ask("POST /v2/call/a/fail HTTP/1.1", &code.value().to_string())
            .await;
        let status = if code.value() == 0 {
            500
        } else {
            code.http_status()
        };
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{code:?} gave {answer}"
        );
        assert!(
            answer.contains("content-type: application/problem+json\r\n"),
            "{answer}"
        );
        assert!(answer.contains("retry-after: 2\r\n"), "{answer}");
        let problem = json(&answer);
        assert_eq!(problem["code"], code.value());
        assert_eq!(problem["status"], status);
        assert_eq!(problem["detail"], "as you \"wished\"");
        assert_eq!(problem["retry_after_ms"], 1500);
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_a_call() {
    let gateway = run(|gateway| gateway).await;
    for (head, status) in [
        ("GET /v2/call/a/echo HTTP/1.1", 405),
        ("POST /v2/call/a HTTP/1.1", 404),
        ("POST /v2/call/a/b/c HTTP/1.1", 404),
        ("POST /v2/call/%ff/echo HTTP/1.1", 400),
        ("POST /healthz HTTP/1.1", 405),
        ("GET /elsewhere HTTP/1.1", 404),
        ("POST /v2/call/a/echo HTTP/1.1\r\nvalkyrie-timeout: soon", 400),
        (
            "POST /v2/call/a/echo HTTP/1.1\r\nvalkyrie-timeout: 99999999h",
            400,
        ),
        ("POST /v2/call/a/echo HTTP/1.1\r\ngrpc-timeout: 123456789S", 400),
        ("POST /v2/call/a/echo HTTP/1.1\r\nauthorization: Basic YTpi", 401),
        (
            "POST /v2/call/a/echo HTTP/1.1\r\norigin: https://evil.example",
            403,
        ),
        ("POST /v2/call/a/echo HTTP/1.1\r\norigin: null", 403),
        (
            "OPTIONS /v2/call/a/echo HTTP/1.1\r\norigin: https://evil.example",
            403,
        ),
    ] {
        let answer = gateway.ask(head, "").await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head} gave {answer}"
        );
        assert_eq!(json(&answer)["status"], status, "{head}");
        assert!(
            answer.contains("content-type: application/problem+json\r\n"),
            "{answer}"
        );
    }
    assert!(
        gateway.upstream.asked.lock().unwrap().is_empty(),
        "something was called"
    );
}

#[tokio::test]
async fn a_body_is_bounded_in_bytes_whether_it_says_so_or_not() {
    let gateway = run(|gateway| gateway.with_body_bytes_max(10)).await;
    let answer = gateway.ask("POST /v2/call/a/echo HTTP/1.1", "0123456789").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = gateway.ask("POST /v2/call/a/echo HTTP/1.1", "0123456789x").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let chunked = "POST /v2/call/a/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
                   b\r\n0123456789x\r\n0\r\n\r\n";
    let answer = gateway.send(chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let gateway = run(|gateway| gateway.with_body_time_max(Duration::from_millis(50))).await;
    let half =
        "POST /v2/call/a/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 10\r\n\r\n01234";
    let answer = gateway.send(half.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn a_head_that_trickles_and_a_connection_that_idles_are_given_up() {
    let short = Duration::from_millis(50);
    let gateway = run(|gateway| gateway.with_head_time_max(short).with_idle_time_max(short)).await;
    for begun in [
        "",
        "P",
        "POST /v2/call/a/echo HTTP/1.1\r\nhost:",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        gateway.send(begun.as_bytes()).await;
    }
    let answer = gateway.ask("GET /healthz HTTP/1.1", "").await;
    assert!(answer.ends_with("ok\n"), "{answer}");
}

#[tokio::test]
async fn a_head_is_bounded() {
    let gateway = run(|gateway| gateway).await;
    let long = format!("POST /v2/call/a/echo HTTP/1.1\r\nx: {}", "x".repeat(100_000));
    let answer = gateway.ask(&long, "").await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
    let many = format!("POST /v2/call/a/echo HTTP/1.1{}", "\r\nx: y".repeat(200));
    let answer = gateway.ask(&many, "").await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_and_are_served() {
    let idle = Duration::from_millis(50);
    let gateway = run(|gateway| gateway.with_connections_max(2).with_idle_time_max(idle)).await;
    let dawdlers = [
        TcpStream::connect(&gateway.place).await.unwrap(),
        TcpStream::connect(&gateway.place).await.unwrap(),
    ];
    let answer = gateway.ask("GET /healthz HTTP/1.1", "").await;
    assert!(answer.ends_with("ok\n"), "{answer}");
    drop(dawdlers);
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_its_call() {
    let gateway = run(|gateway| gateway).await;
    for accept in ["*/*", "text/event-stream"] {
        let mut stream = TcpStream::connect(&gateway.place).await.unwrap();
        let request = format!(
            "POST /v2/call/a/wait HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        gateway.expect_waiting(1).await;
        drop(stream);
        gateway.expect_waiting(0).await;
    }
}

#[tokio::test]
async fn a_deadline_ends_calls_and_streams() {
    let gateway = run(|gateway| gateway).await;
    let answer = gateway
        .ask("POST /v2/call/a/wait HTTP/1.1\r\nvalkyrie-timeout: 50ms", "")
        .await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert_eq!(json(&answer)["code"], 301);
    gateway.expect_waiting(0).await;
    let answer = gateway
        .ask(
            "POST /v2/call/a/wait HTTP/1.1\r\naccept: text/event-stream\r\nvalkyrie-timeout: 50ms",
            "",
        )
        .await;
    assert!(answer.contains("event: error\ndata: {\"code\":301"), "{answer}");
    gateway.expect_waiting(0).await;
}

#[tokio::test]
async fn a_call_outlives_the_idle_time() {
    let gateway = run(|gateway| gateway.with_idle_time_max(Duration::from_millis(20))).await;
    let answer = gateway
        .ask("POST /v2/call/a/wait HTTP/1.1\r\nvalkyrie-timeout: 200ms", "")
        .await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
}

#[tokio::test]
async fn pages_of_allowed_origins_may_call_and_are_told() {
    let gateway = run(|gateway| gateway.with_origins(["https://app.example"])).await;
    let answer = gateway
        .ask("OPTIONS /v2/call/a/echo HTTP/1.1\r\norigin: https://app.example\r\naccess-control-request-method: POST", "")
        .await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert!(
        answer.contains("access-control-allow-origin: https://app.example\r\n"),
        "{answer}"
    );
    assert!(
        answer.contains("access-control-allow-headers: authorization,"),
        "{answer}"
    );
    let answer = gateway
        .ask(
            "POST /v2/call/a/echo HTTP/1.1\r\norigin: https://app.example",
            "x",
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.contains("access-control-allow-origin: https://app.example\r\n"),
        "{answer}"
    );
    // A page of the gateway's own place needs no leave.
    let own = format!(
        "POST /v2/call/a/echo HTTP/1.1\r\norigin: http://{}",
        gateway.place
    );
    assert!(gateway.ask(&own, "x").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn the_document_names_what_can_be_called() {
    let gateway = run(|gateway| gateway).await;
    let document = json(&gateway.ask("GET /openapi.json HTTP/1.1", "").await);
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(
        document["paths"]["/v2/call/test%20it/echo"]["post"]["summary"],
        "says it back"
    );
    let answer = gateway.ask("GET /readyz HTTP/1.1", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn the_end_waits_for_calls_under_way() {
    let gateway = run(|gateway| gateway).await;
    let mut stream = TcpStream::connect(&gateway.place).await.unwrap();
    let request =
        "POST /v2/call/a/wait HTTP/1.1\r\nhost: x\r\nvalkyrie-timeout: 100ms\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    gateway.expect_waiting(1).await;
    gateway.end.send(()).unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    within(gateway.task).await.unwrap();
    assert!(
        TcpStream::connect(&gateway.place).await.is_err(),
        "it still listens"
    );
}

async fn curl(arguments: &[&str]) -> Option<String> {
    let output = match Command::new("curl")
        .args(["-sS", "--max-time", "30"])
        .args(arguments)
        .output()
        .await
    {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let _ = writeln!(
                std::io::stderr(),
                "curl is not installed, so this is not tested: apt-get install curl"
            );
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn curl_calls_over_both_versions_of_http() {
    let gateway = run(|gateway| gateway).await;
    let place = format!("http://{}/v2/call/test/echo", gateway.place);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let data = ["-H", "content-type: application/json", "-d", "{\"x\":[1,2]}"];
        let Some(answer) = curl(
            &[
                &[version, "-w", " %{http_code} %{http_version}"],
                &data[..],
                &[&place],
            ]
            .concat(),
        )
        .await
        else {
            return;
        };
        let expected = if version == "--http1.1" { "1.1" } else { "2" };
        assert_eq!(answer, format!("{{\"x\":[1,2]}} 200 {expected}"));
    }
}

#[tokio::test]
async fn curl_reads_events_as_they_come() {
    let gateway = run(|gateway| gateway).await;
    for (method, expected) in [
        (
            "count",
            "data: {\"n\":0}\n\ndata: {\"n\":1}\n\ndata: {\"n\":2}\n\nevent: end\ndata:\n\n",
        ),
        (
            "lines",
            "data: a\ndata: b\n\nevent: bytes\ndata: /wA=\n\nevent: end\ndata:\n\n",
        ),
    ] {
        let place = format!("http://{}/v2/call/test/{method}", gateway.place);
        let Some(answer) = curl(&["-N", "-H", "accept: text/event-stream", "-d", "", &place]).await else {
            return;
        };
        assert_eq!(answer, expected);
    }
    let place = format!("http://{}/v2/call/test/break", gateway.place);
    let answer = curl(&["-N", "-H", "accept: text/event-stream", "-d", "", &place])
        .await
        .unwrap();
    assert!(
        answer.starts_with("data: one\n\nevent: error\ndata: {\"code\":503,"),
        "{answer}"
    );
}

#[tokio::test]
async fn curl_calls_over_tls() {
    let server = Gateway::new(Test::default())
        .listen(&"https://127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let place = format!("https://{}/v2/call/test/echo", server.locator().rest());
    tokio::spawn(server.run(std::future::pending()));
    // The certificate is one made for this process, which curl is told to take.
    if let Some(answer) = curl(&[
        "-k",
        "--http2",
        "--tlsv1.3",
        "-d",
        "hello",
        "-w",
        " %{http_version}",
        &place,
    ])
    .await
    {
        assert_eq!(answer, "hello 2");
    }
}
