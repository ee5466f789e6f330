//! What [`raw`](super::raw) does, through TLS 1.3: rustls over aws-lc-rs, AES-256-GCM, the key exchange of X25519 and
//! ML-KEM-768. The server proves who it is with a certificate that it makes when it starts; the client proves nothing, which is
//! the common way to use TLS and less than both sides of Valkyrie do.

use std::any::Any;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use super::{Client, Ready, certificate, raw};
use crate::address::{Address, Socket};
use crate::failure::Failure;
use crate::frames::{self, Listener, Stream};

/// Accepts and serves each connection in a task of its own.
pub(super) async fn serve(socket: Socket, ready: Ready) -> Result<(), Failure> {
    let (listener, address) = Listener::bind(socket).await?;
    let acceptor = TlsAcceptor::from(Arc::new(certificate::server(&address)?));
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
        Address::Uds(path) => {
            let echo = wrap(address, frames::dial_uds(path).await?).await?;
            raw::pair(echo, wrap(address, frames::dial_uds(path).await?).await?).await
        }
        other => {
            let echo = wrap(address, frames::dial_tcp(other.port()?).await?).await?;
            raw::pair(echo, wrap(address, frames::dial_tcp(other.port()?).await?).await?).await
        }
    }
}

/// Opens one connection and has one byte echoed.
pub(super) async fn connect_idle(address: &Address) -> Result<Box<dyn Any>, Failure> {
    match address {
        Address::Uds(path) => {
            let stream = wrap(address, frames::dial_uds(path).await?).await?;
            Ok(Box::new(raw::use_once(stream).await?))
        }
        other => {
            let stream = wrap(address, frames::dial_tcp(other.port()?).await?).await?;
            Ok(Box::new(raw::use_once(stream).await?))
        }
    }
}

async fn wrap<S: Stream>(address: &Address, stream: S) -> Result<TlsStream<S>, Failure> {
    let name = ServerName::try_from(certificate::HOST).map_err(Failure::of(NAME))?;
    let connector = TlsConnector::from(Arc::new(certificate::client(address)?));
    connector
        .connect(name, stream)
        .await
        .map_err(Failure::io("shake hands"))
}

const NAME: &str = "tls";
