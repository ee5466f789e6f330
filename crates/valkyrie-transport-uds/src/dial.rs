//! From a locator to a connection.

use std::io;

use tokio::net::UnixStream;
use tokio::time::{Duration, Instant, sleep};
use valkyrie_transport::{Action, Locator, TransportError};

use crate::address::Address;
use crate::link::UdsLink;
use crate::options::UdsTransport;

pub(crate) async fn dial(options: &UdsTransport, locator: &Locator) -> Result<UdsLink, TransportError> {
    let address = Address::parse(locator)?;
    let give_up = Instant::now() + options.connect_timeout;
    let connected = loop {
        match UnixStream::connect(address.as_path()).await {
            // The queue of the listener is full. A blocking socket would wait for room inside this one call; a
            // non-blocking one cannot, and there is no readiness to wait for, so the call is made again.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() >= give_up {
                    return Err(TransportError::Busy {
                        locator: locator.clone(),
                    });
                }
                sleep(FULL_QUEUE_PAUSE).await;
            }
            connected => break connected,
        }
    };
    connected
        .and_then(|stream| UdsLink::new(stream, locator))
        .map_err(|source| match source.kind() {
            // No file is nobody, as much as a file that nobody listens at.
            io::ErrorKind::NotFound => TransportError::Refused {
                locator: locator.clone(),
                source,
            },
            _ => TransportError::from_io(Action::Dial, locator, source),
        })
}

/// How soon a dial looks for room in a full queue again: an accept loop empties a queue in less, and a hundred looks
/// a second cost nothing.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(10);
