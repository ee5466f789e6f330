//! What a locator of this transport says: `host:port`.

use std::io;
use std::net::SocketAddr;

use tokio::net::lookup_host;
use valkyrie_transport::{HostPort, Locator, TransportError};

use crate::options::{DIAL_ADDRESSES_MAX, HttpTransport};

/// Host and port of a locator of this transport.
pub(crate) fn host_port<'a>(
    options: &HttpTransport,
    locator: &'a Locator,
) -> Result<HostPort<'a>, TransportError> {
    TransportError::check_scheme(locator, options.scheme_name())?;
    let rest = locator.rest();
    if rest.find(['/', '?', '#', '@']).is_some() {
        return Err(TransportError::Unusable {
            locator: locator.clone(),
            reason: "a link's path is always the same; write host:port and nothing behind it".to_owned(),
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
