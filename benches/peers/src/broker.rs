//! A redis-server for the run: on a free port, with a folder of its own, and without files.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::failure::Failure;

/// A running redis-server, which ends with this.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    folder: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Broker {
    /// Starts one and waits until it takes connections.
    pub(crate) fn start() -> Result<Self, Failure> {
        let refused = Failure::io("start a redis-server");
        let folder = std::env::temp_dir().join(format!("valkyrie-peers-redis-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(&refused)?;
        // Between finding a port free and using it somebody else may take it; then the next is tried.
        for _ in 0..PORTS_TRIED {
            let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .and_then(|listener| listener.local_addr())
                .map_err(&refused)?;
            if let Some(child) = launch(address, &folder)? {
                return Ok(Self {
                    child,
                    folder,
                    address,
                });
            }
        }
        Err(Failure::Control(format!(
            "{PROGRAM} ended {PORTS_TRIED} times when it was started"
        )))
    }

    /// The processor time it has used until now. Its work is done by one thread, which is the one that counts.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.child.id()))
            .map_err(Failure::io("read the processor time of redis-server"))?;
        let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
        nanos
            .map(Duration::from_nanos)
            .ok_or_else(|| Failure::Control(format!("`{text}` is no processor time")))
    }
}

/// `None` where it ended at once.
fn launch(address: SocketAddr, folder: &Path) -> Result<Option<Child>, Failure> {
    let mut command = Command::new(PROGRAM);
    command.args(["--bind", &address.ip().to_string()]);
    command.args(["--port", &address.port().to_string()]);
    command.args(["--save", "", "--appendonly", "no"]);
    // It would cut off a subscriber that is behind by 32 MiB, and nothing slows down a program that publishes.
    command.args(["--client-output-buffer-limit", "pubsub 0 0 0"]);
    command.arg("--dir").arg(folder);
    let spawned = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = spawned.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::NoBroker,
        _ => Failure::io("start a redis-server")(error),
    })?;
    let mut lines = child
        .stdout
        .take()
        .map(BufReader::new)
        .into_iter()
        .flat_map(BufRead::lines);
    while let Some(Ok(line)) = lines.next() {
        if line.contains("Ready to accept connections") {
            // A server whose output nobody reads stops when the pipe is full.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(Some(child));
        }
    }
    // It has closed its output, so it is ending or dead.
    let _ = child.kill();
    let _ = child.wait();
    Ok(None)
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

const PROGRAM: &str = "redis-server";
const PORTS_TRIED: usize = 10;
