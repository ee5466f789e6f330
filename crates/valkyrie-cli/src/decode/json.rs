//! Frames as JSON. Fields have the names of the vectors in the protocol's documentation.

use serde::Serialize;
use valkyrie::frame::{Extension, Flags, Frame, Side};

use super::{Detail, hex, payload};

/// One frame.
#[derive(Serialize)]
pub(crate) struct FrameJson<'a> {
    offset: u64,
    #[serde(rename = "type")]
    kind: u8,
    type_name: Option<&'static str>,
    flags: u8,
    flag_names: Vec<&'static str>,
    priority: u8,
    trace: u8,
    ext: u8,
    stream_id: u32,
    class: &'static str,
    opener: Option<&'static str>,
    length: u32,
    correlation: u32,
    extensions: Vec<ExtensionJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meaning: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
}

#[derive(Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
enum ExtensionJson<'a> {
    Timestamp { unix_seconds: u32 },
    TraceContext { value_hex: String },
    TraceState { value_hex: String },
    Deadline { ms: u32 },
    IdempotencyKey { value_hex: String },
    // Many readers of JSON cannot hold a u64.
    SentAt { ns: String },
    SentAtEcho { ns: String },
    Route { service: &'a str, method: &'a str },
    Unknown { r#type: u8, value_hex: String },
}

pub(crate) fn frame(offset: u64, frame: &Frame, detail: Detail) -> FrameJson<'_> {
    let header = &frame.header;
    let shown = match detail {
        Detail::None => None,
        Detail::Preview => Some(&frame.payload[..frame.payload.len().min(payload::PREVIEW_BYTES)]),
        Detail::Full => Some(&frame.payload[..]),
    };
    let timestamp = frame
        .extensions
        .timestamp()
        .map(|unix_seconds| ExtensionJson::Timestamp { unix_seconds });
    FrameJson {
        offset,
        kind: header.kind.byte(),
        type_name: header.kind.name(),
        flags: header.flags.bits(),
        flag_names: Flags::ALL
            .into_iter()
            .filter_map(|(flag, name)| header.flags.contains(flag).then_some(name))
            .collect(),
        priority: header.priority.byte(),
        trace: header.trace,
        ext: header.extension_words,
        stream_id: header.stream.value(),
        class: header.stream.class().name(),
        opener: header.stream.opener().map(|side| match side {
            Side::Dialer => "dialer",
            Side::Acceptor => "acceptor",
        }),
        length: header.length,
        correlation: header.correlation,
        extensions: timestamp
            .into_iter()
            .chain(frame.extensions.iter().map(extension))
            .collect(),
        meaning: payload::meaning(frame),
        payload_text: shown.and_then(payload::as_text),
        payload_hex: shown.map(hex::encode),
    }
}

fn extension(extension: Extension<'_>) -> ExtensionJson<'_> {
    match extension {
        Extension::TraceContext(value) => ExtensionJson::TraceContext {
            value_hex: hex::encode(value),
        },
        Extension::TraceState(value) => ExtensionJson::TraceState {
            value_hex: hex::encode(value),
        },
        Extension::DeadlineMs(ms) => ExtensionJson::Deadline { ms },
        Extension::IdempotencyKey(value) => ExtensionJson::IdempotencyKey {
            value_hex: hex::encode(value),
        },
        Extension::SentAt(ns) => ExtensionJson::SentAt { ns: ns.to_string() },
        Extension::SentAtEcho(ns) => ExtensionJson::SentAtEcho { ns: ns.to_string() },
        Extension::Route { service, method } => ExtensionJson::Route { service, method },
        Extension::Unknown { kind, value } => ExtensionJson::Unknown {
            r#type: kind,
            value_hex: hex::encode(value),
        },
        _ => ExtensionJson::Unknown {
            r#type: 0,
            value_hex: String::new(),
        },
    }
}
