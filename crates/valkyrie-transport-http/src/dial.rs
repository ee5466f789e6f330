//! From a locator to a link: connect, TLS if it is to be, and the opening.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};
use valkyrie_transport::tls::{TlsError, certificate_refused, server_name};
use valkyrie_transport::{Action, HostPort, Locator, TransportError};

use crate::error::OpenError;
use crate::link::{About, HttpLink};
use crate::open::request;
use crate::options::HttpTransport;
use crate::place::{host_port, resolve};
use crate::stream::Stream;

pub(crate) async fn dial(options: &HttpTransport, locator: &Locator) -> Result<HttpLink, TransportError> {
    let place = host_port(locator, options.scheme_name())?;
    if place.port == 0 {
        let reason = "port 0 is for listening; dial the port that the listener reports".to_owned();
        return Err(unusable(locator, reason));
    }
    timeout(options.connect_timeout, open(options, locator, place))
        .await
        .unwrap_or_else(|_| {
            Err(TransportError::TimedOut {
                locator: locator.clone(),
                after: options.connect_timeout,
            })
        })
}

async fn open(
    options: &HttpTransport,
    locator: &Locator,
    place: HostPort<'_>,
) -> Result<HttpLink, TransportError> {
    let system = |error| TransportError::from_io(Action::Dial, locator, error);
    let addresses = resolve(locator, place).await?;
    let tcp = connect(&addresses).await.map_err(system)?;
    HttpTransport::apply(&tcp).map_err(system)?;
    let address = tcp.peer_addr().map_err(system)?;
    let stream = secure(options, locator, place, tcp).await?;
    let binding = stream.channel_binding().filter(|_| options.bind);
    let opened = request(stream, options.scheme_name(), &authority(options, place))
        .await
        .map_err(|error| match error {
            OpenError::Status { status: 503 } => TransportError::Busy {
                locator: locator.clone(),
            },
            error => aborted(locator, error),
        })?;
    let about = About {
        scheme: options.scheme_name(),
        peer: locator.rest().to_owned(),
        address,
        binding,
    };
    Ok(HttpLink::new(opened, about))
}

/// Tries the addresses one after the other; of the failures a refusal tells most.
async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut told: Option<io::Error> = None;
    for &address in addresses {
        let connected = TcpStream::connect(address).await.and_then(|stream| {
            // A port that nobody listens on can be chosen for our own end, and then TCP connects the socket to itself.
            match stream.local_addr()? == stream.peer_addr()? {
                true => Err(io::ErrorKind::ConnectionRefused.into()),
                false => Ok(stream),
            }
        });
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                let refused = error.kind() == io::ErrorKind::ConnectionRefused;
                if refused || told.is_none() {
                    told = Some(error);
                }
            }
        }
    }
    Err(told.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

async fn secure(
    options: &HttpTransport,
    locator: &Locator,
    place: HostPort<'_>,
    tcp: TcpStream,
) -> Result<Stream, TransportError> {
    let Some(tls) = &options.tls else {
        return Ok(Stream::Plain(tcp));
    };
    let refuse = |error: TlsError| unusable(locator, error.to_string());
    let name = server_name(place.host).map_err(refuse)?;
    let config = tls.roots.client_config(DIALLER_ALPN).map_err(refuse)?;
    let tls =
        TlsConnector::from(config)
            .connect(name, tcp)
            .await
            .map_err(|error| match certificate_refused(&error) {
                Some(refused) => TransportError::Untrusted {
                    locator: locator.clone(),
                    reason: refused.to_string(),
                },
                None => aborted(locator, OpenError::Tls(error)),
            })?;
    if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
        let why = "it did not agree on h2 in TLS".to_owned();
        return Err(aborted(locator, OpenError::NotHttp2(why)));
    }
    Ok(Stream::Tls(Box::new(TlsStream::Client(tls))))
}

/// The authority of the request: without the port where it is the scheme's own, and without the scope of an address,
/// which means nothing to the peer.
fn authority(options: &HttpTransport, place: HostPort<'_>) -> String {
    let default_port = if options.tls.is_some() { 443 } else { 80 };
    let host = place.host.split('%').next().unwrap_or(place.host);
    let text = HostPort { host, ..place }.to_string();
    match text.strip_suffix(&format!(":{default_port}")) {
        Some(host) if place.port == default_port => host.to_owned(),
        _ => text,
    }
}

fn unusable(locator: &Locator, reason: String) -> TransportError {
    TransportError::Unusable {
        locator: locator.clone(),
        reason,
    }
}

fn aborted(locator: &Locator, error: OpenError) -> TransportError {
    TransportError::Aborted {
        locator: locator.clone(),
        source: io::Error::other(error),
    }
}

/// What a dialler offers to speak above TLS.
const DIALLER_ALPN: &[&[u8]] = &[b"h2"];

/// What an acceptor agrees to: HTTP/1.1 too, so that those who speak nothing else get an answer.
pub(crate) const ACCEPTOR_ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];
