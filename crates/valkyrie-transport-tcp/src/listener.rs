//! Listening, and an accept loop that a shortage of descriptors neither ends nor spins.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{Sleep, sleep};
use valkyrie_transport::{Action, Link, Listener, Locator, TransportError};

use crate::dial::{host_port, resolve};
use crate::link::TcpLink;
use crate::options::{SCHEME, TcpTransport};

/// Binds the first address of the locator's host.
pub(crate) async fn listen(
    options: &TcpTransport,
    locator: &Locator,
) -> Result<TcpLinkListener, TransportError> {
    TransportError::check_scheme(locator, SCHEME)?;
    // `resolve` gives at least one address, and every attempt but the last may fail.
    let mut last_error = None;
    for address in resolve(locator, host_port(locator)?).await? {
        match bind(options, address) {
            Ok((listener, bound)) => {
                let locator = Locator::new(SCHEME, &bound.to_string()).map_err(|source| {
                    TransportError::BadLocator {
                        locator: locator.clone(),
                        source,
                    }
                })?;
                return Ok(TcpLinkListener {
                    listener,
                    locator,
                    options: *options,
                    pause: None,
                });
            }
            // A name can stand for a family this machine does not have; only then is the next address meant too.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => last_error = Some(error),
            Err(error) => return Err(TransportError::from_io(Action::Listen, locator, error)),
        }
    }
    let error = last_error.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
    Err(TransportError::from_io(Action::Listen, locator, error))
}

fn bind(options: &TcpTransport, address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = if address.is_ipv6() {
        TcpSocket::new_v6()
    } else {
        TcpSocket::new_v4()
    }?;
    socket.set_reuseaddr(options.reuse_address)?;
    if address.is_ipv6() {
        // Systems differ in what `[::]` means; here it is every address of both families, everywhere.
        SockRef::from(&socket).set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(address)?;
    let listener = socket.listen(options.backlog)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

#[derive(Debug)]
pub(crate) struct TcpLinkListener {
    listener: TcpListener,
    locator: Locator,
    options: TcpTransport,
    /// Set while a shortage is waited out.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Listener for TcpLinkListener {
    fn locator(&self) -> &Locator {
        &self.locator
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<dyn Link>, TransportError>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let accepted = ready!(self.listener.poll_accept(cx))
            .and_then(|(stream, _)| TcpLink::new(stream, &self.options))
            .map(|link| Box::new(link) as Box<dyn Link>)
            .map_err(|error| TransportError::from_io(Action::Accept, &self.locator, error));
        if let Err(TransportError::Exhausted { .. }) = accepted {
            // The connection stays in the kernel's queue and the socket stays ready: without a pause the next poll
            // fails at once, and so on for as long as the shortage lasts.
            self.pause = Some(Box::pin(sleep(SHORTAGE_PAUSE)));
        }
        Poll::Ready(accepted)
    }
}

/// How long a shortage of the machine is left to pass before the next accept. Ten attempts a second cost nothing, and
/// a peer that waits a tenth of a second more does not notice.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);
