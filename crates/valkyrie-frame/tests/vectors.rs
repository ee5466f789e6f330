//! The vectors of `docs/protocol/vectors`: every valid frame is read as it says and written back as
//! it was, every invalid one is refused for its reason, and a decoder in another language agrees.

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::BytesMut;
use serde_json::{Value, json};
use valkyrie_frame::{
    Batch, DecodeError, Extension, ExtensionError, Extensions, Flags, Frame, FrameRef, Header, HeaderError,
    Kind, MAGIC, MAX_PAYLOAD_BYTES, Priority, StreamId, VERSION, extension_type,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol/vectors")
}

fn vectors(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join(file)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn unhex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap().as_bytes();
    assert!(digits.len().is_multiple_of(2));
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn number<T: TryFrom<u64, Error: std::fmt::Debug>>(value: &Value) -> T {
    T::try_from(value.as_u64().unwrap()).unwrap()
}

/// The header that a vector describes, built from its fields alone.
fn header_of(fields: &Value) -> Header {
    assert_eq!(number::<u16>(&fields["magic"]), MAGIC);
    assert_eq!(number::<u8>(&fields["version"]), VERSION);
    Header {
        kind: Kind::from_byte(number(&fields["type"])),
        flags: Flags::from_bits(number(&fields["flags"])),
        priority: Priority::from_byte(number(&fields["priority"])),
        trace: number(&fields["trace"]),
        extension_words: number(&fields["ext"]),
        stream: StreamId::new(number(&fields["stream_id"])),
        length: number(&fields["length"]),
        correlation: number(&fields["correlation"]),
    }
}

/// The extension area that a vector describes, built from its fields alone.
fn extensions_of(entries: &Value) -> Extensions {
    let mut builder = Extensions::builder();
    for entry in entries.as_array().unwrap() {
        if entry["name"] == "timestamp" {
            builder = builder.timestamp(number(&entry["unix_seconds"]));
            continue;
        }
        let insists = entry["must_understand"].as_bool().unwrap();
        let kind = number::<u8>(&entry["type"])
            | if insists {
                extension_type::MUST_UNDERSTAND
            } else {
                0
            };
        builder = builder.raw(kind, &unhex(&entry["value_hex"])).unwrap();
    }
    builder.finish().unwrap()
}

/// What a decoded area says, in the form of the vectors less the raw value and the bit.
fn described(extensions: &Extensions) -> Vec<Value> {
    let stamp = extensions
        .timestamp()
        .map(|seconds| json!({"name": "timestamp", "unix_seconds": seconds}));
    let values = extensions.iter().map(|extension| match extension {
        Extension::TraceContext(raw) => json!({"name": "trace_context", "value_hex": hex(raw)}),
        Extension::TraceState(raw) => json!({"name": "trace_state", "value_hex": hex(raw)}),
        Extension::DeadlineMs(ms) => json!({"name": "deadline", "ms": ms}),
        Extension::IdempotencyKey(raw) => json!({"name": "idempotency_key", "value_hex": hex(raw)}),
        Extension::SentAt(ns) => json!({"name": "sent_at", "ns": ns.to_string()}),
        Extension::SentAtEcho(ns) => json!({"name": "sent_at_echo", "ns": ns.to_string()}),
        Extension::Route { service, method } => {
            json!({"name": "route", "service": service, "method": method})
        }
        Extension::Unknown { kind, value } => {
            json!({"name": "unknown", "type": kind, "value_hex": hex(value)})
        }
        other => panic!("an extension that no vector knows: {other:?}"),
    });
    stamp.into_iter().chain(values).collect()
}

#[test]
fn valid_frames_are_read_as_they_say() {
    for vector in vectors("valid.json") {
        let name = &vector["name"];
        let mut buf = BytesMut::from(&unhex(&vector["hex"])[..]);
        let header = header_of(&vector["header"]);
        assert_eq!(Header::peek(&buf), Ok(Some(header)), "{name}");
        if vector["header_only"] == true {
            assert_eq!(Frame::decode(&mut buf, MAX_PAYLOAD_BYTES), Ok(None), "{name}");
            continue;
        }
        let whole = buf.clone();
        let (view, rest) = FrameRef::decode(&whole, MAX_PAYLOAD_BYTES).unwrap().unwrap();
        assert!(rest.is_empty(), "{name}");
        let frame = Frame::decode(&mut buf, MAX_PAYLOAD_BYTES).unwrap().unwrap();
        assert!(buf.is_empty(), "{name}");
        assert_eq!((frame.header, view.header), (header, header), "{name}");
        assert_eq!(frame.payload, unhex(&vector["payload_hex"]), "{name}");
        assert_eq!(frame.payload, view.payload, "{name}");
        assert_eq!(frame.extensions.as_bytes(), view.extensions.as_bytes(), "{name}");
        let found = described(&frame.extensions);
        let expected = vector["extensions"].as_array().unwrap();
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(expected) {
            for (field, value) in found.as_object().unwrap() {
                assert_eq!(value, &expected[field], "{name}: {field}");
            }
        }
    }
}

#[test]
fn valid_frames_are_written_as_they_were() {
    for vector in vectors("valid.json") {
        let name = &vector["name"];
        let bytes = unhex(&vector["hex"]);
        let header = header_of(&vector["header"]);
        if vector["header_only"] == true {
            assert_eq!(header.encode(), bytes[..], "{name}");
            continue;
        }
        let mut batch = Batch::default();
        let extensions = extensions_of(&vector["extensions"]);
        assert!(header.flags.contains(extensions.flags()), "{name}");
        let payload = unhex(&vector["payload_hex"]).into();
        batch.push(header, extensions.as_bytes(), payload).unwrap();
        let written: Vec<u8> = batch.chunks().flatten().copied().collect();
        assert_eq!(hex(&written), hex(&bytes), "{name}");
    }
}

#[test]
fn every_prefix_of_a_valid_frame_is_incomplete() {
    for vector in vectors("valid.json") {
        let bytes = unhex(&vector["hex"]);
        for end in 0..bytes.len() {
            let found = FrameRef::decode(&bytes[..end], MAX_PAYLOAD_BYTES);
            assert_eq!(found, Ok(None), "{}: {end} bytes", vector["name"]);
        }
    }
}

fn name_of(error: DecodeError) -> &'static str {
    match error {
        DecodeError::Header(HeaderError::Magic { .. }) => "magic",
        DecodeError::Header(HeaderError::Version { .. }) => "version",
        DecodeError::Header(HeaderError::Kind { .. }) => "type",
        DecodeError::Header(HeaderError::Length { .. }) => "length",
        DecodeError::Header(HeaderError::TimestampMissing) => "timestamp_missing",
        DecodeError::Header(HeaderError::MoreAfterEnd) => "more_after_end",
        DecodeError::Extension(ExtensionError::Truncated { .. }) => "truncated",
        DecodeError::Extension(ExtensionError::Padding { .. }) => "padding",
        DecodeError::Extension(ExtensionError::Order { .. }) => "order",
        DecodeError::Extension(ExtensionError::Length { .. }) => "ext_length",
        DecodeError::Extension(ExtensionError::Utf8 { .. }) => "utf8",
        DecodeError::Extension(ExtensionError::NotUnderstood { .. }) => "not_understood",
        other => panic!("an error that no bytes can cause: {other:?}"),
    }
}

#[test]
fn invalid_frames_are_refused_for_their_reason_and_left_alone() {
    for vector in vectors("invalid.json") {
        let name = &vector["name"];
        let bytes = unhex(&vector["hex"]);
        let mut buf = BytesMut::from(&bytes[..]);
        let refusal = Frame::decode(&mut buf, MAX_PAYLOAD_BYTES).expect_err(name.as_str().unwrap());
        assert_eq!(name_of(refusal), vector["error"], "{name}");
        assert_eq!(buf, bytes, "{name}");
        assert_eq!(
            FrameRef::decode(&bytes, MAX_PAYLOAD_BYTES),
            Err(refusal),
            "{name}"
        );
    }
}

#[test]
fn the_vectors_cover_what_there_is() {
    let (valid, invalid) = (vectors("valid.json"), vectors("invalid.json"));
    assert!(valid.len() >= 60 && invalid.len() >= 40);
    let has_type = |kind: &Kind| valid.iter().any(|vector| vector["header"]["type"] == kind.byte());
    let missing: Vec<_> = Kind::KNOWN
        .iter()
        .chain(&Kind::GREASE)
        .filter(|&kind| !has_type(kind))
        .collect();
    assert!(missing.is_empty(), "no vector has {missing:?}");
    let entries: Vec<_> = valid
        .iter()
        .flat_map(|vector| vector["extensions"].as_array().unwrap())
        .collect();
    for kind in (1..=7).chain(extension_type::GREASE) {
        assert!(
            entries.iter().any(|entry| entry["type"] == kind),
            "no vector has extension {kind:#04x}"
        );
    }
    let errors = [
        "magic",
        "version",
        "type",
        "length",
        "timestamp_missing",
        "more_after_end",
        "truncated",
        "padding",
        "order",
        "ext_length",
        "utf8",
        "not_understood",
    ];
    for error in errors {
        assert!(
            invalid.iter().any(|vector| vector["error"] == error),
            "no vector is refused as {error}"
        );
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "a skipped test says so")]
fn a_decoder_in_python_agrees() {
    let run = |script: &str, args: &[&str]| {
        Command::new("python3")
            .arg(folder().join(script))
            .args(args)
            .output()
    };
    for (script, args) in [("check.py", &[][..]), ("generate.py", &["--check"])] {
        match run(script, args) {
            Err(absent) => println!("skipped: python3 cannot be run ({absent})"),
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                assert!(
                    output.status.success(),
                    "{script}: {}",
                    String::from_utf8_lossy(&said)
                );
            }
        }
    }
}
