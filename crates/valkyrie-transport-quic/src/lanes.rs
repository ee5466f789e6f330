//! A QUIC stream for each lane, and how the two ends agree which is which.

use quinn::{Connection, RecvStream, SendStream, VarInt};

use crate::error::QuicError;
use crate::waiter::Waiter;

/// One lane: both directions of one bidirectional stream.
#[derive(Debug)]
pub(crate) struct LaneStream {
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
    /// Who reads it.
    pub(crate) waiter: Waiter,
    /// Nothing more comes, and why.
    pub(crate) ended: Option<Ended>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The peer finished the lane.
    Finished,
    /// The peer reset the lane, which is no way to end one.
    Reset,
}

pub(crate) type LaneStreams = [LaneStream; LANES as usize];

/// Opens every lane of a connection that this side dialled.
///
/// All of them at once: their first bytes share a packet, either side may be the first to write to any lane, and there
/// is no lane that is only half there.
//= protocol/transports.md#quic
pub(crate) async fn open(connection: &Connection) -> Result<LaneStreams, QuicError> {
    let mut lanes = Vec::with_capacity(usize::from(LANES));
    for lane in 0..LANES {
        let (mut send, recv) = connection.open_bi().await?;
        send.write_all(&[lane]).await.map_err(QuicError::from)?;
        lanes.push(LaneStream {
            send,
            recv,
            waiter: Waiter::new(),
            ended: None,
        });
    }
    finish(lanes)
}

/// Takes every lane of a connection that the peer dialled, in whatever order its packets come.
//= protocol/transports.md#quic
pub(crate) async fn take(connection: &Connection) -> Result<LaneStreams, QuicError> {
    let mut lanes = Vec::with_capacity(usize::from(LANES));
    for lane in 0..LANES {
        // QUIC hands streams out in the order of their ids, and lower ones exist as soon as a higher one does.
        let (send, mut recv) = connection.accept_bi().await?;
        let mut first = [u8::MAX];
        let read = recv.read_exact(&mut first).await;
        if read.is_err() || first != [lane] {
            return match connection.close_reason() {
                Some(reason) => Err(reason.into()),
                None => Err(QuicError::WrongLanes),
            };
        }
        lanes.push(LaneStream {
            send,
            recv,
            waiter: Waiter::new(),
            ended: None,
        });
    }
    finish(lanes)
}

fn finish(lanes: Vec<LaneStream>) -> Result<LaneStreams, QuicError> {
    let lanes: LaneStreams = lanes.try_into().map_err(|_| QuicError::WrongLanes)?;
    // Lane 0 carries what must overtake: critical frames and all control. The others are equal, because the shares
    // among their classes are the session's to decide.
    lanes[0]
        .send
        .set_priority(FIRST_LANE_PRIORITY)
        .map_err(|_| QuicError::WrongLanes)?;
    Ok(lanes)
}

impl LaneStream {
    /// Says that no more will come from us.
    pub(crate) fn finish(&mut self) {
        // Fails only when it was done before.
        let _ = self.send.finish();
    }
}

/// How many lanes a link has: one for each class.
pub const LANES: u8 = 5;

/// The protocol's name in the handshake of TLS.
//= protocol/transports.md#quic
pub const ALPN: &[u8] = b"valkyrie/2";

const FIRST_LANE_PRIORITY: i32 = 1;

/// Why a side closed the connection, in CONNECTION_CLOSE of type 0x1d.
//= protocol/transports.md#quic
pub(crate) mod close_code {
    use super::VarInt;

    /// Everything that the peer sent, on every lane to its end, was read.
    pub(crate) const DONE: VarInt = VarInt::from_u32(0);
    /// The link was dropped.
    pub(crate) const DROPPED: VarInt = VarInt::from_u32(1);
    /// The lanes were not opened as they must be, or one was reset or stopped.
    pub(crate) const LANES: VarInt = VarInt::from_u32(2);
}
