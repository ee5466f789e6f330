//! Listening and serving: a task for each connection, bounded in number and in how slow it may be.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsStream};
use valkyrie_transport::tls::Certificates;
use valkyrie_transport::{Locator, TransportError};

use super::options::{DRAIN_TIME_MAX, Gateway, STREAMS_MAX};
use super::routes::Routes;
use super::watch::{Call, UnderWay, Watched};
use crate::conn::HEAD_BYTES_MAX;
use crate::dial::ACCEPTOR_ALPN;
use crate::options::{BACKLOG, HttpTransport};
use crate::place::{bind_first, host_port};
use crate::stream::Stream;

/// A gateway that listens.
#[must_use = "nobody is served until it runs"]
pub struct GatewayServer {
    listener: TcpListener,
    locator: Locator,
    tls: Option<TlsAcceptor>,
    gateway: Gateway,
}

pub(super) async fn listen(gateway: &Gateway, locator: &Locator) -> Result<GatewayServer, TransportError> {
    let scheme = if locator.scheme() == "https" {
        "https"
    } else {
        "http"
    };
    let place = host_port(locator, scheme)?;
    let tls = match scheme {
        "https" => {
            let certificates = gateway
                .certificates
                .clone()
                .unwrap_or_else(Certificates::self_signed);
            let config = certificates.server_config(ACCEPTOR_ALPN);
            let config = config.map_err(|error| TransportError::Unusable {
                locator: locator.clone(),
                reason: error.to_string(),
            })?;
            Some(TlsAcceptor::from(config))
        }
        _ => None,
    };
    let (listener, locator) = bind_first(locator, place, BACKLOG).await?;
    Ok(GatewayServer {
        listener,
        locator,
        tls,
        gateway: gateway.clone(),
    })
}

impl GatewayServer {
    /// Where clients find it, with the port that was chosen for port 0.
    #[must_use]
    pub fn locator(&self) -> &Locator {
        &self.locator
    }

    /// Serves until `until` is ready. Then no connection is taken any more, those that there are end with the calls that
    /// are under way, and after [`DRAIN_TIME_MAX`] whatever is left is dropped.
    pub async fn run(self, until: impl Future<Output = ()>) {
        let (ending, ends) = watch::channel(());
        let serving = Serving {
            routes: Arc::new(Routes::new(self.gateway.clone())),
            builder: builder(&self.gateway),
            tls: self.tls,
            head_time_max: self.gateway.head_time_max,
            idle_time_max: self.gateway.idle_time_max,
            ends,
        };
        let mut connections = JoinSet::new();
        let mut until = pin!(until);
        loop {
            while connections.try_join_next().is_some() {}
            let full = connections.len() >= self.gateway.connections_max;
            let taken = tokio::select! {
                biased;
                () = &mut until => break,
                _ = connections.join_next(), if full => continue,
                taken = self.listener.accept(), if !full => taken,
            };
            match taken.and_then(|(tcp, _)| HttpTransport::apply(&tcp).map(|()| tcp)) {
                Ok(tcp) => {
                    connections.spawn(serving.clone().serve(tcp));
                }
                // One connection that was gone before it was taken is nothing; a shortage of the machine passes.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => tokio::select! {
                    () = &mut until => break,
                    () = sleep(SHORTAGE_PAUSE) => {}
                },
            }
        }
        drop(self.listener);
        drop(serving);
        drop(ending);
        let ended = async { while connections.join_next().await.is_some() {} };
        // Dropping the set ends those that are left.
        let _ = timeout(DRAIN_TIME_MAX, ended).await;
    }
}

impl fmt::Debug for GatewayServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayServer")
            .field("locator", &self.locator)
            .finish_non_exhaustive()
    }
}

/// What every connection shares.
#[derive(Clone)]
struct Serving {
    routes: Arc<Routes>,
    builder: Builder<TokioExecutor>,
    tls: Option<TlsAcceptor>,
    head_time_max: Duration,
    idle_time_max: Duration,
    /// Its other end is dropped when the gateway ends.
    ends: watch::Receiver<()>,
}

impl Serving {
    async fn serve(self, tcp: TcpStream) {
        let stream = match &self.tls {
            None => Stream::Plain(tcp),
            Some(tls) => match timeout(self.head_time_max, tls.accept(tcp)).await {
                Ok(Ok(tls)) => Stream::Tls(Box::new(TlsStream::Server(tls))),
                Ok(Err(_)) | Err(_) => return,
            },
        };
        let under_way = UnderWay::default();
        let stream = Watched::new(stream, under_way.clone(), self.idle_time_max);
        let routes = self.routes;
        let service = service_fn(move |request: Request<Incoming>| {
            let call = under_way.begin();
            let routes = Arc::clone(&routes);
            // Boxed, because hyper moves it several times before it is first polled, and it is large.
            Box::pin(async move { Ok::<_, Infallible>(keep(routes.answer(request).await, call)) })
        });
        let mut ends = self.ends;
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            // What went wrong is between the client and its connection; nobody here waits for it.
            _ = &mut connection => return,
            _ = ends.changed() => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// A body of unknown length is a stream of events: the call is under way as long as it is.
fn keep(response: Response<Body>, call: Call) -> Response<Body> {
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|body| Body::new(Kept { body, _call: call }))
}

struct Kept {
    body: Body,
    _call: Call,
}

impl HttpBody for Kept {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

fn builder(gateway: &Gateway) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(gateway.head_time_max)
        .max_buf_size(H1_BUFFER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .keep_alive_interval(gateway.idle_time_max / 2)
        .keep_alive_timeout(gateway.head_time_max);
    builder
}

/// How long a shortage of the machine is left to pass before the next attempt.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// The most that is read ahead of an HTTP/1.1 request, its head included.
const H1_BUFFER_BYTES_MAX: usize = 64 * 1024;
