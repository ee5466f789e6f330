//! NATS's part: four subjects, published to over one connection, and requests beside them.
//!
//! The server is at the far end of the cable, with the subscriber. NATS has no classes: what is published goes out in the order in
//! which it was published.

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};

use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::oneshot;

use crate::measure::{BLOCK, CALL, Flows, PORT, Run, STREAMS, lay};
use crate::netns::{Cable, End, Missing};

/// Why NATS was not measured.
#[derive(Debug)]
pub(crate) enum Failure {
    Missing(Missing),
    NoServer,
    Server(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(missing) => missing.fmt(f),
            Self::NoServer => write!(f, "there is no {PROGRAM}"),
            Self::Server(why) => write!(f, "{PROGRAM} {why}"),
        }
    }
}

/// Publishes to four subjects, [`STREAMS`] tasks for each, over one connection.
pub(crate) fn measure(kbit: u32, seconds: u64) -> Result<Run, Failure> {
    let cable = lay(kbit).map_err(Failure::Missing)?;
    let host = cable.ipv4(End::Far);
    let _broker = Broker::start(&cable, host)?;
    let flows = Flows::default();
    let (ready, is_ready) = oneshot::channel();
    let (over, is_over) = oneshot::channel::<()>();
    let subscriber = cable.run_at(End::Far, {
        let flows = flows.clone();
        async move {
            let client = connect(host).await;
            for (flow, subject) in FLOWS.into_iter().enumerate() {
                let mut messages = client.subscribe(subject).await.expect("it is taken");
                let flows = flows.clone();
                tokio::spawn(async move {
                    while let Some(message) = messages.next().await {
                        flows.arrived(flow, message.payload.len());
                    }
                });
            }
            let mut requests = client.subscribe(URGENT).await.expect("it is taken");
            client.flush().await.expect("the server answers");
            ready.send(()).expect("the publisher waits");
            let answering = async {
                while let Some(request) = requests.next().await {
                    let place = request.reply.expect("it is a request");
                    client.publish(place, request.payload).await.expect("it is taken");
                }
            };
            tokio::select! {
                () = answering => {}
                _ = is_over => {}
            }
        }
    });
    let publisher = cable.run_at(End::Near, async move {
        is_ready.await.expect("somebody subscribes");
        let client = connect(host).await;
        for (flow, subject) in FLOWS.into_iter().enumerate() {
            for _ in 0..STREAMS {
                let (client, flows) = (client.clone(), flows.clone());
                tokio::spawn(async move {
                    let block = Bytes::from_static(&BLOCK);
                    while !flows.is_silent(flow) {
                        if client.publish(subject, block.clone()).await.is_err() {
                            break;
                        }
                    }
                });
            }
        }
        let seen = flows.observe(seconds, || {
            let client = client.clone();
            async move {
                let answer = client.request(URGENT, CALL).await;
                answer.expect("it is answered");
            }
        });
        let seen = seen.await;
        let _ = over.send(());
        seen
    });
    let seen = publisher.result();
    subscriber.result();
    Ok(Run {
        scheme: "NATS over tcp",
        flows: ["first", "second", "third", "fourth"],
        wanted: None,
        seconds,
        seen,
    })
}

async fn connect(host: IpAddr) -> Client {
    let options = ConnectOptions::new().client_capacity(WAITING_MAX);
    options
        .connect(format!("{host}:{PORT}"))
        .await
        .expect("it answers")
}

/// A nats-server at the far end, which ends with this.
struct Broker(Child);

impl Broker {
    /// Starts one and waits until it takes connections.
    fn start(cable: &Cable, host: IpAddr) -> Result<Self, Failure> {
        // `ip netns exec` becomes the program, but does not say in a way of its own that there is none.
        if let Err(error) = Command::new(PROGRAM).arg("--version").output()
            && error.kind() == ErrorKind::NotFound
        {
            return Err(Failure::NoServer);
        }
        let spawned = Command::new("ip")
            .args(["netns", "exec", cable.name(End::Far), PROGRAM])
            .args(["--addr", &host.to_string(), "--port", &PORT.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let child = spawned.map_err(|error| Failure::Server(format!("did not start: {error}")))?;
        let mut broker = Self(child);
        let mut lines = broker
            .0
            .stderr
            .take()
            .map(BufReader::new)
            .into_iter()
            .flat_map(BufRead::lines);
        let mut last = String::new();
        while let Some(Ok(line)) = lines.next() {
            if line.contains("Server is ready") {
                // A server whose output nobody reads stops when the pipe is full.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(broker);
            }
            last = line;
        }
        Err(Failure::Server(format!("ended at once: {last}")))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program, and Debian's package of it.
pub(crate) const PROGRAM: &str = "nats-server";
const FLOWS: [&str; 4] = ["shares.first", "shares.second", "shares.third", "shares.fourth"];
const URGENT: &str = "shares.urgent";
/// Messages that wait within the client. Its own default of 2,048 would be 32 MiB of blocks, and every request behind them would take
/// more than two seconds.
const WAITING_MAX: usize = 16;
