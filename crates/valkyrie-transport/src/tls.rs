//! TLS for the transports that run on it: one configuration, so that QUIC, WebSocket and HTTP cannot differ in it.
//!
//! It is for the authors of transports. TLS 1.3 only, on aws-lc-rs only, with hybrid X25519 and ML-KEM-768 preferred
//! for the exchange of keys. There is no early data and no resumption: a link lives long, and a link that starts anew
//! every time has nothing to replay.
//!
//! What TLS proves here depends on [`Roots`]. By default nothing: any certificate will do, and what makes the link
//! trustworthy is Valkyrie's own handshake, which is bound to this very TLS connection by [`channel_binding`].
//!
//! The signatures name types of rustls, which the rest of this crate's interface does not: a transport hands them on to
//! the library that runs TLS for it.
//!
//! This is the one part of the crate that reads files and a clock. Read [`Certificates`] and [`Roots`] first.

mod certificates;
mod error;
mod pem;
mod roots;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, LazyLock};

use rustls::ConnectionCommon;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::ServerName;

pub use self::certificates::{CHECK_INTERVAL, Certificates};
pub use self::error::TlsError;
pub use self::pem::PEM_BYTES_MAX;
pub use self::roots::Roots;

/// The name to dial with, out of a locator's host: a DNS name, or an address with or without an IPv6 scope.
///
/// With [`Roots::Any`] the name is sent, if it is one, and not compared with anything.
///
/// # Errors
///
/// [`TlsError::Name`].
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    let without_scope = host.split('%').next().unwrap_or(host);
    ServerName::try_from(without_scope.to_owned()).map_err(|_| TlsError::Name {
        host: host.to_owned(),
    })
}

/// Whether a TLS handshake came to nothing because of the peer's certificate. Dialling again is no use then, until somebody
/// changes the roots, the name or the certificate.
#[must_use]
pub fn certificate_refused(error: &io::Error) -> Option<TlsError> {
    match error.get_ref()?.downcast_ref() {
        Some(rustls::Error::InvalidCertificate(reason)) => Some(TlsError::Refused {
            reason: reason.to_string(),
        }),
        _ => None,
    }
}

/// The secret that only the two ends of this TLS connection have, for `Link::channel_binding`; `None` as long as the
/// TLS handshake is not complete.
//= protocol/security.md#bound-channels
#[must_use]
pub fn channel_binding<Data>(connection: &ConnectionCommon<Data>) -> Option<[u8; 32]> {
    connection
        .export_keying_material([0; 32], EXPORTER_LABEL, None)
        .ok()
}

/// The label of the exporter, for libraries that do not show their rustls connection. The context is empty.
//= protocol/security.md#bound-channels
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-valkyrie-2";

/// The cryptography of every configuration made here.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            // The list is written out so that a feature somewhere else in a build cannot change it.
            kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519],
            ..default_provider()
        })
    });
    Arc::clone(&PROVIDER)
}
