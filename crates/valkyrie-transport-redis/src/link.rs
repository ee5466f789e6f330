//! One end of a link: what is read and written here, a task publishes.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::time::sleep_until;
use valkyrie_transport::{Capabilities, Lane, Link};

use crate::broker::Broker;
use crate::packet::Id;
use crate::wire::{Next, Wire};

pub use crate::wire::{OUTBOX_BYTES_MAX, WINDOW_BYTES};

pub(crate) struct RedisLink {
    wire: Arc<Wire>,
    peer: String,
}

impl RedisLink {
    /// A link over an open wire, with a task that publishes for it until both are done.
    pub(crate) fn start(broker: Broker, wire: Arc<Wire>, to: Id, peer: String) -> Self {
        tokio::spawn(publish(broker, Arc::clone(&wire), to.channel()));
        Self { wire, peer }
    }
}

/// Publishes what the wire has, one packet at a time: what gathers meanwhile is the next.
async fn publish(broker: Broker, wire: Arc<Wire>, channel: Vec<u8>) {
    loop {
        match wire.next() {
            Next::Publish { packet, is_end } => match broker.publish(&channel, &packet).await {
                Ok(listeners) => wire.published(is_end, listeners),
                Err(fault) => wire.fail(fault.into()),
            },
            Next::Farewell(packet) => {
                // The link is over either way; a peer that does not get this notices by itself.
                let _ = broker.publish(&channel, &packet).await;
                return;
            }
            Next::Done => return,
            Next::Wait(until) => {
                tokio::select! {
                    () = wire.work.notified() => {}
                    () = sleep_until(until) => {}
                }
            }
        }
    }
}

impl fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLink")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Link for RedisLink {
    fn capabilities(&self) -> Capabilities {
        // Never `secure`, whatever the way to the broker is: the broker itself reads what passes.
        Capabilities::default()
            .with_vectored(true)
            .with_max_write(Some(OUTBOX_BYTES_MAX))
    }

    fn peer(&self) -> String {
        self.peer.clone()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, lane: Lane, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        lane.check(1)?;
        self.wire.poll_read(cx, buf)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        lane: Lane,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lane.check(1)?;
        self.wire.poll_write(cx, bufs)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.poll_close(cx)
    }
}

impl Drop for RedisLink {
    fn drop(&mut self) {
        self.wire.drop_link();
    }
}
