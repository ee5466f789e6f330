//! Taking requests: who is let in, set-up beside each other, and an end when the listener is dropped.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use valkyrie_transport::{Action, Locator, TransportError};

use crate::conn::{Conn, Prepared, Shape};
use crate::device::{CmId, Event, EventChannel, Ready};
use crate::dial::{create, next_event};
use crate::error::RdmaError;
use crate::link::RdmaLink;
use crate::options::RdmaTransport;
use crate::wire::{Hello, Rejection};

/// Where links go.
#[derive(Debug)]
pub(crate) struct Taker {
    pub(crate) options: RdmaTransport,
    pub(crate) locator: Locator,
    pub(crate) links: mpsc::Sender<Result<RdmaLink, TransportError>>,
}

/// Takes requests until the task is aborted.
pub(crate) async fn serve(taker: Taker, ready: Ready, channel: Arc<EventChannel>) {
    let taker = Arc::new(taker);
    let openings = Arc::new(Semaphore::new(OPENINGS_MAX));
    loop {
        match next_event(&channel, &ready).await {
            Ok(Event::Request { id, private }) => admit(&taker, &openings, id, private),
            Ok(Event::DeviceGone) => {
                taker.tell(Err(
                    RdmaError::DeviceGone.into_transport(Action::Accept, &taker.locator)
                ));
            }
            Ok(_) => {}
            Err(error) => {
                // A shortage passes, and whatever else this is would come at once again.
                taker.tell(Err(TransportError::from_io(
                    Action::Accept,
                    &taker.locator,
                    error,
                )));
                tokio::time::sleep(SHORTAGE_PAUSE).await;
            }
        }
    }
}

impl Taker {
    /// Tells whoever accepts, unless it has more to look at than it does.
    fn tell(&self, what: Result<RdmaLink, TransportError>) {
        let _ = self.links.try_send(what);
    }
}

/// Lets a request in as far as its set-up, or turns it away.
//= protocol/transports.md#rdma-opening
fn admit(taker: &Arc<Taker>, openings: &Arc<Semaphore>, id: CmId, private: Vec<u8>) {
    let (Ok(opening), Ok(slot)) = (
        Arc::clone(openings).try_acquire_owned(),
        taker.links.clone().try_reserve_owned(),
    ) else {
        let _ = id.reject(&Rejection::Busy.encode());
        return;
    };
    let taker = Arc::clone(taker);
    tokio::spawn(async move {
        let opened = timeout(OPENING_TIMEOUT, establish(&taker.options, id, &private)).await;
        drop(opening);
        slot.send(match opened {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(Failed::Peer(error))) => Err(error.into_transport(Action::Accept, &taker.locator)),
            Ok(Err(Failed::System(error))) => {
                Err(TransportError::from_io(Action::Accept, &taker.locator, error))
            }
            Err(_) => Err(TransportError::TimedOut {
                locator: taker.locator.clone(),
                after: OPENING_TIMEOUT,
            }),
        });
    });
}

enum Failed {
    Peer(RdmaError),
    System(io::Error),
}

impl From<RdmaError> for Failed {
    fn from(error: RdmaError) -> Self {
        Self::Peer(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

async fn establish(options: &RdmaTransport, mut id: CmId, private: &[u8]) -> Result<RdmaLink, Failed> {
    let theirs = match Hello::parse(private) {
        Ok(theirs) => theirs,
        Err(error) => {
            let _ = id.reject(&Rejection::from(error).encode());
            return Err(RdmaError::from(error).into());
        }
    };
    // From here on its events are its own, whatever becomes of the listener.
    let channel = EventChannel::open()?;
    id.migrate(&channel)?;
    let ready = channel.ready()?;
    let shape = Shape::of(options);
    let prepared = Prepared::new(shape, create(shape, id).await?)?;
    prepared.id().accept(&prepared.hello().encode())?;
    loop {
        match next_event(&channel, &ready).await? {
            Event::Established { .. } => break,
            Event::Other => {}
            Event::DeviceGone => return Err(RdmaError::DeviceGone.into()),
            _ => return Err(RdmaError::Dropped.into()),
        }
    }
    drop(ready);
    let peer = prepared
        .id()
        .peer_address()
        .ok_or(io::Error::from(io::ErrorKind::NotConnected))?;
    Ok(RdmaLink::new(
        Conn::new(prepared, theirs),
        peer,
        options.busy_polls,
    )?)
}

/// How many connections are set up at once. Each asks the kernel to pin memory, on a thread that waits for it; more than
/// this are turned away, and ask again.
pub const OPENINGS_MAX: usize = 64;

/// How long a peer may take from its request until the connection is there: the time that the handshake above gets too.
pub const OPENING_TIMEOUT: Duration = Duration::from_secs(5);

/// How many links may wait to be accepted. Each holds its memory already, which is why they are fewer than over sockets.
pub const WAITING_LINKS_MAX: usize = 128;

/// How long a shortage of the machine is left to pass before the next look at requests.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);
