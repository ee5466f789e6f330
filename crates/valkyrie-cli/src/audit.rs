//! `valkyrie audit verify`: is the audit log as it was written.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use valkyrie::security::audit::{AuditFault, AuditHead, AuditSummary, AuditVerifier};
use valkyrie_rustci::command::IdentityArgs;

use crate::access::directory;
use crate::exit::{CliError, Exit};
use crate::out::Out;

/// Looks into audit logs.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  valkyrie audit verify
  valkyrie audit verify /backup/audit.log --head 17:3f0c…")]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand, Debug)]
enum AuditCommand {
    Verify(VerifyArgs),
}

/// Says whether an audit log is whole, line by line.
#[derive(Args, Debug)]
#[command(after_help = "\
A line that was edited, removed, put in or moved is named. That the end is missing shows by the head that lies beside the
log, or by one that was kept elsewhere, which whoever can write the log cannot change.

Examples:
  valkyrie audit verify
  valkyrie audit verify --json | jq -r .head > /elsewhere/head
  valkyrie audit verify ~/.config/valkyrie/audit.log --head \"$(cat /elsewhere/head)\"")]
struct VerifyArgs {
    /// The log; this node's own unless given.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// The head that was kept when the log was known to be whole: a number, a colon and 64 hexadecimal digits.
    #[arg(long, value_name = "HEAD")]
    head: Option<AuditHead>,

    #[command(flatten)]
    identity: IdentityArgs,
}

/// Runs the command.
pub(crate) fn run(args: &AuditArgs, out: &mut Out) -> Result<(), CliError> {
    let AuditCommand::Verify(args) = &args.command;
    let file = match &args.file {
        Some(file) => file.clone(),
        None => directory(&args.identity)?.join("audit.log"),
    };
    let kept = args.head.or_else(|| valkyrie_keystore::kept_head(&file));
    match verify(&file, kept)? {
        Ok(summary) => show(&file, &summary, kept, out),
        Err(fault) => {
            if out.is_json() {
                out.json(&json!({
                    "file": file, "whole": false, "line": fault.line, "fault": fault.kind.to_string(),
                }))?;
                return Err(CliError::silent(Exit::Failed));
            }
            Err(
                CliError::new(Exit::Failed, format!("{}: {fault}", file.display()))
                    .hint("what stands before that line is as it was written; keep the file as it is"),
            )
        }
    }
}

fn verify(file: &Path, kept: Option<AuditHead>) -> Result<Result<AuditSummary, AuditFault>, CliError> {
    let failed = |error| CliError::new(Exit::Local, format!("{} cannot be read: {error}", file.display()));
    let mut reader = BufReader::new(std::fs::File::open(file).map_err(failed)?);
    let mut verifier = AuditVerifier::new(kept);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line that does not end is one that is too long, which the verifier says.
        (&mut reader)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .map_err(failed)?;
        if line.is_empty() {
            return Ok(verifier.finish());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if let Err(fault) = verifier.line(&line) {
            return Ok(Err(fault));
        }
    }
}

fn show(file: &Path, summary: &AuditSummary, kept: Option<AuditHead>, out: &mut Out) -> Result<(), CliError> {
    let lines = summary.head.number.saturating_add(1);
    if out.is_json() {
        return out.json(&json!({
            "file": file, "whole": true, "lines": lines, "first": summary.first, "last": summary.last,
            "head": summary.head.to_string(), "kept_head": kept.map(|kept| kept.to_string()), "events": summary.events,
        }));
    }
    let paint = out.paint();
    out.line(format_args!(
        "{}: {} lines from {} to {}",
        paint.good(format_args!("{} is whole", file.display())),
        lines,
        summary.first,
        summary.last
    ))?;
    for (event, count) in &summary.events {
        out.line(format_args!("  {count:>8} {event}"))?;
    }
    out.line(format_args!("{} {}", paint.dim("head"), summary.head))?;
    if kept.is_none() {
        out.line(paint.warn("no head was kept, so nothing tells whether the end is missing"))?;
    }
    out.flush()
}

/// Longer than any line that is written.
const LINE_BYTES_MAX: u64 = 64 * 1024;
