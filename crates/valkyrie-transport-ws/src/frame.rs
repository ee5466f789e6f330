//! WebSocket frames by themselves: headers, masks, fragments, control frames and the rules of RFC 6455, section 5.
//!
//! It does no I/O and keeps no payload: a [`Decoder`] is shown bytes where they lie, unmasks them in place and says what
//! they are. What a message means is left to the caller; a link accepts binary messages only.
//!
//! The layout of headers, the opcodes and the permitted close codes are tungstenite's.

mod decode;
mod encode;
mod mask;
#[cfg(test)]
mod tests;

pub use self::decode::{Close, Control, Decoder, Event, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, Step, Violation};
pub use self::encode::{HEADER_BYTES_MAX, Header, append_frame};
pub use self::mask::apply_mask;

/// Which end of the connection one is. Diallers mask what they send, acceptors do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client of RFC 6455.
    Dialler,
    /// The server of RFC 6455.
    Acceptor,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// Bytes.
    Binary,
    /// UTF-8, which the decoder does not check.
    Text,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// More of the message that is under way.
    Continuation,
    /// The first frame of a text message.
    Text,
    /// The first frame of a binary message.
    Binary,
    /// The last frame of a direction.
    Close,
    /// To be answered with the same payload.
    Ping,
    /// The answer.
    Pong,
}

/// Close codes of RFC 6455, section 7.4.1, as far as links send them.
pub mod close_code {
    /// Both directions have ended as they should.
    pub const NORMAL: u16 = 1000;
    /// The peer goes away: a server that stops, a page that is left.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke a rule of WebSocket or of this binding.
    pub const PROTOCOL: u16 = 1002;
    /// The peer sent text.
    pub const UNSUPPORTED: u16 = 1003;
    /// The reason of a close frame was not UTF-8.
    pub const NOT_UTF8: u16 = 1007;
    /// A frame or a message was longer than the bound.
    pub const TOO_LARGE: u16 = 1009;
}
