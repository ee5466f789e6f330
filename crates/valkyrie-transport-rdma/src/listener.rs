//! Listening: an id that requests come to, the task that takes them, and the links that are ready.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use valkyrie_transport::{Action, Link, Listener, Locator, TransportError};

use crate::accept::{Taker, WAITING_LINKS_MAX, serve};
use crate::device::CmId;
use crate::dial::{Failure, open_channel};
use crate::error::RdmaError;
use crate::link::RdmaLink;
use crate::options::{RdmaTransport, SCHEME};
use crate::place::{host_port, resolve};

/// Binds the first address of the locator's host that is one of an RDMA device.
pub(crate) async fn listen(
    options: &RdmaTransport,
    locator: &Locator,
) -> Result<RdmaListener, TransportError> {
    let told = |failure: Failure| match failure {
        Failure::Rdma(error) => error.into_transport(Action::Listen, locator),
        Failure::System(error) => TransportError::from_io(Action::Listen, locator, error),
        Failure::Refused => TransportError::from_io(Action::Listen, locator, io::ErrorKind::Other.into()),
    };
    let place = host_port(locator)?;
    crate::library::check().map_err(|error| told(error.into()))?;
    // `resolve` gives at least one address, and every attempt but the last may fail.
    let mut last = Failure::Rdma(RdmaError::NotOnRdma);
    for address in resolve(locator, place).await? {
        match listen_at(options, locator, address) {
            // A name can stand for a family or a device that does not have RDMA; only then is the next address meant too.
            Err(failure @ Failure::Rdma(RdmaError::NotOnRdma)) => last = failure,
            other => return other.map_err(told),
        }
    }
    Err(told(last))
}

fn listen_at(
    options: &RdmaTransport,
    locator: &Locator,
    address: SocketAddr,
) -> Result<RdmaListener, Failure> {
    let channel = open_channel()?;
    let id = CmId::create(&channel)?;
    id.bind(address).map_err(of_bound)?;
    id.listen(BACKLOG)?;
    let bound = id.local_address().unwrap_or(address);
    let locator = Locator::new(SCHEME, &bound.to_string()).unwrap_or_else(|_| locator.clone());
    let (links, ready_links) = mpsc::channel(WAITING_LINKS_MAX);
    let taker = Taker {
        options: *options,
        locator: locator.clone(),
        links,
    };
    let ready = channel.ready()?;
    Ok(RdmaListener {
        _id: id,
        links: ready_links,
        locator,
        serving: tokio::spawn(serve(taker, ready, channel)),
    })
}

fn of_bound(error: io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::ENODEV) => RdmaError::NotOnRdma.into(),
        _ => Failure::System(error),
    }
}

#[derive(Debug)]
pub(crate) struct RdmaListener {
    /// Dropped with the listener and not with its task, so that the address is free at once.
    _id: CmId,
    links: mpsc::Receiver<Result<RdmaLink, TransportError>>,
    locator: Locator,
    serving: JoinHandle<()>,
}

impl Listener for RdmaListener {
    fn locator(&self) -> &Locator {
        &self.locator
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<dyn Link>, TransportError>> {
        match ready!(self.links.poll_recv(cx)) {
            Some(link) => Poll::Ready(link.map(|link| Box::new(link) as Box<dyn Link>)),
            // The task that takes requests is gone, and with it the runtime that this listener began on.
            None => Poll::Pending,
        }
    }
}

impl Drop for RdmaListener {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// How many requests may wait in the kernel for the task that takes them.
const BACKLOG: i32 = 128;
