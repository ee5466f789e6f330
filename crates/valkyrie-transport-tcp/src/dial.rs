//! From a locator to a connection: resolve, race, and say what went wrong.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use valkyrie_transport::{Action, HostPort, Locator, TransportError};

use crate::eyeballs::{interleave, race};
use crate::link::TcpLink;
use crate::options::{ATTEMPT_DELAY, DIAL_ADDRESSES_MAX, SCHEME, TcpTransport};

pub(crate) async fn dial(options: &TcpTransport, locator: &Locator) -> Result<TcpLink, TransportError> {
    TransportError::check_scheme(locator, SCHEME)?;
    let place = host_port(locator)?;
    if place.port == 0 {
        let reason = "port 0 is for listening; dial the port that the listener reports".to_owned();
        return Err(TransportError::Unusable {
            locator: locator.clone(),
            reason,
        });
    }
    let start = Instant::now();
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
        race(&addresses, ATTEMPT_DELAY, |address| {
            connect(options.source, address)
        })
        .await
        .map_err(|failures| verdict(locator, failures, start.elapsed()))
    };
    let stream = timeout(options.connect_timeout, connecting)
        .await
        .unwrap_or_else(|_| {
            Err(TransportError::TimedOut {
                locator: locator.clone(),
                after: options.connect_timeout,
            })
        })?;
    TcpLink::new(stream, options).map_err(|error| TransportError::from_io(Action::Dial, locator, error))
}

pub(crate) fn host_port(locator: &Locator) -> Result<HostPort<'_>, TransportError> {
    locator.host_port().map_err(|source| TransportError::BadLocator {
        locator: locator.clone(),
        source,
    })
}

/// The addresses of a place, at least one, in the order they are to be tried.
pub(crate) async fn resolve(
    locator: &Locator,
    place: HostPort<'_>,
) -> Result<Vec<SocketAddr>, TransportError> {
    let not_found = |source| TransportError::NameNotFound {
        locator: locator.clone(),
        source,
    };
    // An address is read where it stands; a name is asked for on tokio's pool of blocking threads.
    let addresses = lookup_host((place.host, place.port)).await.map_err(not_found)?;
    let addresses = interleave(addresses, DIAL_ADDRESSES_MAX);
    if addresses.is_empty() {
        return Err(not_found(io::ErrorKind::NotFound.into()));
    }
    Ok(addresses)
}

async fn connect(source: Option<IpAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv6() {
        TcpSocket::new_v6()
    } else {
        TcpSocket::new_v4()
    }?;
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(address).await?;
    // A port that nobody listens on can be chosen for our own end, and then TCP connects the socket to itself. That
    // is nobody listening, and would keep the port from whoever is about to listen there.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// One error out of all that happened: the most telling, with the others as its source.
fn verdict(locator: &Locator, failures: Vec<(SocketAddr, io::Error)>, elapsed: Duration) -> TransportError {
    let mut failures: Vec<DialFailure> = failures
        .into_iter()
        .map(|(address, error)| DialFailure { address, error })
        .collect();
    let chosen = (0..failures.len()).min_by_key(|&index| rank(locator, &failures[index].error));
    let error = match (chosen, failures.len()) {
        (Some(index), 1) => failures.swap_remove(index).error,
        (Some(index), _) if failures[index].error.kind() != io::ErrorKind::TimedOut => {
            let raw = failures[index].error.raw_os_error();
            let kind = failures[index].error.kind();
            match TransportError::from_io(Action::Dial, locator, kind.into()) {
                // The kind alone does not say what this was, only the system's number does.
                TransportError::Io { .. } if raw.is_some() => failures.swap_remove(index).error,
                _ => io::Error::new(kind, DialFailures(failures)),
            }
        }
        _ => io::ErrorKind::TimedOut.into(),
    };
    if error.kind() == io::ErrorKind::TimedOut {
        return TransportError::TimedOut {
            locator: locator.clone(),
            after: elapsed,
        };
    }
    TransportError::from_io(Action::Dial, locator, error)
}

/// How much a failure tells, the least number the most. That the peer's machine answered says more than that one of
/// its addresses could not be reached from here, as is common for IPv6.
fn rank(locator: &Locator, error: &io::Error) -> u8 {
    let copy = match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error.kind().into(),
    };
    match TransportError::from_io(Action::Dial, locator, copy) {
        TransportError::Refused { .. } => 0,
        TransportError::PermissionDenied { .. } => 1,
        TransportError::Aborted { .. } => 2,
        TransportError::Io { .. } if error.kind() == io::ErrorKind::TimedOut => 3,
        TransportError::Io { .. } => 4,
        TransportError::Exhausted { .. } => 5,
        _ => 6,
    }
}

/// Every attempt of a dial that failed at several addresses: the source of its [`TransportError`].
#[derive(Debug)]
pub struct DialFailures(pub Vec<DialFailure>);

/// One attempt of a dial.
#[derive(Debug)]
pub struct DialFailure {
    /// The address that was tried.
    pub address: SocketAddr,
    /// What the system said.
    pub error: io::Error,
}

impl fmt::Display for DialFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("every address failed: ")?;
        for (index, DialFailure { address, error }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{address}: {error}")?;
        }
        Ok(())
    }
}

impl Error for DialFailures {}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict_of(kinds: &[io::ErrorKind]) -> TransportError {
        let locator: Locator = "tcp://example.org:7000".parse().unwrap();
        let failures = kinds
            .iter()
            .zip(1_u8..)
            .map(|(&kind, last)| (SocketAddr::from(([192, 0, 2, last], 7000)), io::Error::from(kind)));
        verdict(&locator, failures.collect(), Duration::from_secs(3))
    }

    #[test]
    fn a_refusal_tells_more_than_a_missing_route() {
        use io::ErrorKind as Kind;
        let error = verdict_of(&[Kind::NetworkUnreachable, Kind::ConnectionRefused, Kind::TimedOut]);
        assert!(matches!(error, TransportError::Refused { .. }), "{error:?}");
        let source = error.source().unwrap().to_string();
        assert!(
            source.contains("192.0.2.1:7000") && source.contains("192.0.2.3:7000"),
            "{source}"
        );
    }

    #[test]
    fn one_failure_is_told_as_the_system_said_it() {
        let error = verdict_of(&[io::ErrorKind::NetworkUnreachable]);
        assert!(matches!(error, TransportError::Unreachable { .. }), "{error:?}");
    }

    #[test]
    fn the_kernels_own_time_limit_is_told_with_the_time_it_took() {
        for kinds in [
            &[io::ErrorKind::TimedOut][..],
            &[io::ErrorKind::HostUnreachable, io::ErrorKind::TimedOut],
        ] {
            let error = verdict_of(kinds);
            assert!(
                matches!(error, TransportError::TimedOut { after, .. } if after.as_secs() == 3),
                "{error:?}"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_shortage_among_several_failures_is_still_told_as_one() {
        let locator: Locator = "tcp://example.org:7000".parse().unwrap();
        let address = SocketAddr::from(([192, 0, 2, 1], 7000));
        let failures = vec![
            (address, io::Error::from_raw_os_error(24)),
            (address, io::Error::from_raw_os_error(24)),
        ];
        let error = verdict(&locator, failures, Duration::ZERO);
        assert!(matches!(error, TransportError::Exhausted { .. }), "{error:?}");
    }
}
