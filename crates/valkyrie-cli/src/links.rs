//! `valkyrie links`: what carries the connections of a running node.

use clap::Args;
use serde::{Deserialize, Serialize};
use valkyrie::transport::Capabilities;
use valkyrie::{Connection, Side};

use crate::exit::{CliError, Exit};
use crate::net::{self, DialArgs};
use crate::out::{Notes, Out};
use crate::units::Span;

/// Shows the links of a running node: who is at their other ends, what they can do, how far away that is.
#[derive(Args, Debug)]
#[command(after_help = "\
The node has to permit its method node/links. One that serves without a policy permits it to whoever shows the node's
own identity, as this command does when it runs as the same user.

Examples:
  valkyrie links tcp://127.0.0.1:7000
  valkyrie links uds:///run/valkyrie.sock --json | jq .capabilities")]
pub(crate) struct LinksArgs {
    #[command(flatten)]
    dial: DialArgs,
}

/// One connection and its link, as `node/links` answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LinkReport {
    pub(crate) id: u64,
    /// The kind of link; empty while there is none.
    kind: String,
    peer: String,
    dialled: bool,
    /// What somebody vouches for, or what it calls itself.
    name: Option<String>,
    rtt_us: Option<f64>,
    resumes: u32,
    detached: bool,
    capabilities: CapabilityReport,
}

/// What a link can do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CapabilityReport {
    lanes: u8,
    reliable: bool,
    ordered: bool,
    secure: bool,
    vectored: bool,
    max_write: Option<usize>,
    local: bool,
    peer_credentials: bool,
}

impl From<Capabilities> for CapabilityReport {
    fn from(capabilities: Capabilities) -> Self {
        Self {
            lanes: capabilities.lanes,
            reliable: capabilities.reliable,
            ordered: capabilities.ordered,
            secure: capabilities.secure,
            vectored: capabilities.vectored,
            max_write: capabilities.max_write,
            local: capabilities.local,
            peer_credentials: capabilities.peer_credentials.is_some(),
        }
    }
}

impl CapabilityReport {
    /// The words for a row.
    fn words(&self) -> String {
        let lanes = if self.lanes == 1 {
            "1 lane".to_owned()
        } else {
            format!("{} lanes", self.lanes)
        };
        let flags = [
            (!self.reliable, "unreliable"),
            (!self.ordered, "unordered"),
            (self.secure, "encrypted itself"),
            (self.local, "local"),
            (self.peer_credentials, "peer credentials"),
        ];
        let flags = flags.iter().filter(|(says, _)| *says).map(|(_, word)| *word);
        std::iter::once(lanes.as_str())
            .chain(flags)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl LinkReport {
    /// The report of a connection whose peer answered after `delay`.
    pub(crate) fn of(connection: &Connection, delay: Option<std::time::Duration>) -> Self {
        let link = connection.link();
        let identity = connection.identity();
        Self {
            id: connection.id(),
            kind: link.peer.split([' ', ':']).next().unwrap_or_default().to_owned(),
            peer: link.peer,
            dialled: connection.side() == Side::Dialer,
            name: identity.name().or(identity.claimed_name()).map(str::to_owned),
            rtt_us: delay.or(link.rtt).map(|rtt| rtt.as_nanos() as f64 / 1e3),
            resumes: link.resumes,
            detached: link.detached,
            capabilities: link.capabilities.into(),
        }
    }

    fn show(&self, out: &mut Out) -> Result<(), CliError> {
        let paint = out.paint();
        let peer = if self.detached {
            paint.warn("no link").to_string()
        } else {
            paint.bold(&self.peer).to_string()
        };
        let rtt = self.rtt_us.map_or("-".to_owned(), |us| {
            Span(std::time::Duration::from_nanos((us * 1e3) as u64)).to_string()
        });
        out.line(format_args!(
            "{:>4}  {peer}  {}  {}  rtt {rtt}  {}{}",
            self.id,
            if self.dialled { "dialled" } else { "accepted" },
            self.name.as_deref().unwrap_or("nobody in particular"),
            self.capabilities.words(),
            match self.resumes {
                0 => String::new(),
                1 => "  resumed once".to_owned(),
                times => format!("  resumed {times} times"),
            }
        ))
    }
}

/// Runs the command.
pub(crate) fn run(args: &LinksArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let access = args.dial.access(notes)?;
    net::block_on(1, async {
        let dial = args.dial.endpoint(access).await?;
        let work = async {
            let connection = dial.connect().await?;
            let answer = connection.call(("node", "links"), "").await?;
            let links: Vec<LinkReport> = serde_json::from_slice(&answer).map_err(|error| {
                CliError::new(Exit::Protocol, format!("the node's answer is none: {error}"))
            })?;
            for link in &links {
                if out.is_json() {
                    out.json(link)?;
                } else {
                    link.show(out)?;
                }
            }
            out.flush()
        };
        net::until_signal(&dial.endpoint, work).await
    })
}
