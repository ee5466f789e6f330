//! Which etcd, who we are to it, and where in it the store lies.

use std::fmt;
use std::sync::Arc;

use valkyrie_transport::tls::{Certificates, Roots, TlsError};
use zeroize::Zeroizing;

use crate::Key;
use crate::store::StoreError;

/// How to reach an etcd.
#[derive(Clone, Debug)]
#[must_use]
pub struct EtcdOptions {
    pub(super) endpoints: Vec<String>,
    pub(super) path: Key,
    pub(super) credentials: Option<Credentials>,
    pub(super) tls: Option<Tls>,
}

/// Who we are to etcd.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: Arc<Zeroizing<String>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) roots: Roots,
    pub(super) certificates: Option<Certificates>,
}

impl EtcdOptions {
    /// The members at these addresses, each `http://HOST:PORT` or `https://HOST:PORT`. Name every member: those that are not named
    /// are not asked when the others are away.
    ///
    /// # Panics
    /// Never: the path that a store has by itself is a key.
    pub fn new<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            path: DEFAULT_PATH.parse().expect("a word is a key"),
            credentials: None,
            tls: None,
        }
    }

    /// Everything of the store lies beneath this path in place of [`DEFAULT_PATH`]: stores with paths of their own share an etcd and
    /// do not see each other. Nothing else may write there.
    pub fn with_path(mut self, path: Key) -> Self {
        self.path = path;
        self
    }

    /// Logs in as this user. Without TLS the password is in clear on the way.
    pub fn with_credentials(mut self, user: &str, password: &str) -> Self {
        self.credentials = Some(Credentials {
            user: user.to_owned(),
            password: Arc::new(Zeroizing::new(password.to_owned())),
        });
        self
    }

    /// For members at `https`: whose certificates are taken. [`Roots::Any`] is refused, because what etcd says is believed.
    pub fn with_tls(mut self, roots: Roots) -> Self {
        let certificates = self.tls.and_then(|tls| tls.certificates);
        self.tls = Some(Tls { roots, certificates });
        self
    }

    /// Over TLS, shows this certificate to members that want one. Without [`EtcdOptions::with_tls`] the system's roots are taken.
    pub fn with_certificate(mut self, certificates: Certificates) -> Self {
        let roots = self.tls.map_or(Roots::System, |tls| tls.roots);
        self.tls = Some(Tls {
            roots,
            certificates: Some(certificates),
        });
        self
    }
}

/// There is no store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The caller named no member.
    #[error("no member of the etcd is named")]
    NoEndpoints,
    /// The caller named a member in a way that cannot be meant.
    #[error("{endpoint} is no member of an etcd: {reason}")]
    Endpoint {
        /// The member.
        endpoint: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The caller wants TLS and takes any certificate: anybody could answer in place of etcd.
    #[error("etcd is believed, so its certificate must be verified: name the roots")]
    Unverified,
    /// The roots or the certificate cannot be used.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// No member can be used.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Where a store lies in etcd unless told otherwise.
pub const DEFAULT_PATH: &str = "valkyrie";
