//! Why there is no TLS configuration.

use std::io;
use std::path::PathBuf;

/// A certificate, a key, a root or a name cannot be used. Whoever configured it is at fault, and nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read ({source}); what was loaded before stays in use", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is larger than any of its kind.
    #[error("{} has more than {max} bytes, which no file of certificates or keys needs; it was not loaded", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The bound, [`PEM_BYTES_MAX`](super::PEM_BYTES_MAX).
        max: usize,
    },
    /// A file is not PEM, or holds no certificate or key.
    #[error("{} holds no {wanted} as PEM ({reason}); what was loaded before stays in use", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A chain and a key are not of each other, or are of a kind that TLS 1.3 does not use.
    #[error("the certificate in {} and the key in {} cannot be used together ({reason}); what was loaded before stays in use", chain.display(), key.display())]
    Pair {
        /// The file with the chain.
        chain: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No root can be used.
    #[error("{place} cannot be used as roots ({reason}); no connection is made")]
    Roots {
        /// The file, or "the system's store".
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// A certificate of our own could not be made.
    #[error("this machine could not make a certificate of its own ({reason}); give one as files")]
    SelfSigned {
        /// What is wrong.
        reason: String,
    },
    /// The host can be neither sent as a name nor compared with a certificate.
    #[error(
        "{host:?} is neither a DNS name nor an address, so no certificate can be for it; no connection is made"
    )]
    Name {
        /// The host.
        host: String,
    },
    /// The peer's certificate is not one that this side takes.
    #[error("the peer's certificate was refused ({reason}); check the roots, the name and the certificate")]
    Refused {
        /// What is wrong with it.
        reason: String,
    },
    /// The cryptographic library refuses the configuration. This is a fault of this crate.
    #[error(
        "the cryptographic library refuses the configuration ({reason}); this is a defect of valkyrie-transport"
    )]
    Configuration {
        /// What it said.
        reason: String,
    },
}
