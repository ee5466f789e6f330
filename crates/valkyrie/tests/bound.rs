//! One identity over every transport. On links that are encrypted themselves the handshake is bound to the link and nothing is
//! sealed twice, unless somebody asks for it; on all others, a broker's among them, nothing of a session is seen below it.

#[path = "../../valkyrie-transport-redis/tests/support/mod.rs"]
mod redis_server;

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use redis_server::Redis;
use valkyrie::security::time::UnixTime;
use valkyrie::security::trust::FirstUse;
use valkyrie::security::{Identity, Live, Security, Trust};
use valkyrie::transport::tls::{Certificates, Roots};
use valkyrie::transport::{
    BoxFuture, Capabilities, Lane, Link, Listener, Locator, Transport, TransportError,
};
use valkyrie::{AccessPolicy, Endpoint, Services};
use valkyrie::{HttpTransport, QuicTransport, RedisTransport, TcpTransport, WsTransport};

/// Keeps what its links are given to carry: what whoever is below them sees.
#[derive(Clone)]
struct Overheard {
    inner: Arc<dyn Transport>,
    heard: Arc<Mutex<Vec<u8>>>,
}

struct OverheardLink {
    inner: Box<dyn Link>,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Overheard {
    fn new(inner: Arc<dyn Transport>) -> Self {
        let heard = Arc::default();
        Self { inner, heard }
    }

    fn has_heard(&self, word: &str) -> bool {
        let heard = self.heard.lock().unwrap();
        heard.windows(word.len()).any(|bytes| bytes == word.as_bytes())
    }
}

impl Transport for Overheard {
    fn scheme(&self) -> &'static str {
        self.inner.scheme()
    }

    fn dial<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Box<dyn Link>, TransportError>> {
        Box::pin(async move {
            let (inner, heard) = (self.inner.dial(locator).await?, Arc::clone(&self.heard));
            Ok(Box::new(OverheardLink { inner, heard }) as Box<dyn Link>)
        })
    }

    fn listen<'a>(
        &'a self,
        locator: &'a Locator,
    ) -> BoxFuture<'a, Result<Box<dyn Listener>, TransportError>> {
        self.inner.listen(locator)
    }
}

impl Link for OverheardLink {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn peer(&self) -> String {
        self.inner.peer()
    }

    fn peer_address(&self) -> Option<IpAddr> {
        self.inner.peer_address()
    }

    fn channel_binding(&self) -> Option<[u8; 32]> {
        self.inner.channel_binding()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, lane: Lane, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        self.inner.poll_read(cx, lane, buf)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        lane: Lane,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.inner.poll_write(cx, lane, bufs);
        if let Poll::Ready(Ok(bytes)) = written {
            let offered = bufs.iter().flat_map(|buf| buf.iter().copied());
            self.heard.lock().unwrap().extend(offered.take(bytes));
        }
        written
    }

    fn is_full(&self) -> bool {
        self.inner.is_full()
    }

    fn batch_bytes(&self) -> Option<usize> {
        self.inner.batch_bytes()
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_close(cx)
    }
}

/// Somebody who trusts whom it meets, on links that nobody else is at.
fn somebody(name: &str) -> Security {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let identity = Identity::generate(name, UnixTime::from_secs(now.as_secs())).expect("random bytes");
    let trust = Trust::default().with_first_use(FirstUse::Anywhere);
    Security::new(Live::new(identity), Live::new(trust))
}

fn endpoint(security: &Security, transport: Overheard, services: Services) -> Endpoint {
    Endpoint::builder()
        .transport(transport)
        .security(security.clone())
        .policy(AccessPolicy::allow_authenticated())
        .services(services)
        .build()
        .expect("no mistake")
}

const WORD: &str = "a word that is easy to find";

/// Dials `place`, calls with a word, and says whether the link carried the word as it is.
async fn carries_the_word(transport: &Overheard, place: &str, server: &Security, client: &Security) -> bool {
    let echo = Services::builder().unary("echo", "echo", |_, payload| async move { Ok(payload) });
    let served = endpoint(server, transport.clone(), echo.build().expect("no mistake"));
    let place = served.listen(place).await.expect("it is free");
    let dialling = endpoint(client, transport.clone(), Services::default());
    let connection = dialling.connect(&place).await.expect("it answers");
    let peer = connection.identity();
    assert_eq!(
        peer.fingerprint(),
        server.identity().load().fingerprint(),
        "{place}"
    );
    let suite = peer
        .suite()
        .and_then(|id| id.suite())
        .expect("a handshake was made");
    assert!(suite.post_quantum(), "{place}: {}", suite.name);
    let answer = connection
        .call(("echo", "echo"), WORD)
        .await
        .expect("it is served");
    assert_eq!(answer, Bytes::from(WORD), "{place}");
    transport.has_heard(WORD)
}

#[tokio::test]
async fn links_that_encrypt_are_not_sealed_twice_and_all_others_are_sealed() {
    let secure_ws = WsTransport::secure(Certificates::default(), Roots::default());
    let secure_http = HttpTransport::secure(Certificates::default(), Roots::default());
    let mut links: Vec<(Arc<dyn Transport>, String, bool)> = vec![
        (
            Arc::new(QuicTransport::new()),
            "quic://127.0.0.1:0".to_owned(),
            true,
        ),
        (Arc::new(secure_ws), "wss://127.0.0.1:0/".to_owned(), true),
        (Arc::new(secure_http), "https://127.0.0.1:0".to_owned(), true),
        (
            Arc::new(TcpTransport::new()),
            "tcp://127.0.0.1:0".to_owned(),
            false,
        ),
        (
            Arc::new(WsTransport::new()),
            "ws://127.0.0.1:0/".to_owned(),
            false,
        ),
        (
            Arc::new(HttpTransport::new()),
            "http://127.0.0.1:0".to_owned(),
            false,
        ),
    ];
    let redis = Redis::start();
    if let Some(redis) = &redis {
        links.push((
            Arc::new(RedisTransport::new()),
            redis.at("kitchen").to_string(),
            false,
        ));
    }
    // The same two over all of them.
    let (server, client) = (somebody("server"), somebody("client"));
    for (transport, place, bound) in links {
        let transport = Overheard::new(transport);
        let carries = carries_the_word(&transport, &place, &server, &client).await;
        assert_eq!(carries, bound, "{place}");
        if bound {
            // The same link, of which one side would rather not rely on TLS alone.
            let careful = client.clone().with_bound_links_sealed(true);
            let transport = Overheard::new(transport.inner);
            assert!(
                !carries_the_word(&transport, &place, &server, &careful).await,
                "{place}"
            );
        }
    }
}
