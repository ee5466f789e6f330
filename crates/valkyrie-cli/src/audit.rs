//! `valkyrie audit verify`: is the audit log as it was written, over all its files.

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
The older files of the log, FILE.1 and so on, are looked at first, the oldest before all others. A line that was edited,
removed, put in or moved is named, with its file. A log whose oldest files are gone passes, and how many lines that are is
said. That the end is missing shows by the head that lies beside the log, or by one that was kept elsewhere, which whoever
can write the log cannot change.

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
    // Before the log is read, which may grow meanwhile.
    let kept = args.head.or_else(|| valkyrie_keystore::kept_head(&file));
    match verify(&file, kept)? {
        Ok(whole) => show(&file, &whole, kept, out),
        Err(Broken { file, fault }) => {
            if out.is_json() {
                out.json(&json!({
                    "file": file, "whole": false, "line": fault.line, "fault": fault.kind.to_string(),
                }))?;
                return Err(CliError::silent(Exit::Failed));
            }
            Err(
                CliError::new(Exit::Failed, format!("{}: {fault}", file.display()))
                    .hint("what stands before that line is as it was written; keep the files as they are"),
            )
        }
    }
}

/// A log in which nothing was changed.
struct Whole {
    summary: AuditSummary,
    /// Its files, the oldest first.
    files: Vec<PathBuf>,
}

/// What is wrong, with the line within its file.
struct Broken {
    file: PathBuf,
    fault: AuditFault,
}

fn verify(log: &Path, kept: Option<AuditHead>) -> Result<Result<Whole, Broken>, CliError> {
    let failed = |file: &Path, error: std::io::Error| {
        CliError::new(Exit::Local, format!("{} cannot be read: {error}", file.display()))
    };
    let mut verifier = AuditVerifier::new(kept).without_oldest();
    let mut files = Vec::new();
    let (mut lines, mut lines_before) = (0_u64, 0);
    for (path, file) in valkyrie_keystore::audit_files(log).map_err(|error| failed(log, error))? {
        lines_before = lines;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            // A line that does not end is one that is too long, which the verifier says.
            (&mut reader)
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line)
                .map_err(|error| failed(&path, error))?;
            if line.is_empty() {
                break;
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            if let Err(fault) = verifier.line(&line) {
                return Ok(Err(broken(path, fault, lines_before)));
            }
            lines = lines.saturating_add(1);
        }
        files.push(path);
    }
    Ok(match verifier.finish() {
        Ok(summary) => Ok(Whole { summary, files }),
        Err(fault) => {
            let last = files.pop().unwrap_or_else(|| log.to_owned());
            Err(broken(last, fault, lines_before))
        }
    })
}

fn broken(file: PathBuf, mut fault: AuditFault, lines_before: u64) -> Broken {
    fault.line = fault.line.saturating_sub(lines_before);
    Broken { file, fault }
}

fn show(log: &Path, whole: &Whole, kept: Option<AuditHead>, out: &mut Out) -> Result<(), CliError> {
    let Whole { summary, files } = whole;
    let missing = summary.begins;
    let lines = summary.head.number.saturating_sub(missing).saturating_add(1);
    if out.is_json() {
        return out.json(&json!({
            "file": log, "files": files, "whole": true, "lines": lines, "missing_before": missing,
            "first": summary.first, "last": summary.last,
            "head": summary.head.to_string(), "kept_head": kept.map(|kept| kept.to_string()), "events": summary.events,
        }));
    }
    let paint = out.paint();
    let what = match missing {
        0 => "is whole",
        _ => "is whole from its oldest file on",
    };
    let in_files = match files.len() {
        0 | 1 => String::new(),
        several => format!(" in {several} files"),
    };
    out.line(format_args!(
        "{}: {lines} lines{in_files} from {} to {}",
        paint.good(format_args!("{} {what}", log.display())),
        summary.first,
        summary.last
    ))?;
    if let (1.., Some(oldest)) = (missing, files.first()) {
        out.line(paint.warn(format_args!(
            "the oldest files were removed: lines 0 to {} are not here, the log begins at line number {missing} in {}",
            missing - 1,
            oldest.display()
        )))?;
    }
    if let Some(count) = summary.events.get("end_missing") {
        out.line(paint.warn(format_args!(
            "its end was missing {count} times when a program went on with it: see the lines of event end_missing"
        )))?;
    }
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
