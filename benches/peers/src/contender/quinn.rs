//! quinn, QUIC by itself, in the three ways that a program may use it: one stream that carries all messages as
//! [`raw`](super::raw) does, a stream for each request, and datagrams.
//!
//! Windows, congestion control and sizes of packets are as quinn ships them.

pub(super) mod datagrams;
pub(super) mod requests;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig, TransportConfig, VarInt};
use tokio::io::join;

use super::{Client, Ready, certificate, raw};
use crate::address::{Address, Socket};
use crate::failure::Failure;

/// Accepts and serves each stream in a task of its own.
pub(super) async fn serve(ready: Ready) -> Result<(), Failure> {
    accept(ready, |connection| async move {
        while let Ok((send, recv)) = connection.accept_bi().await {
            tokio::spawn(raw::serve_one(join(recv, send)));
        }
    })
    .await
}

/// Opens a connection with a stream for each purpose; only one is used in a window.
pub(super) async fn connect(address: &Address) -> Result<Box<dyn Client>, Failure> {
    let connection = open(address).await?;
    let echo = connection.open_bi().await.map_err(Failure::of(NAME))?;
    let sink = connection.open_bi().await.map_err(Failure::of(NAME))?;
    raw::pair(join(echo.1, echo.0), join(sink.1, sink.0)).await
}

/// Accepts connections and serves each in a task of its own.
async fn accept<F>(ready: Ready, serve: impl Fn(Connection) -> F) -> Result<(), Failure>
where
    F: Future<Output = ()> + Send + 'static,
{
    let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let endpoint = endpoint.map_err(Failure::io("listen"))?;
    let at = endpoint.local_addr().map_err(Failure::io("listen"))?;
    let address = Address::Port(Socket::Quic, at);
    let crypto = QuicServerConfig::try_from(certificate::server(&address)?).map_err(Failure::of(NAME))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX));
    config.transport_config(Arc::new(transport));
    endpoint.set_server_config(Some(config));
    ready(address);
    while let Some(incoming) = endpoint.accept().await {
        let connection = incoming.await.map_err(Failure::of(NAME))?;
        tokio::spawn(serve(connection));
    }
    Ok(())
}

async fn open(address: &Address) -> Result<Connection, Failure> {
    let crypto = QuicClientConfig::try_from(certificate::client(address)?).map_err(Failure::of(NAME))?;
    let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let connecting = endpoint.map_err(Failure::io("connect"))?.connect_with(
        ClientConfig::new(Arc::new(crypto)),
        address.port()?,
        certificate::HOST,
    );
    connecting
        .map_err(Failure::of(NAME))?
        .await
        .map_err(Failure::of(NAME))
}

const NAME: &str = "quinn";
/// More than are in flight; quinn's own hundred would hold the others up.
const STREAMS_MAX: u32 = 1024;
