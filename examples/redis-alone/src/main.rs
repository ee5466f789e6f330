//! One adapter alone: a bus at a Redis server, without the protocol, the session or the endpoint.
//!
//! `cargo run -p example-redis-alone` starts a redis-server of its own, subscribes to a pattern, publishes a batch and prints
//! what comes; `-- redis://host:port` uses one that is there.

use std::future::poll_fn;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use valkyrie_transport::{Bus, BusMessage, Locator};
use valkyrie_transport_redis::RedisBus;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = match std::env::args().nth(1) {
        Some(locator) => Server::of_others(locator.parse()?),
        None => match Server::start() {
            Ok(server) => server,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                writeln!(
                    io::stdout(),
                    "there is no redis-server on this machine; apt-get install redis-server"
                )?;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        },
    };
    let bus = RedisBus::connect(&server.locator).await?;
    let mut logs = bus.subscribe(&["jobs.*.log".into()]).await?;

    let message = |topic: &'static str, payload: &'static str| BusMessage {
        topic: topic.into(),
        payload: payload.into(),
    };
    let batch = [
        message("jobs.7.log", "compiling"),
        message("jobs.7.state", "not for us"),
        message("jobs.8.log", "linking"),
    ];
    bus.publish(&batch).await?;

    let mut heard = Vec::new();
    while heard.len() < 2 {
        poll_fn(|cx| logs.poll_batch(cx, 100, &mut heard)).await?;
    }
    for BusMessage { topic, payload } in &heard {
        let (topic, payload) = (String::from_utf8_lossy(topic), String::from_utf8_lossy(payload));
        writeln!(io::stdout(), "{topic}: {payload}")?;
    }
    writeln!(io::stdout(), "{} missed", logs.missed())?;
    Ok(())
}

/// A redis-server; if it is our own it ends with this.
struct Server {
    locator: Locator,
    child: Option<Child>,
}

impl Server {
    fn of_others(locator: Locator) -> Self {
        Self { locator, child: None }
    }

    fn start() -> io::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .stdout(Stdio::piped())
            .spawn()?;
        let ready = child.stdout.take().is_some_and(|output| {
            let mut lines = BufReader::new(output).lines();
            lines.any(|line| line.is_ok_and(|line| line.contains("Ready to accept connections")))
        });
        let locator = format!("redis://127.0.0.1:{port}/example")
            .parse()
            .map_err(io::Error::other)?;
        let server = Self {
            locator,
            child: Some(child),
        };
        match ready {
            true => Ok(server),
            false => Err(io::Error::other("redis-server ended before it was ready")),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
