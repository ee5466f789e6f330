//! What a locator of this transport says: `host:port`, to dial and to bind.

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use valkyrie_transport::{Action, HostPort, Locator, TransportError};

use crate::options::DIAL_ADDRESSES_MAX;

/// Host and port of a locator of this transport.
pub(crate) fn host_port<'a>(
    locator: &'a Locator,
    scheme: &'static str,
) -> Result<HostPort<'a>, TransportError> {
    TransportError::check_scheme(locator, scheme)?;
    let rest = locator.rest();
    if rest.find(['/', '?', '#', '@']).is_some() {
        return Err(TransportError::Unusable {
            locator: locator.clone(),
            reason: "its paths are always the same; write host:port and nothing behind it".to_owned(),
        });
    }
    locator.host_port().map_err(|source| TransportError::BadLocator {
        locator: locator.clone(),
        source,
    })
}

/// The addresses of a host, at least one, in the order the system prefers.
pub(crate) async fn resolve(
    locator: &Locator,
    place: HostPort<'_>,
) -> Result<Vec<SocketAddr>, TransportError> {
    let not_found = |source| TransportError::NameNotFound {
        locator: locator.clone(),
        source,
    };
    let mut addresses = Vec::new();
    for address in lookup_host((place.host, place.port)).await.map_err(not_found)? {
        if addresses.len() < DIAL_ADDRESSES_MAX && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(not_found(io::ErrorKind::NotFound.into()));
    }
    Ok(addresses)
}

/// Binds the first address of the locator's host, and says where that is.
pub(crate) async fn bind_first(
    locator: &Locator,
    place: HostPort<'_>,
    backlog: u32,
) -> Result<(TcpListener, Locator), TransportError> {
    // `resolve` gives at least one address, and every attempt but the last may fail.
    let mut last_error = None;
    for address in resolve(locator, place).await? {
        match bind(address, backlog) {
            Ok((listener, bound)) => {
                let bound = Locator::new(locator.scheme(), &bound.to_string());
                let bound = bound.map_err(|source| TransportError::BadLocator {
                    locator: locator.clone(),
                    source,
                })?;
                return Ok((listener, bound));
            }
            // A name can stand for a family this machine does not have; only then is the next address meant too.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => last_error = Some(error),
            Err(error) => return Err(TransportError::from_io(Action::Listen, locator, error)),
        }
    }
    let error = last_error.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
    Err(TransportError::from_io(Action::Listen, locator, error))
}

fn bind(address: SocketAddr, backlog: u32) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = match address.is_ipv6() {
        true => TcpSocket::new_v6(),
        false => TcpSocket::new_v4(),
    }?;
    // On Windows the option of this name lets another program take the port over.
    socket.set_reuseaddr(cfg!(unix))?;
    if address.is_ipv6() {
        // Systems differ in what `[::]` means; here it is every address of both families, everywhere.
        SockRef::from(&socket).set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(address)?;
    let listener = socket.listen(backlog)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}
