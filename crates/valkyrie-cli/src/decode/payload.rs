//! What a payload means, for the frames whose payload the protocol defines.

use std::fmt::Write;
use std::time::Duration;

use valkyrie::frame::{Class, ErrorCode, Frame, Kind};
use valkyrie::proto::Settings;

use crate::units::{Size, Span};

/// How much of a payload a preview shows.
pub(crate) const PREVIEW_BYTES: usize = 64;

/// The payload in words, when the frame's kind gives it a meaning and the payload keeps to it.
pub(crate) fn meaning(frame: &Frame) -> Option<String> {
    match frame.header.kind {
        Kind::HELLO | Kind::HELLO_ACK => settings(&frame.payload),
        Kind::ERROR | Kind::CLOSE => failure(&frame.payload),
        // A RESET of an exchange has a correlation; one of a stream begins with how many bytes were sent.
        Kind::RESET if frame.header.correlation != 0 => failure(&frame.payload),
        Kind::RESET => {
            let (offset, rest) = frame.payload.split_first_chunk::<8>()?;
            Some(format!(
                "{} after {} bytes",
                failure(rest)?,
                u64::from_be_bytes(*offset)
            ))
        }
        Kind::STREAM_ACK => Some(format!(
            "all {} bytes of the stream were sent",
            u64_of(&frame.payload)?
        )),
        Kind::PING | Kind::PONG => Some(format!("token {}", u64_of(&frame.payload)?)),
        Kind::CREDIT => credit(&frame.payload),
        Kind::DRAIN => drain(&frame.payload),
        _ => None,
    }
}

fn settings(payload: &[u8]) -> Option<String> {
    let settings = Settings::decode(payload).ok()?;
    let size = |bytes: u32| Size(f64::from(bytes));
    let mut text = format!(
        "frames up to {}, messages up to {}, {} exchanges, {} streams, window {}, pings every {} at most",
        size(settings.max_frame),
        size(settings.max_message),
        settings.max_exchanges,
        settings.max_streams,
        size(settings.window_connection),
        Span(Duration::from_millis(settings.min_ping_ms.into())),
    );
    if !settings.node_id.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(text, ", node {:?}", String::from_utf8_lossy(&settings.node_id));
    }
    Some(text)
}

fn u64_of(payload: &[u8]) -> Option<u64> {
    payload.try_into().ok().map(u64::from_be_bytes)
}

/// Entries of a stream and the limit that it is raised to.
//= protocol/session.md#credit
fn credit(payload: &[u8]) -> Option<String> {
    let (entries, rest) = payload.as_chunks::<12>();
    if entries.is_empty() || !rest.is_empty() {
        return None;
    }
    let words = entries.iter().map(|&[a, b, c, d, limit @ ..]| {
        let limit = u64::from_be_bytes(limit);
        match u32::from_be_bytes([a, b, c, d]) {
            0 => format!("{limit} bytes on the connection"),
            u32::MAX => format!("{limit} streams"),
            stream => format!("{limit} bytes on stream {stream}"),
        }
    });
    Some(format!("up to {}", words.collect::<Vec<_>>().join(", ")))
}

/// A phase, when to come back, and in phase 2 what was looked at.
//= protocol/session.md#drain
fn drain(payload: &[u8]) -> Option<String> {
    let (phase, rest) = payload.split_first_chunk::<4>()?;
    let (retry_after_ms, counts) = rest.split_first_chunk::<4>()?;
    let mut text = match u32::from_be_bytes(*phase) {
        1 if counts.is_empty() => "begin nothing new".to_owned(),
        2 => {
            let (counts, rest) = counts.as_chunks::<8>();
            if counts.len() != Class::COUNT || !rest.is_empty() {
                return None;
            }
            let looked_at = counts.iter().map(|count| u64::from_be_bytes(*count)).sum::<u64>();
            format!("{looked_at} requests were looked at, later ones will not be")
        }
        _ => return None,
    };
    match u32::from_be_bytes(*retry_after_ms) {
        0 => {}
        ms => text.push_str(&format!(
            " (come back in {})",
            Span(Duration::from_millis(ms.into()))
        )),
    }
    Some(text)
}

/// Code, retry_after in milliseconds, words.
fn failure(payload: &[u8]) -> Option<String> {
    let (code, rest) = payload.split_first_chunk::<4>()?;
    let (retry_after_ms, words) = rest.split_first_chunk::<4>()?;
    let words = std::str::from_utf8(words).ok()?;
    let mut text = ErrorCode::new(u32::from_be_bytes(*code)).to_string();
    if !words.is_empty() {
        let _ = write!(text, ": {}", words.escape_debug());
    }
    match u32::from_be_bytes(*retry_after_ms) {
        0 => {}
        ms => {
            let _ = write!(text, " (try again in {})", Span(Duration::from_millis(ms.into())));
        }
    }
    Some(text)
}

/// The bytes as text, if a terminal can show them without surprises.
pub(crate) fn as_text(bytes: &[u8]) -> Option<&str> {
    // A preview may cut a character in two; what is before it still counts.
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let plain = !text.is_empty()
        && text
            .chars()
            .all(|c| !c.is_control() || matches!(c, '\n' | '\t' | '\r'));
    plain.then_some(text)
}
