//! Certificates and roots, where somebody chose them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use valkyrie_transport::tls::{Certificates, Roots};
use valkyrie_transport::{Fault, Transport, TransportError, accept};
use valkyrie_transport_quic::QuicTransport;

use crate::support::ends::{dial_error, listen, locator};

/// A transport that listens with a certificate for `name`, and takes that certificate alone.
fn private(name: &str) -> (QuicTransport, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let pair = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()])
        .unwrap()
        .self_signed(&pair)
        .unwrap();
    std::fs::write(&chain, pem("CERTIFICATE", certificate.der())).unwrap();
    std::fs::write(&key, pem("PRIVATE KEY", &pair.serialize_der())).unwrap();
    let transport = QuicTransport::new()
        .with_certificates(Certificates::files(&chain, &key).unwrap())
        .with_roots(Roots::File(chain));
    (transport, folder)
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

#[tokio::test]
async fn a_certificate_of_the_right_root_and_name_is_taken() {
    let (transport, _folder) = private("localhost");
    let mut listener = transport.listen(&locator("quic://localhost:0")).await.unwrap();
    let port = listener.locator().host_port().unwrap().port;
    let place = locator(&format!("quic://localhost:{port}"));
    let (dialled, accepted) = tokio::join!(transport.dial(&place), accept(&mut *listener));
    assert!(dialled.is_ok() && accepted.is_ok());
}

#[tokio::test]
async fn a_certificate_of_another_root_or_name_is_refused() {
    let (ours, _folder) = private("localhost");
    let (theirs, _other) = private("localhost");
    let by_name = listen(&ours).await;
    // The certificate is for the name, and an address is dialled.
    let error = dial_error(&ours, by_name.locator()).await;
    assert!(matches!(error, TransportError::Untrusted { .. }), "{error:?}");
    assert_eq!(error.fault(), Fault::Caller);

    let by_root = theirs.listen(&locator("quic://localhost:0")).await.unwrap();
    let port = by_root.locator().host_port().unwrap().port;
    let error = dial_error(&ours, &locator(&format!("quic://localhost:{port}"))).await;
    assert!(matches!(error, TransportError::Untrusted { .. }), "{error:?}");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn roots_that_cannot_be_read_are_the_callers_fault() {
    let transport = QuicTransport::new().with_roots(Roots::File("/nowhere/roots.pem".into()));
    let error = dial_error(&transport, &locator("quic://127.0.0.1:7")).await;
    assert!(matches!(error, TransportError::Unusable { .. }), "{error:?}");
    assert!(error.to_string().contains("/nowhere/roots.pem"), "{error}");
}
