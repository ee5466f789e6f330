//! Who takes part.
//!
//! Each contender is a module with the same functions: `serve` listens and never returns, `connect` opens what one client
//! needs, and the client it returns runs one window at a time.

mod axum;
mod bare;
mod certificate;
mod flight;
mod h2;
mod messages;
mod quinn;
mod raw;
mod redis;
mod tls;
mod tonic;
mod tungstenite;
mod valkyrie;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use clap::ValueEnum;
use serde::Serialize;

use self::valkyrie::Protection;
use crate::address::{Address, Site, Socket};
use crate::failure::Failure;
use crate::load::{Done, Load};
use crate::scenario::{Scenario, Shape};

/// One contender. The order is that of the turns and of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contender {
    /// Length-prefixed messages straight on tokio's sockets: the ceiling. It has no calls, so its answers must come
    /// in order and nothing can be told apart.
    Raw,
    /// Length-prefixed messages with a call number and a table of who waits: the least that is an RPC.
    Bare,
    /// The ceiling through TLS 1.3 as rustls has it, with the hybrid key exchange.
    Tls,
    /// gRPC over HTTP/2, with a codec that passes bytes through.
    Tonic,
    /// The ceiling on one stream of QUIC.
    Quinn,
    /// A stream of QUIC for each request.
    QuinnRequests,
    /// Each message a datagram of QUIC.
    QuinnDatagrams,
    /// Each message one of WebSocket.
    Tungstenite,
    /// The ceiling on the bodies of one HTTP/2 request.
    H2,
    /// A request of HTTP/1.1 for each call, and a connection for each call in flight.
    #[value(name = "axum-h1")]
    #[serde(rename = "axum-h1")]
    AxumH1,
    /// A request of HTTP/2 for each call.
    #[value(name = "axum-h2")]
    #[serde(rename = "axum-h2")]
    AxumH2,
    /// Each message a `PUBLISH`.
    RedisRs,
    /// This project where both ends ask for a plain connection.
    #[serde(rename = "valkyrie-plain")]
    #[value(name = "valkyrie-plain")]
    Plain,
    /// This project as it is: authenticated and sealed.
    Valkyrie,
}

/// A future of a client; one a window, so that boxing it costs nothing that is measured.
pub(crate) type Running<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + 'a>>;

/// One open connection of a contender.
pub(crate) trait Client {
    /// Runs one window and waits until everything that was sent is answered or acknowledged.
    fn run<'a>(&'a mut self, shape: Shape, load: &'a Load) -> Running<'a, Done>;
}

/// Told once, when a server listens.
pub(crate) type Ready = Box<dyn FnOnce(Address)>;

impl Contender {
    pub(crate) const ALL: [Self; 14] = [
        Self::Raw,
        Self::Bare,
        Self::Tls,
        Self::Tonic,
        Self::Quinn,
        Self::QuinnRequests,
        Self::QuinnDatagrams,
        Self::Tungstenite,
        Self::H2,
        Self::AxumH1,
        Self::AxumH2,
        Self::RedisRs,
        Self::Plain,
        Self::Valkyrie,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Bare => "bare",
            Self::Tls => "tls",
            Self::Tonic => "tonic",
            Self::Quinn => "quinn",
            Self::QuinnRequests => "quinn-requests",
            Self::QuinnDatagrams => "quinn-datagrams",
            Self::Tungstenite => "tungstenite",
            Self::H2 => "h2",
            Self::AxumH1 => "axum-h1",
            Self::AxumH2 => "axum-h2",
            Self::RedisRs => "redis-rs",
            Self::Plain => "valkyrie-plain",
            Self::Valkyrie => "valkyrie",
        }
    }

    /// Who the others are divided by: the library that carries the messages, by itself.
    pub(crate) fn alone_on(socket: Socket) -> Self {
        match socket {
            Socket::Uds | Socket::Tcp => Self::Raw,
            Socket::Quic => Self::Quinn,
            Socket::Ws => Self::Tungstenite,
            Socket::Http => Self::H2,
            Socket::Redis => Self::RedisRs,
        }
    }

    /// Whether it is one of those that Valkyrie is compared with.
    pub(crate) fn is_peer(self) -> bool {
        !matches!(self, Self::Plain | Self::Valkyrie)
    }

    /// Whether it carries messages and makes no calls: what it echoes is compared with a stream.
    pub(crate) fn is_pipe(self) -> bool {
        matches!(
            self,
            Self::Raw
                | Self::Tls
                | Self::Quinn
                | Self::QuinnDatagrams
                | Self::Tungstenite
                | Self::H2
                | Self::RedisRs
        )
    }

    /// Whether this can be measured with it.
    pub(crate) fn takes_part(self, scenario: &Scenario) -> bool {
        let unary = matches!(scenario.shape, Shape::Unary { .. });
        match self {
            Self::Raw | Self::Bare | Self::Tls | Self::Tonic => scenario.socket.is_bare(),
            Self::Quinn => scenario.socket == Socket::Quic,
            Self::QuinnRequests => scenario.socket == Socket::Quic && unary,
            Self::QuinnDatagrams => {
                scenario.socket == Socket::Quic && scenario.payload_bytes <= DATAGRAM_BYTES_MAX
            }
            Self::Tungstenite => scenario.socket == Socket::Ws,
            Self::H2 => scenario.socket == Socket::Http,
            Self::AxumH1 | Self::AxumH2 => scenario.socket == Socket::Http && unary,
            Self::RedisRs => scenario.socket == Socket::Redis,
            Self::Plain | Self::Valkyrie => true,
        }
    }

    /// Whether its idle connections are worth counting. The bare RPC keeps its buffers, so there is nothing to learn from it.
    pub(crate) fn rests(self) -> bool {
        matches!(
            self,
            Self::Raw | Self::Tls | Self::Tonic | Self::Plain | Self::Valkyrie
        )
    }

    /// Serves until the process ends.
    pub(crate) async fn serve(self, site: Site, ready: Ready) -> Result<(), Failure> {
        match self {
            Self::Raw => raw::serve(site.socket, ready).await,
            Self::Bare => bare::serve(site.socket, ready).await,
            Self::Tls => tls::serve(site.socket, ready).await,
            Self::Tonic => tonic::serve(site.socket, ready).await,
            Self::Quinn => quinn::serve(ready).await,
            Self::QuinnRequests => quinn::requests::serve(ready).await,
            Self::QuinnDatagrams => quinn::datagrams::serve(ready).await,
            Self::Tungstenite => tungstenite::serve(site.socket, ready).await,
            Self::H2 => h2::serve(site.socket, ready).await,
            Self::AxumH1 | Self::AxumH2 => axum::serve(site.socket, ready).await,
            Self::RedisRs => redis::serve(site.broker()?, ready).await,
            Self::Plain => valkyrie::serve(site, ready, Protection::Plain).await,
            Self::Valkyrie => valkyrie::serve(site, ready, Protection::Sealed).await,
        }
    }

    /// Opens what one client needs, which is one connection for most.
    pub(crate) async fn connect(self, address: &Address) -> Result<Box<dyn Client>, Failure> {
        match self {
            Self::Raw => raw::connect(address).await,
            Self::Bare => bare::connect(address).await,
            Self::Tls => tls::connect(address).await,
            Self::Tonic => tonic::connect(address).await,
            Self::Quinn => quinn::connect(address).await,
            Self::QuinnRequests => quinn::requests::connect(address).await,
            Self::QuinnDatagrams => quinn::datagrams::connect(address).await,
            Self::Tungstenite => tungstenite::connect(address).await,
            Self::H2 => h2::connect(address).await,
            Self::AxumH1 => axum::connect_h1(address).await,
            Self::AxumH2 => axum::connect_h2(address).await,
            Self::RedisRs => redis::connect(address).await,
            Self::Plain => valkyrie::connect(address, Protection::Plain).await,
            Self::Valkyrie => valkyrie::connect(address, Protection::Sealed).await,
        }
    }

    /// Opens one connection, uses it once, and leaves it idle for as long as the returned value lives.
    pub(crate) async fn connect_idle(self, address: &Address) -> Result<Box<dyn std::any::Any>, Failure> {
        match self {
            Self::Raw => raw::connect_idle(address).await,
            Self::Tls => tls::connect_idle(address).await,
            Self::Tonic => tonic::connect_idle(address).await,
            Self::Plain => valkyrie::connect_idle(address, Protection::Plain).await,
            Self::Valkyrie => valkyrie::connect_idle(address, Protection::Sealed).await,
            _ => Err(Failure::Control(format!("{self} is not measured idle"))),
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a datagram holds in the smallest packet that QUIC allows, 1,200 bytes.
const DATAGRAM_BYTES_MAX: usize = 1100;
