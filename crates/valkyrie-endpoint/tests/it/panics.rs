//! A handler that panics answers so and hurts nobody else.

use bytes::Bytes;
use valkyrie_endpoint::{CallError, ErrorCode, RecvError, Services};

use crate::support::{Pair, within};

fn panicky() -> Services {
    Services::builder()
        .unary("panic", "at_once", |_, payload| {
            assert!(payload.is_empty(), "on purpose, before there is a future");
            async move {
                assert!(!payload.is_empty(), "on purpose, on the first poll");
                Ok(Bytes::new())
            }
        })
        .unary("panic", "later", |_, _| async move {
            tokio::task::yield_now().await;
            panic!("on purpose, on a later poll")
        })
        .notify("panic", "notified", |_, _| async {
            panic!("on purpose, in a notification")
        })
        .stream("panic", "stream", |_, _send, _recv| async {
            panic!("on purpose, in a stream")
        })
        .unary("echo", "echo", |_, payload| async move { Ok(payload) })
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_panicking_handler_answers_so_and_hurts_nobody_else() {
    let pair = Pair::new(panicky()).await;
    for (method, payload) in [("at_once", ""), ("at_once", "x"), ("later", "")] {
        let panics = pair.connection.call(("panic", method), payload);
        let fine = pair.connection.call(("echo", "echo"), "fine");
        let (panics, fine) = within(async { tokio::join!(panics, fine) }).await;
        let error = panics.unwrap_err();
        assert!(
            matches!(&error, CallError::Failed(failure) if failure.code == ErrorCode::HANDLER_PANICKED),
            "{error}"
        );
        assert_eq!(fine.unwrap(), "fine");
    }
    within(pair.connection.notify(("panic", "notified"), ""))
        .await
        .unwrap();
    let (_send, mut recv) = within(pair.connection.open(("panic", "stream"))).await.unwrap();
    let error = within(recv.recv()).await.unwrap_err();
    assert!(
        matches!(&error, RecvError::Reset(failure) if failure.code == ErrorCode::HANDLER_PANICKED),
        "{error}"
    );
    assert_eq!(
        within(pair.connection.call(("echo", "echo"), "alive"))
            .await
            .unwrap(),
        "alive"
    );
    assert_eq!(pair.accepted().await.stats().panics, 5);
}
