//! One connection to the broker: connect, TLS if it is to be, log in, and then publish and subscribe on it.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, Value};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use valkyrie_transport::tls::{certificate_refused, server_name};
use valkyrie_transport::{Action, TransportError};

use crate::error::BrokerFault;
use crate::options::{
    ANSWER_TIME_MAX, DIAL_ADDRESSES_MAX, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, RedisTransport,
};
use crate::place::{Place, unusable};

/// A connection to the broker. It ends when this is dropped, and with it its subscriptions.
pub(crate) struct Broker {
    connection: MultiplexedConnection,
    driver: AbortHandle,
}

/// What the broker brings unasked.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// A message on a channel we subscribe to by name.
    Named { channel: Bytes, payload: Bytes },
    /// A message on a channel that matches a pattern of ours.
    Matched {
        pattern: Bytes,
        channel: Bytes,
        payload: Bytes,
    },
    /// The connection is over; nothing more will come.
    Gone,
}

impl Broker {
    /// Connects and logs in. `deliver` is called for all that the broker brings unasked, in its order, and must not wait.
    pub(crate) async fn connect(
        options: &RedisTransport,
        place: &Place,
        action: Action,
        deliver: impl Fn(Delivery) + Send + Sync + 'static,
    ) -> Result<Self, TransportError> {
        let connecting = Self::connect_slowly(options, place, action, deliver);
        timeout(options.connect_timeout, connecting)
            .await
            .unwrap_or_else(|_| {
                Err(TransportError::TimedOut {
                    locator: place.locator.clone(),
                    after: options.connect_timeout,
                })
            })
    }

    async fn connect_slowly(
        options: &RedisTransport,
        place: &Place,
        action: Action,
        deliver: impl Fn(Delivery) + Send + Sync + 'static,
    ) -> Result<Self, TransportError> {
        let system = |error| match TransportError::from_io(action, &place.locator, error) {
            // To listen is to connect to the broker here: what stands in the way is not our own address.
            TransportError::AddressNotAvailable { locator, source } => {
                TransportError::Unreachable { locator, source }
            }
            error => error,
        };
        let tcp = connect_tcp(place).await.map_err(|error| match error {
            Unconnected::Unknown(source) => TransportError::NameNotFound {
                locator: place.locator.clone(),
                source,
            },
            Unconnected::Failed(error) => system(error),
        })?;
        tcp.set_nodelay(true).map_err(system)?;
        // A subscriber only listens: without this it would wait for ever for a broker whose machine has vanished.
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL);
        SockRef::from(&tcp)
            .set_tcp_keepalive(&keepalive)
            .map_err(system)?;

        let mut info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name();
        if let Some(credentials) = &place.credentials {
            info = info
                .set_username(&credentials.user)
                .set_password(credentials.password.as_str());
        }
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(ANSWER_TIME_MAX))
            .set_push_sender(move |push| {
                if let Some(delivery) = sort(push) {
                    deliver(delivery);
                }
                Ok::<(), SendError>(())
            });
        let refused = |error| BrokerFault::from(error).into_transport(action, &place.locator);
        let (connection, driver) = match &options.roots {
            None => {
                let opened = MultiplexedConnection::new_with_config(&info, tcp, config).await;
                let (connection, driver) = opened.map_err(refused)?;
                (connection, tokio::spawn(driver))
            }
            Some(roots) => {
                let refuse =
                    |error: valkyrie_transport::tls::TlsError| unusable(&place.locator, error.to_string());
                let name = server_name(place.host_port()?.host).map_err(refuse)?;
                let tls = TlsConnector::from(roots.client_config(&[]).map_err(refuse)?);
                let tls =
                    tls.connect(name, tcp)
                        .await
                        .map_err(|source| match certificate_refused(&source) {
                            Some(refused) => TransportError::Untrusted {
                                locator: place.locator.clone(),
                                reason: refused.to_string(),
                            },
                            None => TransportError::Aborted {
                                locator: place.locator.clone(),
                                source,
                            },
                        })?;
                let opened = MultiplexedConnection::new_with_config(&info, tls, config).await;
                let (connection, driver) = opened.map_err(refused)?;
                (connection, tokio::spawn(driver))
            }
        };
        Ok(Self {
            connection,
            driver: driver.abort_handle(),
        })
    }

    /// Subscribes to channels by name, all of them or none.
    pub(crate) async fn subscribe(&self, channels: &[Vec<u8>]) -> Result<(), BrokerFault> {
        Ok(self.connection.clone().subscribe(channels).await?)
    }

    /// Subscribes to channels by Redis' own patterns, all of them or none.
    pub(crate) async fn subscribe_matching(&self, patterns: &[Vec<u8>]) -> Result<(), BrokerFault> {
        Ok(self.connection.clone().psubscribe(patterns).await?)
    }

    /// Publishes one packet and says how many connections it was handed to.
    pub(crate) async fn publish(&self, channel: &[u8], packet: &[u8]) -> Result<u64, BrokerFault> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(packet);
        match self.connection.clone().send_packed_command(&command).await? {
            Value::Int(count) => Ok(count.max(0).unsigned_abs()),
            Value::ServerError(error) => Err(redis::RedisError::from(error).into()),
            _ => Err(BrokerFault::Nonsense),
        }
    }

    /// Publishes packets in order. On an error it says how many of the front are known to have been published.
    pub(crate) async fn publish_all(&self, packets: &redis::Pipeline) -> Result<(), (usize, BrokerFault)> {
        let mut connection = self.connection.clone();
        let answers = connection.send_packed_commands(packets, 0, packets.len()).await;
        let answers = answers.map_err(|error| (0, error.into()))?;
        for (index, answer) in answers.into_iter().enumerate() {
            match answer {
                Value::Int(_) => {}
                Value::ServerError(error) => return Err((index, redis::RedisError::from(error).into())),
                _ => return Err((index, BrokerFault::Nonsense)),
            }
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

enum Unconnected {
    Unknown(io::Error),
    Failed(io::Error),
}

/// Tries the addresses one after the other; of the failures the first tells most.
async fn connect_tcp(place: &Place) -> Result<TcpStream, Unconnected> {
    let host_port = place
        .host_port()
        .map_err(|error| Unconnected::Failed(io::Error::other(error)))?;
    let addresses: Vec<SocketAddr> = lookup_host((host_port.host, host_port.port))
        .await
        .map_err(Unconnected::Unknown)?
        .take(DIAL_ADDRESSES_MAX)
        .collect();
    let mut first_error = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            // A port that nobody listens on can be chosen for our own end, and then TCP connects the socket to itself.
            Ok(stream) if stream.local_addr().ok() == stream.peer_addr().ok() => {}
            Ok(stream) => return Ok(stream),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(match first_error {
        Some(error) => Unconnected::Failed(error),
        None => Unconnected::Failed(io::ErrorKind::ConnectionRefused.into()),
    })
}

/// What a push is to us; confirmations of subscriptions are nothing.
fn sort(push: PushInfo) -> Option<Delivery> {
    let mut data = push.data.into_iter().map(|value| match value {
        Value::BulkString(bytes) => Some(Bytes::from(bytes)),
        _ => None,
    });
    let mut next = || data.next().flatten();
    match push.kind {
        PushKind::Disconnection => Some(Delivery::Gone),
        PushKind::Message => Some(Delivery::Named {
            channel: next()?,
            payload: next()?,
        }),
        PushKind::PMessage => Some(Delivery::Matched {
            pattern: next()?,
            channel: next()?,
            payload: next()?,
        }),
        _ => None,
    }
}
