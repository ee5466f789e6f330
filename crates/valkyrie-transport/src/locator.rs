//! Where a peer is: a scheme, and a rest that only the scheme's transport understands.
//!
//! A locator is not a URL: nothing is decoded, and there is no query. Schemes are open, so there is no enum of them.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Where to dial or listen: `tcp://host:port`, `uds:///run/v.sock`, `uds://@name`, `mem://name`.
///
/// Parsed once and then trusted: the scheme is well formed and in lower case, the rest is not empty and holds no
/// control characters. Cloning is a reference count. [`fmt::Display`] gives the text that parses to the same locator.
///
/// ```
/// use valkyrie_transport::Locator;
///
/// let locator: Locator = "TCP://[::1]:7000".parse()?;
/// assert_eq!(locator.scheme(), "tcp");
/// assert_eq!(locator.rest(), "[::1]:7000");
/// assert_eq!(locator.to_string(), "tcp://[::1]:7000");
///
/// let host_port = locator.host_port()?;
/// assert_eq!((host_port.host, host_port.port), ("::1", 7000));
/// # Ok::<(), valkyrie_transport::LocatorError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locator {
    text: Arc<str>,
    scheme_bytes: u8,
}

impl Locator {
    /// Builds a locator from its two parts.
    ///
    /// # Errors
    ///
    /// As for parsing the text `scheme://rest`.
    pub fn new(scheme: &str, rest: &str) -> Result<Self, LocatorError> {
        check_scheme(scheme)?;
        check_rest(rest)?;
        let length = scheme.len() + SEPARATOR.len() + rest.len();
        if length > LOCATOR_BYTES_MAX {
            return Err(LocatorError::TooLong { length });
        }
        let mut text = scheme.to_ascii_lowercase();
        text.push_str(SEPARATOR);
        text.push_str(rest);
        // `check_scheme` bounds the scheme by SCHEME_BYTES_MAX, which fits a u8.
        Ok(Self {
            text: text.into(),
            scheme_bytes: scheme.len() as u8,
        })
    }

    /// The scheme, in lower case: `tcp`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.text[..usize::from(self.scheme_bytes)]
    }

    /// What follows `://`.
    #[must_use]
    pub fn rest(&self) -> &str {
        &self.text[usize::from(self.scheme_bytes) + SEPARATOR.len()..]
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same place for logs, errors and whoever else it is shown to: without the user and password that some schemes
    /// have in front of the host (`redis://user:password@host:port/name`). Of a locator without them it is a copy.
    #[must_use]
    pub fn without_credentials(&self) -> Self {
        let authority = self
            .rest()
            .find('/')
            .map_or(self.rest(), |end| &self.rest()[..end]);
        // What begins with `@` is the name of a socket without a file.
        match authority.rfind('@') {
            Some(at) if at > 0 => {
                Self::new(self.scheme(), &self.rest()[at + 1..]).unwrap_or_else(|_| self.clone())
            }
            _ => self.clone(),
        }
    }

    /// Reads the rest as `host:port`, for the schemes whose locators are that.
    ///
    /// An IPv6 literal is in brackets, and the brackets are not part of the host.
    ///
    /// # Errors
    ///
    /// [`LocatorError::NoPort`], [`LocatorError::BadPort`], [`LocatorError::NoHost`] or [`LocatorError::BadHost`].
    pub fn host_port(&self) -> Result<HostPort<'_>, LocatorError> {
        HostPort::parse(self.rest())
    }
}

impl FromStr for Locator {
    type Err = LocatorError;

    fn from_str(text: &str) -> Result<Self, LocatorError> {
        if text.len() > LOCATOR_BYTES_MAX {
            return Err(LocatorError::TooLong { length: text.len() });
        }
        let (scheme, rest) = text.split_once(SEPARATOR).ok_or(LocatorError::NoScheme)?;
        Self::new(scheme, rest)
    }
}

impl TryFrom<&str> for Locator {
    type Error = LocatorError;

    fn try_from(text: &str) -> Result<Self, LocatorError> {
        text.parse()
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Locator({})", self.text)
    }
}

/// A host and a port, as `tcp` and its relatives write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostPort<'a> {
    /// A name, an IPv4 literal, or an IPv6 literal without its brackets.
    pub host: &'a str,
    /// The port; 0 asks a listener for any free one.
    pub port: u16,
}

impl<'a> HostPort<'a> {
    fn parse(rest: &'a str) -> Result<Self, LocatorError> {
        let (host, port) = match rest.strip_prefix('[') {
            Some(bracketed) => {
                let (host, after) = bracketed.split_once(']').ok_or(LocatorError::BadHost)?;
                // A scope (`%eth0`) is allowed after the address; the transport reads it.
                if host
                    .split('%')
                    .next()
                    .is_none_or(|ip| ip.parse::<std::net::Ipv6Addr>().is_err())
                {
                    return Err(LocatorError::BadHost);
                }
                (host, after.strip_prefix(':').ok_or(LocatorError::NoPort)?)
            }
            None => {
                let (host, port) = rest.rsplit_once(':').ok_or(LocatorError::NoPort)?;
                if host.contains([':', '[', ']', '/', '@', '%']) || host.contains(char::is_whitespace) {
                    return Err(LocatorError::BadHost);
                }
                (host, port)
            }
        };
        if host.is_empty() {
            return Err(LocatorError::NoHost);
        }
        // `u16::from_str` also takes a leading plus, which is not a port.
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(LocatorError::BadPort);
        }
        let port = port.parse().map_err(|_| LocatorError::BadPort)?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for HostPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Why a text is not a locator. The text is always what is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocatorError {
    /// There is no `scheme://` in front.
    #[error("the locator has no scheme; write it as scheme://place, for example tcp://localhost:7000")]
    NoScheme,
    /// The scheme is not a letter followed by letters, digits, `+`, `-` and `.`, or is too long.
    #[error(
        "the locator's scheme is malformed; use a letter, then letters, digits, '+', '-' or '.', \
         at most {SCHEME_BYTES_MAX} in all"
    )]
    BadScheme,
    /// Nothing follows `://`.
    #[error("the locator names no place after its scheme")]
    NoPlace,
    /// A control character is in the text.
    #[error("the locator holds a control character")]
    ControlCharacter,
    /// The text is longer than [`LOCATOR_BYTES_MAX`].
    #[error("the locator has {length} bytes, and at most {LOCATOR_BYTES_MAX} are allowed")]
    TooLong {
        /// The length of the text.
        length: usize,
    },
    /// There is no `:port` at the end.
    #[error("the locator has no port; write host:port, and port 0 to listen on any free one")]
    NoPort,
    /// The port is not a number from 0 to 65535.
    #[error("the locator's port is not a number from 0 to 65535")]
    BadPort,
    /// The host is empty.
    #[error("the locator has no host; to listen on every address write 0.0.0.0 or [::]")]
    NoHost,
    /// The host is neither a name nor an address.
    #[error(
        "the locator's host is neither a name nor an address; write an IPv6 address in brackets, as in [::1]:7000"
    )]
    BadHost,
}

fn check_scheme(scheme: &str) -> Result<(), LocatorError> {
    let mut bytes = scheme.bytes();
    let well_formed = bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
        && scheme.len() <= SCHEME_BYTES_MAX;
    well_formed.then_some(()).ok_or(LocatorError::BadScheme)
}

fn check_rest(rest: &str) -> Result<(), LocatorError> {
    if rest.is_empty() {
        return Err(LocatorError::NoPlace);
    }
    if rest.chars().any(char::is_control) {
        return Err(LocatorError::ControlCharacter);
    }
    Ok(())
}

const SEPARATOR: &str = "://";

/// The longest locator: the longest path of the systems in use is 4096 bytes, and no other place comes near it.
pub const LOCATOR_BYTES_MAX: usize = 4096;

/// The longest scheme: its length is kept in a byte, and no registered scheme has more than 36.
pub const SCHEME_BYTES_MAX: usize = 64;
