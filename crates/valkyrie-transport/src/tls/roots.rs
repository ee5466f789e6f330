//! Whose certificates a dialler takes.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore, SignatureScheme};

use super::{Certificates, TlsError, pem, provider};

/// Whose certificates a dialler takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Roots {
    /// Anyone's. TLS then keeps eavesdroppers out and proves nothing about the other end, which Valkyrie's handshake does,
    /// bound to the same TLS connection. Whoever uses a link without that handshake must choose another value.
    #[default]
    Any,
    /// Those signed, for the name that is dialled, by an authority that this system trusts.
    System,
    /// Those signed, for the name that is dialled, by a certificate in this PEM file. It is read for each
    /// configuration, so a transport that makes one for each dial sees the file change.
    File(PathBuf),
}

impl Roots {
    /// The configuration of a dialler that offers the protocols of `alpn`.
    ///
    /// # Errors
    ///
    /// What [`Roots::File`] names cannot be read or used, the system has no roots, or [`TlsError::Configuration`].
    pub fn client_config(&self, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
        Ok(Arc::new(self.config(alpn)?))
    }

    /// The same, of a dialler that shows one of `certificates` to a listener that asks for it. For servers of others: a Valkyrie
    /// listener does not ask, because the handshake says who dials.
    ///
    /// # Errors
    ///
    /// As for [`Roots::client_config`], and [`TlsError::SelfSigned`].
    pub fn client_config_as(
        &self,
        certificates: &Certificates,
        alpn: &[&[u8]],
    ) -> Result<Arc<ClientConfig>, TlsError> {
        let mut config = self.config(alpn)?;
        config.client_auth_cert_resolver = certificates.for_dialler()?;
        Ok(Arc::new(config))
    }

    fn config(&self, alpn: &[&[u8]]) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| TlsError::Configuration {
                reason: error.to_string(),
            })?;
        let verifier: Arc<dyn ServerCertVerifier> = match self {
            Self::Any => Arc::new(Anyone),
            Self::System => verifier("the system's store", system_roots()?)?,
            Self::File(path) => verifier(&path.display().to_string(), file_roots(path)?)?,
        };
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Ok(config)
    }
}

fn verifier(place: &str, roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| TlsError::Roots {
            place: place.to_owned(),
            reason: error.to_string(),
        })
}

fn file_roots(path: &std::path::Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(path)? {
        // Here somebody chose every certificate, so one that cannot be used is a mistake worth telling.
        roots.add(certificate).map_err(|error| TlsError::Roots {
            place: path.display().to_string(),
            reason: error.to_string(),
        })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems carry certificates that no library takes any more; those are left out.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let first = found.errors.first().map(ToString::to_string);
        return Err(TlsError::Roots {
            place: "the system's store".to_owned(),
            reason: first.unwrap_or_else(|| "it holds no certificate".to_owned()),
        });
    }
    Ok(roots)
}

/// Takes any certificate, but only from whoever has its key.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // TLS 1.2 is not compiled in, so nobody asks.
        Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let provider = provider();
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
