//! `valkyrie token`: capabilities for callers that have no identity where they call.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use serde_json::json;
use valkyrie::Class;
use valkyrie::security::policy::Classes;
use valkyrie::security::provider::PublicKey;
use valkyrie::security::token::{Narrowing, Right, Token, TokenError, TokenRights, TokenRoot};
use valkyrie_keystore::{Home, KeystoreError, Made};
use valkyrie_rustci::command::IdentityArgs;
use zeroize::Zeroizing;

use crate::access::{directory, now};
use crate::exit::{CliError, Exit};
use crate::keys::parse_key;
use crate::net::parse_class;
use crate::out::{Notes, Out};
use crate::units::parse_validity;

/// Makes tokens that say what their bearer may do, narrows and shows them.
#[derive(Args, Debug)]
#[command(after_help = "\
A server takes tokens whose root its policy names: [tokens] roots = [\"ed25519/…\"]. A token is a secret: whoever has it
may use it, hand it on and narrow it, and nobody can widen it.

Examples:
  valkyrie token mint echo --expires 1h --output echo.token
  valkyrie token attenuate echo.token --method echo --expires 5m --output less.token
  valkyrie token show less.token
  valkyrie call tcp://127.0.0.1:7000 echo echo --data hi --token less.token")]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Subcommand, Debug)]
enum TokenCommand {
    Mint(MintArgs),
    Attenuate(AttenuateArgs),
    Show(ShowArgs),
}

/// Makes a token, signed with this node's token key, which is made on first use.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  valkyrie token mint echo --expires 1h --output echo.token
  valkyrie token mint store/get store/list:bulk --expires 7d --output reader.token")]
struct MintArgs {
    /// What it is for: SERVICE, SERVICE/METHOD or SERVICE/METHOD:CLASS; * stands for any.
    #[arg(value_name = "RIGHT", required = true, value_parser = parse_right)]
    rights: Vec<Right>,

    /// How long it is good.
    #[arg(long, value_name = "TIME", value_parser = parse_validity)]
    expires: Duration,

    /// The file to write, readable by its owner alone; standard output unless given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    identity: IdentityArgs,
}

/// Makes a token for less out of another; nobody needs to be asked.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  valkyrie token attenuate store.token --method get --class bulk --expires 10m --output less.token")]
struct AttenuateArgs {
    /// The token, in a file that only its owner may read; - for standard input.
    #[arg(value_name = "FILE")]
    token: PathBuf,

    /// Only this service; may be given several times.
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<String>,

    /// Only methods of this name; may be given several times.
    #[arg(long = "method", value_name = "METHOD")]
    methods: Vec<String>,

    /// Only this class; may be given several times.
    #[arg(long = "class", value_name = "CLASS", value_parser = parse_class)]
    classes: Vec<Class>,

    /// Only for so long.
    #[arg(long, value_name = "TIME", value_parser = parse_validity)]
    expires: Option<Duration>,

    /// Only for the peer with this static key, 64 hexadecimal digits, so that a thief has no use for it.
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    peer: Option<PublicKey>,

    /// Nobody can narrow it any more.
    #[arg(long)]
    seal: bool,

    /// The file to write, readable by its owner alone; standard output unless given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Says by what a token can be revoked and, for one that this node or a given root signed, how long it is good.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  valkyrie token show less.token --json")]
struct ShowArgs {
    /// The token, in a file that only its owner may read; - for standard input.
    #[arg(value_name = "FILE")]
    token: PathBuf,

    /// The root that is to have signed it; this node's unless given.
    #[arg(long, value_name = "ROOT")]
    root: Option<TokenRoot>,

    /// The static key of the peer that it is bound to.
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    peer: Option<PublicKey>,

    #[command(flatten)]
    identity: IdentityArgs,
}

fn parse_right(text: &str) -> Result<Right, String> {
    let any = |name: &str| (name != "*").then(|| name.to_owned());
    let (call, class) = match text.split_once(':') {
        Some((call, class)) => (call, Some(parse_class(class)?)),
        None => (text, None),
    };
    let (service, method) = call.split_once('/').unwrap_or((call, "*"));
    if service.is_empty() || method.is_empty() {
        return Err("write SERVICE, SERVICE/METHOD or SERVICE/METHOD:CLASS".to_owned());
    }
    Ok(Right {
        service: any(service),
        method: any(method),
        class,
    })
}

/// Runs the command.
pub(crate) fn run(args: &TokenArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    match &args.command {
        TokenCommand::Mint(args) => mint(args, out, notes),
        TokenCommand::Attenuate(args) => attenuate(args, out, notes),
        TokenCommand::Show(args) => show(args, out),
    }
}

fn mint(args: &MintArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let home = Home::make(directory(&args.identity)?)?;
    let (key, made) = valkyrie_keystore::make_token_key(&home)?;
    let token = Token::mint(&key, &args.rights, now().saturating_add(args.expires))?;
    if made == Made::New {
        notes.remark(format_args!(
            "made a token key. Servers take its tokens whose policy says:\n  [tokens]\n  roots = [\"{}\"]",
            key.root()
        ));
    }
    write(&token, args.output.as_deref(), out, notes)
}

fn attenuate(args: &AttenuateArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let token = read(&args.token)?;
    let mut narrowing = Narrowing::new();
    if !args.services.is_empty() {
        narrowing = narrowing.services(&args.services);
    }
    if !args.methods.is_empty() {
        narrowing = narrowing.methods(&args.methods);
    }
    if !args.classes.is_empty() {
        narrowing = narrowing.classes(args.classes.iter().copied().collect::<Classes>());
    }
    if let Some(expires) = args.expires {
        narrowing = narrowing.expires(now().saturating_add(expires));
    }
    if let Some(peer) = args.peer {
        narrowing = narrowing.bound_to(peer);
    }
    let mut less = token.attenuate(&narrowing)?;
    if args.seal {
        less = less.seal()?;
    }
    write(&less, args.output.as_deref(), out, notes)
}

fn show(args: &ShowArgs, out: &mut Out) -> Result<(), CliError> {
    let token = read(&args.token)?;
    let root = match args.root {
        Some(root) => Some(root),
        None => match Home::open(directory(&args.identity)?) {
            Ok(home) => valkyrie_keystore::token_key(&home)?.map(|key| key.root()),
            Err(_) => None,
        },
    };
    let peer = args.peer.unwrap_or(PublicKey::from_bytes([0; 32]));
    let verified = root.map(|root| TokenRights::verify(token.as_bytes(), &peer, &[root], &[], now()));
    let (good, verdict) = match &verified {
        None => (
            false,
            "no root is known to check it with; name one with --root".to_owned(),
        ),
        Some(Ok(rights)) => (
            true,
            match rights.not_after() {
                Some(until) => format!("good until {until}"),
                None => "good without end".to_owned(),
            },
        ),
        Some(Err(error)) => (false, error.to_string()),
    };
    let ids = token.revocation_ids();
    if out.is_json() {
        let rights = verified.as_ref().and_then(|verified| verified.as_ref().ok());
        out.json(&json!({
            "good": good, "verdict": verdict, "bytes": token.as_bytes().len(), "blocks": ids.len(),
            "root": root.map(|root| root.to_string()),
            "not_after": rights.and_then(TokenRights::not_after).map(|until| until.to_string()),
            "revocation_ids": ids,
        }))?;
    } else {
        let paint = out.paint();
        out.line(match good {
            true => paint.good(verdict),
            false => paint.warn(verdict),
        })?;
        out.line(format_args!(
            "{} bytes in {} {}; each block but the first narrows it",
            token.as_bytes().len(),
            ids.len(),
            if ids.len() == 1 { "block" } else { "blocks" }
        ))?;
        out.line("revoked by any of, as `revoked` in the [tokens] of a policy:")?;
        for id in ids {
            out.line(format_args!("  {id}"))?;
        }
        out.flush()?;
    }
    match good {
        true => Ok(()),
        false => Err(CliError::silent(Exit::Failed)),
    }
}

/// The token in a file that nobody else may read, for a command that dials.
pub(crate) fn load(file: &Path) -> Result<Vec<u8>, CliError> {
    Ok(read(file)?.as_bytes().to_vec())
}

fn read(file: &Path) -> Result<Token, CliError> {
    let failed = |why: &dyn std::fmt::Display| {
        CliError::new(Exit::Local, format!("{} cannot be read: {why}", file.display()))
    };
    let mut text = Zeroizing::new(Vec::with_capacity(TEXT_BYTES_MAX));
    let read = match file.to_str() {
        Some("-") => std::io::stdin()
            .lock()
            .take(TEXT_BYTES_MAX as u64)
            .read_to_end(&mut text),
        _ => {
            let opened = File::open(file).map_err(|error| failed(&error))?;
            private(file, &opened)?;
            opened.take(TEXT_BYTES_MAX as u64).read_to_end(&mut text)
        }
    };
    read.map_err(|error| failed(&error))?;
    let text = text.trim_ascii();
    let text = text
        .strip_suffix(b"==")
        .or_else(|| text.strip_suffix(b"="))
        .unwrap_or(text);
    let bytes = URL_SAFE_NO_PAD.decode(text).map(Zeroizing::new);
    let bytes =
        bytes.map_err(|_| CliError::new(Exit::Usage, format!("{} holds no token", file.display())))?;
    Ok(Token::from_bytes(&bytes)?)
}

/// Refuses a file that other users may read. Pipes, as `<(…)` makes them, are nobody else's.
fn private(path: &Path, file: &File) -> Result<(), CliError> {
    let failed = |error| CliError::new(Exit::Local, format!("{} cannot be read: {error}", path.display()));
    let found = file.metadata().map_err(failed)?;
    let mode = found.mode() & 0o7777;
    if found.is_file() && mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(KeystoreError::Loose {
            path,
            mode,
            wanted: MODE,
        }
        .into());
    }
    Ok(())
}

fn write(token: &Token, file: Option<&Path>, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(token.as_bytes()));
    let Some(file) = file else {
        if out.is_json() {
            return out.json(&json!({"token": *text}));
        }
        if std::io::stdout().is_terminal() {
            notes.remark("whoever reads this line may use it:");
        }
        out.line(&*text)?;
        return out.flush();
    };
    let failed = |error| {
        CliError::new(
            Exit::Local,
            format!("{} cannot be written: {error}", file.display()),
        )
    };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(MODE);
    let mut opened = options.open(file).map_err(failed)?;
    // A file that was there keeps the permissions that it had.
    if opened.metadata().map_err(failed)?.is_file() {
        opened
            .set_permissions(Permissions::from_mode(MODE))
            .map_err(failed)?;
    }
    opened
        .write_all(text.as_bytes())
        .and_then(|()| opened.write_all(b"\n"))
        .map_err(failed)?;
    notes.remark(format_args!("written to {}", file.display()));
    match out.is_json() {
        true => out.json(&json!({"file": file})),
        false => Ok(()),
    }
}

impl From<TokenError> for CliError {
    fn from(error: TokenError) -> Self {
        let exit = match error {
            TokenError::Key => Exit::Local,
            _ => Exit::Usage,
        };
        Self::new(exit, error.to_string())
    }
}

/// A token is for its bearer alone.
const MODE: u32 = 0o600;

/// Base64 of the longest token, and room for spaces around it.
const TEXT_BYTES_MAX: usize = Token::BYTES_MAX / 3 * 4 + 64;
