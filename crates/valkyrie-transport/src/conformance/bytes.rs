//! Bytes arrive: all of them, once, in order, however they are cut.

use std::io::{ErrorKind, IoSlice};

use bytes::{Buf, BytesMut};

use super::Harness;
use super::peers::{End, check_pattern, pattern};
use crate::{Lane, READ_SPARE_BYTES_MIN};

/// What is sent comes back from a peer that echoes, at sizes from one byte to a megabyte, on every lane.
pub async fn echo(harness: Harness) {
    let (dialled, accepted) = harness.pair().await;
    let lanes = dialled.capabilities().lanes;
    let (dialled, accepted) = (End::new(dialled), End::new(accepted));
    for lane in (0..lanes).map(Lane) {
        tokio::spawn(accepted.clone().echo(lane));
        let mut at = 0;
        for size in [1, 2, 63, 64, 65, 1000, 4096, 65_536, 65_537, 1 << 20] {
            let to = at + size;
            tokio::join!(
                dialled.send_pattern(lane, at, to, size),
                dialled.receive_pattern(lane, at, to)
            );
            at = to;
        }
    }
}

/// 64 MiB in each direction at once, by a reader task and a writer task at each end.
pub async fn large(harness: Harness) {
    let (dialled, accepted) = harness.pair().await;
    // Both ends are held until all is done: one that has everything and is dropped may take along what it sent.
    let ends = [End::new(dialled), End::new(accepted)];
    let mut tasks = tokio::task::JoinSet::new();
    for end in &ends {
        let (writer, end) = (end.clone(), end.clone());
        tasks.spawn(async move {
            writer
                .send_pattern(Lane::FIRST, 0, LARGE_BYTES, LARGE_WRITE_BYTES)
                .await
        });
        tasks.spawn(async move { end.receive_pattern(Lane::FIRST, 0, LARGE_BYTES).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Many small writes of differing sizes arrive as one unbroken stream.
pub async fn many_small(harness: Harness) {
    let (dialled, accepted) = harness.pair().await;
    let (dialled, accepted) = (End::new(dialled), End::new(accepted));
    let total: usize = (0..SMALL_WRITES).map(small_write_bytes).sum();
    let writer = tokio::spawn(async move {
        let mut at = 0;
        for index in 0..SMALL_WRITES {
            let to = at + small_write_bytes(index);
            dialled.send_pattern(Lane::FIRST, at, to, to - at).await;
            at = to;
        }
        dialled
            .close()
            .await
            .unwrap_or_else(|error| panic!("closing failed: {error}"));
        dialled
    });
    accepted.receive_pattern(Lane::FIRST, 0, total).await;
    accepted.expect_end(Lane::FIRST).await;
    writer.await.unwrap_or_else(|error| panic!("{error}"));
}

fn small_write_bytes(index: usize) -> usize {
    1 + index % 64
}

/// A write of several buffers, some of them empty and more of them than a system takes at once, arrives as their
/// concatenation; a partial write says exactly how far it came.
pub async fn vectored_writes(harness: Harness) {
    let (dialled, accepted) = harness.pair().await;
    let (dialled, accepted) = (End::new(dialled), End::new(accepted));
    let mut total = 0;
    let mut pieces = Vec::new();
    for index in 0..VECTORED_BUFFERS {
        let piece = pattern(total, [0, 1, 20, 300, 0, 7000][index % 6]);
        total += piece.len();
        pieces.push(piece);
    }
    let writer = tokio::spawn(async move {
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = &mut slices[..];
        let mut sent = 0;
        while sent < total {
            let count = dialled.write_vectored(Lane::FIRST, left).await;
            let count = count.unwrap_or_else(|error| panic!("a write failed after {sent} bytes: {error}"));
            assert!(
                0 < count && count <= total - sent,
                "a write of {} bytes took {count}",
                total - sent
            );
            IoSlice::advance_slices(&mut left, count);
            sent += count;
        }
        // Nothing offered is nothing taken, and no error.
        let none = dialled.write_vectored(Lane::FIRST, &[]).await;
        assert!(matches!(none, Ok(0)), "a write of no buffers gave {none:?}");
        let empty = dialled
            .write_vectored(Lane::FIRST, &[IoSlice::new(&[]), IoSlice::new(&[])])
            .await;
        assert!(matches!(empty, Ok(0)), "a write of empty buffers gave {empty:?}");
        dialled
    });
    accepted.receive_pattern(Lane::FIRST, 0, total).await;
    writer.await.unwrap_or_else(|error| panic!("{error}"));
}

/// A read appends to what the buffer holds, and uses the room the buffer has when that is enough for a read.
pub async fn reads_append_and_keep_a_roomy_buffer(harness: Harness) {
    let (dialled, accepted) = harness.pair().await;
    let (dialled, accepted) = (End::new(dialled), End::new(accepted));
    let total = 4 * READ_SPARE_BYTES_MIN;
    let writer = tokio::spawn(async move {
        dialled.send_pattern(Lane::FIRST, 0, total, total).await;
        dialled
    });
    let mut buf = BytesMut::with_capacity(2 * READ_SPARE_BYTES_MIN);
    buf.extend_from_slice(b"kept");
    let (start, capacity) = (buf.as_ptr(), buf.capacity());
    let count = accepted.read(Lane::FIRST, &mut buf).await;
    let count = count.unwrap_or_else(|error| panic!("a read failed: {error}"));
    assert_eq!(buf.as_ptr(), start, "the read moved a buffer that had room");
    assert_eq!(buf.capacity(), capacity, "the read grew a buffer that had room");
    assert_eq!(buf.len(), 4 + count);
    assert!(
        buf.starts_with(b"kept"),
        "the read overwrote what the buffer held"
    );
    buf.advance(4);
    check_pattern(&buf, 0);
    accepted.receive_pattern(Lane::FIRST, count, total).await;
    writer.await.unwrap_or_else(|error| panic!("{error}"));
}

/// A link says what it can do, the same at every time, and who its peer is; a lane it does not have is refused.
pub async fn link_describes_itself(harness: Harness) {
    let (dialled, accepted) = harness.pair().await;
    let scheme = harness.transport.scheme();
    let binding = dialled.channel_binding();
    assert_eq!(
        binding,
        accepted.channel_binding(),
        "the two ends of a link give different channel bindings"
    );
    assert!(
        binding.is_none() || dialled.capabilities().secure,
        "a link that is not secure gives a channel binding"
    );
    assert_eq!(
        dialled.capabilities().local,
        accepted.capabilities().local,
        "only one end of a link is on this machine"
    );
    for link in [dialled, accepted] {
        let capabilities = link.capabilities();
        assert!(capabilities.lanes >= 1, "a link has no lane");
        assert!(
            capabilities.reliable && capabilities.ordered,
            "a link is reliable and ordered"
        );
        let peer = link.peer();
        assert!(
            peer.starts_with(scheme),
            "the peer {peer:?} does not begin with the scheme {scheme:?}"
        );

        let end = End::new(link);
        if capabilities.lanes < u8::MAX {
            let nowhere = Lane(capabilities.lanes);
            let mut buf = BytesMut::new();
            for refused in [end.read(nowhere, &mut buf).await, end.write(nowhere, b"x").await] {
                match refused {
                    Ok(_) => panic!("{nowhere} of a link with {} lanes was used", capabilities.lanes),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
                }
            }
        }
        assert_eq!(end.with(|link| link.capabilities()), capabilities);
    }
}

const LARGE_BYTES: usize = 64 * 1024 * 1024;
const LARGE_WRITE_BYTES: usize = 256 * 1024;
const SMALL_WRITES: usize = 50_000;

/// More than the 1,024 buffers that one `writev` takes on Linux.
const VECTORED_BUFFERS: usize = 3000;
