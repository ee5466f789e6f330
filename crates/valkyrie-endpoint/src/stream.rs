//! Streams: messages both ways, in order, each direction ended by itself.
//!
//! Read [`SendStream`] and [`RecvStream`]; [`Open`] makes a pair of them, [`IncomingStream`] takes one that the peer
//! opened.

mod incoming;
mod open;
mod recv;
mod send;

pub use self::incoming::IncomingStream;
pub use self::open::Open;
pub use self::recv::RecvStream;
pub use self::send::SendStream;
