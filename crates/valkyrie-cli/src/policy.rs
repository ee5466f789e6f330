//! `valkyrie policy`: is this file a policy, and what does it say about a call.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use valkyrie::security::policy::{Decision, Standing, Subject};
use valkyrie::{AccessPolicy, Class};

use crate::exit::{CliError, Exit};
use crate::net::parse_class;
use crate::out::Out;
use crate::rules;

/// Checks policies, and says which rule decides about a call.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  valkyrie policy check policy.toml
  valkyrie policy explain policy.toml --peer role:runner rustci/register --class job")]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Subcommand, Debug)]
enum PolicyCommand {
    Check(CheckArgs),
    Explain(ExplainArgs),
}

/// Says every mistake of a policy file with its place, or that there is none.
#[derive(Args, Debug)]
struct CheckArgs {
    /// The policy file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Says whether a peer may make a call, and by which rule.
#[derive(Args, Debug)]
#[command(after_help = "\
A peer is put together of what is known about it. `anonymous` and `plain` stand for those of whom nothing is.

Examples:
  valkyrie policy explain policy.toml --peer name:ada --peer role:admin store/put --class data
  valkyrie policy explain policy.toml --peer SHA256:7Xk… store/get
  valkyrie policy explain policy.toml --peer anonymous echo/echo; echo $?")]
struct ExplainArgs {
    /// The policy file.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Something that is known about the peer: name:NAME, role:ROLE, label:NAME=VALUE, a fingerprint, a SPIFFE ID,
    /// uid:N, gid:N, anonymous, plain or any. May be given several times.
    #[arg(long = "peer", value_name = "WHAT", required = true)]
    peer: Vec<String>,

    /// The call.
    #[arg(value_name = "SERVICE/METHOD", value_parser = parse_call)]
    call: (String, String),

    /// The class of service.
    #[arg(short, long, value_name = "CLASS", default_value = "data", value_parser = parse_class)]
    class: Class,
}

fn parse_call(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((service, method)) if !service.is_empty() && !method.is_empty() => {
            Ok((service.to_owned(), method.to_owned()))
        }
        _ => Err("write SERVICE/METHOD, as in echo/echo".to_owned()),
    }
}

/// Runs the command.
pub(crate) fn run(args: &PolicyArgs, out: &mut Out) -> Result<(), CliError> {
    match &args.command {
        PolicyCommand::Check(args) => rules::check::<AccessPolicy>(&args.file, out),
        PolicyCommand::Explain(args) => explain(args, out),
    }
}

fn explain(args: &ExplainArgs, out: &mut Out) -> Result<(), CliError> {
    let policy: AccessPolicy = rules::parse(&args.file)?;
    let mut subject = Subject::new(Standing::Identity);
    for word in &args.peer {
        describe(&mut subject, word)?;
    }
    let (service, method) = &args.call;
    let explained = policy.explain(&subject, service, method, args.class);
    let allowed = explained.decision() == Decision::Allowed;
    if out.is_json() {
        let decision = match explained.decision() {
            Decision::Allowed => "allowed",
            Decision::Forbidden => "forbidden",
            Decision::Unruled => "unruled",
        };
        out.json(&json!({
            "allowed": allowed, "decision": decision, "line": explained.line(), "text": explained.to_string(),
        }))?;
    } else {
        let text = explained.to_string();
        let paint = out.paint();
        match allowed {
            true => out.line(paint.good(text))?,
            false => out.line(paint.warn(text))?,
        }
    }
    match allowed {
        true => Ok(()),
        false => Err(CliError::silent(Exit::Failed)),
    }
}

/// Adds what a word says to what is known of a peer.
fn describe<'a>(subject: &mut Subject<'a>, word: &'a str) -> Result<(), CliError> {
    let unknown = || {
        CliError::new(Exit::Usage, format!("`{word}` says nothing about a peer")).hint(
            "write name:NAME, role:ROLE, label:NAME=VALUE, a fingerprint, spiffe://…, uid:N, gid:N, anonymous, plain or any",
        )
    };
    match word {
        "any" => return Ok(()),
        "anonymous" => subject.standing = Standing::Anonymous,
        "plain" => subject.standing = Standing::Plain,
        _ if word.starts_with("spiffe://") => subject.spiffe_id = Some(word),
        _ if word.starts_with("SHA256:") => subject.fingerprint = Some(word.parse().map_err(|_| unknown())?),
        _ => match word.split_once(':').ok_or_else(unknown)? {
            ("name", name) => subject.name = Some(name),
            ("role", role) => subject.roles.push(role),
            ("label", label) => subject.labels.push(label.split_once('=').ok_or_else(unknown)?),
            (id @ ("uid" | "gid"), number) => {
                let number = number.parse().map_err(|_| unknown())?;
                subject.standing = Standing::PeerCredentials;
                match id {
                    "uid" => subject.uid = Some(number),
                    _ => subject.gid = Some(number),
                }
            }
            _ => return Err(unknown()),
        },
    }
    Ok(())
}
