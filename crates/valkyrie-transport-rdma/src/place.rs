//! Where a locator leads: the addresses of its host.

use std::io;
use std::net::SocketAddr;

use tokio::net::lookup_host;
use valkyrie_transport::{HostPort, Locator, TransportError};

pub(crate) fn host_port(locator: &Locator) -> Result<HostPort<'_>, TransportError> {
    locator.host_port().map_err(|source| TransportError::BadLocator {
        locator: locator.clone(),
        source,
    })
}

/// The addresses of a place, at least one, in the system's order of preference.
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
    if addresses.is_empty() {
        return Err(not_found(io::ErrorKind::NotFound.into()));
    }
    Ok(addresses)
}

/// How many addresses of a name are tried, one after the other. Hosts with RDMA have one or two.
pub const DIAL_ADDRESSES_MAX: usize = 8;
