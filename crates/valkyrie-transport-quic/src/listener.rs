//! Listening: a socket, the task that takes connections from it, and the links that are ready.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::{Endpoint, TokioRuntime};
use tokio::sync::mpsc;
use tokio::time::timeout;
use valkyrie_transport::{Action, Link, Listener, Locator, TransportError};

use crate::accept::{Desk, NotGiven, Taker, WAITING_LINKS_MAX};
use crate::config;
use crate::dial::{host_port, resolve, unusable};
use crate::link::QuicLink;
use crate::options::{QuicTransport, SCHEME};
use crate::place::{self, Found};
use crate::socket::Socket;

/// Binds the first address of the locator's host.
pub(crate) async fn listen(
    options: &QuicTransport,
    locator: &Locator,
) -> Result<QuicListener, TransportError> {
    TransportError::check_scheme(locator, SCHEME)?;
    // `resolve` gives at least one address, and every attempt but the last may fail.
    let mut last_error = None;
    for address in resolve(locator, host_port(locator)?).await? {
        match listen_at(options, locator, address).await {
            // A name can stand for a family this machine does not have; only then is the next address meant too.
            Err(error @ TransportError::AddressNotAvailable { .. }) => last_error = Some(error),
            other => return other,
        }
    }
    Err(last_error.unwrap_or_else(|| {
        TransportError::from_io(Action::Listen, locator, io::ErrorKind::AddrNotAvailable.into())
    }))
}

async fn listen_at(
    options: &QuicTransport,
    locator: &Locator,
    address: SocketAddr,
) -> Result<QuicListener, TransportError> {
    let failed = |error| TransportError::from_io(Action::Listen, locator, error);
    let in_use = || failed(io::ErrorKind::AddrInUse.into());
    let config = || config::server(options).map_err(|error| unusable(locator, &error));
    loop {
        match place::find(address) {
            Found::Nothing => break,
            Found::Desk(desk) => {
                let (taker, links) = taker(options, locator, address)?;
                let locator = taker.locator.clone();
                match desk.give(config()?, taker) {
                    Ok(()) => {
                        return Ok(QuicListener { desk, links, locator });
                    }
                    Err(NotGiven::InUse) => return Err(in_use()),
                    Err(NotGiven::Over) => {
                        // Its task is about to let go of it, and does so once this one lets it.
                        drop(desk);
                        tokio::task::yield_now().await;
                    }
                }
            }
            Found::Closing(mut closed) => {
                let waited = timeout(CLOSING_TIME_MAX, closed.changed()).await;
                waited.map_err(|_| in_use())?.ok();
            }
        }
    }
    let config = config()?;
    let socket = Socket::bound(address).map_err(failed)?;
    let bound = quinn::AsyncUdpSocket::local_addr(&socket).map_err(failed)?;
    let (taker, links) = taker(options, locator, bound)?;
    let locator = taker.locator.clone();
    let socket = socket.with_claim(place::claim(bound));
    let endpoint = Endpoint::new_with_abstract_socket(
        config::endpoint(),
        Some(config),
        Arc::new(socket),
        Arc::new(TokioRuntime),
    );
    let desk = Desk::open(endpoint.map_err(failed)?, taker);
    place::settle(bound, &desk);
    Ok(QuicListener { desk, links, locator })
}

type Links = mpsc::Receiver<Result<QuicLink, TransportError>>;

fn taker(
    options: &QuicTransport,
    locator: &Locator,
    bound: SocketAddr,
) -> Result<(Taker, Links), TransportError> {
    let (sender, links) = mpsc::channel(WAITING_LINKS_MAX);
    let locator = Locator::new(SCHEME, &bound.to_string()).map_err(|source| TransportError::BadLocator {
        locator: locator.clone(),
        source,
    })?;
    let taker = Taker {
        links: sender,
        locator,
        windows: config::windows(options),
    };
    Ok((taker, links))
}

#[derive(Debug)]
pub(crate) struct QuicListener {
    desk: Arc<Desk>,
    links: Links,
    locator: Locator,
}

impl Listener for QuicListener {
    fn locator(&self) -> &Locator {
        &self.locator
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<dyn Link>, TransportError>> {
        match ready!(self.links.poll_recv(cx)) {
            Some(link) => Poll::Ready(link.map(|link| Box::new(link) as Box<dyn Link>)),
            // The task that takes connections is gone, and with it the runtime that this listener began on.
            None => Poll::Pending,
        }
    }
}

impl Drop for QuicListener {
    fn drop(&mut self) {
        self.desk.abandon();
    }
}

/// How long a socket that nobody uses may take to be closed: as long as its own task takes to get its turn.
const CLOSING_TIME_MAX: Duration = Duration::from_secs(5);
