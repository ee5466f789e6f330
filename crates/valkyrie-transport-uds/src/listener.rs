//! Listening, and an accept loop that a shortage of descriptors neither ends nor spins.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdListener;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::UnixListener;
use tokio::time::{Sleep, sleep};
use valkyrie_transport::{Action, Link, Listener, Locator, TransportError};

use crate::address::Address;
use crate::link::UdsLink;
use crate::options::UdsTransport;
use crate::socket_file::{SocketFile, listen_error};

pub(crate) fn listen(options: &UdsTransport, locator: &Locator) -> Result<UdsListener, TransportError> {
    let address = Address::parse(locator)?;
    let failed = |error| listen_error(locator, error);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    let file = match &address {
        Address::Path(path) => Some(SocketFile::bind(&socket, path, options.mode, locator)?),
        Address::Abstract(_) if options.mode.is_some() => {
            let reason = "a name after @ has no permissions; use a path, or leave the mode out".to_owned();
            return Err(TransportError::Unusable {
                locator: locator.clone(),
                reason,
            });
        }
        Address::Abstract(_) => {
            address
                .to_sock_addr()
                .and_then(|name| socket.bind(&name))
                .map_err(failed)?;
            None
        }
    };
    let listener = start(socket, options.backlog).map_err(failed)?;
    Ok(UdsListener {
        file,
        listener,
        locator: locator.clone(),
        pause: None,
    })
}

fn start(socket: Socket, backlog: u32) -> io::Result<UnixListener> {
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(StdListener::from(OwnedFd::from(socket)))
}

#[derive(Debug)]
pub(crate) struct UdsListener {
    /// Dropped before the socket below it: see [`SocketFile`].
    #[expect(dead_code, reason = "held for its drop")]
    file: Option<SocketFile>,
    listener: UnixListener,
    locator: Locator,
    /// Set while a shortage is waited out.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Listener for UdsListener {
    fn locator(&self) -> &Locator {
        &self.locator
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<dyn Link>, TransportError>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let accepted = ready!(self.listener.poll_accept(cx))
            .and_then(|(stream, _)| UdsLink::new(stream, &self.locator))
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
