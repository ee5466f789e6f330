//! From a locator to a link: connect, TLS if it is to be, and the opening.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};
use valkyrie_transport::tls::{TlsError, certificate_refused, server_name};
use valkyrie_transport::{Action, HostPort, Locator, TransportError};

use crate::error::UpgradeError;
use crate::frame::Side;
use crate::link::{About, WsLink};
use crate::options::WsTransport;
use crate::place::Place;
use crate::stream::Stream;
use crate::upgrade::request;

pub(crate) async fn dial(options: &WsTransport, locator: &Locator) -> Result<WsLink, TransportError> {
    let place = Place::new(options, locator)?;
    if place.host_port()?.port == 0 {
        let reason = "port 0 is for listening; dial the port that the listener reports".to_owned();
        return Err(unusable(locator, reason));
    }
    timeout(options.connect_timeout, open(options, locator, &place))
        .await
        .unwrap_or_else(|_| {
            Err(TransportError::TimedOut {
                locator: locator.clone(),
                after: options.connect_timeout,
            })
        })
}

async fn open(options: &WsTransport, locator: &Locator, place: &Place) -> Result<WsLink, TransportError> {
    let system = |error| TransportError::from_io(Action::Dial, locator, error);
    let addresses = place.resolve(locator).await?;
    let tcp = connect(&addresses).await.map_err(system)?;
    WsTransport::apply(&tcp).map_err(system)?;
    let address = tcp.peer_addr().map_err(system)?;
    let host_port = place.host_port()?;
    let mut stream = secure(options, locator, host_port, tcp).await?;
    let early = request(&mut stream, &host_header(options, host_port), &place.path)
        .await
        .map_err(|error| match error {
            UpgradeError::Status { status: 503 } => TransportError::Busy {
                locator: locator.clone(),
            },
            error => aborted(locator, error),
        })?;
    let about = About {
        scheme: options.scheme_name(),
        peer: locator.rest().to_owned(),
        address,
        side: Side::Dialler,
        bind: options.bind,
    };
    Ok(WsLink::new(stream, early, about))
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
    options: &WsTransport,
    locator: &Locator,
    place: HostPort<'_>,
    tcp: TcpStream,
) -> Result<Stream, TransportError> {
    let Some(tls) = &options.tls else {
        return Ok(Stream::Plain(tcp));
    };
    let refuse = |error: TlsError| unusable(locator, error.to_string());
    let name = server_name(place.host).map_err(refuse)?;
    let config = tls.roots.client_config(ALPN).map_err(refuse)?;
    let tls =
        TlsConnector::from(config)
            .connect(name, tcp)
            .await
            .map_err(|error| match certificate_refused(&error) {
                Some(refused) => TransportError::Untrusted {
                    locator: locator.clone(),
                    reason: refused.to_string(),
                },
                None => aborted(locator, UpgradeError::Tls(error)),
            })?;
    Ok(Stream::Tls(Box::new(TlsStream::Client(tls))))
}

/// The Host field: without the port where it is the scheme's own, as browsers have it.
fn host_header(options: &WsTransport, place: HostPort<'_>) -> String {
    let default_port = if options.tls.is_some() { 443 } else { 80 };
    let text = place.to_string();
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

fn aborted(locator: &Locator, error: UpgradeError) -> TransportError {
    TransportError::Aborted {
        locator: locator.clone(),
        source: io::Error::other(error),
    }
}

/// What TLS is told is spoken above it: HTTP/1.1, as RFC 6455 has it.
pub(crate) const ALPN: &[&[u8]] = &[b"http/1.1"];
