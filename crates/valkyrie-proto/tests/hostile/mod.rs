//! A peer that writes whatever frames it likes.
#![allow(dead_code, reason = "each test file plays its own attacks")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use valkyrie_frame::{Flags, Frame, Header};
use valkyrie_proto::{
    Batch, CloseReason, Config, Culprit, ErrorCode, Event, Kind, PeerMisbehaved, Session, SessionError, Side,
    StreamId,
};

/// A session under attack, and the attacker's end of its pipe.
pub(crate) struct Victim {
    pub(crate) session: Session,
    pub(crate) now: Instant,
    /// Frames that the session has sent.
    pub(crate) out: Vec<Frame>,
    pub(crate) events: Vec<Event>,
    side: Side,
    /// The beginning of a frame that has not wholly arrived.
    input: BytesMut,
}

impl Victim {
    /// An accepting session that has heard nothing.
    pub(crate) fn silent(config: Config) -> Self {
        Self::of(Side::Acceptor, config)
    }

    pub(crate) fn of(side: Side, config: Config) -> Self {
        let now = Instant::now();
        Self {
            session: Session::new(side, Arc::new(config), now),
            now,
            out: Vec::new(),
            events: Vec::new(),
            side,
            input: BytesMut::new(),
        }
    }

    /// An accepting session to which the attacker has opened in order.
    pub(crate) fn open(config: Config) -> Self {
        let mut victim = Self::silent(config);
        victim.send(hello(Kind::HELLO)).expect("a good opening");
        victim.poll();
        assert!(victim.session.is_open());
        victim.events.clear();
        victim.out.clear();
        victim
    }

    /// Gives the session bytes, without reading what it answers.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), SessionError> {
        self.input.extend_from_slice(bytes.as_ref());
        let result = self.session.handle_input(self.now, &mut self.input);
        assert_eq!(self.session.invariants(), Ok(()));
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
        result
    }

    /// Sends the same frame until it is refused, and says how often it was not.
    pub(crate) fn flood(&mut self, limit: usize, mut frame: impl FnMut(usize) -> Vec<u8>) -> usize {
        for round in 0..limit {
            if self.send(frame(round)).is_err() {
                return round;
            }
            self.events.clear();
        }
        limit
    }

    /// Reads everything that the session wants to send.
    pub(crate) fn poll(&mut self) {
        let mut batch = Batch::default();
        while self.session.poll_transmit(self.now, &mut batch, 1 << 20) {}
        let mut bytes = BytesMut::new();
        for chunk in batch.chunks() {
            bytes.extend_from_slice(chunk);
        }
        while let Some(frame) = Frame::decode(&mut bytes, 1 << 20).expect("its own frames are good") {
            self.out.push(frame);
        }
        assert!(bytes.is_empty());
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_timeout(self.now);
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
    }

    /// The session has ended for this fault of the peer and says so in one last frame.
    #[track_caller]
    pub(crate) fn assert_blames(&mut self, fault: PeerMisbehaved) {
        self.assert_ended(&SessionError::PeerMisbehaved(fault), fault.code());
    }

    #[track_caller]
    pub(crate) fn assert_ended(&mut self, error: &SessionError, code: ErrorCode) {
        let reason = self.session.close_reason().expect("the session has ended");
        assert_eq!(reason, &CloseReason::Error(error.clone()));
        assert_eq!(reason.culprit(), Some(Culprit::Peer));
        self.out.clear();
        self.poll();
        assert_eq!(self.out.len(), 1, "one last frame: {:?}", self.out);
        let frame = &self.out[0];
        assert_eq!(frame.header.kind, Kind::ERROR);
        assert_eq!(frame.header.stream, StreamId::CONTROL);
        assert_eq!(
            frame.payload[..4],
            code.value().to_be_bytes(),
            "the peer is told {code}"
        );
        assert!(frame.payload.len() > 8, "in words, too");
        assert!(!self.session.wants_transmit());
        assert_eq!(self.session.poll_timeout(), None);
        assert_eq!(self.send(ping(1)), Err(SessionError::Closed));
    }

    #[track_caller]
    pub(crate) fn assert_alive(&self) {
        assert!(self.session.is_open(), "{:?}", self.session.close_reason());
    }

    /// The side that the attacker plays.
    pub(crate) fn attacker(&self) -> Side {
        self.side.peer()
    }
}

pub(crate) fn frame(kind: Kind, stream: u32, flags: Flags, correlation: u32, payload: &[u8]) -> Vec<u8> {
    let mut header = Header::new(kind, StreamId::new(stream));
    header.flags = flags;
    header.correlation = correlation;
    header.length = payload.len() as u32;
    let mut bytes = header.encode().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

pub(crate) fn ping(token: u64) -> Vec<u8> {
    frame(Kind::PING, 0, Flags::NONE, 0, &token.to_be_bytes())
}

pub(crate) fn open(stream: u32) -> Vec<u8> {
    frame(Kind::OPEN, stream, Flags::NONE, 0, b"")
}

pub(crate) fn data(stream: u32, len: usize) -> Vec<u8> {
    frame(Kind::DATA, stream, Flags::NONE, 0, &vec![7; len])
}

pub(crate) fn request(slot: u32, payload: &[u8]) -> Vec<u8> {
    frame(Kind::REQUEST, 1001, Flags::NONE, 1 << 16 | slot, payload)
}

pub(crate) fn reset(stream: u32, flags: Flags, correlation: u32) -> Vec<u8> {
    let mut payload = Vec::new();
    if correlation == 0 {
        payload.put_u64(0);
    }
    payload.put_u32(ErrorCode::CANCELLED.value());
    payload.put_u32(0);
    frame(Kind::RESET, stream, flags, correlation, &payload)
}

pub(crate) fn credit(stream: u32, limit: u64) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.put_u32(stream);
    payload.put_u64(limit);
    frame(Kind::CREDIT, 0, Flags::NONE, 0, &payload)
}

/// Settings as a list, to be spoiled one by one.
pub(crate) fn settings() -> Vec<(u16, Vec<u8>)> {
    vec![
        (1, vec![2]),
        (3, 16_384u32.to_be_bytes().to_vec()),
        (4, (1u32 << 24).to_be_bytes().to_vec()),
        (5, 64u16.to_be_bytes().to_vec()),
        (6, 64u32.to_be_bytes().to_vec()),
        (7, (1u32 << 20).to_be_bytes().to_vec()),
        (8, (1u32 << 20).to_be_bytes().to_vec()),
        (9, (1u32 << 20).to_be_bytes().to_vec()),
        (10, (1u32 << 22).to_be_bytes().to_vec()),
        (11, 1000u32.to_be_bytes().to_vec()),
    ]
}

pub(crate) fn hello_of(kind: Kind, settings: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in settings {
        payload.put_u16(*id);
        payload.put_u16(value.len() as u16);
        payload.put_slice(value);
    }
    frame(kind, 0, Flags::NONE, 0, &payload)
}

pub(crate) fn hello(kind: Kind) -> Vec<u8> {
    hello_of(kind, &settings())
}

pub(crate) fn bytes(len: usize) -> Bytes {
    Bytes::from(vec![9; len])
}
