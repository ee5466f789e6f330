//! What [`raw`](super::raw) does, through TLS 1.3: rustls over aws-lc-rs, AES-256-GCM, the key exchange of X25519 and
//! ML-KEM-768. The server proves who it is with a certificate that it makes when it starts; the client proves nothing, which is
//! the common way to use TLS and less than both sides of Valkyrie do.

use std::any::Any;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use super::{Client, Ready, raw};
use crate::address::{Address, Socket};
use crate::failure::Failure;
use crate::frames::{self, Listener, Stream};

/// Accepts and serves each connection in a task of its own.
pub(super) async fn serve(socket: Socket, ready: Ready) -> Result<(), Failure> {
    let (listener, address) = Listener::bind(socket).await?;
    let acceptor = acceptor(&address)?;
    ready(address);
    let refused = Failure::io("accept");
    match listener {
        Listener::Tcp(listener) => loop {
            let (stream, _) = listener.accept().await.map_err(&refused)?;
            stream.set_nodelay(true).map_err(&refused)?;
            tokio::spawn(serve_one(acceptor.clone(), stream));
        },
        Listener::Uds(listener) => loop {
            let (stream, _) = listener.accept().await.map_err(&refused)?;
            tokio::spawn(serve_one(acceptor.clone(), stream));
        },
    }
}

async fn serve_one<S: Stream>(acceptor: TlsAcceptor, stream: S) {
    // A client that goes away in its handshake ends its connection, and that is all there is to say about it.
    if let Ok(stream) = Box::pin(acceptor.accept(stream)).await {
        raw::serve_one(stream).await;
    }
}

/// Opens a connection for each purpose; only one is used in a window.
pub(super) async fn connect(address: &Address) -> Result<Box<dyn Client>, Failure> {
    match address {
        Address::Tcp(socket) => {
            let echo = wrap(address, frames::dial_tcp(*socket).await?).await?;
            raw::pair(echo, wrap(address, frames::dial_tcp(*socket).await?).await?).await
        }
        Address::Uds(path) => {
            let echo = wrap(address, frames::dial_uds(path).await?).await?;
            raw::pair(echo, wrap(address, frames::dial_uds(path).await?).await?).await
        }
    }
}

/// Opens one connection and has one byte echoed.
pub(super) async fn connect_idle(address: &Address) -> Result<Box<dyn Any>, Failure> {
    match address {
        Address::Tcp(socket) => {
            let stream = wrap(address, frames::dial_tcp(*socket).await?).await?;
            Ok(Box::new(raw::use_once(stream).await?))
        }
        Address::Uds(path) => {
            let stream = wrap(address, frames::dial_uds(path).await?).await?;
            Ok(Box::new(raw::use_once(stream).await?))
        }
    }
}

async fn wrap<S: Stream>(address: &Address, stream: S) -> Result<TlsStream<S>, Failure> {
    let certificate = fs::read(certificate_file(address)).map_err(Failure::io("read the certificate"))?;
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(certificate))
        .map_err(Failure::of(NAME))?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&tokio_rustls::rustls::version::TLS13])
        .map_err(Failure::of(NAME))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(HOST).map_err(Failure::of(NAME))?;
    let connector = TlsConnector::from(Arc::new(config));
    connector
        .connect(name, stream)
        .await
        .map_err(Failure::io("shake hands"))
}

fn acceptor(address: &Address) -> Result<TlsAcceptor, Failure> {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).map_err(Failure::of(NAME))?;
    let certificate = made.cert.der().clone();
    fs::write(certificate_file(address), &certificate).map_err(Failure::io("write the certificate"))?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
        .map_err(|text| Failure::Control(text.to_owned()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&tokio_rustls::rustls::version::TLS13])
        .map_err(Failure::of(NAME))?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(Failure::of(NAME))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Where the server leaves its certificate for the client, named after the place where it listens.
fn certificate_file(address: &Address) -> PathBuf {
    let name = address
        .to_string()
        .replace(|letter: char| !letter.is_alphanumeric(), "-");
    std::env::temp_dir().join(format!("valkyrie-peers-{name}.der"))
}

const NAME: &str = "tls";
const HOST: &str = "localhost";
