//! How the audit log of a server is kept, as typed.

use clap::Args;

/// How large the files of the audit log become, and how many are kept.
#[derive(Args, Clone, Copy, Debug)]
pub struct AuditFileArgs {
    /// Put the file of the audit log aside once it has so many bytes, as in 64MiB.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size, help_heading = "Security")]
    pub audit_file_size: u64,

    /// Keep so many of the files that were put aside; older ones are removed.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..=1000),
        help_heading = "Security"
    )]
    pub audit_files: u32,
}

fn parse_size(text: &str) -> Result<u64, String> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err(format!("`{unit}` is no unit of bytes; write B, KiB, MiB or GiB")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| (AUDIT_FILE_BYTES_MIN..=AUDIT_FILE_BYTES_MAX).contains(bytes))
        .ok_or_else(|| "a file of the audit log has 4KiB to 1024GiB".to_owned())
}

/// A smaller file would hold a handful of lines.
const AUDIT_FILE_BYTES_MIN: u64 = 4 << 10;

/// A larger one is larger than anybody looks through.
const AUDIT_FILE_BYTES_MAX: u64 = 1 << 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_files_are_read_within_their_bounds() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("4k"), Ok(AUDIT_FILE_BYTES_MIN));
        assert_eq!(parse_size("8192"), Ok(8192));
        assert_eq!(parse_size("1024GiB"), Ok(AUDIT_FILE_BYTES_MAX));
        for wrong in ["", "MiB", "1k", "4095", "1025GiB", "64 MiB", "-1", "1.5M", "4TiB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
