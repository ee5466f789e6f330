//! Links through nginx as people run it: plain in front of plain, and TLS that ends at the proxy.
//!
//! Where there is no nginx and none can be installed the tests say so and pass.

#[path = "nginx/proxy.rs"]
mod proxy;

use std::sync::Arc;
use std::task::{Context, Poll};

use proxy::{Front, Nginx};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use valkyrie_transport::conformance::{self, Harness};
use valkyrie_transport::tls::{Certificates, Roots};
use valkyrie_transport::{BoxFuture, Link, Listener, Locator, Transport, TransportError, accept};
use valkyrie_transport_ws::WsTransport;

/// Dials the proxy and listens behind it.
struct Through {
    dialling: WsTransport,
    nginx: Arc<Nginx>,
    front: Front,
}

impl Through {
    fn new(front: Front) -> Option<Self> {
        let dialling = match front {
            Front::Plain => WsTransport::new(),
            Front::Tls => WsTransport::secure(Certificates::self_signed(), Roots::Any).without_binding(),
        };
        let nginx = Arc::new(Nginx::start()?);
        Some(Self {
            dialling,
            nginx,
            front,
        })
    }

    fn locator(&self) -> Locator {
        let rest = format!("127.0.0.1:{}/valkyrie", self.nginx.port(self.front));
        Locator::new(self.dialling.scheme(), &rest).unwrap()
    }
}

impl Transport for Through {
    fn scheme(&self) -> &'static str {
        self.dialling.scheme()
    }

    fn dial<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Box<dyn Link>, TransportError>> {
        self.dialling.dial(locator)
    }

    fn listen<'a>(&'a self, _: &'a Locator) -> BoxFuture<'a, Result<Box<dyn Listener>, TransportError>> {
        Box::pin(async move {
            let behind = format!("ws://127.0.0.1:{}/valkyrie", self.nginx.behind)
                .parse()
                .unwrap();
            let inner = WsTransport::new().listen(&behind).await?;
            Ok(Box::new(Behind {
                inner,
                locator: self.locator(),
            }) as Box<dyn Listener>)
        })
    }
}

/// The listener behind the proxy, which is dialled at the proxy.
struct Behind {
    inner: Box<dyn Listener>,
    locator: Locator,
}

impl Listener for Behind {
    fn locator(&self) -> &Locator {
        &self.locator
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<dyn Link>, TransportError>> {
        self.inner.poll_accept(cx)
    }
}

fn harness(through: Through) -> Harness {
    let locator = through.locator();
    let nobody = "ws://127.0.0.1:1/".parse().unwrap();
    // The proxy has two sockets of its own in between.
    Harness::new(Arc::new(through), move || locator.clone(), nobody)
        .with_in_flight_bytes_max(2 * conformance::IN_FLIGHT_BYTES_MAX)
}

/// The behaviours that are between the two ends of a link. Who is told what when nobody listens is the proxy's to say.
macro_rules! through_nginx {
    ($front:expr; $($behaviour:ident)*) => {
        $(
            #[test]
            fn $behaviour() {
                let Some(through) = Through::new($front) else {
                    return;
                };
                conformance::run(stringify!($behaviour), || harness(through), conformance::$behaviour);
            }
        )*
    };
}

mod plain {
    use super::*;

    through_nginx! { Front::Plain;
        abrupt_close_ends_reading abrupt_close_ends_writing back_pressure close_twice echo half_close
        large many_small slow_reader vectored_writes
    }
}

mod tls_that_ends_at_the_proxy {
    use super::*;

    through_nginx! { Front::Tls;
        abrupt_close_ends_reading close_twice echo half_close many_small
    }

    #[tokio::test]
    async fn the_two_ends_do_not_have_one_secret() {
        let Some(through) = Through::new(Front::Tls) else {
            return;
        };
        let bound = WsTransport::secure(Certificates::self_signed(), Roots::Any);
        let locator = through.locator();
        let mut listener = through.listen(&locator).await.unwrap();
        let (dialled, accepted) = tokio::join!(bound.dial(&locator), accept(&mut *listener));
        // This is what a handshake with protection 1 fails on, as it must.
        assert!(dialled.unwrap().channel_binding().is_some());
        let accepted = accepted.unwrap();
        assert_eq!(accepted.channel_binding(), None);
        assert!(!accepted.capabilities().secure);
    }
}

#[tokio::test]
async fn nobody_behind_the_proxy_is_told_by_its_status() {
    let Some(through) = Through::new(Front::Plain) else {
        return;
    };
    let Err(TransportError::Aborted { source, .. }) = through.dial(&through.locator()).await else {
        panic!("somebody was behind the proxy");
    };
    assert!(source.to_string().contains("502"), "{source}");
}

#[tokio::test]
async fn a_plain_request_through_the_proxy_is_told_426() {
    let Some(through) = Through::new(Front::Plain) else {
        return;
    };
    let mut listener = through.listen(&through.locator()).await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", through.nginx.port(Front::Plain)))
        .await
        .unwrap();
    let request = "GET /valkyrie HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let (_, told) = tokio::join!(stream.read_to_string(&mut answer), accept(&mut *listener));
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    assert!(told.is_err());
}
