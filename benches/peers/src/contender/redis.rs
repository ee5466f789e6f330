//! redis-rs: each message is a `PUBLISH` of its own, to a channel that the other end subscribes to. What is sent together is one
//! pipeline. Nothing tells a publisher that its subscriber is behind.

use std::net::SocketAddr;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, Value};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::messages::{self, Incoming, MessageClient, Outgoing};
use super::{Client, Ready};
use crate::address::Address;
use crate::failure::Failure;

/// Subscribes to what clients ask for, which is one at a time.
pub(super) async fn serve(broker: SocketAddr, ready: Ready) -> Result<(), Failure> {
    let name = format!("peers-{}", std::process::id());
    let address = Address::Broker(broker, name);
    let (mut echo, mut sink) = (
        open(&address, "echo", SERVER).await?,
        open(&address, "sink", SERVER).await?,
    );
    ready(address);
    let ended = tokio::join!(
        messages::echo(&mut echo.0, &mut echo.1),
        messages::sink(&mut sink.0, &mut sink.1)
    );
    ended.0.and(ended.1)
}

/// Opens a connection for each purpose; only one is used in a window.
pub(super) async fn connect(address: &Address) -> Result<Box<dyn Client>, Failure> {
    let echo = open(address, "echo", CLIENT).await?;
    let sink = open(address, "sink", CLIENT).await?;
    Ok(Box::new(MessageClient::new(echo, sink)))
}

/// One connection that publishes to one channel and is subscribed to another.
async fn open(
    address: &Address,
    purpose: &str,
    [there, here]: [&str; 2],
) -> Result<(Publisher, Subscription), Failure> {
    let Address::Broker(broker, name) = address else {
        return Err(Failure::Control(format!(
            "`{address}` is no place at a redis-server"
        )));
    };
    let client = redis::Client::open(format!("redis://{broker}/?protocol=resp3"));
    let client = client.map_err(Failure::of(NAME))?;
    let (sender, pushed) = unbounded_channel();
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_push_sender(sender);
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(Failure::of(NAME))?;
    connection
        .subscribe(format!("{name}.{purpose}.{here}"))
        .await
        .map_err(Failure::of(NAME))?;
    let publisher = Publisher {
        connection: connection.clone(),
        channel: format!("{name}.{purpose}.{there}"),
    };
    let subscription = Subscription {
        pushed,
        _connection: connection,
    };
    Ok((publisher, subscription))
}

struct Publisher {
    connection: MultiplexedConnection,
    channel: String,
}

impl Outgoing for Publisher {
    async fn send(&mut self, messages: &mut Vec<Bytes>) -> Result<(), Failure> {
        let mut pipeline = redis::Pipeline::with_capacity(messages.len());
        for message in messages.drain(..) {
            let publish = pipeline.cmd("PUBLISH").arg(&self.channel);
            publish.arg(&message[..]).ignore();
        }
        pipeline
            .exec_async(&mut self.connection)
            .await
            .map_err(Failure::of(NAME))
    }
}

struct Subscription {
    pushed: UnboundedReceiver<PushInfo>,
    _connection: MultiplexedConnection,
}

impl Incoming for Subscription {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while let Some(push) = self.pushed.recv().await {
            if let Some(message) = message(push)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    fn ready(&mut self) -> Result<Option<Bytes>, Failure> {
        while let Ok(push) = self.pushed.try_recv() {
            if let Some(message) = message(push)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }
}

/// The payload of what is a message, and nothing of what confirms a subscription.
fn message(push: PushInfo) -> Result<Option<Bytes>, Failure> {
    match push.kind {
        PushKind::Disconnection => Err(Failure::Control("lost its redis-server".to_owned())),
        PushKind::Message => match push.data.into_iter().nth(1) {
            Some(Value::BulkString(bytes)) => Ok(Some(bytes.into())),
            _ => Err(Failure::Control("was told of a message without bytes".to_owned())),
        },
        _ => Ok(None),
    }
}

const NAME: &str = "redis-rs";
/// Where each side publishes, and where it listens.
const CLIENT: [&str; 2] = ["there", "back"];
const SERVER: [&str; 2] = ["back", "there"];
