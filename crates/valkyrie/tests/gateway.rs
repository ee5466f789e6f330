//! Services behind a gateway: who their caller is, and what reaches them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use valkyrie::gateway::{Gateway, Node};
use valkyrie::security::UnixTime;
use valkyrie::security::token::{Right, Token, TokenKey};
use valkyrie::{AccessPolicy, Context, Endpoint, ErrorCode, Failure, Message, Services};

type Seen = Arc<Mutex<Vec<String>>>;

fn services(seen: &Seen) -> Services {
    let (asked, stopped) = (Arc::clone(seen), Arc::clone(seen));
    let who = move |context: &Context| {
        let identity = context.identity();
        let trace = context.extensions().iter().find_map(|extension| match extension {
            valkyrie::frame::Extension::TraceContext(context) => Some(context[16]),
            _ => None,
        });
        let line = format!("{:?} {:?} {trace:?}", identity.name(), identity.roles());
        asked.lock().unwrap().push(line);
    };
    let counted = who.clone();
    Services::builder()
        .unary("test", "who", move |context, payload| {
            who(&context);
            async move { Ok(payload) }
        })
        .unary("test", "hang", move |context, _| {
            let stopped = Arc::clone(&stopped);
            async move {
                context.shield();
                context.cancelled().await;
                stopped.lock().unwrap().push("cancelled".to_owned());
                Err(Failure::new(ErrorCode::CANCELLED, "as it was asked"))
            }
        })
        .unary("secret", "read", |_, _| async { Ok("a secret".into()) })
        .stream("test", "count", move |context, mut send, mut recv| {
            counted(&context);
            async move {
                let mut bytes = 0;
                while let Some(message) = recv.recv().await? {
                    bytes += message.payload.len();
                }
                for number in 0..bytes {
                    send.send(Message::data(number.to_string().into())).await?;
                }
                Ok(())
            }
        })
        .build()
        .unwrap()
}

/// Listens, and says where.
async fn serve(policy: &str, seen: &Seen) -> String {
    let policy = AccessPolicy::parse(policy).unwrap();
    let builder = Endpoint::builder().services(services(seen)).policy(policy);
    let node = Node::new(builder).await.unwrap();
    let server = Gateway::new(node)
        .listen(&"http://127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let place = server.locator().rest().to_owned();
    tokio::spawn(server.run(std::future::pending()));
    place
}

async fn ask(place: &str, path: &str, fields: &str, body: &str) -> String {
    let mut stream = begin(place, path, fields, body).await;
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(30), reading)
        .await
        .expect("it hangs")
        .unwrap();
    answer
}

async fn begin(place: &str, path: &str, fields: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(place).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST /v2/call/{path} HTTP/1.1\r\nhost: {place}\r\nconnection: close\r\n{fields}content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

const NAMELESS: &str = "version = 1\n[[allow]]\npeers = [\"role:gateway\"]\nservices = [\"test\"]\n";

#[tokio::test]
async fn a_client_without_a_token_is_the_gateway_to_policy_and_handlers() {
    let seen = Seen::default();
    let place = serve(NAMELESS, &seen).await;
    let fields = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    let answer = ask(&place, "test/who", fields, "hello").await;
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    assert_eq!(
        *seen.lock().unwrap(),
        ["Some(\"gateway\") [\"gateway\"] Some(156)"]
    );

    let answer = ask(&place, "secret/read", "", "").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("\"code\":201"), "{answer}");
    let answer = ask(&place, "test/nothing", "", "").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test]
async fn all_who_come_first_together_are_served() {
    let seen = Seen::default();
    let place = serve(NAMELESS, &seen).await;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..FIRST {
        let place = place.clone();
        asked.spawn(async move { ask(&place, "test/who", "", "hello").await });
    }
    while let Some(answer) = asked.join_next().await {
        let answer = answer.unwrap();
        assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    }
    assert_eq!(seen.lock().unwrap().len(), FIRST);
}

/// More than one connection answers pings at once.
const FIRST: usize = 200;

#[tokio::test]
async fn a_client_with_a_token_may_do_what_the_token_says() {
    let key = TokenKey::generate().unwrap();
    let policy = format!("{NAMELESS}[tokens]\nroots = [\"{}\"]\n", key.root());
    let seen = Seen::default();
    let place = serve(&policy, &seen).await;
    let now: UnixTime = std::time::SystemTime::now().into();
    let right = Right::method("secret", "read");
    let token = Token::mint(&key, &[right], now.saturating_add(Duration::from_secs(600))).unwrap();
    let fields = format!("authorization: Bearer {}\r\n", text_of(&token));
    // The second time there is a connection for it.
    for _ in 0..2 {
        let answer = ask(&place, "secret/read", &fields, "").await;
        assert!(answer.ends_with("\r\n\r\na secret"), "{answer}");
    }
    // It is the token that decides, and not who else comes by the gateway.
    let answer = ask(&place, "test/who", &fields, "").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");

    for made_up in ["AAAA", "not base64!", "%"] {
        let answer = ask(
            &place,
            "secret/read",
            &format!("authorization: Bearer {made_up}\r\n"),
            "",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
}

#[tokio::test]
async fn streams_are_events_and_carry_the_trace() {
    let seen = Seen::default();
    let place = serve(NAMELESS, &seen).await;
    let fields = "accept: text/event-stream\r\n\
                  traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    let answer = ask(&place, "test/count", fields, "xyz").await;
    assert!(answer.contains("data: 0\n\n"), "{answer}");
    assert!(answer.contains("data: 2\n\n"), "{answer}");
    assert!(answer.contains("event: end\n"), "{answer}");
    assert_eq!(
        *seen.lock().unwrap(),
        ["Some(\"gateway\") [\"gateway\"] Some(156)"]
    );
    // A method with one answer is a stream of one.
    let answer = ask(&place, "test/who", fields, "one").await;
    assert!(answer.contains("data: one\n\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_hangs_up_or_waits_no_longer_stops_the_handler() {
    let seen = Seen::default();
    let place = serve(NAMELESS, &seen).await;
    let answer = ask(&place, "test/hang", "valkyrie-timeout: 50ms\r\n", "").await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    wait_for(&seen, 1).await;
    drop(begin(&place, "test/hang", "", "").await);
    wait_for(&seen, 2).await;
}

async fn wait_for(seen: &Seen, count: usize) {
    let waiting = async {
        while seen.lock().unwrap().len() < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .expect("the handler was not stopped");
}

fn text_of(token: &Token) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token.as_bytes())
}
