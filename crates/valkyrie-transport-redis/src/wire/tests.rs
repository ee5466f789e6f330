//! What one end says and believes, without a broker: both ends' packets are carried by hand.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{CREDIT_STEP_BYTES, Next, OUTBOX_BYTES_MAX, WINDOW_BYTES, Wire};
use crate::broker::Delivery;
use crate::error::{BrokerFault, LinkFault};
use crate::packet::{Id, Packet, kind};

const HOUR: Duration = Duration::from_secs(3600);

fn end() -> Wire {
    Wire::new(Some((Id::random(), WINDOW_BYTES)), HOUR, 5 * HOUR)
}

fn write(wire: &Wire, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
    let mut cx = Context::from_waker(Waker::noop());
    wire.poll_write(&mut cx, &[IoSlice::new(bytes)])
}

fn read(wire: &Wire) -> Poll<std::io::Result<BytesMut>> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut buf = BytesMut::new();
    wire.poll_read(&mut cx, &mut buf).map_ok(|_| buf)
}

/// What an end publishes now, if anything.
fn published(wire: &Wire) -> Option<Bytes> {
    match wire.next() {
        Next::Publish { packet, is_end } => {
            wire.published(is_end, 1);
            Some(packet.into())
        }
        Next::Farewell(packet) => Some(packet.into()),
        Next::Done | Next::Wait(_) => None,
    }
}

fn carry(from: &Wire, to: &Wire) -> Option<u8> {
    let payload = published(from)?;
    let kind = Packet::decode(payload.clone()).unwrap().kind;
    to.take(Delivery::Named {
        channel: Bytes::new(),
        payload,
    });
    Some(kind)
}

#[tokio::test]
async fn a_writer_is_held_up_by_the_window_and_goes_on_when_a_quarter_is_read() {
    let (here, there) = (end(), end());
    let mut taken = 0;
    while let Poll::Ready(count) = write(&here, &[0; 100_000]) {
        taken += count.unwrap();
        carry(&here, &there);
    }
    assert_eq!(taken as u64, WINDOW_BYTES);
    assert_eq!(carry(&here, &there), None, "there is nothing to say");

    let mut consumed = 0;
    while consumed < CREDIT_STEP_BYTES as usize {
        assert_eq!(
            carry(&there, &here),
            None,
            "too little has been read to be worth a packet"
        );
        let Poll::Ready(bytes) = read(&there) else {
            panic!("bytes are there")
        };
        consumed += bytes.unwrap().len();
    }
    assert_eq!(carry(&there, &here), Some(kind::CREDIT));
    let mut more = 0;
    while let Poll::Ready(count) = write(&here, &[0; 100_000]) {
        more += count.unwrap();
        carry(&here, &there);
    }
    assert_eq!(more, consumed);
}

#[tokio::test]
async fn what_is_not_published_yet_is_bounded() {
    let here = end();
    let mut taken = 0;
    while let Poll::Ready(count) = write(&here, &[0; 10_000]) {
        taken += count.unwrap();
    }
    assert_eq!(taken, OUTBOX_BYTES_MAX);
    assert!(
        published(&here).is_some_and(|packet| packet.len() == taken + 20),
        "all of it in one packet"
    );
    assert!(write(&here, b"x").is_ready());
}

#[tokio::test]
async fn that_a_packet_was_heard_wakes_nobody() {
    #[derive(Default)]
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (here, there, woken) = (end(), end(), Arc::new(Woken::default()));
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    assert!(here.poll_read(&mut cx, &mut BytesMut::new()).is_pending());
    assert!(write(&here, b"asked").is_ready());
    assert!(published(&here).is_some());
    assert!(!woken.0.load(Ordering::Relaxed), "the reader has nothing to read");
    assert!(write(&there, b"answered").is_ready());
    carry(&there, &here);
    assert!(woken.0.load(Ordering::Relaxed));
}

#[tokio::test]
async fn the_end_goes_behind_what_was_written() {
    let (here, there) = (end(), end());
    assert!(write(&here, b"all").is_ready());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(here.poll_close(&mut cx).is_pending());
    assert_eq!(
        (carry(&here, &there), carry(&here, &there)),
        (Some(kind::DATA), Some(kind::END))
    );
    assert!(matches!(here.poll_close(&mut cx), Poll::Ready(Ok(()))));
    let Poll::Ready(Ok(bytes)) = read(&there) else {
        panic!("bytes are there")
    };
    assert_eq!(bytes, &b"all"[..]);
    assert!(matches!(read(&there), Poll::Ready(Ok(end)) if end.is_empty()));
    assert!(
        write(&there, b"an answer").is_ready(),
        "the other direction goes on"
    );
}

#[tokio::test]
async fn a_packet_that_nobody_was_handed_ends_the_link_and_what_had_arrived_is_read() {
    let (here, there) = (end(), end());
    assert!(write(&there, b"before").is_ready());
    carry(&there, &here);
    assert!(write(&here, b"to nobody").is_ready());
    assert!(matches!(here.next(), Next::Publish { .. }));
    here.published(false, 0);
    assert!(matches!(here.next(), Next::Done), "nobody hears a farewell");
    let Poll::Ready(Ok(bytes)) = read(&here) else {
        panic!("bytes are there")
    };
    assert_eq!(bytes, &b"before"[..]);
    let Poll::Ready(Err(error)) = read(&here) else {
        panic!("the link is over")
    };
    let fault = error.get_ref().and_then(|inner| inner.downcast_ref());
    assert_eq!(fault, Some(&LinkFault::PeerGone));
}

#[tokio::test]
async fn the_first_fault_stays_the_fault() {
    let here = end();
    here.take(Delivery::Gone);
    here.fail(LinkFault::PeerGone);
    assert_eq!(here.opening(), Err(LinkFault::Broker(BrokerFault::Gone)));
}

#[tokio::test]
async fn an_idle_end_says_that_it_lives_and_a_silent_peer_is_given_up() {
    tokio::time::pause();
    let here = Wire::new(Some((Id::random(), WINDOW_BYTES)), HOUR, 5 * HOUR);
    let there = Wire::new(Some((Id::random(), WINDOW_BYTES)), HOUR, 5 * HOUR);
    assert_eq!(carry(&here, &there), None);
    for _ in 0..4 {
        tokio::time::advance(HOUR).await;
        assert_eq!(carry(&here, &there), Some(kind::CREDIT));
    }
    tokio::time::advance(HOUR).await;
    // The other has heard of us and we have not heard of it.
    assert_eq!(carry(&there, &here), Some(kind::CREDIT), "it lives after all");
    assert_eq!(carry(&here, &there), Some(kind::CREDIT));
    tokio::time::advance(5 * HOUR).await;
    assert_eq!(carry(&here, &there), Some(kind::RESET));
    assert_eq!(here.opening(), Err(LinkFault::PeerSilent(5 * HOUR)));
}
