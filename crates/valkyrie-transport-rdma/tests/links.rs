//! Links as their users see them: large transfers, slow readers, peers that are killed, and different ends.
#![cfg(feature = "verbs")]

mod support;

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::process::Stdio;

use bytes::BytesMut;
use support::{anywhere, device};
use tokio::process::Command;
use valkyrie_transport::{Capabilities, Lane, Link, Transport, TransportError, accept};
use valkyrie_transport_rdma::RdmaTransport;

async fn pair(dials: RdmaTransport, listens: RdmaTransport) -> Option<(Box<dyn Link>, Box<dyn Link>)> {
    let mut listener = listens.listen(&anywhere(device()?)).await.unwrap();
    let dialled = dials.dial(&listener.locator().clone()).await.unwrap();
    Some((dialled, accept(&mut *listener).await.unwrap()))
}

async fn read(link: &mut dyn Link, buf: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|cx| link.poll_read(cx, Lane::FIRST, buf)).await
}

async fn write(link: &mut dyn Link, bytes: &[u8]) -> io::Result<usize> {
    poll_fn(|cx| link.poll_write(cx, Lane::FIRST, &[IoSlice::new(bytes)])).await
}

async fn close(link: &mut dyn Link) -> io::Result<()> {
    poll_fn(|cx| link.poll_close(cx)).await
}

/// Byte `at` of a text that no shift leaves as it is.
fn byte(at: usize) -> u8 {
    (at.wrapping_mul(0x9e37_79b9) >> 13) as u8
}

/// Writes and reads `total` bytes at once over one end, in writes of changing size, then closes it and reads the end.
async fn exchange(mut link: Box<dyn Link>, total: usize, step: usize) -> Box<dyn Link> {
    let (mut sent, mut got, mut closed, mut ended) = (0, 0, false, false);
    let mut buf = BytesMut::new();
    let mut out = Vec::new();
    poll_fn(|cx| {
        loop {
            let mut moved = false;
            if sent < total {
                let size = (1 + (sent / 7) % step).min(total - sent);
                out.clear();
                out.extend((sent..sent + size).map(byte));
                let (first, second) = out.split_at(size / 3);
                let slices = [IoSlice::new(first), IoSlice::new(second)];
                if let std::task::Poll::Ready(count) = link.poll_write(cx, Lane::FIRST, &slices) {
                    sent += count.unwrap();
                    moved = true;
                }
            } else if !closed && link.poll_close(cx).map(Result::unwrap).is_ready() {
                closed = true;
                moved = true;
            }
            if !ended && let std::task::Poll::Ready(count) = link.poll_read(cx, Lane::FIRST, &mut buf) {
                let count = count.unwrap();
                ended = count == 0;
                for found in buf.split() {
                    assert_eq!(found, byte(got), "byte {got} is another");
                    got += 1;
                }
                moved = true;
            }
            if closed && ended {
                assert_eq!(got, total);
                return std::task::Poll::Ready(());
            }
            if !moved {
                return std::task::Poll::Pending;
            }
        }
    })
    .await;
    link
}

#[tokio::test(flavor = "multi_thread")]
async fn large_transfers_both_ways_at_once_are_exact() {
    let Some((a, b)) = pair(RdmaTransport::new(), RdmaTransport::new()).await else {
        return;
    };
    let total = 3 * 1024 * 1024;
    let (a, b) = (
        tokio::spawn(exchange(a, total, 200_000)),
        tokio::spawn(exchange(b, total, 90_000)),
    );
    // Both are held until both are done.
    let _held = (a.await.unwrap(), b.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_of_different_shape_understand_each_other() {
    let small = RdmaTransport::new()
        .with_slots(4)
        .with_slot_bytes(256)
        .with_ring_bytes(0);
    let odd = RdmaTransport::new()
        .with_slots(7)
        .with_slot_bytes(10_000)
        .with_ring_bytes(8 * 1024);
    for (dials, listens) in [
        (small, odd),
        (odd, small),
        (odd, RdmaTransport::new()),
        (small, small),
    ] {
        let Some((a, b)) = pair(dials, listens).await else {
            return;
        };
        let total = 100_000;
        let (a, b) = (
            tokio::spawn(exchange(a, total, 30_000)),
            tokio::spawn(exchange(b, total, 700)),
        );
        let _held = (a.await.unwrap(), b.await.unwrap());
    }
}

#[tokio::test]
async fn a_writer_is_held_up_where_the_peer_offered_no_more() {
    let tiny = RdmaTransport::new()
        .with_slots(4)
        .with_slot_bytes(256)
        .with_ring_bytes(8 * 1024);
    let Some((mut writer, mut reader)) = pair(RdmaTransport::new(), tiny).await else {
        return;
    };
    let text: Vec<u8> = (0..100_000).map(byte).collect();
    let mut taken = 0;
    // Nothing comes back that could make room, so what is not taken at once is not taken.
    while let std::task::Poll::Ready(count) = poll_fn(|cx| {
        std::task::Poll::Ready(writer.poll_write(cx, Lane::FIRST, &[IoSlice::new(&text[taken..])]))
    })
    .await
    {
        taken += count.unwrap();
    }
    assert!(
        (1..=4 * 8192).contains(&taken),
        "{taken} bytes were taken by a peer with room for little"
    );
    let rest = tokio::spawn({
        let text = text.clone();
        async move {
            while taken < text.len() {
                taken += write(&mut *writer, &text[taken..]).await.unwrap();
            }
            close(&mut *writer).await.unwrap();
            writer
        }
    });
    let mut buf = BytesMut::new();
    while read(&mut *reader, &mut buf).await.unwrap() > 0 {}
    assert_eq!(&buf[..], &text[..]);
    rest.await.unwrap();
}

#[tokio::test]
async fn a_link_says_what_the_book_says() {
    let Some((a, b)) = pair(RdmaTransport::new(), RdmaTransport::new()).await else {
        return;
    };
    for link in [a, b] {
        // One lane, reliable, ordered, several buffers at once; not secure, and never surely within the machine.
        assert_eq!(link.capabilities(), Capabilities::default().with_vectored(true));
        assert_eq!(link.channel_binding(), None);
        assert_eq!(link.peer_address(), device());
    }
}

#[tokio::test]
async fn what_was_sent_before_the_peer_went_is_still_read() {
    let Some((mut a, mut b)) = pair(RdmaTransport::new(), RdmaTransport::new()).await else {
        return;
    };
    write(&mut *a, b"the last words").await.unwrap();
    close(&mut *a).await.unwrap();
    drop(a);
    let mut buf = BytesMut::new();
    while read(&mut *b, &mut buf).await.unwrap() > 0 {}
    assert_eq!(&buf[..], b"the last words");
    // The peer is gone, which a writer is told.
    let error = loop {
        match write(&mut *b, b"an answer").await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}

/// The peer that the next test kills: this very program, told by its environment whom to dial.
#[tokio::test]
async fn peer_to_be_killed() {
    let Ok(locator) = std::env::var(PEER_DIALS) else {
        return;
    };
    let mut link = RdmaTransport::new()
        .dial(&locator.parse().unwrap())
        .await
        .unwrap();
    let text: Vec<u8> = (0..100_000).map(byte).collect();
    while write(&mut *link, &text).await.is_ok() {}
}

#[tokio::test]
async fn a_peer_that_is_killed_in_mid_transfer_is_an_error() {
    let Some(address) = device() else { return };
    let mut listener = RdmaTransport::new().listen(&anywhere(address)).await.unwrap();
    for writes in [false, true] {
        let mut peer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "peer_to_be_killed"])
            .env(PEER_DIALS, listener.locator().as_str())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut link = accept(&mut *listener).await.unwrap();
        let mut buf = BytesMut::new();
        let mut got = 0;
        while got < 300_000 {
            got += read(&mut *link, &mut buf).await.unwrap();
            buf.clear();
        }
        peer.kill().await.unwrap();
        let error = loop {
            let moved = match writes {
                true => write(&mut *link, &[0; 1000]).await,
                false => read(&mut *link, &mut buf).await,
            };
            match moved {
                Ok(0) => panic!("a peer that was killed seems to have ended in good order"),
                Ok(_) => buf.clear(),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
}

#[tokio::test]
async fn a_listener_without_room_turns_diallers_away() {
    let Some(address) = device() else { return };
    let little = RdmaTransport::new()
        .with_slots(4)
        .with_slot_bytes(256)
        .with_ring_bytes(0);
    let mut listener = little.listen(&anywhere(address)).await.unwrap();
    let locator = listener.locator().clone();
    let mut links = Vec::new();
    let error = loop {
        match little.dial(&locator).await {
            Ok(link) => links.push(link),
            Err(error) => break error,
        }
        assert!(
            links.len() <= valkyrie_transport_rdma::WAITING_LINKS_MAX,
            "nobody accepts and nobody is turned away"
        );
    };
    assert!(matches!(error, TransportError::Busy { .. }), "{error:?}");
    // Once somebody accepts there is room again.
    accept(&mut *listener).await.unwrap();
    little.dial(&locator).await.unwrap();
}

#[tokio::test]
async fn an_address_without_rdma_is_told() {
    if device().is_none() {
        return;
    }
    // TEST-NET-1, which no machine has.
    let error = RdmaTransport::new()
        .listen(&"rdma://192.0.2.1:0".parse().unwrap())
        .await
        .err();
    assert!(
        matches!(
            error,
            Some(TransportError::Unusable { .. } | TransportError::AddressNotAvailable { .. })
        ),
        "{error:?}"
    );
}

const PEER_DIALS: &str = "VALKYRIE_TEST_RDMA_PEER_DIALS";
