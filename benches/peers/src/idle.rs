//! What an idle connection costs the server in memory of its own.
//!
//! The kernel's part of a socket is not counted: it is the same for everyone.

use std::time::Duration;

use serde::Serialize;

use crate::address::{Site, Socket};
use crate::contender::Contender;
use crate::failure::Failure;
use crate::options::Options;
use crate::server::{self, Memory, ServerProcess};

/// What idle connections over one kind of socket cost each contender.
#[derive(Debug, Serialize)]
pub(crate) struct Idle {
    pub(crate) socket: Socket,
    pub(crate) connections: usize,
    pub(crate) contenders: Vec<Held>,
}

/// What one contender's server holds for each connection, or why that is not known.
#[derive(Debug, Serialize)]
pub(crate) struct Held {
    pub(crate) contender: Contender,
    pub(crate) bytes_per_connection: Option<f64>,
    pub(crate) before: Option<Memory>,
    pub(crate) after: Option<Memory>,
    pub(crate) failure: Option<String>,
}

/// Opens the connections to each contender's server, one contender after the other.
pub(crate) fn run(socket: Socket, options: &Options) -> Result<Idle, Failure> {
    server::raise_descriptor_limit()?;
    let connections = options.connections();
    let contenders = options.contenders().filter(|contender| contender.rests());
    let contenders = contenders
        .map(|contender| {
            eprintln!("{socket}/idle/{connections} {contender}");
            match hold(contender, socket, connections, options.pin) {
                Ok((before, after)) => {
                    let grown_kib = after.anonymous_kib.saturating_sub(before.anonymous_kib);
                    let bytes = grown_kib as f64 * 1024.0 / connections as f64;
                    Held {
                        contender,
                        bytes_per_connection: Some(bytes),
                        before: Some(before),
                        after: Some(after),
                        failure: None,
                    }
                }
                Err(failure) => {
                    eprintln!("  {contender}: {failure}");
                    let failure = Some(failure.to_string());
                    Held {
                        contender,
                        bytes_per_connection: None,
                        before: None,
                        after: None,
                        failure,
                    }
                }
            }
        })
        .collect();
    Ok(Idle {
        socket,
        connections,
        contenders,
    })
}

/// The server's memory before and with the connections.
fn hold(
    contender: Contender,
    socket: Socket,
    connections: usize,
    pinned: bool,
) -> Result<(Memory, Memory), Failure> {
    let site = Site { socket, broker: None };
    let mut server = ServerProcess::start(contender, site, pinned)?;
    server::runtime()?.block_on(async {
        let mut open = Vec::with_capacity(connections + FIRST);
        for _ in 0..FIRST {
            open.push(contender.connect_idle(&server.address).await?);
        }
        tokio::time::sleep(SETTLING).await;
        let before = server.memory()?;
        for _ in 0..connections {
            open.push(contender.connect_idle(&server.address).await?);
        }
        tokio::time::sleep(SETTLING).await;
        Ok((before, server.memory()?))
    })
}

/// Opened before the first reading, so that what a server allocates once is not charged to the connections.
const FIRST: usize = 200;
/// Idle is what a connection is once nothing has happened on it for a while.
const SETTLING: Duration = Duration::from_secs(2);
