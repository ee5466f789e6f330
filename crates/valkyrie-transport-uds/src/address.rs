//! What a `uds` locator means: a path, or a name in the abstract namespace.

use std::io;
use std::path::{Path, PathBuf};

use socket2::SockAddr;
use valkyrie_transport::{Locator, TransportError};

use crate::options::SCHEME;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Path(PathBuf),
    /// As the system calls want it: a zero byte, and then the name.
    Abstract(String),
}

impl Address {
    pub(crate) fn parse(locator: &Locator) -> Result<Self, TransportError> {
        TransportError::check_scheme(locator, SCHEME)?;
        let unusable = |reason: String| {
            Err(TransportError::Unusable {
                locator: locator.clone(),
                reason,
            })
        };
        let rest = locator.rest();
        let (address, length) = match rest.strip_prefix('@') {
            Some("") => return unusable("the name after @ is empty".to_owned()),
            Some(_) if !cfg!(any(target_os = "linux", target_os = "android")) => {
                return unusable("names after @ exist on Linux only; write a path".to_owned());
            }
            Some(name) => (Self::Abstract(format!("\0{name}")), name.len()),
            None if !rest.starts_with('/') => {
                return unusable(
                    "write an absolute path (uds:///run/name.sock) or a name (uds://@name)".to_owned(),
                );
            }
            None if rest.ends_with('/') => return unusable("the path names a directory".to_owned()),
            None => (Self::Path(PathBuf::from(rest)), rest.len()),
        };
        if length > NAME_BYTES_MAX {
            return unusable(format!(
                "it has {length} bytes and the system's socket addresses hold {NAME_BYTES_MAX}; use a shorter path"
            ));
        }
        Ok(address)
    }

    /// As tokio's `connect` wants it: it knows the zero byte too.
    pub(crate) fn as_path(&self) -> &Path {
        match self {
            Self::Path(path) => path,
            Self::Abstract(name) => Path::new(name),
        }
    }

    pub(crate) fn to_sock_addr(&self) -> io::Result<SockAddr> {
        SockAddr::unix(self.as_path())
    }
}

/// The longest path or name. A socket address holds 108 bytes on Linux and 104 on the BSDs and macOS, one of which
/// is the zero at the end of a path or in front of a name.
pub const NAME_BYTES_MAX: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
    107
} else {
    103
};
