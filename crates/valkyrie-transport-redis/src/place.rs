//! What a locator of this transport says: who we are, `host:port`, and a name.

use valkyrie_transport::{HostPort, Locator, LocatorError, TransportError};

use crate::options::{Credentials, RedisTransport};

/// A locator, read.
#[derive(Debug)]
pub(crate) struct Place {
    /// The locator without credentials: the only one that is ever shown.
    pub(crate) locator: Locator,
    /// The locator without name and credentials, from which host and port are read.
    authority: Locator,
    /// What follows the slash; empty where nothing does.
    pub(crate) name: String,
    /// What the locator says, else what the options do.
    pub(crate) credentials: Option<Credentials>,
}

impl Place {
    pub(crate) fn new(options: &RedisTransport, locator: &Locator) -> Result<Self, TransportError> {
        // The last `@` ends the credentials: neither hosts nor names have one, so a password may.
        let (credentials, rest) = match locator.rest().rsplit_once('@') {
            None => (None, locator.rest()),
            Some((credentials, rest)) => (Some(credentials), rest),
        };
        let without = Locator::new(locator.scheme(), rest).map_err(|source| TransportError::BadLocator {
            locator: hidden(locator),
            source,
        })?;
        TransportError::check_scheme(&without, options.scheme_name())?;
        let bad = |source| TransportError::BadLocator {
            locator: without.clone(),
            source,
        };
        let (authority, name) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() {
            return Err(bad(LocatorError::NoHost));
        }
        let authority = Locator::new(locator.scheme(), authority).map_err(bad)?;
        if authority.host_port().map_err(bad)?.port == 0 {
            return Err(unusable(
                &without,
                "port 0 is no broker's; write the port of the Redis server",
            ));
        }
        let well_formed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.len() > NAME_BYTES_MAX || !name.bytes().all(well_formed) {
            let reason = format!(
                "the name after the slash is at most {NAME_BYTES_MAX} letters of ASCII, digits, '-' and '_'"
            );
            return Err(unusable(&without, reason));
        }
        let credentials = match credentials {
            None => options.credentials.clone(),
            Some(text) => {
                let (user, password) = text
                    .split_once(':')
                    .ok_or_else(|| unusable(&without, "what stands before the @ is not user:password"))?;
                // As in Redis' own locators, `:password@` is for the user that everybody is.
                let user = if user.is_empty() { "default" } else { user };
                Some(Credentials::new(user, password))
            }
        };
        if credentials.is_some() && options.roots == Some(valkyrie_transport::tls::Roots::Any) {
            let reason =
                "a password goes only to a broker whose certificate is verified; choose other roots than Any";
            return Err(unusable(&without, reason));
        }
        Ok(Self {
            name: name.to_owned(),
            authority,
            locator: without,
            credentials,
        })
    }

    /// As [`Place::new`], for a place that is a node.
    pub(crate) fn node(options: &RedisTransport, locator: &Locator) -> Result<Self, TransportError> {
        let place = Self::new(options, locator)?;
        match place.name.is_empty() {
            true => Err(unusable(
                &place.locator,
                "it names no node; write redis://host:port/node",
            )),
            false => Ok(place),
        }
    }

    /// Host and port.
    pub(crate) fn host_port(&self) -> Result<HostPort<'_>, TransportError> {
        self.authority
            .host_port()
            .map_err(|source| TransportError::BadLocator {
                locator: self.locator.clone(),
                source,
            })
    }
}

/// Something to name in an error where nothing of the locator can be shown.
fn hidden(locator: &Locator) -> Locator {
    Locator::new(locator.scheme(), "hidden").unwrap_or_else(|_| unreachable!("the scheme was a locator's"))
}

pub(crate) fn unusable(locator: &Locator, reason: impl Into<String>) -> TransportError {
    TransportError::Unusable {
        locator: locator.clone(),
        reason: reason.into(),
    }
}

/// The longest name of a node or of a bus' space. With the prefix it makes channels of under 160 bytes.
//= protocol/transports.md#redis-names
pub const NAME_BYTES_MAX: usize = 128;
