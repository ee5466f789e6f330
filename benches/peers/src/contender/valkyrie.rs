//! Valkyrie as an application uses it: an endpoint, a service with handlers, default limits.
//!
//! Streams are sent and received in batches, as a program does that has many small messages at hand.

use std::any::Any;
use std::collections::VecDeque;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use valkyrie::security::time::UnixTime;
use valkyrie::security::trust::FirstUse;
use valkyrie::security::{Identity, Live, Security, Trust};
use valkyrie::{
    AccessPolicy, Connection, Endpoint, Message, Method, PlainRule, RecvStream, SendStream, Services,
};

use super::messages::{self, Incoming, Outgoing};
use super::{Client, Ready, Running};
use crate::address::{Address, Site, Socket};
use crate::failure::Failure;
use crate::frames;
use crate::load::{Caller, Done, Load, call_once, closed_loop};
use crate::scenario::Shape;

/// Listens with an endpoint and waits for the end of the process.
pub(super) async fn serve(site: Site, ready: Ready, protection: Protection) -> Result<(), Failure> {
    let services = Services::builder()
        .unary(SERVICE, ECHO, |_, payload: Bytes| async move { Ok(payload) })
        .stream(SERVICE, ECHO_STREAM, |_, send, recv| async move {
            // A stream that broke off is the driver's to report.
            let _ = messages::echo(&mut Sending(send), &mut Receiving::new(recv)).await;
            Ok(())
        })
        .stream(SERVICE, SINK, |_, mut send, mut recv| async move {
            let mut batch = Vec::with_capacity(BATCH);
            let mut count = 0_u64;
            // A stream that broke off is the driver's to report.
            while let Ok(received @ 1..) = recv.recv_many(&mut batch, BATCH).await {
                count += received as u64;
                batch.clear();
            }
            let _ = send.send(Bytes::copy_from_slice(&count.to_le_bytes())).await;
            Ok(())
        })
        .build()
        .map_err(Failure::of(NAME))?;
    let endpoint = endpoint(services, protection)?;
    let wanted = match site.socket {
        Socket::Uds => Address::Uds(frames::free_path()).to_string(),
        Socket::Redis => Address::Broker(site.broker()?, format!("peers-{}", std::process::id())).to_string(),
        socket => format!("{socket}://127.0.0.1:0"),
    };
    let bound = endpoint.listen(&wanted).await.map_err(Failure::of(NAME))?;
    let address = bound.to_string().parse()?;
    ready(address);
    std::future::pending().await
}

/// Whether the two ends authenticate each other and seal what they send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    Plain,
    Sealed,
}

fn endpoint(services: Services, protection: Protection) -> Result<Endpoint, Failure> {
    let builder = valkyrie::endpoint().services(services);
    let builder = match protection {
        Protection::Plain => builder.plain(PlainRule::Always),
        Protection::Sealed => builder
            .security(stranger()?)
            .on_first_use(|_| {})
            .policy(AccessPolicy::allow_authenticated()),
    };
    builder.build().map_err(Failure::of(NAME))
}

/// An identity of one's own, and trust in whoever is met first. Without this an endpoint has both too, but trusts so within the
/// machine alone, and what a proxy or a broker may have brought is not.
fn stranger() -> Result<Security, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let identity = Identity::generate("peers", UnixTime::from_secs(now.as_secs()));
    let trust = Trust::default().with_first_use(FirstUse::Anywhere);
    let identity = identity.map_err(Failure::of(NAME))?;
    Ok(Security::new(Live::new(identity), Live::new(trust)))
}

/// Opens one connection.
pub(super) async fn connect(address: &Address, protection: Protection) -> Result<Box<dyn Client>, Failure> {
    Ok(Box::new(open(address, protection).await?))
}

/// Opens one connection and makes one call.
pub(super) async fn connect_idle(address: &Address, protection: Protection) -> Result<Box<dyn Any>, Failure> {
    let client = open(address, protection).await?;
    call_once(client.clone(), &Bytes::from_static(&[7; 64])).await?;
    Ok(Box::new(client))
}

async fn open(address: &Address, protection: Protection) -> Result<ValkyrieClient, Failure> {
    let endpoint = endpoint(Services::default(), protection)?;
    let connection = endpoint
        .connect(&address.to_string())
        .await
        .map_err(Failure::of(NAME))?;
    let echo = Method::new(SERVICE, ECHO).map_err(Failure::of(NAME))?;
    Ok(ValkyrieClient {
        connection,
        echo,
        _endpoint: endpoint,
    })
}

#[derive(Clone)]
struct ValkyrieClient {
    connection: Connection,
    echo: Method,
    _endpoint: Endpoint,
}

impl Caller for ValkyrieClient {
    async fn call(&mut self, payload: Bytes) -> Result<Bytes, Failure> {
        self.connection
            .call(&self.echo, payload)
            .await
            .map_err(Failure::of(NAME))
    }
}

impl Client for ValkyrieClient {
    fn run<'a>(&'a mut self, shape: Shape, load: &'a Load) -> Running<'a, Done> {
        Box::pin(async move {
            match shape {
                Shape::Unary { .. } => closed_loop(self, load).await,
                Shape::Echo { .. } => self.echo(load).await,
                Shape::Stream => self.stream(load).await,
            }
        })
    }
}

impl ValkyrieClient {
    /// One stream each way, used as the libraries' own pipes are.
    async fn echo(&mut self, load: &Load) -> Result<Done, Failure> {
        let opened = self.connection.open((SERVICE, ECHO_STREAM)).await;
        let (send, recv) = opened.map_err(Failure::of(NAME))?;
        messages::unary(&mut (Sending(send), Receiving::new(recv)), load).await
    }

    /// One stream; the one message that comes back is the number of those that arrived.
    async fn stream(&mut self, load: &Load) -> Result<Done, Failure> {
        let began = Instant::now();
        let (mut send, mut recv) = self
            .connection
            .open((SERVICE, SINK))
            .await
            .map_err(Failure::of(NAME))?;
        let mut waiting = VecDeque::with_capacity(BATCH);
        let batch = (BATCH_BYTES / load.payload.len()).clamp(1, BATCH);
        let mut messages = 0;
        while began.elapsed() < load.duration {
            while waiting.len() < batch {
                waiting.push_back(Message::data(load.payload.clone()));
                messages += 1;
            }
            send.send_many(&mut waiting).await.map_err(Failure::of(NAME))?;
        }
        while !waiting.is_empty() {
            send.send_many(&mut waiting).await.map_err(Failure::of(NAME))?;
        }
        send.finish();
        let count = recv.recv().await.map_err(Failure::of(NAME))?;
        let received = count
            .and_then(|count| count.payload.first_chunk().copied())
            .map_or(0, u64::from_le_bytes);
        if received != messages {
            return Err(Failure::Lost {
                sent: messages,
                received,
            });
        }
        Ok(Done {
            messages,
            elapsed: began.elapsed(),
            latency_ns: None,
        })
    }
}

struct Sending(SendStream);

impl Outgoing for Sending {
    async fn send(&mut self, messages: &mut Vec<Bytes>) -> Result<(), Failure> {
        if messages.len() == 1 {
            for message in messages.drain(..) {
                self.0.send(message).await.map_err(Failure::of(NAME))?;
            }
            return Ok(());
        }
        let mut waiting: VecDeque<_> = messages.drain(..).map(Message::data).collect();
        while !waiting.is_empty() {
            self.0.send_many(&mut waiting).await.map_err(Failure::of(NAME))?;
        }
        Ok(())
    }
}

struct Receiving {
    stream: RecvStream,
    /// What was taken at once, the first of it last.
    taken: Vec<Message>,
}

impl Receiving {
    fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            taken: Vec::with_capacity(BATCH),
        }
    }
}

impl Incoming for Receiving {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        if self.taken.is_empty() {
            let received = self.stream.recv_many(&mut self.taken, BATCH).await;
            received.map_err(Failure::of(NAME))?;
            self.taken.reverse();
        }
        self.ready()
    }

    fn ready(&mut self) -> Result<Option<Bytes>, Failure> {
        Ok(self.taken.pop().map(|message| message.payload))
    }
}

const NAME: &str = "valkyrie";
const SERVICE: &str = "bench";
const ECHO: &str = "echo";
const ECHO_STREAM: &str = "echo-stream";
const SINK: &str = "sink";
/// Messages handed over at once.
const BATCH: usize = 256;
/// Large messages are handed over a few at a time.
const BATCH_BYTES: usize = 256 * 1024;
