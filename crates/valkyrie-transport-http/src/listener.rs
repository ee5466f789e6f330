//! Listening: connections are opened as tasks, so that a slow one holds up nobody.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsStream};
use valkyrie_transport::{Action, Link, Listener, Locator, TransportError};

use crate::dial::ACCEPTOR_ALPN;
use crate::error::OpenError;
use crate::link::{About, HttpLink};
use crate::open;
use crate::options::{HANDSHAKE_TIME_MAX, HttpTransport};
use crate::place::{bind_first, host_port};
use crate::stream::Stream;

pub(crate) async fn listen(
    options: &HttpTransport,
    locator: &Locator,
) -> Result<HttpListener, TransportError> {
    let place = host_port(locator, options.scheme_name())?;
    let tls = match &options.tls {
        None => None,
        Some(tls) => {
            let config = tls.certificates.server_config(ACCEPTOR_ALPN);
            let config = config.map_err(|error| TransportError::Unusable {
                locator: locator.clone(),
                reason: error.to_string(),
            })?;
            Some(TlsAcceptor::from(config))
        }
    };
    let (listener, locator) = bind_first(locator, place, options.backlog).await?;
    Ok(HttpListener {
        listener,
        locator,
        opening: Arc::new(Opening {
            options: options.clone(),
            tls,
        }),
        opened: JoinSet::new(),
        oldest: VecDeque::new(),
        pause: None,
    })
}

pub(crate) struct HttpListener {
    listener: TcpListener,
    locator: Locator,
    opening: Arc<Opening>,
    /// Connections in their opening. Dropping the listener ends them.
    opened: JoinSet<Result<HttpLink, OpenError>>,
    /// The same, oldest first.
    oldest: VecDeque<AbortHandle>,
    /// Set while a shortage is waited out.
    pause: Option<Pin<Box<Sleep>>>,
}

impl HttpListener {
    /// Starts the opening of every connection that waits.
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<TransportError> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let taken = ready!(self.listener.poll_accept(cx))
                .and_then(|(stream, address)| HttpTransport::apply(&stream).map(|()| (stream, address)));
            match taken {
                Ok((stream, address)) => self.begin(stream, address),
                Err(error) => {
                    let error = TransportError::from_io(Action::Accept, &self.locator, error);
                    if let TransportError::Exhausted { .. } = error {
                        // The connection stays in the system's queue and the socket stays ready: without a pause the
                        // next attempt fails at once, and so on for as long as the shortage lasts.
                        self.pause = Some(Box::pin(sleep(SHORTAGE_PAUSE)));
                    }
                    return Poll::Ready(error);
                }
            }
        }
    }

    fn begin(&mut self, stream: TcpStream, address: SocketAddr) {
        let handshakes_max = self.opening.options.handshakes_max;
        while self.opened.len() >= handshakes_max {
            match self.oldest.pop_front() {
                Some(oldest) if !oldest.is_finished() => {
                    oldest.abort();
                    break;
                }
                Some(_) => {}
                None => break,
            }
        }
        if self.oldest.len() >= 2 * handshakes_max {
            self.oldest.retain(|task| !task.is_finished());
        }
        let opening = Arc::clone(&self.opening);
        let task = self.opened.spawn(async move {
            timeout(HANDSHAKE_TIME_MAX, opening.open(stream, address))
                .await
                .unwrap_or(Err(OpenError::TooSlow))
        });
        self.oldest.push_back(task);
    }
}

impl Listener for HttpListener {
    fn locator(&self) -> &Locator {
        &self.locator
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<dyn Link>, TransportError>> {
        // Those that are done go first: then no more are begun than the caller takes.
        let done = match self.opened.poll_join_next(cx) {
            Poll::Ready(Some(done)) => done,
            Poll::Ready(None) | Poll::Pending => {
                if let Poll::Ready(error) = self.poll_begin(cx) {
                    return Poll::Ready(Err(error));
                }
                match ready!(self.opened.poll_join_next(cx)) {
                    Some(done) => done,
                    None => return Poll::Pending,
                }
            }
        };
        let opened = done.unwrap_or(Err(OpenError::GaveWay));
        Poll::Ready(
            opened
                .map(|link| Box::new(link) as Box<dyn Link>)
                .map_err(|error| TransportError::Aborted {
                    locator: self.locator.clone(),
                    source: io::Error::other(error),
                }),
        )
    }
}

impl fmt::Debug for HttpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpListener")
            .field("locator", &self.locator)
            .finish_non_exhaustive()
    }
}

/// What every opening of a listener shares.
struct Opening {
    options: HttpTransport,
    tls: Option<TlsAcceptor>,
}

impl Opening {
    async fn open(&self, tcp: TcpStream, address: SocketAddr) -> Result<HttpLink, OpenError> {
        let stream = match &self.tls {
            None => Stream::Plain(tcp),
            Some(tls) => {
                let tls = tls.accept(tcp).await.map_err(OpenError::Tls)?;
                Stream::Tls(Box::new(TlsStream::Server(tls)))
            }
        };
        let binding = stream.channel_binding().filter(|_| self.options.bind);
        let opened = open::accept(stream).await?;
        let about = About {
            scheme: self.options.scheme_name(),
            peer: address.to_string(),
            address,
            binding,
        };
        Ok(HttpLink::new(opened, about))
    }
}

/// How long a shortage of the machine is left to pass before the next attempt. Ten a second cost nothing, and a peer
/// that waits a tenth of a second more does not notice.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);
