//! What a locator of this transport says: `host:port`, and a path.

use tokio::net::lookup_host;
use valkyrie_transport::{HostPort, Locator, LocatorError, TransportError};

use crate::options::{DIAL_ADDRESSES_MAX, WsTransport};

/// A locator, read.
#[derive(Debug)]
pub(crate) struct Place {
    /// The locator without its path, from which host and port are read.
    authority: Locator,
    /// The path, with the slash it begins with.
    pub(crate) path: String,
}

impl Place {
    pub(crate) fn new(options: &WsTransport, locator: &Locator) -> Result<Self, TransportError> {
        TransportError::check_scheme(locator, options.scheme_name())?;
        let bad = |source| TransportError::BadLocator {
            locator: locator.clone(),
            source,
        };
        let (authority, path) = match locator.rest().find('/') {
            Some(slash) => locator.rest().split_at(slash),
            None => (locator.rest(), "/"),
        };
        if authority.is_empty() {
            return Err(bad(LocatorError::NoHost));
        }
        // The path goes into a line of HTTP as it is; nothing is encoded for the caller.
        if !path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'))
        {
            return Err(TransportError::Unusable {
                locator: locator.clone(),
                reason: "its path holds a space, a '?', a '#' or a letter outside ASCII; write such letters \
                         percent-encoded"
                    .to_owned(),
            });
        }
        let authority = Locator::new(locator.scheme(), authority).map_err(bad)?;
        authority.host_port().map_err(bad)?;
        Ok(Self {
            authority,
            path: path.to_owned(),
        })
    }

    /// Host and port.
    pub(crate) fn host_port(&self) -> Result<HostPort<'_>, TransportError> {
        self.authority
            .host_port()
            .map_err(|source| TransportError::BadLocator {
                locator: self.authority.clone(),
                source,
            })
    }

    /// The addresses of the host, at least one, in the order the system prefers.
    pub(crate) async fn resolve(
        &self,
        locator: &Locator,
    ) -> Result<Vec<std::net::SocketAddr>, TransportError> {
        let not_found = |source| TransportError::NameNotFound {
            locator: locator.clone(),
            source,
        };
        let HostPort { host, port } = self.host_port()?;
        let mut addresses = Vec::new();
        for address in lookup_host((host, port)).await.map_err(not_found)? {
            if addresses.len() < DIAL_ADDRESSES_MAX && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(not_found(std::io::ErrorKind::NotFound.into()));
        }
        Ok(addresses)
    }
}
