//! Endings: in one direction, in both, and in the middle of a message.

use std::io::ErrorKind;

use bytes::BytesMut;

use super::Harness;
use super::peers::{End, pattern};
use crate::Lane;

/// Closing ends our direction after everything that was written, and only ours: the peer reads the end and still
/// answers.
pub async fn half_close(harness: Harness) {
    let (dialled, accepted) = harness.pair().await;
    let lanes = dialled.capabilities().lanes;
    let (dialled, accepted) = (End::new(dialled), End::new(accepted));
    let sender = tokio::spawn({
        let dialled = dialled.clone();
        async move {
            for lane in (0..lanes).map(Lane) {
                dialled
                    .send_pattern(lane, 0, HALF_CLOSE_BYTES, HALF_CLOSE_BYTES)
                    .await;
            }
            dialled
                .close()
                .await
                .unwrap_or_else(|error| panic!("closing failed: {error}"));
        }
    });
    for lane in (0..lanes).map(Lane) {
        accepted.receive_pattern(lane, 0, HALF_CLOSE_BYTES).await;
    }
    sender.await.unwrap_or_else(|error| panic!("{error}"));
    for lane in (0..lanes).map(Lane) {
        accepted.expect_end(lane).await;
        match dialled.write(lane, b"late").await {
            Ok(count) => panic!("{count} bytes were taken after the close"),
            Err(error) => assert_eq!(
                error.kind(),
                ErrorKind::BrokenPipe,
                "writing after the close: {error}"
            ),
        }
    }

    let answer = tokio::spawn(async move {
        accepted
            .send_pattern(Lane::FIRST, 0, ANSWER_BYTES, ANSWER_BYTES)
            .await;
        accepted
            .close()
            .await
            .unwrap_or_else(|error| panic!("closing failed: {error}"));
        accepted
    });
    dialled.receive_pattern(Lane::FIRST, 0, ANSWER_BYTES).await;
    for lane in (0..lanes).map(Lane) {
        dialled.expect_end(lane).await;
    }
    answer.await.unwrap_or_else(|error| panic!("{error}"));
}

/// Closing again is done at once and is no error, before and after the peer has closed as well.
pub async fn close_twice(harness: Harness) {
    let (dialled, accepted) = harness.pair().await;
    let (dialled, accepted) = (End::new(dialled), End::new(accepted));
    for _ in 0..2 {
        dialled
            .close()
            .await
            .unwrap_or_else(|error| panic!("closing failed: {error}"));
    }
    accepted.expect_end(Lane::FIRST).await;
    accepted
        .close()
        .await
        .unwrap_or_else(|error| panic!("closing failed: {error}"));
    dialled.expect_end(Lane::FIRST).await;
    for end in [&dialled, &accepted] {
        end.close()
            .await
            .unwrap_or_else(|error| panic!("closing again failed: {error}"));
    }
}

/// A peer that is dropped in the middle of a message ends a reader that waits, with an error or the end of input.
pub async fn abrupt_close_ends_reading(harness: Harness) {
    for unread in [false, true] {
        let (dialled, accepted) = harness.pair().await;
        let (dialled, accepted) = (End::new(dialled), End::new(accepted));
        accepted.send_pattern(Lane::FIRST, 0, 100, 100).await;
        dialled.receive_pattern(Lane::FIRST, 0, 100).await;
        if unread {
            // Bytes that the peer never reads make some systems reset the connection instead of ending it.
            dialled.send_pattern(Lane::FIRST, 0, 100, 100).await;
        }
        let mut buf = BytesMut::new();
        assert!(
            dialled.read_now(Lane::FIRST, &mut buf).is_pending(),
            "bytes came from nowhere"
        );

        let (waiting, is_waiting) = tokio::sync::oneshot::channel();
        let reader = tokio::spawn(async move {
            let mut waiting = Some(waiting);
            std::future::poll_fn(|cx| {
                let polled = dialled.with(|link| link.poll_read(cx, Lane::FIRST, &mut buf));
                if polled.is_pending() {
                    waiting.take().map(|waiting| waiting.send(()));
                }
                polled
            })
            .await
        });
        is_waiting
            .await
            .unwrap_or_else(|_| panic!("the reader did not wait for its peer"));
        drop(accepted);
        match reader.await.unwrap_or_else(|error| panic!("{error}")) {
            Ok(0) | Err(_) => {}
            Ok(count) => panic!("{count} bytes came from a peer that wrote none"),
        }
    }
}

/// A peer that is dropped ends a writer that waits for room, and a writer that goes on writing, with an error.
pub async fn abrupt_close_ends_writing(harness: Harness) {
    for blocked in [false, true] {
        let (dialled, accepted) = harness.pair().await;
        let dialled = End::new(dialled);
        let (waiting, is_waiting) = tokio::sync::oneshot::channel();
        let mut accepted = Some(accepted);
        if !blocked {
            accepted = None;
        }
        let writer = tokio::spawn(async move {
            let mut waiting = Some(waiting);
            loop {
                let bytes = std::io::IoSlice::new(pattern(0, WRITE_BYTES));
                let written = std::future::poll_fn(|cx| {
                    let polled = dialled.with(|link| link.poll_write(cx, Lane::FIRST, &[bytes]));
                    if polled.is_pending() {
                        waiting.take().map(|waiting| waiting.send(()));
                    }
                    polled
                });
                if let Err(error) = written.await {
                    return error;
                }
            }
        });
        if blocked {
            is_waiting
                .await
                .unwrap_or_else(|_| panic!("the writer was never held up"));
            drop(accepted);
        }
        // That it comes back at all is what is shown; systems differ in the kind.
        writer.await.unwrap_or_else(|error| panic!("{error}"));
    }
}

const HALF_CLOSE_BYTES: usize = 40_000;
const ANSWER_BYTES: usize = 1024 * 1024;
const WRITE_BYTES: usize = 64 * 1024;
