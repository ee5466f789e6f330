//! Frames going out.

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::{Opcode, Side};

/// The bytes before a payload, and the key it is to be masked with.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    bytes: [u8; HEADER_BYTES_MAX],
    length: usize,
    /// The key, for diallers.
    pub mask: Option<[u8; 4]>,
}

impl Header {
    /// The header of a frame of `payload_bytes` that ends its message. Diallers get a key that nobody can predict.
    #[must_use]
    pub fn new(side: Side, opcode: Opcode, payload_bytes: usize) -> Self {
        Self::fragment(side, opcode, payload_bytes, true)
    }

    /// The header of a frame that ends its message or does not.
    #[must_use]
    pub fn fragment(side: Side, opcode: Opcode, payload_bytes: usize, is_final: bool) -> Self {
        let mask = (side == Side::Dialler).then(rand::random);
        let header = FrameHeader {
            is_final,
            opcode: opcode.into(),
            mask,
            ..FrameHeader::default()
        };
        let mut bytes = [0; HEADER_BYTES_MAX];
        let mut room = &mut bytes[..];
        // The longest header has just this room, so formatting does not fail.
        let formatted = header.format(payload_bytes as u64, &mut room);
        debug_assert!(formatted.is_ok());
        let length = HEADER_BYTES_MAX - room.len();
        Self { bytes, length, mask }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// Appends a whole frame, masked if need be; for control frames and tests.
pub fn append_frame(out: &mut impl Extend<u8>, side: Side, opcode: Opcode, payload: &[u8]) {
    let header = Header::new(side, opcode, payload.len());
    out.extend(header.as_bytes().iter().copied());
    let key = header.mask.unwrap_or_default();
    out.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
}

impl From<Opcode> for OpCode {
    fn from(opcode: Opcode) -> Self {
        match opcode {
            Opcode::Continuation => OpCode::Data(Data::Continue),
            Opcode::Text => OpCode::Data(Data::Text),
            Opcode::Binary => OpCode::Data(Data::Binary),
            Opcode::Close => OpCode::Control(Control::Close),
            Opcode::Ping => OpCode::Control(Control::Ping),
            Opcode::Pong => OpCode::Control(Control::Pong),
        }
    }
}

/// The longest header: two bytes, eight of length and four of mask.
pub const HEADER_BYTES_MAX: usize = 14;
