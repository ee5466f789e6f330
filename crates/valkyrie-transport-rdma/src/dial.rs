//! From a locator to a connection: resolve, ask, and say what went wrong.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use valkyrie_transport::{Action, Locator, TransportError};

use crate::conn::{Conn, Prepared, Shape};
use crate::device::{CmId, Event, EventChannel, QueuePair, Ready};
use crate::error::RdmaError;
use crate::link::RdmaLink;
use crate::options::RdmaTransport;
use crate::place::{host_port, resolve};
use crate::wire::{Hello, Rejection};

pub(crate) async fn dial(options: &RdmaTransport, locator: &Locator) -> Result<RdmaLink, TransportError> {
    let place = host_port(locator)?;
    if place.port == 0 {
        let reason = "port 0 is for listening; dial the port that the listener reports".to_owned();
        return Err(TransportError::Unusable {
            locator: locator.clone(),
            reason,
        });
    }
    crate::library::check().map_err(|error| Failure::Rdma(error).told(locator, Duration::ZERO))?;
    let start = Instant::now();
    let connecting = async {
        let mut addresses = resolve(locator, place).await?;
        if let Some(source) = options.source {
            addresses.retain(|address| address.is_ipv6() == source.is_ipv6());
        }
        let mut last = None;
        for address in addresses {
            match attempt(options, address).await {
                Ok(link) => return Ok(link),
                Err(failure) => last = Some(failure),
            }
        }
        match last {
            Some(failure) => Err(failure.told(locator, start.elapsed())),
            None => Err(TransportError::Unusable {
                locator: locator.clone(),
                reason: "it has no address of the family of the source address".to_owned(),
            }),
        }
    };
    timeout(options.connect_timeout, connecting)
        .await
        .unwrap_or_else(|_| {
            Err(TransportError::TimedOut {
                locator: locator.clone(),
                after: options.connect_timeout,
            })
        })
}

/// Why one address gave no link.
#[derive(Debug)]
pub(crate) enum Failure {
    System(io::Error),
    Rdma(RdmaError),
    /// Nobody listens there.
    Refused,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<RdmaError> for Failure {
    fn from(error: RdmaError) -> Self {
        Self::Rdma(error)
    }
}

impl Failure {
    fn told(self, locator: &Locator, elapsed: Duration) -> TransportError {
        match self {
            // The connection manager has limits of its own.
            Self::System(error) if error.kind() == io::ErrorKind::TimedOut => TransportError::TimedOut {
                locator: locator.clone(),
                after: elapsed,
            },
            Self::Refused => {
                TransportError::from_io(Action::Dial, locator, io::ErrorKind::ConnectionRefused.into())
            }
            Self::System(error) => TransportError::from_io(Action::Dial, locator, error),
            Self::Rdma(error) => error.into_transport(Action::Dial, locator),
        }
    }
}

//= protocol/transports.md#rdma-opening
async fn attempt(options: &RdmaTransport, address: SocketAddr) -> Result<RdmaLink, Failure> {
    let channel = open_channel()?;
    let ready = channel.ready()?;
    let id = CmId::create(&channel)?;
    id.resolve_address(options.source, address, options.connect_timeout)
        .map_err(of_address)?;
    expect(&channel, &ready, |event| matches!(event, Event::AddressResolved)).await?;
    id.resolve_route(options.connect_timeout)?;
    expect(&channel, &ready, |event| matches!(event, Event::RouteResolved)).await?;

    let shape = Shape::of(options);
    let prepared = Prepared::new(shape, create(shape, id).await?)?;
    prepared.id().connect(&prepared.hello().encode())?;
    let theirs = loop {
        match next_event(&channel, &ready).await? {
            Event::Established { private } => break Hello::parse(&private).map_err(RdmaError::from)?,
            Event::Other => {}
            event => return Err(bad_news(event)),
        }
    };
    drop(ready);
    let peer = prepared.id().peer_address().unwrap_or(address);
    let conn = Conn::new(prepared, theirs);
    Ok(RdmaLink::new(conn, peer, options.busy_polls)?)
}

/// Makes a queue pair where waiting for the kernel holds up nobody.
pub(crate) async fn create(shape: Shape, id: CmId) -> io::Result<QueuePair> {
    spawn_blocking(move || shape.create(id))
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

pub(crate) fn open_channel() -> Result<Arc<EventChannel>, Failure> {
    EventChannel::open().map_err(|error| match error.raw_os_error() {
        // There is no device, or no module of the kernel for any.
        Some(libc::ENODEV | libc::ENOENT | libc::ENXIO | libc::ENOSYS | libc::EOPNOTSUPP) => {
            RdmaError::NoDevice.into()
        }
        _ => Failure::System(error),
    })
}

/// What the connection manager says of an address that has nothing to do with an RDMA device.
pub(crate) fn of_address(error: io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::ENODEV | libc::EADDRNOTAVAIL) => RdmaError::NotOnRdma.into(),
        _ => Failure::System(error),
    }
}

pub(crate) async fn next_event(channel: &Arc<EventChannel>, ready: &Ready) -> io::Result<Event> {
    loop {
        let mut guard = ready.readable().await?;
        match channel.next()? {
            Some(event) => return Ok(event),
            None => guard.clear_ready(),
        }
    }
}

pub(crate) async fn expect(
    channel: &Arc<EventChannel>,
    ready: &Ready,
    wanted: impl Fn(&Event) -> bool,
) -> Result<(), Failure> {
    loop {
        match next_event(channel, ready).await? {
            event if wanted(&event) => return Ok(()),
            Event::Other => {}
            event => return Err(bad_news(event)),
        }
    }
}

/// What an event that was not hoped for means to a dialler.
pub(crate) fn bad_news(event: Event) -> Failure {
    match event {
        Event::Rejected {
            reason: NO_SUCH_SERVICE,
            ..
        } => Failure::Refused,
        Event::Rejected { reason, private } => match (reason, Rejection::parse(&private)) {
            // iWARP has no reasons, and refuses like TCP.
            (reason, Rejection::Unknown) if reason.abs() == libc::ECONNREFUSED => Failure::Refused,
            (reason, Rejection::Unknown) => RdmaError::Rejected { reason }.into(),
            (_, Rejection::Busy) => RdmaError::TurnedAway.into(),
            (_, Rejection::Malformed) => RdmaError::Disputed.into(),
            (_, Rejection::Version { theirs }) => RdmaError::DisputedVersion { theirs }.into(),
        },
        Event::Unreachable { status } if status.abs() > 0 => {
            of_address(io::Error::from_raw_os_error(status.abs()))
        }
        Event::DeviceGone => RdmaError::DeviceGone.into(),
        _ => RdmaError::Dropped.into(),
    }
}

/// `invalid service id`, in the numbers of the InfiniBand specification: nobody listens on that port.
const NO_SUCH_SERVICE: i32 = 8;
