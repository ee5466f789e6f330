//! The frames that carry a handshake: KEY_EXCHANGE, AUTH_CHALLENGE and AUTH_FAILURE, to bytes and back.
//!
//! Nothing here decides anything; what a message means is for the two machines.

use bytes::{Buf, BufMut, BytesMut};
use valkyrie_frame::{ErrorCode, Flags, FrameRef, Header, Kind, Priority, StreamId};

use super::HandshakeError;
use crate::suite::SuiteId;

/// Whether the records of a channel are sealed, or the link below seals already.
//= protocol/security.md#bound-channels
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protection {
    /// Every byte travels in a sealed record.
    Sealed,
    /// The link below encrypts and is bound to the handshake; frames travel on it as they are.
    Bound,
}

/// What travels in clear in front of the first Noise message, all of which is hashed into the handshake.
//= protocol/security.md#key-exchange
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) protection: Protection,
    pub(crate) suite: SuiteId,
    /// In the dialler's order of preference.
    pub(crate) offered: Vec<SuiteId>,
    pub(crate) cookie: Option<[u8; COOKIE_LEN]>,
    pub(crate) ticket: Option<[u8; TICKET_LEN]>,
}

impl Offer {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let protection = match self.protection {
            Protection::Sealed => 0,
            Protection::Bound => 1,
        };
        let offered = &self.offered[..self.offered.len().min(OFFERED_MAX)];
        out.extend([
            FIRST,
            CHANNEL_VERSION,
            protection,
            self.suite.0,
            offered.len() as u8,
        ]);
        out.extend(offered.iter().map(|suite| suite.0));
        put_optional(out, self.cookie.as_ref().map(<[u8; COOKIE_LEN]>::as_slice));
        put_optional(out, self.ticket.as_ref().map(<[u8; TICKET_LEN]>::as_slice));
    }

    /// Reads the payload of a first KEY_EXCHANGE: the offer, how many bytes it takes, and the Noise message behind it.
    pub(crate) fn decode(payload: &[u8]) -> Result<(Self, &[u8], &[u8]), HandshakeError> {
        let mut rest = payload;
        let [step, version, protection, suite] = take::<4>(&mut rest).ok_or(SHORT)?;
        if step != FIRST {
            return Err(HandshakeError::Malformed("the first message is not numbered 1"));
        }
        if version != CHANNEL_VERSION {
            return Err(HandshakeError::ChannelVersion(version));
        }
        let protection = match protection {
            0 => Protection::Sealed,
            1 => Protection::Bound,
            _ => {
                return Err(HandshakeError::Malformed(
                    "it asks for a protection that does not exist",
                ));
            }
        };
        let [count] = take::<1>(&mut rest).ok_or(SHORT)?;
        if count == 0 || usize::from(count) > OFFERED_MAX {
            return Err(HandshakeError::Malformed("it offers no suites, or more than 16"));
        }
        let (offered, after) = rest.split_at_checked(usize::from(count)).ok_or(SHORT)?;
        rest = after;
        let suite = SuiteId(suite);
        let offered: Vec<_> = offered.iter().copied().map(SuiteId).collect();
        let twice = |(at, suite)| offered[..at].contains(suite);
        if offered.iter().enumerate().any(twice) || !offered.contains(&suite) {
            let what = "it offers a suite twice, or uses one that it does not offer";
            return Err(HandshakeError::Malformed(what));
        }
        let cookie = take_optional::<COOKIE_LEN>(&mut rest)?;
        let ticket = take_optional::<TICKET_LEN>(&mut rest)?;
        let clear = &payload[..payload.len() - rest.len()];
        let offer = Self {
            protection,
            suite,
            offered,
            cookie,
            ticket,
        };
        Ok((offer, clear, rest))
    }
}

/// What an acceptor asks for before it goes on.
//= protocol/security.md#challenge
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) suite: SuiteId,
    pub(crate) cookie: Option<[u8; COOKIE_LEN]>,
}

impl Challenge {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend([if self.cookie.is_some() { 1 } else { 2 }, self.suite.0]);
        put_optional(out, self.cookie.as_ref().map(<[u8; COOKIE_LEN]>::as_slice));
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, HandshakeError> {
        let mut rest = payload;
        let [reason, suite] = take::<2>(&mut rest).ok_or(SHORT)?;
        let cookie = take_optional::<COOKIE_LEN>(&mut rest)?;
        if !rest.is_empty() || !matches!((reason, cookie), (1, Some(_)) | (2, None)) {
            let what = "a challenge has a reason that does not exist, or a cookie that does not go with it";
            return Err(HandshakeError::Malformed(what));
        }
        Ok(Self {
            suite: SuiteId(suite),
            cookie,
        })
    }
}

/// What the payload of AUTH_FAILURE says: the code, when to try again in milliseconds (0 for no opinion), and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of refusal.
    pub code: ErrorCode,
    /// When to try again, in milliseconds from now; 0 when the peer has no opinion.
    pub retry_after_ms: u32,
    /// Words for people.
    pub text: String,
}

impl Refusal {
    /// The longest text that travels.
    pub const MAX_TEXT_BYTES: usize = 1024;

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.code.value().to_be_bytes());
        out.extend(self.retry_after_ms.to_be_bytes());
        let end = self.text.floor_char_boundary(Self::MAX_TEXT_BYTES);
        out.extend(&self.text.as_bytes()[..end]);
    }

    /// Reads the payload of AUTH_FAILURE or ERROR; `None` when it is malformed.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let mut rest = payload;
        let code = u32::from_be_bytes(take::<4>(&mut rest)?);
        let retry_after_ms = u32::from_be_bytes(take::<4>(&mut rest)?);
        (rest.len() <= Self::MAX_TEXT_BYTES).then(|| Self {
            code: ErrorCode::new(code),
            retry_after_ms,
            text: String::from_utf8_lossy(rest).into_owned(),
        })
    }
}

/// What a dialler learns when it is accepted: `lifetime u32 | length u8 | ticket`.
//= protocol/security.md#success
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Success {
    pub(crate) lifetime_s: u32,
    pub(crate) ticket: Option<[u8; TICKET_LEN]>,
}

impl Success {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.lifetime_s.to_be_bytes());
        put_optional(out, self.ticket.as_ref().map(<[u8; TICKET_LEN]>::as_slice));
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, HandshakeError> {
        let mut rest = payload;
        let lifetime_s = u32::from_be_bytes(take::<4>(&mut rest).ok_or(SHORT)?);
        let ticket = take_optional::<TICKET_LEN>(&mut rest)?;
        if !rest.is_empty() {
            return Err(HandshakeError::Malformed("bytes follow the ticket"));
        }
        Ok(Self { lifetime_s, ticket })
    }
}

/// One frame of the auth group, payload as `fill` writes it.
//= protocol/security.md#frames-in-clear
pub(crate) fn frame(kind: Kind, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = vec![0; Header::LEN];
    fill(&mut bytes);
    let mut header = Header::new(kind, StreamId::CONTROL);
    header.flags = Flags::CRITICAL;
    header.priority = Priority::from_byte(PRIORITY);
    header.length = (bytes.len() - Header::LEN) as u32;
    bytes[..Header::LEN].copy_from_slice(&header.encode());
    bytes
}

/// What is hashed into both handshakes before anything else.
//= protocol/security.md#prologue
pub(crate) fn prologue(binding: Option<&[u8; BINDING_LEN]>, clear: &[u8]) -> Vec<u8> {
    let mut out = b"valkyrie 2 noise".to_vec();
    out.extend([0x52, 0x43, 0x02]);
    put_optional(&mut out, binding.map(<[u8; BINDING_LEN]>::as_slice));
    out.extend(clear);
    out
}

/// The first frame of `input` if all of it has arrived, checked to be no longer than `left`, which is what the peer may
/// still send. Nothing is taken out of `input`.
pub(crate) fn peek(input: &[u8], left: usize) -> Result<Option<FrameRef<'_>>, HandshakeError> {
    let Some(header) = Header::peek(input).map_err(|error| HandshakeError::Frame(error.into()))? else {
        return Ok(None);
    };
    if header.frame_len() > left {
        return Err(HandshakeError::TooLong);
    }
    let frame = FrameRef::decode(input, left as u32).map_err(HandshakeError::Frame)?;
    Ok(frame.map(|(frame, _)| frame))
}

/// A frame of the auth group out of a control record, which holds exactly one.
pub(crate) fn sole(bytes: &[u8]) -> Result<FrameRef<'_>, HandshakeError> {
    match FrameRef::decode(bytes, bytes.len() as u32).map_err(HandshakeError::Frame)? {
        Some((frame, [])) => Ok(frame),
        _ => Err(HandshakeError::Malformed(
            "a control record does not hold exactly one frame",
        )),
    }
}

fn put_optional(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let value = value.unwrap_or_default();
    out.put_u8(value.len() as u8);
    out.extend(value);
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn take_optional<const N: usize>(rest: &mut &[u8]) -> Result<Option<[u8; N]>, HandshakeError> {
    let [length] = take::<1>(rest).ok_or(SHORT)?;
    match usize::from(length) {
        0 => Ok(None),
        length if length == N => take::<N>(rest).map(Some).ok_or(SHORT),
        _ => Err(HandshakeError::Malformed(
            "a cookie or ticket of a length that none has",
        )),
    }
}

/// Takes a frame that was peeked at out of the input.
pub(crate) fn consume(input: &mut BytesMut, frame_len: usize) {
    input.advance(frame_len.min(input.len()));
}

const SHORT: HandshakeError = HandshakeError::Malformed("it ends too early");

/// The step of a first message.
const FIRST: u8 = 1;
/// The version of the channel that this page of the protocol describes.
const CHANNEL_VERSION: u8 = 1;
/// Suites in one offer; more than there are.
pub(crate) const OFFERED_MAX: usize = 16;
/// Bytes of a cookie.
pub(crate) const COOKIE_LEN: usize = 32;
/// Bytes of a ticket.
pub(crate) const TICKET_LEN: usize = 16;
/// Bytes of a link's channel binding.
pub(crate) const BINDING_LEN: usize = 32;
const PRIORITY: u8 = 255;
