//! Frames coming in: unmasked where they lie, and checked against RFC 6455.

use std::io::Cursor;
use std::ops::Range;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control as ControlCode, Data, OpCode};

use super::encode::HEADER_BYTES_MAX;
use super::{MessageKind, Opcode, Side, apply_mask, close_code};

/// Reads one direction of a connection, whatever way its bytes are cut.
///
/// It holds the frame under way and no payload, except that of a control frame, which is at most 125 bytes.
#[derive(Debug)]
pub struct Decoder {
    side: Side,
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    frame: Option<Frame>,
    /// The message that has begun and not ended.
    message: Option<MessageKind>,
    message_bytes: u64,
    control: Control,
    closed: bool,
}

/// A frame whose payload is arriving.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    is_final: bool,
    left: u64,
    mask: Option<[u8; 4]>,
}

impl Decoder {
    /// A decoder for the end that is `side`: it expects masks of its peer, or none.
    #[must_use]
    pub fn new(side: Side) -> Self {
        Self {
            side,
            header: [0; HEADER_BYTES_MAX],
            header_bytes: 0,
            frame: None,
            message: None,
            message_bytes: 0,
            control: Control::EMPTY,
            closed: false,
        }
    }

    /// Consumes bytes from the front of `bytes` and says how many and what they meant. It consumes at least one byte
    /// of a slice that is not empty; call it until all are consumed. Everything behind a close frame is consumed and
    /// means nothing.
    ///
    /// # Errors
    ///
    /// A [`Violation`]: the peer is at fault, and nothing that follows can be understood.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<Step, Violation> {
        if self.closed {
            return Ok(Step::nothing(bytes.len()));
        }
        let mut consumed = 0;
        if self.frame.is_none() {
            consumed = self.take_header(bytes)?;
            // An empty payload is complete with its header; no other can be looked at without bytes.
            if self.frame.is_none_or(|frame| frame.left > 0) && consumed == bytes.len() {
                return Ok(Step::nothing(consumed));
            }
        }
        let Some(mut frame) = self.frame.take() else {
            return Ok(Step::nothing(consumed));
        };
        let rest = bytes.get_mut(consumed..).unwrap_or_default();
        let here = usize::try_from(frame.left).map_or(rest.len(), |left| left.min(rest.len()));
        let payload = rest.get_mut(..here).unwrap_or_default();
        if let Some(key) = &mut frame.mask {
            apply_mask(payload, key);
        }
        frame.left -= here as u64;
        let event = match frame.opcode {
            Opcode::Ping | Opcode::Pong | Opcode::Close => {
                self.control.append(payload);
                match frame.left {
                    0 => Some(self.end_control(frame.opcode)?),
                    _ => None,
                }
            }
            Opcode::Binary | Opcode::Text | Opcode::Continuation => {
                let kind = self.message.unwrap_or(MessageKind::Binary);
                self.message_bytes += here as u64;
                let ended = frame.left == 0 && frame.is_final;
                let message_bytes = self.message_bytes;
                if ended {
                    self.message = None;
                    self.message_bytes = 0;
                }
                Some(Event::Data {
                    kind,
                    at: consumed..consumed + here,
                    ended,
                    message_bytes,
                })
            }
        };
        self.frame = (frame.left > 0).then_some(frame);
        Ok(Step {
            consumed: consumed + here,
            event,
        })
    }

    /// Consumes bytes of a header, and opens the frame when it is complete.
    fn take_header(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        if self.header_bytes == 0 {
            // Nearly always the header is here as a whole.
            let mut cursor = Cursor::new(bytes.get(..HEADER_BYTES_MAX).unwrap_or(bytes));
            if self.open_frame(&mut cursor)? {
                return Ok(cursor.position() as usize);
            }
        }
        for (index, &byte) in bytes.iter().enumerate() {
            if let Some(place) = self.header.get_mut(self.header_bytes) {
                *place = byte;
                self.header_bytes += 1;
            }
            let header = self.header;
            let have = header.get(..self.header_bytes).unwrap_or(&header);
            if self.open_frame(&mut Cursor::new(have))? {
                self.header_bytes = 0;
                return Ok(index + 1);
            }
        }
        Ok(bytes.len())
    }

    /// Reads a header and checks it. `false` when it is not complete.
    fn open_frame(&mut self, cursor: &mut Cursor<&[u8]>) -> Result<bool, Violation> {
        let parsed = FrameHeader::parse(cursor).map_err(|_| Violation::Opcode)?;
        let Some((header, length)) = parsed else {
            return Ok(false);
        };
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Violation::ReservedBits);
        }
        match (self.side, header.mask) {
            (Side::Acceptor, None) => return Err(Violation::NotMasked),
            (Side::Dialler, Some(_)) => return Err(Violation::Masked),
            _ => {}
        }
        // A length above 63 bits and one written with more bytes than it needs are no lengths.
        if length > i64::MAX as u64 || cursor.position() != header.len(length) as u64 {
            return Err(Violation::Length);
        }
        let opcode = match header.opcode {
            OpCode::Control(control) => {
                if !header.is_final {
                    return Err(Violation::ControlFragmented);
                }
                if length > CONTROL_BYTES_MAX as u64 {
                    return Err(Violation::ControlTooLong { length });
                }
                self.control = Control::EMPTY;
                match control {
                    ControlCode::Close => Opcode::Close,
                    ControlCode::Ping => Opcode::Ping,
                    ControlCode::Pong => Opcode::Pong,
                    ControlCode::Reserved(_) => return Err(Violation::Opcode),
                }
            }
            OpCode::Data(data) => self.open_data(data, length)?,
        };
        self.frame = Some(Frame {
            opcode,
            is_final: header.is_final,
            left: length,
            mask: header.mask,
        });
        Ok(true)
    }

    fn open_data(&mut self, data: Data, length: u64) -> Result<Opcode, Violation> {
        let (opcode, kind) = match (data, self.message) {
            (Data::Continue, Some(kind)) => (Opcode::Continuation, kind),
            (Data::Continue, None) => return Err(Violation::NothingToContinue),
            (Data::Binary | Data::Text, Some(_)) => return Err(Violation::Interleaved),
            (Data::Binary, None) => (Opcode::Binary, MessageKind::Binary),
            (Data::Text, None) => (Opcode::Text, MessageKind::Text),
            (Data::Reserved(_), _) => return Err(Violation::Opcode),
        };
        if length > FRAME_BYTES_MAX {
            return Err(Violation::FrameTooLarge { length });
        }
        if self.message_bytes + length > MESSAGE_BYTES_MAX {
            return Err(Violation::MessageTooLarge);
        }
        self.message = Some(kind);
        Ok(opcode)
    }

    fn end_control(&mut self, opcode: Opcode) -> Result<Event, Violation> {
        let control = self.control;
        match opcode {
            Opcode::Ping => Ok(Event::Ping(control)),
            Opcode::Pong => Ok(Event::Pong(control)),
            _ => {
                self.closed = true;
                Close::parse(control.as_bytes()).map(Event::Close)
            }
        }
    }
}

/// What [`Decoder::decode`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How many bytes it consumed from the front of the slice.
    pub consumed: usize,
    /// What they meant, if that much is known.
    pub event: Option<Event>,
}

impl Step {
    fn nothing(consumed: usize) -> Self {
        Self {
            consumed,
            event: None,
        }
    }
}

/// What bytes meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes of a message.
    Data {
        /// Of which kind.
        kind: MessageKind,
        /// Where in the slice they lie, unmasked. Empty where a fragment is.
        at: Range<usize>,
        /// The message ends with them.
        ended: bool,
        /// Bytes of the message so far, these included.
        message_bytes: u64,
    },
    /// The peer wants this sent back as a pong.
    Ping(Control),
    /// The peer sent this back, or by itself.
    Pong(Control),
    /// The peer sends no more.
    Close(Close),
}

/// The payload of a control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    bytes: [u8; CONTROL_BYTES_MAX],
    length: usize,
}

impl Control {
    const EMPTY: Self = Self {
        bytes: [0; CONTROL_BYTES_MAX],
        length: 0,
    };

    /// The payload.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn append(&mut self, payload: &[u8]) {
        for (place, byte) in self.bytes.iter_mut().skip(self.length).zip(payload) {
            *place = *byte;
            self.length += 1;
        }
    }
}

/// What a close frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code, if there is one.
    pub code: Option<u16>,
    /// The reason, for people; often empty. Control characters are left out of it.
    pub reason: String,
}

impl Close {
    fn parse(payload: &[u8]) -> Result<Self, Violation> {
        let Some((code, reason)) = payload.split_first_chunk::<2>() else {
            return match payload {
                [] => Ok(Self {
                    code: None,
                    reason: String::new(),
                }),
                _ => Err(Violation::CloseTooShort),
            };
        };
        let code = u16::from_be_bytes(*code);
        if !CloseCode::from(code).is_allowed() {
            return Err(Violation::CloseCode { code });
        }
        let reason = std::str::from_utf8(reason).map_err(|_| Violation::CloseReason)?;
        Ok(Self {
            code: Some(code),
            reason: reason.chars().filter(|c| !c.is_control()).collect(),
        })
    }
}

/// The peer broke a rule of RFC 6455. Nothing behind it can be understood; the connection is to be closed with
/// [`Violation::close_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The opcode is reserved.
    #[error("the peer sent a WebSocket frame with a reserved opcode")]
    Opcode,
    /// A reserved bit is set, and no extension was agreed on.
    #[error(
        "the peer set a reserved bit of a WebSocket frame, and no extension such as compression was agreed on"
    )]
    ReservedBits,
    /// A dialler did not mask.
    #[error("the peer sent a WebSocket frame without a mask, which diallers must not")]
    NotMasked,
    /// An acceptor masked.
    #[error("the peer masked a WebSocket frame, which acceptors must not")]
    Masked,
    /// The length has its top bit set, or is written with more bytes than it needs.
    #[error("the peer wrote the length of a WebSocket frame in a way that is not permitted")]
    Length,
    /// A control frame is not the whole of its message.
    #[error("the peer sent a control frame in fragments")]
    ControlFragmented,
    /// A control frame is longer than 125 bytes.
    #[error("the peer sent a control frame of {length} bytes, and at most {CONTROL_BYTES_MAX} are permitted")]
    ControlTooLong {
        /// Its length.
        length: u64,
    },
    /// A continuation of nothing.
    #[error("the peer continued a WebSocket message that it had not begun")]
    NothingToContinue,
    /// A message began within another.
    #[error("the peer began a WebSocket message within another")]
    Interleaved,
    /// A frame is longer than [`FRAME_BYTES_MAX`].
    #[error("the peer sent a WebSocket frame of {length} bytes, and at most {FRAME_BYTES_MAX} are accepted")]
    FrameTooLarge {
        /// Its length.
        length: u64,
    },
    /// A message is longer than [`MESSAGE_BYTES_MAX`].
    #[error("the peer sent a WebSocket message of more than the {MESSAGE_BYTES_MAX} bytes that are accepted")]
    MessageTooLarge,
    /// A close frame has one byte, which is no code.
    #[error("the peer sent a close frame with half a code")]
    CloseTooShort,
    /// A close code that nobody may send.
    #[error("the peer sent a close frame with code {code}, which must not be sent")]
    CloseCode {
        /// The code.
        code: u16,
    },
    /// The reason of a close frame is not UTF-8.
    #[error("the peer sent a close frame whose reason is not UTF-8")]
    CloseReason,
}

impl Violation {
    /// The code to close the connection with.
    #[must_use]
    pub fn close_code(&self) -> u16 {
        match self {
            Self::FrameTooLarge { .. } | Self::MessageTooLarge => close_code::TOO_LARGE,
            Self::CloseReason => close_code::NOT_UTF8,
            _ => close_code::PROTOCOL,
        }
    }
}

/// The longest frame that is accepted: 16 MiB. Payloads are not gathered, so this is no bound on memory; it tells a peer
/// that lost its place from one that has much to say.
pub const FRAME_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The longest message that is accepted: 128 MiB, twice the longest frame of Valkyrie. Our own ends send one frame a
/// message; peers and proxies may cut them otherwise.
pub const MESSAGE_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// RFC 6455, section 5.5.
const CONTROL_BYTES_MAX: usize = 125;
