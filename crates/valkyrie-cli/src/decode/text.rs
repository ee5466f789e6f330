//! Frames as lines for people.

use std::fmt::Display;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use valkyrie::frame::{Extension, Flags, Frame, Group, Header, Side, StreamId};

use super::{Detail, hex, payload};
use crate::exit::CliError;
use crate::out::{Out, fg};
use crate::units::{Size, Span};

/// One frame: a line for its header, then one for each thing it carries.
pub(crate) fn frame(out: &mut Out, offset: u64, frame: &Frame, detail: Detail) -> Result<(), CliError> {
    head(out, offset, &frame.header)?;
    if let Some(seconds) = frame.extensions.timestamp() {
        field(out, "timestamp", format_args!("{} ({seconds})", utc(seconds)))?;
    }
    for extension in frame.extensions.iter() {
        show_extension(out, extension)?;
    }
    if detail != Detail::None
        && let Some(meaning) = payload::meaning(frame)
    {
        field(out, "means", meaning)?;
        if detail == Detail::Preview {
            return Ok(());
        }
    }
    show_payload(out, &frame.payload, detail)
}

/// The line of a header.
pub(crate) fn head(out: &mut Out, offset: u64, header: &Header) -> Result<(), CliError> {
    let paint = out.paint();
    let style = match header.kind.group() {
        Some(Group::Core) => fg(AnsiColor::Blue),
        Some(Group::Auth) => fg(AnsiColor::Magenta),
        Some(Group::Job) => fg(AnsiColor::Yellow),
        Some(Group::Stream) => fg(AnsiColor::Green),
        Some(Group::Observe) => fg(AnsiColor::Cyan),
        None => Style::new().dimmed(),
    };
    let kind = match header.kind.name() {
        Some(name) => name.to_owned(),
        None if header.kind.is_grease() => format!("{:#04x} grease", header.kind.byte()),
        None => format!("{:#04x} unknown", header.kind.byte()),
    };
    let mut line = format!(
        "{} {} {}",
        paint.dim(format_args!("{offset:>8}")),
        paint.with(style.bold(), format_args!("{kind:<14}")),
        stream(header.stream),
    );
    let mut add = |text: &dyn Display| line.push_str(&format!("{}{text}", paint.dim(" · ")));
    if header.correlation != 0 {
        add(&format_args!("exchange {:#x}", header.correlation));
    }
    if header.priority == header.stream.class().default_priority() {
        add(&format_args!("priority {}", header.priority.byte()));
    } else if header.priority.fits(header.stream.class()) {
        add(&paint.name(format_args!("priority {}", header.priority.byte())));
    } else {
        add(&paint.warn(format_args!(
            "priority {} (outside its class)",
            header.priority.byte()
        )));
    }
    if header.flags != Flags::NONE {
        add(&paint.name(header.flags));
    }
    if header.trace != 0 {
        add(&format_args!("trace {:02x}", header.trace));
    }
    if header.length != 0 {
        add(&Size(f64::from(header.length)));
    }
    out.line(line)
}

fn stream(id: StreamId) -> String {
    match id.opener() {
        None => format!("stream {id} ({})", id.class()),
        Some(Side::Dialer) => format!("stream {id} ({}, dialer's)", id.class()),
        Some(Side::Acceptor) => format!("stream {id} ({}, acceptor's)", id.class()),
    }
}

fn show_extension(out: &mut Out, extension: Extension<'_>) -> Result<(), CliError> {
    match extension {
        Extension::TraceContext(value) => {
            let (version, trace, parent, flags) = (&value[..1], &value[1..17], &value[17..25], &value[25..]);
            let text = [version, trace, parent, flags].map(hex::encode).join("-");
            field(out, "traceparent", text)
        }
        Extension::TraceState(value) => field(out, "tracestate", escaped(value)),
        Extension::DeadlineMs(ms) => field(out, "deadline", Span(Duration::from_millis(ms.into()))),
        Extension::IdempotencyKey(key) => field(out, "once", hex::encode(key)),
        Extension::SentAt(ns) => field(out, "sent at", format_args!("{ns} ns")),
        Extension::SentAtEcho(ns) => field(out, "sent echo", format_args!("{ns} ns")),
        Extension::Route { service, method } => {
            let paint = out.paint();
            let route = format!("{}/{}", service.escape_debug(), method.escape_debug());
            field(out, "route", paint.bold(route))
        }
        Extension::Unknown { kind, value } => {
            let shown = &value[..value.len().min(EXTENSION_SHOWN_BYTES)];
            let mark = if shown.len() < value.len() { "…" } else { "" };
            let text = format!(
                "{kind:#04x} unknown, {} B  {}{mark}",
                value.len(),
                hex::encode(shown)
            );
            field(out, "extension", text)
        }
        _ => Ok(()),
    }
}

fn show_payload(out: &mut Out, payload: &[u8], detail: Detail) -> Result<(), CliError> {
    let shown = match detail {
        Detail::None => return Ok(()),
        _ if payload.is_empty() => return Ok(()),
        Detail::Preview => &payload[..payload.len().min(payload::PREVIEW_BYTES)],
        Detail::Full => payload,
    };
    let rest = payload.len() - shown.len();
    match payload::as_text(shown) {
        Some(text) => {
            let paint = out.paint();
            let mark = if rest > 0 { "…" } else { "" };
            field(
                out,
                "payload",
                format_args!("{}{mark}", paint.good(format_args!("{text:?}"))),
            )?;
        }
        None => {
            for (index, row) in dump(shown).enumerate() {
                let label = if index == 0 { "payload" } else { "" };
                field(out, label, row)?;
            }
        }
    }
    if rest > 0 {
        let paint = out.paint();
        field(
            out,
            "",
            paint.dim(format_args!("{rest} more bytes; --payload full shows them")),
        )?;
    }
    Ok(())
}

fn field(out: &mut Out, label: &str, value: impl Display) -> Result<(), CliError> {
    let paint = out.paint();
    out.line(format_args!(
        "         {} {value}",
        paint.dim(format_args!("{label:<14}"))
    ))
}

fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Bytes in rows of sixteen.
pub(crate) fn dump(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes
        .chunks(DUMP_ROW_BYTES)
        .enumerate()
        .map(|(index, row)| dump_row(index * DUMP_ROW_BYTES, row))
}

/// `0000  52 43 02 02 …  RC..`
fn dump_row(at: usize, row: &[u8]) -> String {
    let mut digits = String::with_capacity(3 * DUMP_ROW_BYTES + 1);
    let mut letters = String::with_capacity(DUMP_ROW_BYTES);
    for (index, &byte) in row.iter().enumerate() {
        if index == DUMP_ROW_BYTES / 2 {
            digits.push(' ');
        }
        digits.push_str(&hex::encode(&[byte]));
        digits.push(' ');
        letters.push(if byte.is_ascii_graphic() || byte == b' ' {
            byte.into()
        } else {
            '·'
        });
    }
    format!("{at:04x}  {digits:<49} {letters}")
}

const DUMP_ROW_BYTES: usize = 16;

/// How much of an unknown extension fits a line.
const EXTENSION_SHOWN_BYTES: usize = 32;

/// Unix seconds as a date, by the civil calendar algorithm of Howard Hinnant.
fn utc(seconds: u32) -> String {
    let (days, second) = (i64::from(seconds / 86_400), seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_dates() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(0x6553_f100), "2023-11-14 22:13:20 UTC");
        assert_eq!(utc(u32::MAX), "2106-02-07 06:28:15 UTC");
    }
}
