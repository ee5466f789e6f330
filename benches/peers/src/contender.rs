//! Who takes part.
//!
//! Each contender is a module with the same three functions: `serve` listens and never returns, `connect` opens one
//! connection, and the client it returns runs one window at a time.

mod bare;
mod raw;
mod tls;
mod tonic;
mod valkyrie;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use clap::ValueEnum;
use serde::Serialize;

use self::valkyrie::Protection;
use crate::address::{Address, Socket};
use crate::failure::Failure;
use crate::load::{Done, Load};
use crate::scenario::Shape;

/// One contender. The order is that of the turns and of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
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
    pub(crate) const ALL: [Self; 6] = [
        Self::Raw,
        Self::Bare,
        Self::Tls,
        Self::Tonic,
        Self::Plain,
        Self::Valkyrie,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Bare => "bare",
            Self::Tls => "tls",
            Self::Tonic => "tonic",
            Self::Plain => "valkyrie-plain",
            Self::Valkyrie => "valkyrie",
        }
    }

    /// Serves until the process ends.
    pub(crate) async fn serve(self, socket: Socket, ready: Ready) -> Result<(), Failure> {
        match self {
            Self::Raw => raw::serve(socket, ready).await,
            Self::Bare => bare::serve(socket, ready).await,
            Self::Tls => tls::serve(socket, ready).await,
            Self::Tonic => tonic::serve(socket, ready).await,
            Self::Plain => valkyrie::serve(socket, ready, Protection::Plain).await,
            Self::Valkyrie => valkyrie::serve(socket, ready, Protection::Sealed).await,
        }
    }

    /// Opens one connection.
    pub(crate) async fn connect(self, address: &Address) -> Result<Box<dyn Client>, Failure> {
        match self {
            Self::Raw => raw::connect(address).await,
            Self::Bare => bare::connect(address).await,
            Self::Tls => tls::connect(address).await,
            Self::Tonic => tonic::connect(address).await,
            Self::Plain => valkyrie::connect(address, Protection::Plain).await,
            Self::Valkyrie => valkyrie::connect(address, Protection::Sealed).await,
        }
    }

    /// Opens one connection, uses it once, and leaves it idle for as long as the returned value lives.
    pub(crate) async fn connect_idle(self, address: &Address) -> Result<Box<dyn std::any::Any>, Failure> {
        match self {
            Self::Raw => raw::connect_idle(address).await,
            Self::Bare => bare::connect_idle(address).await,
            Self::Tls => tls::connect_idle(address).await,
            Self::Tonic => tonic::connect_idle(address).await,
            Self::Plain => valkyrie::connect_idle(address, Protection::Plain).await,
            Self::Valkyrie => valkyrie::connect_idle(address, Protection::Sealed).await,
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
