//! A peer without manners: it says of itself, and sends, whatever a test wants.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::RdmaTransport;
use crate::conn::{Prepared, Shape};
use crate::device::{CmId, Event, EventChannel, QueuePair, Ready};
use crate::dial::{create, expect, next_event};
use crate::wire::Hello;

const LIMIT: Duration = Duration::from_secs(10);

/// A connection in the making, or one that is there.
pub(super) struct Raw {
    pub(super) channel: Arc<EventChannel>,
    pub(super) ready: Ready,
    pub(super) prepared: Prepared,
}

impl Raw {
    /// As far as a request, which is not sent.
    pub(super) async fn before_asking(address: SocketAddr) -> Self {
        let channel = EventChannel::open().unwrap();
        let ready = channel.ready().unwrap();
        let id = CmId::create(&channel).unwrap();
        id.resolve_address(None, address, LIMIT).unwrap();
        expect(&channel, &ready, |event| matches!(event, Event::AddressResolved))
            .await
            .unwrap();
        id.resolve_route(LIMIT).unwrap();
        expect(&channel, &ready, |event| matches!(event, Event::RouteResolved))
            .await
            .unwrap();
        let shape = Shape::of(&RdmaTransport::new());
        let pair = create(shape, id).await.unwrap();
        let prepared = Prepared::new(shape, pair).unwrap();
        Self {
            channel,
            ready,
            prepared,
        }
    }

    /// Asks with this private data, and says what came of it.
    pub(super) async fn ask(address: SocketAddr, private: &[u8]) -> (Self, Event) {
        let mut raw = Self::before_asking(address).await;
        raw.prepared.id().connect(private).unwrap();
        let answer = raw.next_event().await;
        (raw, answer)
    }

    /// A connection whose two ends have said what they should.
    pub(super) async fn connect(address: SocketAddr) -> (Self, Hello) {
        let mut raw = Self::before_asking(address).await;
        raw.prepared.id().connect(&raw.prepared.hello().encode()).unwrap();
        match raw.next_event().await {
            Event::Established { private } => (raw, Hello::parse(&private).unwrap()),
            event => panic!("{event:?}"),
        }
    }

    pub(super) async fn next_event(&mut self) -> Event {
        next_event(&self.channel, &self.ready).await.unwrap()
    }

    pub(super) fn pair(&mut self) -> &mut QueuePair {
        self.prepared.pair()
    }

    /// Sends a message, as it is.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        let pair = self.pair();
        pair.outbox.write(0, bytes);
        pair.send(0, 0, bytes.len() as u32).unwrap();
    }

    /// Waits until the peer has ended the connection.
    pub(super) async fn hung_up(&mut self) {
        loop {
            if let Event::Disconnected = self.next_event().await {
                return;
            }
        }
    }
}

/// A listener of nothing but the connection manager.
pub(super) struct RawListener {
    _id: CmId,
    channel: Arc<EventChannel>,
    ready: Ready,
    pub(super) address: SocketAddr,
}

impl RawListener {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let channel = EventChannel::open()?;
        let id = CmId::create(&channel)?;
        id.bind(address)?;
        id.listen(8)?;
        Ok(Self {
            address: id.local_address().unwrap(),
            _id: id,
            ready: channel.ready()?,
            channel,
        })
    }

    pub(super) async fn request(&self) -> (CmId, Vec<u8>) {
        loop {
            // What becomes of earlier connections is told here too.
            if let Event::Request { id, private } = next_event(&self.channel, &self.ready).await.unwrap() {
                return (id, private);
            }
        }
    }

    /// Accepts, and says this of itself.
    pub(super) async fn accept_saying(&self, private: &[u8]) -> Prepared {
        let (id, _) = self.request().await;
        let shape = Shape::of(&RdmaTransport::new());
        let prepared = Prepared::new(shape, create(shape, id).await.unwrap()).unwrap();
        prepared.id().accept(private).unwrap();
        prepared
    }
}
