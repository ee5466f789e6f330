//! A whole conversation, byte for byte as `docs/protocol/vectors/session.json` records it.
//!
//! With `VALKYRIE_WRITE_VECTORS=1` in the environment the file is written anew, to be read with
//! care before it is committed: a change there is a change of the protocol.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use valkyrie_frame::Frame;
use valkyrie_proto::{
    Batch, Class, CloseReason, Config, ErrorCode, Event, Extensions, Failure, Inbox, Limits, Message,
    RequestId, Session, Side, StreamKey,
};

struct Recorder {
    now: Instant,
    dialer: Session,
    acceptor: Session,
    /// Who sent it, on which occasion, and the frame.
    frames: Vec<(&'static str, &'static str, Vec<u8>)>,
}

impl Recorder {
    fn new() -> Self {
        let now = Instant::now();
        let config = |node: &'static str| {
            Arc::new(Config {
                limits: Limits {
                    max_frame: 4096,
                    max_message: 1 << 20,
                    max_exchanges: 16,
                    max_streams: 8,
                    window_system: 10_272,
                    window_job: 10_272,
                    window_job_max: 65_536,
                    window_data: 10_272,
                    window_connection: 65_536,
                    ..Limits::default()
                },
                node_id: Bytes::from_static(node.as_bytes()),
                ..Config::default()
            })
        };
        Self {
            now,
            dialer: Session::new(Side::Dialer, config("runner-7"), now),
            acceptor: Session::new(Side::Acceptor, config("hub"), now),
            frames: Vec::new(),
        }
    }

    /// Carries bytes until both are quiet, and records every frame.
    fn settle(&mut self, occasion: &'static str) {
        loop {
            let forth = self.carry(Side::Dialer, occasion);
            let back = self.carry(Side::Acceptor, occasion);
            if !forth && !back {
                return;
            }
        }
    }

    fn carry(&mut self, side: Side, occasion: &'static str) -> bool {
        let (from, to, name) = match side {
            Side::Dialer => (&mut self.dialer, &mut self.acceptor, "dialer"),
            Side::Acceptor => (&mut self.acceptor, &mut self.dialer, "acceptor"),
        };
        let mut batch = Batch::default();
        if !from.poll_transmit(self.now, &mut batch, 1 << 20) {
            return false;
        }
        let bytes: Vec<u8> = batch.chunks().flatten().copied().collect();
        let mut rest = BytesMut::from(&bytes[..]);
        let mut at = 0;
        while let Some(frame) = Frame::decode(&mut rest, 4096).expect("our own frames are good") {
            let end = at + frame.header.frame_len();
            self.frames.push((name, occasion, bytes[at..end].to_vec()));
            at = end;
        }
        if !to.is_closed() {
            to.handle_input(self.now, &mut BytesMut::from(&bytes[..]))
                .expect("our own frames are good");
        }
        true
    }

    fn call(&mut self, payload: &'static str, deadline: Option<Duration>) -> valkyrie_proto::ExchangeKey {
        let message = Message::data(Bytes::from_static(payload.as_bytes()));
        self.dialer
            .call(self.now, Class::Data, None, message, deadline)
            .expect("room")
    }

    fn asked(&mut self) -> RequestId {
        loop {
            match self.acceptor.poll_event() {
                Some(Event::Incoming(incoming)) => return incoming.id.expect("it wants an answer"),
                Some(_) => {}
                None => panic!("a request has arrived"),
            }
        }
    }

    fn opened(&mut self) -> StreamKey {
        loop {
            match self.acceptor.poll_event() {
                Some(Event::Opened(opened)) => return opened.key,
                Some(_) => {}
                None => panic!("a stream was opened"),
            }
        }
    }

    fn open(&mut self, payload: &'static str) -> StreamKey {
        let payload = Bytes::from_static(payload.as_bytes());
        self.dialer
            .open(self.now, Class::Job, None, Extensions::EMPTY, payload, None)
            .expect("a stream is free")
    }
}

fn text(text: &'static str) -> Message {
    Message::data(Bytes::from_static(text.as_bytes()))
}

fn converse() -> Recorder {
    let mut r = Recorder::new();
    r.settle("the opening, and a GREASE frame each");

    let key = r.call("ping", Some(Duration::from_secs(1)));
    r.settle("a call with a deadline of one second");
    let id = r.asked();
    r.acceptor.respond(r.now, id, Ok(text("pong"))).expect("once");
    r.settle("its answer");
    assert!(r.dialer.take_response(key).expect("answered").is_ok());

    let key = r.call("what?", None);
    r.settle("a call in the same slot, with the next generation");
    let id = r.asked();
    let failure = Failure::new(ErrorCode::NOT_FOUND, "no such method");
    r.acceptor.respond(r.now, id, Err(failure)).expect("once");
    r.settle("its answer is a failure");
    assert!(r.dialer.take_response(key).expect("answered").is_err());

    let key = r.call("slow", None);
    r.settle("a call");
    r.dialer.cancel(r.now, key);
    r.settle("its cancel");
    let id = r.asked();
    let failure = Failure::new(ErrorCode::CANCELLED, "");
    r.acceptor.respond(r.now, id, Err(failure)).expect("once");
    r.settle("the answer that frees the slot");

    r.dialer
        .notify(r.now, Class::System, None, text("note"))
        .expect("room");
    r.settle("a notification");

    let key = r.open("build log");
    for line in ["one", "two"] {
        r.dialer.send(key, text(line)).expect("room");
    }
    r.settle("a stream with two messages");
    let far = r.opened();
    r.dialer
        .send(key, Message::data(Bytes::from(vec![b'a'; 5200])))
        .expect("room");
    r.dialer.finish(key).expect("open");
    r.settle("a message in two fragments, the last of its direction");
    let mut inbox = Inbox::new();
    assert!(
        r.acceptor.recv(far, &mut inbox).expect("in order"),
        "the end has come"
    );
    r.acceptor.send(far, text("done")).expect("room");
    r.acceptor.finish(far).expect("open");
    r.settle("the other direction, its end, and the acknowledgement of the side that did not open");
    r.acceptor.release(r.now, far);
    r.dialer.release(r.now, key);

    let key = r.open("wide");
    r.settle("another stream");
    let far = r.opened();
    r.dialer
        .send(key, Message::data(Bytes::from(vec![b'b'; 5200])))
        .expect("room");
    r.settle("more than half a window of it");
    r.acceptor.recv(far, &mut inbox).expect("in order");
    r.settle("credit for what was read");
    r.acceptor
        .reset(r.now, far, Failure::new(ErrorCode::JOB_CANCELLED, "stop"));
    r.settle("a reset with its final offset, and the acknowledgement with the other");
    r.acceptor.release(r.now, far);
    r.dialer.release(r.now, key);

    r.dialer.ping(r.now, 1).expect("open");
    r.settle("PING and PONG");

    r.acceptor.drain(r.now, 250);
    r.settle("a drain in two phases with a PING between, and the end");
    r
}

#[test]
fn the_recorded_conversation_is_what_is_said() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol/vectors/session.json");
    let recorder = converse();
    for session in [&recorder.dialer, &recorder.acceptor] {
        assert_eq!(session.close_reason().and_then(CloseReason::culprit), None);
        assert!(session.is_closed());
    }
    let said: Vec<_> = recorder
        .frames
        .iter()
        .map(|(from, occasion, bytes)| {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let kind = valkyrie_proto::Kind::from_byte(bytes[3]).to_string();
            serde_json::json!({ "from": from, "occasion": occasion, "type": kind, "hex": hex })
        })
        .collect();
    if std::env::var_os("VALKYRIE_WRITE_VECTORS").is_some() {
        let lines: Vec<_> = said.iter().map(|frame| format!("  {frame}")).collect();
        std::fs::write(&path, format!("[\n{}\n]\n", lines.join(",\n"))).expect("the file can be written");
    }
    let text = std::fs::read_to_string(&path).expect("the vectors are in the tree");
    let recorded: Vec<serde_json::Value> = serde_json::from_str(&text).expect("they are JSON");
    assert_eq!(said.len(), recorded.len());
    for (place, (said, recorded)) in said.iter().zip(&recorded).enumerate() {
        assert_eq!(said, recorded, "frame {place}");
    }
}
