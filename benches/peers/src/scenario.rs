//! What is measured: every combination of socket, shape, payload and messages in flight.

use std::fmt;

use serde::Serialize;

use crate::address::Socket;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Scenario {
    pub(crate) socket: Socket,
    #[serde(flatten)]
    pub(crate) shape: Shape,
    pub(crate) payload_bytes: usize,
}

/// Whether messages are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "shape", rename_all = "lowercase")]
pub(crate) enum Shape {
    /// Each message is echoed; so many wait for their answer at any moment.
    Unary { in_flight: usize },
    /// Messages of one stream in each direction, sent back in order; so many are on their way at any moment.
    Echo { in_flight: usize },
    /// Messages in one direction, in order, acknowledged once at the end.
    Stream,
}

/// Every scenario, in the order of the table.
pub(crate) fn all() -> impl Iterator<Item = Scenario> {
    Socket::ALL.into_iter().flat_map(|socket| {
        let payloads = match socket.is_bare() {
            true => &UNARY_PAYLOADS[..],
            // How size counts is a matter of the protocol and shown there; here it is what the transport costs.
            false => &UNARY_PAYLOADS[..1],
        };
        let unary = IN_FLIGHT.into_iter().flat_map(move |in_flight| {
            payloads
                .iter()
                .copied()
                .map(move |payload_bytes| (Shape::Unary { in_flight }, payload_bytes))
        });
        // What a library without calls does is a stream's matter, and compared with one.
        let echo = IN_FLIGHT.into_iter().filter(move |_| !socket.is_bare());
        let echo = echo.map(|in_flight| (Shape::Echo { in_flight }, UNARY_PAYLOADS[0]));
        let stream = STREAM_PAYLOADS
            .into_iter()
            .map(|payload_bytes| (Shape::Stream, payload_bytes));
        unary
            .chain(echo)
            .chain(stream)
            .map(move |(shape, payload_bytes)| Scenario {
                socket,
                shape,
                payload_bytes,
            })
    })
}

impl Scenario {
    /// Whether it is the bytes and not the messages that are worth counting.
    pub(crate) fn is_bulk(&self) -> bool {
        self.shape == Shape::Stream && self.payload_bytes >= BULK
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            socket,
            payload_bytes,
            ..
        } = *self;
        match self.shape {
            Shape::Unary { in_flight } => write!(f, "{socket}/unary/{}/{in_flight}", size(payload_bytes)),
            Shape::Echo { in_flight } => write!(f, "{socket}/echo/{}/{in_flight}", size(payload_bytes)),
            Shape::Stream => write!(f, "{socket}/stream/{}", size(payload_bytes)),
        }
    }
}

fn size(bytes: usize) -> String {
    if bytes >= 1024 && bytes.is_multiple_of(1024) {
        format!("{}KiB", bytes / 1024)
    } else {
        format!("{bytes}B")
    }
}

/// One shows latency, 256 what batching is worth.
const IN_FLIGHT: [usize; 2] = [1, 256];
/// Small enough that overhead is all there is, a common size, and one that spans several frames.
const UNARY_PAYLOADS: [usize; 3] = [64, 1024, 64 * 1024];
const STREAM_PAYLOADS: [usize; 2] = [64, 64 * 1024];
const BULK: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::all;

    #[test]
    fn names_tell_scenarios_apart() {
        let names: std::collections::BTreeSet<_> = all().map(|scenario| scenario.to_string()).collect();
        assert_eq!(names.len(), all().count());
        assert!(names.contains("uds/unary/64B/256"));
        assert!(names.contains("tcp/stream/64KiB"));
        assert!(names.contains("quic/echo/64B/256") && !names.contains("tcp/echo/64B/256"));
        assert!(names.contains("redis/unary/64B/1") && !names.contains("redis/unary/1KiB/1"));
    }
}
