//! From a locator to a connection: resolve, try the addresses, and say what went wrong.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::{ClientConfig, Connection, Endpoint, TokioRuntime};
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use valkyrie_transport::tls::{TlsError, server_name};
use valkyrie_transport::{Action, HostPort, Locator, TransportError};

use crate::config::{self, Windows};
use crate::error::QuicError;
use crate::lanes::{ALPN, LaneStreams, close_code, open};
use crate::link::QuicLink;
use crate::options::{QuicTransport, SCHEME};
use crate::socket::Socket;

pub(crate) async fn dial(options: &QuicTransport, locator: &Locator) -> Result<QuicLink, TransportError> {
    TransportError::check_scheme(locator, SCHEME)?;
    let place = host_port(locator)?;
    if place.port == 0 {
        let reason = "port 0 is for listening; dial the port that the listener reports".to_owned();
        return Err(TransportError::Unusable {
            locator: locator.clone(),
            reason,
        });
    }
    let name = server_name(place.host).map_err(|error| unusable(locator, &error))?;
    let config = config::client(options).map_err(|error| unusable(locator, &error))?;
    let connecting = async {
        let mut addresses = resolve(locator, place).await?;
        if let Some(source) = options.source {
            addresses.retain(|address| address.is_ipv6() == source.is_ipv6());
            if addresses.is_empty() {
                let reason = format!("it has no address of the family of the source address {source}");
                return Err(TransportError::Unusable {
                    locator: locator.clone(),
                    reason,
                });
            }
        }
        race(addresses, |address| {
            attempt(
                config.clone(),
                config::windows(options),
                options.source,
                address,
                name.to_str().into_owned(),
            )
        })
        .await
        .map_err(|failures| verdict(locator, failures))
    };
    timeout(options.connect_timeout, connecting)
        .await
        .unwrap_or_else(|_| {
            Err(TransportError::TimedOut {
                locator: locator.clone(),
                after: options.connect_timeout,
            })
        })
}

pub(crate) fn host_port(locator: &Locator) -> Result<HostPort<'_>, TransportError> {
    locator.host_port().map_err(|source| TransportError::BadLocator {
        locator: locator.clone(),
        source,
    })
}

pub(crate) fn unusable(locator: &Locator, error: &TlsError) -> TransportError {
    TransportError::Unusable {
        locator: locator.clone(),
        reason: error.to_string(),
    }
}

/// The addresses of a place, at least one, in the order they are to be tried: families alternate, as RFC 8305 has it.
pub(crate) async fn resolve(
    locator: &Locator,
    place: HostPort<'_>,
) -> Result<Vec<SocketAddr>, TransportError> {
    let not_found = |source| TransportError::NameNotFound {
        locator: locator.clone(),
        source,
    };
    // An address is read where it stands; a name is asked for on tokio's pool of blocking threads.
    let found = lookup_host((place.host, place.port)).await.map_err(not_found)?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found.take(DIAL_ADDRESSES_MAX) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut of_first, mut of_other) = (0, 0);
    // Stable, so that within a family the system's order of preference stays.
    addresses.sort_by_cached_key(|address| {
        let (count, late) = match address.is_ipv6() == first_is_v6 {
            true => (&mut of_first, 0),
            false => (&mut of_other, 1),
        };
        *count += 1;
        2 * *count + late
    });
    if addresses.is_empty() {
        return Err(not_found(io::ErrorKind::NotFound.into()));
    }
    Ok(addresses)
}

/// Tries `addresses` in order until one connects: the next begins when the last one begun has had [`ATTEMPT_DELAY`], or
/// at once when one fails. The first success wins and the other attempts are dropped.
async fn race<F>(
    addresses: Vec<SocketAddr>,
    mut connect: impl FnMut(SocketAddr) -> F,
) -> Result<QuicLink, Vec<Failure>>
where
    F: Future<Output = Result<QuicLink, Failure>> + Send + 'static,
{
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failures = Vec::new();
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(connect(address));
        }
        let next_waits = waiting.len() > 0;
        tokio::select! {
            done = attempts.join_next() => match done {
                Some(Ok(Ok(link))) => return Ok(link),
                Some(Ok(Err(failure))) => failures.push(failure),
                // A task that panicked says so itself; it is not counted on.
                Some(Err(_)) => {}
                None => return Err(failures),
            },
            () = sleep(ATTEMPT_DELAY), if next_waits => {}
        }
    }
}

/// Why one address gave no link.
#[derive(Debug)]
enum Failure {
    System(io::Error),
    Quic(QuicError),
}

impl From<QuicError> for Failure {
    fn from(error: QuicError) -> Self {
        Self::Quic(error)
    }
}

async fn attempt(
    config: ClientConfig,
    windows: Windows,
    source: Option<IpAddr>,
    address: SocketAddr,
    name: String,
) -> Result<QuicLink, Failure> {
    let socket = Arc::new(Socket::connected(source, address).map_err(Failure::System)?);
    // A socket for each link: only a connected socket hears that nobody listens, and the system then sorts packets.
    let endpoint = Endpoint::new_with_abstract_socket(
        config::endpoint(),
        None,
        Arc::clone(&socket) as _,
        Arc::new(TokioRuntime),
    )
    .map_err(Failure::System)?;
    let connecting = endpoint
        .connect_with(config, address, &name)
        .map_err(|error| Failure::System(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let connection = tokio::select! {
        biased;
        connected = connecting => connected.map_err(QuicError::from)?,
        error = socket.failure() => return Err(Failure::System(error)),
    };
    match lanes(&connection).await {
        Ok(lanes) => Ok(QuicLink::dialled(connection, lanes, windows)),
        Err(error) => {
            connection.close(close_code::LANES, b"");
            Err(error.into())
        }
    }
}

async fn lanes(connection: &Connection) -> Result<LaneStreams, QuicError> {
    // A peer that ignores what was offered would have to be a server of something else.
    let agreed = connection
        .handshake_data()
        .and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok())
        .and_then(|data| data.protocol);
    if agreed.as_deref() != Some(ALPN) {
        return Err(QuicError::WrongProtocol);
    }
    open(connection).await
}

/// One error out of all that happened: the most telling. That the peer's machine answered says more than that one of
/// its addresses could not be reached from here, as is common for IPv6.
fn verdict(locator: &Locator, failures: Vec<Failure>) -> TransportError {
    let chosen = failures.into_iter().min_by_key(|failure| match failure {
        Failure::Quic(QuicError::Silent) => 3,
        Failure::Quic(_) => 0,
        Failure::System(error) if error.kind() == io::ErrorKind::ConnectionRefused => 1,
        Failure::System(_) => 2,
    });
    let locator = locator.clone();
    match chosen {
        Some(Failure::Quic(QuicError::TurnedAway)) => TransportError::Busy { locator },
        Some(Failure::Quic(error @ QuicError::CertificateRefused { .. })) => TransportError::Untrusted {
            locator,
            reason: error.to_string(),
        },
        Some(Failure::Quic(error @ QuicError::Exhausted)) => {
            TransportError::from_io(Action::Dial, &locator, error.into())
        }
        Some(Failure::Quic(error)) => TransportError::Aborted {
            locator,
            source: error.into(),
        },
        Some(Failure::System(error)) => TransportError::from_io(Action::Dial, &locator, error),
        None => TransportError::from_io(
            Action::Dial,
            &locator,
            io::Error::other("no attempt came to an end"),
        ),
    }
}

/// How long one address is tried before the next is tried beside it: the value RFC 8305, section 5 recommends.
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How many addresses of a name are tried. With [`ATTEMPT_DELAY`] between them, more would not be begun within a
/// patient user's time, and a name with a thousand addresses must not become a thousand sockets.
pub const DIAL_ADDRESSES_MAX: usize = 16;
