//! An HTTP/2 connection that carries one link, from either end, and its bounds.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, client, server};

use crate::io::Io;

/// The connection, to be polled until it is done.
#[derive(Debug)]
pub(crate) enum Conn {
    Client(Box<client::Connection<Io, Bytes>>),
    Server(Box<server::Connection<Io, Bytes>>),
}

impl Conn {
    /// Reads and writes what can be read and written now. Ready when the connection is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        match self {
            Self::Client(conn) => Pin::new(&mut **conn).poll(cx),
            Self::Server(conn) => loop {
                match ready!(conn.poll_accept(cx)) {
                    //= protocol/transports.md#http
                    Some(Ok((_, mut respond))) => respond.send_reset(Reason::REFUSED_STREAM),
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    None => return Poll::Ready(Ok(())),
                }
            },
        }
    }

    /// Allows the peer a full window. An error means: not now, ask again.
    pub(crate) fn widen(&mut self) -> Result<(), h2::Error> {
        match self {
            Self::Client(conn) => {
                conn.set_initial_window_size(WINDOW_BYTES)?;
                conn.set_target_window_size(WINDOW_BYTES);
            }
            Self::Server(conn) => {
                conn.set_initial_window_size(WINDOW_BYTES)?;
                conn.set_target_window_size(WINDOW_BYTES);
            }
        }
        Ok(())
    }
}

/// The settings of a dialler.
pub(crate) fn client() -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(WINDOW_FIRST_BYTES)
        .initial_connection_window_size(WINDOW_FIRST_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_concurrent_reset_streams(RESETS_MAX)
        .max_send_buffer_size(2 * OUT_BYTES_MAX)
        .data_frame_budget(DATA_FRAME_BUDGET);
    builder
}

/// The settings of an acceptor.
pub(crate) fn server() -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(1)
        .initial_window_size(WINDOW_FIRST_BYTES)
        .initial_connection_window_size(WINDOW_FIRST_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_concurrent_reset_streams(RESETS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(Some(RESETS_MAX))
        .max_send_buffer_size(2 * OUT_BYTES_MAX)
        .data_frame_budget(DATA_FRAME_BUDGET);
    builder
}

/// What a peer may send ahead of a reader. 1 MiB keeps 10 Gbit/s busy over a millisecond and 100 Mbit/s over 80.
pub const WINDOW_BYTES: u32 = 1024 * 1024;

/// The window until the link is in use: all that a peer is trusted with before it has shown who it is. It is the one that
/// every HTTP/2 connection begins with.
pub const WINDOW_FIRST_BYTES: u32 = 65_535;

/// The largest frame that is taken: as much as is read from the socket at a time, and as a peer may send unasked. The library reads a
/// frame at a time and writes one with a system call, so that the 16 KiB that HTTP/2 begins with would cost four times as many.
pub const FRAME_BYTES_MAX: u32 = 64 * 1024 - 1;

/// How much is read from a link before it counts as in use. Any handshake and opening is shorter.
pub const WIDEN_AFTER_BYTES: usize = 16 * 1024;

/// The most that one write takes: one batch of an endpoint, which ends with the frame that takes it past 128 KiB. What the system does
/// not take of it is kept by the link.
pub const OUT_BYTES_MAX: usize = (128 + 16 + 4) * 1024;

/// How much is read from the socket before what it brought is taken out of the HTTP/2 library. It keeps frames apart, at
/// about a hundred bytes each beside their payload, so that frames of one byte would cost it many times their size.
pub const READ_QUANTUM_BYTES: usize = 64 * 1024;

/// How much overhead of small frames the HTTP/2 library lets pass before it ends the connection. It counts 256 bytes for
/// each frame, less its payload, as long as the frame is with it: this is somewhat more than a quantum of the smallest
/// frames, of ten bytes each, and what the library itself reads ahead.
pub const DATA_FRAME_BUDGET: usize = 4 * 1024 * 1024;

/// The longest head of a request or an answer, as HTTP/2 counts it. Proxies add a few fields to the few that are needed.
pub const HEAD_BYTES_MAX: u32 = 16 * 1024;

/// How many resets of requests are remembered, or waited for. A connection carries one request.
pub const RESETS_MAX: usize = 8;
