//! A session that goes on over another link, byte for byte as `docs/protocol/vectors/resume.json` records it.
//!
//! With `VALKYRIE_WRITE_VECTORS=1` in the environment the file is written anew, to be read with care before it is
//! committed: a change there is a change of the protocol.

mod linked;

use std::path::PathBuf;

use bytes::BytesMut;
use linked::{Linked, config, note};
use valkyrie_frame::Frame;
use valkyrie_proto::{Class, Failure, Kind, Side};

/// HMAC-SHA-256 over `valkyrie resume`, sixteen bytes 7 and the epoch 1, with thirty-two bytes 9 as the secret.
const TOKEN: &str = "c08fbd6cdc0e5ac1150ce0fc3bc54e4cac432d5749abab99c4f8cb8cb6ad8533";

/// A call and a notification are lost with a link of one lane; the session goes on over one of five, and is closed.
fn converse() -> Linked {
    let mut linked = Linked::open(config(), config(), 1);
    let now = linked.now;
    for place in 0..32 {
        linked.token[place] = u8::from_str_radix(&TOKEN[2 * place..2 * place + 2], 16).expect("hexadecimal");
    }
    for (class, number) in [(Class::System, 1), (Class::Job, 2)] {
        let said = linked.dialer.session.notify(now, class, None, note(number));
        said.expect("room");
    }
    linked.talk();
    let call = linked.dialer.session.call(now, Class::Job, None, note(3), None);
    call.expect("room");
    let said = linked.acceptor.session.notify(now, Class::Data, None, note(4));
    said.expect("room");
    linked.write(Side::Dialer);
    linked.write(Side::Acceptor);
    linked.lose(Side::Dialer);
    linked.lose(Side::Acceptor);
    linked.resume(5);
    linked.pass(std::time::Duration::from_secs(2));
    linked.talk();
    let bye = Failure::new(valkyrie_proto::ErrorCode::OK, "bye");
    linked.dialer.session.close(linked.now, bye);
    linked.talk();
    assert!(linked.acceptor.session.is_closed());
    linked
}

#[test]
fn the_recorded_resume_is_what_is_said() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol/vectors/resume.json");
    let mut said = Vec::new();
    for batch in &converse().said {
        let mut bytes = BytesMut::from(&batch.bytes[..]);
        let from = match batch.from {
            Side::Dialer => "dialer",
            Side::Acceptor => "acceptor",
        };
        let mut rest = &batch.bytes[..];
        while let Some(frame) = Frame::decode(&mut bytes, 1 << 20).expect("our own frames are good") {
            let (whole, behind) = rest.split_at(frame.header.frame_len());
            rest = behind;
            let hex: String = whole.iter().map(|byte| format!("{byte:02x}")).collect();
            let kind = frame.header.kind.to_string();
            if frame.header.kind == Kind::RESUME {
                assert_eq!(hex[40 + 48..40 + 112], *TOKEN);
            }
            said.push(serde_json::json!({
                "link": batch.link + 1, "lane": batch.lane, "from": from, "type": kind, "hex": hex
            }));
        }
    }
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
