//! Readers that do not read: their writers wait, nobody else does, and nothing is held for them while they idle.

use std::time::Duration;

use bytes::BytesMut;
use tokio::time::timeout;

use super::Harness;
use super::peers::{End, pattern};
use crate::{Lane, READ_SPARE_BYTES_MIN};

/// A writer whose reader does not read is stopped within the bound of the harness, and goes on when it reads.
pub async fn back_pressure(harness: Harness) {
    let (dialled, accepted) = harness.pair().await;
    let (dialled, accepted) = (End::new(dialled), End::new(accepted));
    let taken = fill(&harness, &dialled, Lane::FIRST).await;
    let more = tokio::spawn(async move {
        dialled
            .send_pattern(Lane::FIRST, taken, 2 * taken, WRITE_BYTES)
            .await;
        dialled
    });
    accepted.receive_pattern(Lane::FIRST, 0, 2 * taken).await;
    more.await.unwrap_or_else(|error| panic!("{error}"));
}

/// A reader that takes little at a time and dawdles in between gets everything.
pub async fn slow_reader(harness: Harness) {
    let (dialled, accepted) = harness.pair().await;
    let (dialled, accepted) = (End::new(dialled), End::new(accepted));
    let writer = tokio::spawn(async move {
        dialled
            .send_pattern(Lane::FIRST, 0, SLOW_BYTES, WRITE_BYTES)
            .await;
        dialled
            .close()
            .await
            .unwrap_or_else(|error| panic!("closing failed: {error}"));
        dialled
    });
    let mut at = 0;
    let mut buf = BytesMut::with_capacity(READ_SPARE_BYTES_MIN);
    while at < SLOW_BYTES {
        buf.clear();
        match accepted.read(Lane::FIRST, &mut buf).await {
            Ok(0) => panic!("the input ended after {at} bytes"),
            Ok(count) => super::peers::check_pattern(&buf[..count], at),
            Err(error) => panic!("a read failed after {at} bytes: {error}"),
        }
        at += buf.len();
        for _ in 0..DAWDLE_YIELDS {
            tokio::task::yield_now().await;
        }
    }
    accepted.expect_end(Lane::FIRST).await;
    writer.await.unwrap_or_else(|error| panic!("{error}"));
}

/// With any one lane full, every other lane carries traffic both ways; the full one loses nothing.
///
/// Each lane has carried something before: until its acceptor uses more than the first lane, a link may allow the peer
/// little over all lanes together.
///
/// A link of one lane has nothing to show here.
pub async fn lanes_do_not_block_each_other(harness: Harness) {
    let (dialled, accepted) = harness.pair().await;
    let lanes = dialled.capabilities().lanes;
    let (dialled, accepted) = (End::new(dialled), End::new(accepted));
    for lane in (0..lanes).map(Lane) {
        dialled.send_pattern(lane, 0, LANE_BYTES, LANE_BYTES).await;
        accepted.receive_pattern(lane, 0, LANE_BYTES).await;
    }
    let mut sent = vec![LANE_BYTES; usize::from(lanes)];
    for full in (0..lanes).map(Lane) {
        let from = sent[usize::from(full.0)];
        let to = from + fill_from(&harness, &dialled, full, from).await;
        for other in (0..lanes).map(Lane).filter(|&lane| lane != full) {
            let at = sent[usize::from(other.0)];
            dialled.send_pattern(other, at, at + LANE_BYTES, LANE_BYTES).await;
            accepted.receive_pattern(other, at, at + LANE_BYTES).await;
            accepted
                .send_pattern(other, at, at + LANE_BYTES, LANE_BYTES)
                .await;
            dialled.receive_pattern(other, at, at + LANE_BYTES).await;
            sent[usize::from(other.0)] = at + LANE_BYTES;
        }
        accepted.receive_pattern(full, from, to).await;
        sent[usize::from(full.0)] = to;
    }
}

/// A read that waits has reserved nothing, on a fresh link and on one that was busy.
pub async fn idle_links_hold_no_buffers(harness: Harness) {
    let (dialled, accepted) = harness.pair().await;
    let lanes = dialled.capabilities().lanes;
    let (dialled, accepted) = (End::new(dialled), End::new(accepted));
    for busy in [false, true] {
        for lane in (0..lanes).map(Lane) {
            if busy {
                dialled.send_pattern(lane, 0, 5000, 5000).await;
                accepted.receive_pattern(lane, 0, 5000).await;
            }
            for end in [&dialled, &accepted] {
                let mut buf = BytesMut::new();
                assert!(
                    end.read_now(lane, &mut buf).is_pending(),
                    "bytes came from nowhere on {lane}"
                );
                assert_eq!(buf.capacity(), 0, "a read that waits on {lane} holds a buffer");
            }
        }
    }
}

/// Writes the pattern until the link takes no more, and says how much it took.
async fn fill(harness: &Harness, end: &End, lane: Lane) -> usize {
    fill_from(harness, end, lane, 0).await
}

async fn fill_from(harness: &Harness, end: &End, lane: Lane, from: usize) -> usize {
    let mut taken = 0;
    // The kernel may still be moving bytes from one socket to the other, so a writer counts as stopped when it gets
    // nothing done for a while. Judging that too early would only fill the link less.
    while let Ok(written) = timeout(STOPPED_AFTER, end.write(lane, pattern(from + taken, WRITE_BYTES))).await
    {
        taken += written.unwrap_or_else(|error| panic!("a write failed after {taken} bytes: {error}"));
        let bound = harness.in_flight_bytes_max;
        assert!(
            taken <= bound,
            "a writer got {taken} bytes out, past the bound of {bound}, and nobody read"
        );
    }
    assert!(taken > 0, "a writer got nothing out");
    taken
}

const STOPPED_AFTER: Duration = Duration::from_millis(100);
const WRITE_BYTES: usize = 64 * 1024;
const SLOW_BYTES: usize = 2 * 1024 * 1024;
const DAWDLE_YIELDS: usize = 20;

/// Little enough to fit in any lane, so that one task can write and then read it.
const LANE_BYTES: usize = 4096;
