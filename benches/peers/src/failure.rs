//! What can go wrong in a run.

use std::io;
use std::time::Duration;

use thiserror::Error;

/// Why a figure could not be taken. The other figures stand.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// The operating system refused something.
    #[error("{doing}: {source}")]
    Io {
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    /// A contender's own library answered with an error.
    #[error("{contender}: {message}")]
    Contender {
        contender: &'static str,
        message: String,
    },
    /// An answer is not what was sent.
    #[error("the answer is not the request: sent {sent} bytes, received {received} or other ones")]
    WrongAnswer { sent: usize, received: usize },
    /// Messages of a stream did not arrive.
    #[error("sent {sent} messages one way, but {received} arrived")]
    Lost { sent: u64, received: u64 },
    /// Nothing can be measured over Redis.
    #[error("there is no redis-server on this machine (Debian: apt-get install redis-server)")]
    NoBroker,
    /// The server process ended, or says what the driver does not understand.
    #[error("the server process: {0}")]
    Control(String),
    /// A window did not end in many times its length.
    #[error("nothing ended within {0:?}: a request or a message is lost or stuck")]
    Stuck(Duration),
    /// The report could not be put into a file.
    #[error("the report cannot be written: {0}")]
    Report(#[source] io::Error),
}

impl Failure {
    /// For `map_err`: an error of the operating system while doing something.
    pub(crate) fn io(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// For `map_err`: an error of a contender's library.
    pub(crate) fn of<E: std::fmt::Display>(contender: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::Contender {
            contender,
            message: error.to_string(),
        }
    }
}
