//! `valkyrie decode`: bytes become frames that a person, or a script, can read.
//!
//! It looks at frames one by one and knows nothing of a session: whether a frame was allowed where it stands is not
//! judged here. Read [`capture`] for where frames come from, [`text`] and [`json`] for how they look.

mod capture;
mod hex;
mod json;
mod payload;
mod text;

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use self::capture::{Capture, CaptureError};
pub(crate) use self::hex::encode as hex_of;
pub(crate) use self::payload::as_text;
pub(crate) use self::text::dump;
use crate::exit::{CliError, Exit};
use crate::out::Out;

/// Shows captured bytes as frames.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  valkyrie decode 5243020200ff0000000000000000000000000007
  valkyrie decode --file capture.bin --payload full
  xxd capture.bin | valkyrie decode
  tail -f -c +1 capture.bin | valkyrie decode --json | jq .type_name")]
pub(crate) struct DecodeArgs {
    /// The bytes in hexadecimal; spaces, colons and 0x are passed over. Without it, and without --file, standard
    /// input is read.
    hex: Vec<String>,

    /// Reads the bytes from a file; `-` is standard input.
    #[arg(short, long, value_name = "PATH", conflicts_with = "hex")]
    file: Option<PathBuf>,

    /// How the file or standard input is written.
    #[arg(long, value_enum, default_value_t, conflicts_with = "hex")]
    format: Format,

    /// How much of each payload is shown.
    #[arg(short, long, value_enum, default_value_t)]
    payload: Detail,

    /// Stops after this many frames.
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<u64>,
}

/// How input bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Binary if it begins like a frame, else hex if it is text.
    #[default]
    Auto,
    /// As on the wire.
    Binary,
    /// Hexadecimal, bare or as xxd and hexdump -C write it.
    Hex,
}

/// How much of a payload is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Detail {
    /// Its length alone.
    None,
    /// Its meaning where the protocol gives it one, else its beginning.
    #[default]
    Preview,
    /// All of it.
    Full,
}

/// Runs the command.
pub(crate) fn run(args: &DecodeArgs, out: &mut Out) -> Result<(), CliError> {
    let mut capture = open(args)?;
    let mut count = 0_u64;
    let ended = show_frames(args, &mut capture, out, &mut count);
    if !out.is_json() && (count > 0 || ended.is_ok()) {
        let paint = out.paint();
        let frames = if count == 1 { "frame" } else { "frames" };
        out.line(paint.dim(format_args!("{count} {frames}, {} bytes", capture.offset())))?;
    }
    out.flush()?;
    ended
}

fn show_frames(
    args: &DecodeArgs,
    capture: &mut Capture,
    out: &mut Out,
    count: &mut u64,
) -> Result<(), CliError> {
    while args.limit.is_none_or(|limit| *count < limit) {
        // A pipe that is still being written shows what it has.
        if !capture.has_whole_frame() {
            out.flush()?;
        }
        let offset = capture.offset();
        let frame = match capture.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(error) => {
                if let CaptureError::Incomplete {
                    header: Some(header), ..
                } = &error
                    && !out.is_json()
                {
                    text::head(out, offset, header)?;
                }
                return Err(describe(error));
            }
        };
        *count += 1;
        if out.is_json() {
            out.json(&json::frame(offset, &frame, args.payload))?;
        } else {
            text::frame(out, offset, &frame, args.payload)?;
        }
    }
    Ok(())
}

fn open(args: &DecodeArgs) -> Result<Capture, CliError> {
    if !args.hex.is_empty() {
        let bytes = hex::decode(&args.hex.join(" ")).map_err(|error| bad_hex(&error))?;
        return Ok(Capture::of_bytes(bytes));
    }
    let mut input: Box<dyn Read> = match &args.file {
        Some(path) if path.as_os_str() != "-" => Box::new(File::open(path).map_err(|error| {
            CliError::new(
                Exit::Local,
                format!("{} cannot be opened: {error}", path.display()),
            )
        })?),
        None if io::stdin().is_terminal() => {
            return Err(CliError::new(Exit::Usage, "there is nothing to decode")
                .hint("give hex as an argument, name a file with --file, or pipe bytes in"));
        }
        _ => Box::new(io::stdin()),
    };
    let format = match args.format {
        Format::Auto => {
            let (format, seen) = guess(&mut *input).map_err(|error| unreadable(&error))?;
            input = Box::new(io::Cursor::new(seen).chain(input));
            format
        }
        chosen => chosen,
    };
    if format == Format::Binary {
        return Ok(Capture::of_reader(input));
    }
    let mut written = Vec::new();
    input
        .take(HEX_INPUT_BYTES_MAX + 1)
        .read_to_end(&mut written)
        .map_err(|error| unreadable(&error))?;
    if written.len() as u64 > HEX_INPUT_BYTES_MAX {
        return Err(CliError::new(Exit::Usage, "the hex input is longer than 512 MiB")
            .hint("give the bytes themselves with --format binary; those are read as they come"));
    }
    let written = String::from_utf8(written).map_err(|error| {
        CliError::new(
            Exit::Usage,
            format!(
                "the input is not hex: byte {} is not text",
                error.utf8_error().valid_up_to()
            ),
        )
        .hint("give --format binary if these are the bytes of the wire")
    })?;
    let bytes = hex::decode(&written).map_err(|error| bad_hex(&error))?;
    Ok(Capture::of_bytes(bytes))
}

/// Looks at the first bytes of the input. No frame begins with a hex digit: `R` is none.
fn guess(input: &mut dyn Read) -> io::Result<(Format, Vec<u8>)> {
    let mut seen = vec![0; GUESS_BYTES];
    let mut len = 0;
    // One byte is enough to tell, and waiting for more would hold up a live capture.
    while len == 0 {
        match input.read(&mut seen) {
            Ok(0) => break,
            Ok(read) => len = read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    seen.truncate(len);
    let is_text = seen
        .iter()
        .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    let begins_like_hex = seen
        .iter()
        .find(|byte| !byte.is_ascii_whitespace())
        .is_some_and(|byte| byte.is_ascii_hexdigit() || *byte == b'#');
    let format = if is_text && begins_like_hex {
        Format::Hex
    } else {
        Format::Binary
    };
    Ok((format, seen))
}

fn unreadable(error: &io::Error) -> CliError {
    CliError::new(Exit::Local, format!("the input cannot be read: {error}"))
}

fn bad_hex(error: &hex::HexError) -> CliError {
    let hint = if error.is_squeezed_dump() {
        "`*` stands for lines that hexdump left out; let it write all of them with -v"
    } else {
        "write pairs of hex digits, or give the bytes themselves with --file or on standard input"
    };
    CliError::new(Exit::Usage, format!("the input is not hex: {error}")).hint(hint)
}

fn describe(error: CaptureError) -> CliError {
    let message = error.to_string();
    match error {
        CaptureError::Read(_) => CliError::new(Exit::Local, message),
        CaptureError::Refused { .. } => CliError::new(Exit::Protocol, message)
            .hint("a stream is never searched for the next frame; begin the capture at the start of a frame"),
        CaptureError::Incomplete { .. } => CliError::new(Exit::Protocol, message)
            .hint("the capture was cut off; the frames before are whole"),
    }
}

/// Hex is read as a whole, since people write it; a capture of this size is not written by hand.
const HEX_INPUT_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// What is looked at to tell hex from binary.
const GUESS_BYTES: usize = 4096;
