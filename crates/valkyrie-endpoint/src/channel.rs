//! What is between the session and the link of a connection whose records are sealed.
//!
//! It sits beside the link, behind the same lock, so that a batch is sealed exactly once and records leave in the order
//! in which they were numbered. Like everything else here it owns no buffer while nothing is under way.

mod records;

use std::io::IoSlice;
use std::mem;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use valkyrie_frame::Batch;
use valkyrie_proto::{Failure, Session};
use valkyrie_security::channel::{Opener, Sealer};
use valkyrie_security::handshake::{After, Aftermath};
use valkyrie_transport::{Lane, Link};

use self::records::Records;
use crate::resume::Remember;
use crate::worker;

/// Both directions of a sealed connection.
pub(crate) struct Channel {
    sealer: Box<Sealer>,
    /// What opens, with what has arrived for it.
    records: Records,
    /// What understands the records that are not the session's, while such a record is due.
    aftermath: Aftermath,
    /// Where what the acceptor gives us to resume with goes.
    remember: Option<Remember>,
    /// Records that the link has not taken yet.
    unsent: BytesMut,
}

/// Why nothing more comes out of a channel.
pub(crate) enum Fault {
    /// The bytes are not what the peer sent.
    Broken(Failure),
    /// The peer refuses us after all.
    Refused(Failure),
}

impl Fault {
    /// Ends the session for it.
    pub(crate) fn end(self, session: &mut Session, now: Instant) {
        match self {
            // Another link may be sound.
            //= protocol/resume.md#breaking
            Self::Broken(_) if session.is_resumable() => session.handle_link_lost(now),
            Self::Broken(failure) => session.handle_broken(now, failure),
            Self::Refused(failure) => session.handle_refused(now, failure),
        }
    }
}

impl Channel {
    /// A channel whose peer has sent `input` already.
    pub(crate) fn new(
        sealer: Box<Sealer>,
        opener: Box<Opener>,
        aftermath: Aftermath,
        remember: Option<Remember>,
        input: BytesMut,
    ) -> Self {
        Self {
            sealer,
            records: Records::new(opener, input),
            aftermath,
            remember,
            unsent: BytesMut::new(),
        }
    }

    /// Whether there are records that the link has not taken.
    pub(crate) fn is_writing(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Seals a batch, which is empty afterwards, and writes records until there is none or the link is full.
    pub(crate) fn write_out(
        &mut self,
        link: &mut dyn Link,
        cx: &mut Context<'_>,
        now: Instant,
        batch: &mut Batch,
    ) -> Poll<std::io::Result<()>> {
        if !batch.is_empty() {
            debug_assert!(
                self.unsent.is_empty(),
                "records are written in the order they were sealed"
            );
            self.unsent = worker::take_sealed();
            if let Err(error) = self.sealer.seal(now, batch.chunks(), &mut self.unsent) {
                return Poll::Ready(Err(std::io::Error::other(error)));
            }
            batch.advance(batch.len());
        }
        while !self.unsent.is_empty() {
            let written = match link.poll_write(cx, Lane::FIRST, &[IoSlice::new(&self.unsent)]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            };
            self.unsent.advance(written);
        }
        worker::put_sealed(mem::take(&mut self.unsent));
        Poll::Ready(Ok(()))
    }

    /// Gives the buffer back. Of a record that has begun the bytes are kept, and no more than those.
    pub(crate) fn end_pass(&mut self) {
        self.records.end_pass();
    }

    /// Gives back what an idle channel does without, for about as long as it takes to make a record.
    pub(crate) fn sleep(&mut self) {
        self.sealer.put_away();
        self.records.opener.put_away();
    }

    /// Reads once, behind what is in `input`: the beginning of a frame of `frame_bytes`, when they are known.
    ///
    /// `flows` is whether the last read of this pass was of a record or more. When bytes have come, `input` is for [`Channel::open`] and nobody else until that has opened them.
    pub(crate) fn poll_read(
        &mut self,
        link: &mut dyn Link,
        cx: &mut Context<'_>,
        input: &mut BytesMut,
        frame_bytes: usize,
        flows: &mut bool,
    ) -> Poll<std::io::Result<usize>> {
        self.records.poll_read(input, frame_bytes, flows, |input| {
            link.poll_read(cx, Lane::FIRST, input)
        })
    }

    /// Opens what came with the handshake, as [`Channel::open`].
    pub(crate) fn open_first(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), Fault> {
        self.records.join(input, false);
        self.open(now, input)
    }

    /// Opens what [`Channel::poll_read`] has read. `input` is what the session takes then, to the last sound record.
    ///
    /// On an error the channel gives nothing any more.
    pub(crate) fn open(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), Fault> {
        let opened = self.open_all(now, input);
        self.records.part(input);
        opened
    }

    fn open_all(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), Fault> {
        while let Some(control) = self
            .records
            .open(now, input)
            .map_err(|error| Fault::Broken(Failure::new(error.code(), error.to_string())))?
        {
            let after = self.aftermath.handle(&control);
            match after.map_err(|error| Fault::Broken(Failure::new(error.code(), error.to_string())))? {
                After::Accepted(known) => {
                    if let Some(remember) = self.remember.take() {
                        remember.keep(now, known);
                    }
                }
                After::Refused(refusal) => {
                    let mut failure = Failure::new(refusal.code, refusal.text);
                    failure.retry_after_ms = refusal.retry_after_ms;
                    return Err(Fault::Refused(failure));
                }
                // Later kinds are none of this version's.
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;
    use std::time::Duration;

    use valkyrie_transport::mem::MemTransport;

    use super::*;
    use crate::security::policy::Policy;
    use crate::{Endpoint, Services};

    /// What an idle secure connection has more than a plain one is this, two sets of secrets, its ticket, who the peer
    /// is, and what it has called.
    #[test]
    fn a_channel_is_small() {
        assert!(size_of::<Channel>() <= 120, "{}", size_of::<Channel>());
        let boxed = size_of::<Sealer>() + size_of::<Opener>();
        assert!(boxed <= 512, "{boxed}");
    }

    #[tokio::test]
    async fn an_idle_channel_holds_no_buffer() {
        let services = Services::builder()
            .unary("echo", "echo", |_, payload| async move { Ok(payload) })
            .build()
            .unwrap();
        let builder = Endpoint::builder()
            .transport(MemTransport::new())
            .services(services);
        let endpoint = builder.policy(Policy::allow_authenticated()).build().unwrap();
        endpoint.listen("mem://idle").await.unwrap();
        let connection = endpoint.connect("mem://idle").await.unwrap();
        let payload = bytes::Bytes::from(vec![1; 300_000]);
        assert_eq!(
            connection.call(("echo", "echo"), payload.clone()).await.unwrap(),
            payload
        );
        // An answer to a ping has been read in a later pass than everything before it.
        connection.ping().await.unwrap();
        for connection in endpoint.connections() {
            let link = connection.shared().lock_link();
            let channel = link.channel.as_ref().unwrap();
            assert_eq!(
                (channel.records.sealed.capacity(), channel.unsent.capacity()),
                (0, 0)
            );
        }
    }
    #[tokio::test]
    async fn an_idle_channel_puts_its_ciphers_away_and_goes_on_with_new_ones() {
        let services = Services::builder()
            .unary("echo", "echo", |_, payload| async move { Ok(payload) })
            .build()
            .unwrap();
        let builder = Endpoint::builder()
            .transport(MemTransport::new())
            .services(services);
        let endpoint = builder.policy(Policy::allow_authenticated()).build().unwrap();
        endpoint.listen("mem://asleep").await.unwrap();
        let connection = endpoint.connect("mem://asleep").await.unwrap();
        for number in 0..3 {
            let payload = bytes::Bytes::from(vec![number; 100]);
            assert_eq!(
                connection.call(("echo", "echo"), payload.clone()).await.unwrap(),
                payload
            );
            let mut turns = tokio::time::interval(Duration::from_millis(5));
            let asleep = async {
                let awake = |connection: &crate::Connection| {
                    let link = connection.shared().lock_link();
                    let channel = link.channel.as_ref().unwrap();
                    channel.sealer.is_awake() || channel.records.opener.is_awake()
                };
                while endpoint.connections().iter().any(awake) {
                    // Whoever looks holds the lock that falling asleep needs.
                    turns.tick().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), asleep)
                .await
                .expect("both ends fall asleep");
        }
        assert_eq!(endpoint.connections().len(), 2);
    }
}
