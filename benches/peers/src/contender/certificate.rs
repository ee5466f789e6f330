//! The certificate that a server of TLS makes when it starts, and leaves in a file for its client.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs};

use crate::address::Address;
use crate::failure::Failure;

/// TLS 1.3 alone, with a certificate for the server at `address`, which is left for its client.
pub(super) fn server(address: &Address) -> Result<ServerConfig, Failure> {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).map_err(Failure::of(NAME))?;
    let certificate = made.cert.der().clone();
    fs::write(file(address), &certificate).map_err(Failure::io("write the certificate"))?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
        .map_err(|text| Failure::Control(text.to_owned()))?;
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(Failure::of(NAME))?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(Failure::of(NAME))
}

/// TLS 1.3 alone, for a client that trusts the server at `address` and no other.
pub(super) fn client(address: &Address) -> Result<ClientConfig, Failure> {
    let certificate = fs::read(file(address)).map_err(Failure::io("read the certificate"))?;
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(certificate))
        .map_err(Failure::of(NAME))?;
    Ok(
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(Failure::of(NAME))?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

/// Named after the place where the server listens.
fn file(address: &Address) -> PathBuf {
    let name = address
        .to_string()
        .replace(|letter: char| !letter.is_alphanumeric(), "-");
    std::env::temp_dir().join(format!("valkyrie-peers-{name}.der"))
}

/// Whom the certificate is for.
pub(super) const HOST: &str = "localhost";
const NAME: &str = "tls";
