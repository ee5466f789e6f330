//! One member of a cluster: how it is reached, and whether it answers.
//!
//! Requests and watches have a connection each, so that watches whose readers are slow can fill theirs and hold up no request. A
//! connection is made when it is first needed, and again when it has broken.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, watch};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tower_service::Service;
use valkyrie_transport::tls::{Roots, server_name};

use super::fault::Fault;
use super::options::{ConnectError, Credentials, EtcdOptions};

/// A member.
pub(super) struct Member {
    endpoint: String,
    pub(super) requests: Line,
    pub(super) watches: Line,
    /// Rings when it has not answered in time. Watches at it then go elsewhere.
    silences: watch::Sender<u64>,
}

impl Member {
    pub(super) fn new(options: &EtcdOptions, endpoint: &str) -> Result<Self, ConnectError> {
        let wrong = |reason| ConnectError::Endpoint {
            endpoint: endpoint.to_owned(),
            reason,
        };
        let uri: Uri = endpoint.parse().map_err(|_| wrong("it is not a URL"))?;
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if authority.as_str().contains('@') || uri.port().is_none() {
            return Err(wrong("it is to have a host and a port, and nobody's name"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("it has a path"));
        }
        let tls = match (uri.scheme_str(), &options.tls) {
            (Some("http"), None) => None,
            (Some("https"), Some(tls)) => {
                if tls.roots == Roots::Any {
                    return Err(ConnectError::Unverified);
                }
                let config = match &tls.certificates {
                    Some(certificates) => tls.roots.client_config_as(certificates, &[b"h2"])?,
                    None => tls.roots.client_config(&[b"h2"])?,
                };
                // Whether it is a name at all is known now rather than when it is dialled.
                server_name(host(&uri))?;
                Some(TlsConnector::from(config))
            }
            (Some("http"), Some(_)) => return Err(wrong("TLS is wanted, so it is to be https")),
            (Some("https"), None) => return Err(wrong("it is https, and no roots are named")),
            _ => return Err(wrong("it is to begin with http or https")),
        };
        // The connector below adds TLS, so the library is to think that there is none.
        let plain = Endpoint::from_shared(format!("http://{authority}"))
            .map_err(|_| wrong("it is not a URL"))?
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIME_MAX);
        let connector = Connector(tls);
        let line = |endpoint: Endpoint| Line {
            channel: endpoint.connect_with_connector_lazy(connector.clone()),
            credentials: options.credentials.clone(),
            client: OnceCell::new(),
        };
        Ok(Self {
            endpoint: endpoint.to_owned(),
            requests: line(plain.clone()),
            watches: line(
                plain
                    .initial_stream_window_size(WATCH_WINDOW_BYTES)
                    .initial_connection_window_size(WATCHES_WINDOW_BYTES),
            ),
            silences: watch::Sender::new(0),
        })
    }

    /// Where it is.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Says that it did not answer.
    pub(super) fn silent(&self) {
        self.silences.send_modify(|silences| *silences += 1);
    }

    /// Hears of the next time that it does not.
    pub(super) fn silences(&self) -> watch::Receiver<u64> {
        self.silences.subscribe()
    }
}

/// A connection to a member, made anew when it breaks.
pub(super) struct Line {
    channel: Channel,
    credentials: Option<Credentials>,
    client: OnceCell<Client>,
}

impl Line {
    /// The client on it, logged in.
    pub(super) async fn client(&self) -> Result<&Client, Fault> {
        self.client
            .get_or_try_init(|| async {
                // Without a leader a member knows only what was, and could commit nothing.
                let mut options = ConnectOptions::new().with_require_leader(true);
                if let Some(Credentials { user, password }) = &self.credentials {
                    options = options
                        .with_user(user.clone(), password.as_str())
                        .with_auto_token_refresh(true);
                }
                let channel = etcd_client::Channel::Tonic(self.channel.clone());
                Client::from_channel(channel, Some(options))
                    .await
                    .map_err(|error| not_logged_in(&error))
            })
            .await
    }

    /// Logs in again.
    pub(super) async fn refresh(&self) -> Result<(), Fault> {
        let client = self.client().await?;
        client
            .refresh_token()
            .await
            .map_err(|error| not_logged_in(&error))
    }
}

/// A login that was lost has done nothing of what it was for.
fn not_logged_in(error: &etcd_client::Error) -> Fault {
    match Fault::of(error) {
        Fault::Lost(reason) => Fault::NotNow(reason),
        Fault::Broken(reason) | Fault::Token(reason) => Fault::Denied(reason),
        other => other,
    }
}

/// Connects by TCP, and by TLS where there is a configuration.
#[derive(Clone)]
struct Connector(Option<TlsConnector>);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.0.clone();
        Box::pin(async move {
            match tokio::time::timeout(CONNECT_TIME_MAX, connect(&uri, tls)).await {
                Ok(connected) => connected.map(TokioIo::new),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        })
    }
}

async fn connect(uri: &Uri, tls: Option<TlsConnector>) -> io::Result<Box<dyn Stream>> {
    let host = host(uri);
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(ETCD_PORT))).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return Ok(Box::new(stream));
    };
    let name = server_name(host).map_err(io::Error::other)?;
    Ok(Box::new(tls.connect(name, stream).await?))
}

fn host(uri: &Uri) -> &str {
    uri.host()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']')
}

/// Where etcd listens to clients.
const ETCD_PORT: u16 = 2379;
/// How long a connection may take to come about. It is below what a write may take, so that one that could not be sent can be sent
/// elsewhere.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);
/// How long a connection with a watch on it is quiet before etcd is asked whether it is there. One that is asked more often than
/// every five seconds ends the connection, unless told otherwise.
const PING_INTERVAL: Duration = Duration::from_secs(6);
/// How long it may take to answer that.
const PING_TIME_MAX: Duration = Duration::from_secs(2);
/// What waits for a reader of one watch.
const WATCH_WINDOW_BYTES: u32 = 64 * 1024;
/// What waits for the readers of all watches of a member: a thousand that are stuck hold up no other.
const WATCHES_WINDOW_BYTES: u32 = 64 * 1024 * 1024;
