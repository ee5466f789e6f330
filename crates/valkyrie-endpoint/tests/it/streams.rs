//! Messages on streams: order, blocking, ends, resets.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::mpsc;
use valkyrie_endpoint::{
    Class, Config, ErrorCode, Failure, Message, OpenError, RecvError, RecvStream, Refusal, Services,
};

use crate::support::{Pair, text, within};

fn echo_streams() -> Services {
    Services::builder()
        .stream("echo", "stream", |_, mut send, mut recv| async move {
            while let Some(message) = recv.recv().await? {
                send.send(message).await?;
            }
            Ok(())
        })
        .build()
        .unwrap()
}

async fn collect(recv: &mut RecvStream) -> Result<Vec<Bytes>, RecvError> {
    let mut all = Vec::new();
    while let Some(message) = recv.recv().await? {
        all.push(message.payload);
    }
    Ok(all)
}

#[tokio::test]
async fn messages_flow_both_ways_in_order() {
    const COUNT: u32 = 20_000;
    let pair = Pair::new(echo_streams()).await;
    let (mut send, mut recv) = within(pair.connection.open(("echo", "stream"))).await.unwrap();
    let sending = async move {
        for number in 0..COUNT {
            send.send(Bytes::copy_from_slice(&number.to_be_bytes()))
                .await
                .unwrap();
        }
        send.finish();
    };
    let (_, received) = within(async { tokio::join!(sending, collect(&mut recv)) }).await;
    let received = received.unwrap();
    assert_eq!(received.len(), COUNT as usize);
    assert!(
        received
            .iter()
            .enumerate()
            .all(|(number, payload)| payload[..] == (number as u32).to_be_bytes())
    );
    assert!(recv.is_finished());
}

#[tokio::test]
async fn a_message_of_64_mib_arrives_whole() {
    let pair = Pair::new(echo_streams()).await;
    let (mut send, mut recv) = within(pair.connection.open(("echo", "stream"))).await.unwrap();
    let payload = Bytes::from(
        (0..64 * 1024 * 1024_u32)
            .map(|at| (at % 251) as u8)
            .collect::<Vec<_>>(),
    );
    within(send.send(payload.clone())).await.unwrap();
    send.finish();
    let received = within(collect(&mut recv)).await.unwrap();
    assert!(received.len() == 1 && received[0] == payload);
}

#[tokio::test]
async fn a_message_that_never_fits_is_returned() {
    let pair = Pair::new(echo_streams()).await;
    let (mut send, _recv) = within(pair.connection.open(("echo", "stream"))).await.unwrap();
    let payload = Bytes::from(vec![0; 64 * 1024 * 1024 + 1]);
    let error = within(send.send(payload.clone())).await.unwrap_err();
    assert!(matches!(error.refusal, Refusal::MessageSize { .. }));
    assert_eq!(error.message.payload.as_ptr(), payload.as_ptr());
}

#[tokio::test]
async fn a_reader_that_stops_blocks_its_sender_who_gets_the_message_back() {
    let services = Services::builder()
        .stream("never", "reads", |_, _send, _recv| std::future::pending())
        .build()
        .unwrap();
    let config = Config::default();
    let bound = (config.limits.window_data + config.limits.send_queue_max + 256 * 1024) as usize;
    let pair = Pair::with(services, Services::default(), config).await;
    let (mut send, _recv) = within(pair.connection.open(("never", "reads"))).await.unwrap();
    let payload = Bytes::from(vec![1; 8 * 1024]);
    let mut sent = 0;
    let error = loop {
        match send.try_send(payload.clone()) {
            Ok(()) => sent += payload.len(),
            Err(_) if sent < bound / 2 => tokio::task::yield_now().await,
            Err(error) => {
                // Everything that can move has moved once a ping has come back.
                within(pair.connection.ping()).await.unwrap();
                match send.try_send(error.message) {
                    Ok(()) => sent += payload.len(),
                    Err(error) => break error,
                }
            }
        }
        assert!(sent <= bound, "{sent} bytes went to a reader that does not read");
    };
    assert_eq!(error.refusal, Refusal::Blocked);
    assert_eq!(error.message, Message::data(payload.clone()));
    // `send` waits instead; dropping it sends nothing.
    tokio::select! {
        biased;
        _ = send.send(payload) => panic!("there was room"),
        ping = pair.connection.ping() => { ping.unwrap(); }
    }
}

#[tokio::test]
async fn a_handler_that_never_reads_holds_up_nobody_else() {
    let services = Services::builder()
        .stream("never", "reads", |_, _send, _recv| std::future::pending())
        .unary("echo", "echo", |_, payload| async move { Ok(payload) })
        .build()
        .unwrap();
    let pair = Pair::new(services).await;
    let (mut send, _recv) = within(pair.connection.open(("never", "reads"))).await.unwrap();
    let connection = pair.connection.clone();
    let blocked = tokio::spawn(async move {
        loop {
            send.send(Bytes::from(vec![0; 16 * 1024])).await.unwrap();
        }
    });
    for _ in 0..1000 {
        let payload = Bytes::from(vec![1; 1000]);
        assert_eq!(
            within(connection.call(("echo", "echo"), payload.clone()))
                .await
                .unwrap(),
            payload
        );
    }
    assert!(!blocked.is_finished());
}

#[tokio::test]
async fn a_slow_reader_gets_everything_and_bounds_what_its_sender_may_queue() {
    let config = Config::default();
    let bound = (config.limits.window_data + config.limits.send_queue_max + 256 * 1024) as usize;
    let (ask, mut asked) = mpsc::channel::<()>(1);
    let (tell, mut told) = mpsc::unbounded_channel();
    let asked = std::sync::Mutex::new(Some(async move { asked.recv().await }));
    let services = Services::builder()
        .stream("slow", "reader", move |_, _send, mut recv| {
            let (tell, asked) = (tell.clone(), asked.lock().unwrap().take());
            async move {
                if let Some(asked) = asked {
                    asked.await;
                }
                while let Some(message) = recv.recv().await? {
                    let _ = tell.send(message.payload.len());
                }
                Ok(())
            }
        })
        .build()
        .unwrap();
    let pair = Pair::with(services, Services::default(), config).await;
    let (mut send, _recv) = within(pair.connection.open(("slow", "reader"))).await.unwrap();
    const MESSAGES: usize = 2000;
    const BYTES: usize = 10_000;
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        for _ in 0..MESSAGES {
            send.send(Bytes::from(vec![2; BYTES])).await.unwrap();
            count.fetch_add(BYTES, std::sync::atomic::Ordering::Relaxed);
        }
        send.finish();
    });
    for _ in 0..50 {
        within(pair.connection.ping()).await.unwrap();
    }
    let queued = sent.load(std::sync::atomic::Ordering::Relaxed);
    assert!(queued <= bound && queued > bound / 4, "{queued}");
    ask.send(()).await.unwrap();
    let mut received = 0;
    while received < MESSAGES * BYTES {
        received += within(told.recv()).await.unwrap();
    }
    within(sending).await.unwrap();
    assert_eq!(received, MESSAGES * BYTES);
}

#[tokio::test]
async fn half_of_a_stream_ends_without_the_other() {
    let services = Services::builder()
        .stream("sum", "up", |_, mut send, mut recv| async move {
            let mut total = 0_u64;
            while let Some(message) = recv.recv().await? {
                total += u64::from(message.payload[0]);
            }
            send.send(Bytes::copy_from_slice(&total.to_be_bytes())).await?;
            Ok(())
        })
        .build()
        .unwrap();
    let pair = Pair::new(services).await;
    let (mut send, mut recv) = within(pair.connection.open(("sum", "up"))).await.unwrap();
    for number in 1..=100_u8 {
        send.try_send(Bytes::copy_from_slice(&[number])).unwrap();
    }
    send.finish();
    assert_eq!(
        within(collect(&mut recv)).await.unwrap(),
        [Bytes::copy_from_slice(&5050_u64.to_be_bytes())]
    );
}

#[tokio::test]
async fn many_messages_go_and_come_under_one_lock() {
    let pair = Pair::new(echo_streams()).await;
    let (mut send, mut recv) = within(pair.connection.open(("echo", "stream"))).await.unwrap();
    const COUNT: usize = 10_000;
    let mut messages = (0..COUNT)
        .map(|_| Message::data(text("a message of some bytes")))
        .collect::<VecDeque<_>>();
    let sending = async move {
        while !messages.is_empty() {
            assert!(send.send_many(&mut messages).await.unwrap() > 0);
        }
        send.finish();
    };
    let receiving = async {
        let mut out = Vec::new();
        while recv.recv_many(&mut out, 1000).await.unwrap() > 0 {}
        out.len()
    };
    let (_, received) = within(async { tokio::join!(sending, receiving) }).await;
    assert_eq!(received, COUNT);
}

#[tokio::test]
async fn a_handlers_failure_resets_the_stream() {
    let services = Services::builder()
        .stream("always", "fails", |_, _send, mut recv| async move {
            recv.recv().await?;
            Err(Failure::new(ErrorCode::FAILED_PRECONDITION, "not today"))
        })
        .build()
        .unwrap();
    let pair = Pair::new(services).await;
    let (mut send, mut recv) = within(pair.connection.open(("always", "fails"))).await.unwrap();
    send.send(text("please")).await.unwrap();
    let error = within(recv.recv()).await.unwrap_err();
    let RecvError::Reset(failure) = error else {
        panic!("{error}")
    };
    assert_eq!(
        (failure.code, failure.text.as_str()),
        (ErrorCode::FAILED_PRECONDITION, "not today")
    );
    assert!(matches!(
        send.try_send(text("more")).unwrap_err().refusal,
        Refusal::Reset(_)
    ));
}

#[tokio::test]
async fn a_handler_that_returns_early_still_delivers_what_it_sent() {
    let services = Services::builder()
        .stream("server", "streams", |context, mut send, _recv| async move {
            for _ in 0..100 {
                send.send(context.payload().clone()).await?;
            }
            Ok(())
        })
        .build()
        .unwrap();
    let pair = Pair::new(services).await;
    let (_send, mut recv) = within(
        pair.connection
            .open(("server", "streams"))
            .payload("again and again"),
    )
    .await
    .unwrap();
    let received = within(collect(&mut recv)).await.unwrap();
    assert_eq!(received.len(), 100);
    assert!(received.iter().all(|payload| payload == "again and again"));
}

#[tokio::test]
async fn a_sender_that_vanishes_in_the_middle_does_not_look_finished() {
    let services = Services::builder().keep_unrouted_streams().build().unwrap();
    let pair = Pair::new(services).await;
    let accepted = pair.accepted().await;
    let (mut send, _recv) = within(pair.connection.open(("any", "thing"))).await.unwrap();
    let incoming = within(accepted.accept()).await.unwrap();
    assert_eq!(incoming.route(), Some(("any", "thing")));
    let (_back, mut recv) = incoming.accept();
    send.send(text("half of it")).await.unwrap();
    drop(send);
    let error = within(collect(&mut recv)).await.unwrap_err();
    assert!(
        matches!(&error, RecvError::Reset(failure) if failure.code == ErrorCode::CANCELLED),
        "{error}"
    );
}

#[tokio::test]
async fn a_sender_that_never_sent_ends_its_direction_when_dropped() {
    let services = Services::builder().keep_unrouted_streams().build().unwrap();
    let pair = Pair::new(services).await;
    let accepted = pair.accepted().await;
    let (send, mut recv) = within(pair.connection.open(("any", "thing"))).await.unwrap();
    drop(send);
    let (mut back, mut theirs) = within(accepted.accept()).await.unwrap().accept();
    assert_eq!(within(theirs.recv()).await.unwrap(), None);
    back.send(text("one way")).await.unwrap();
    back.finish();
    assert_eq!(within(collect(&mut recv)).await.unwrap(), ["one way"]);
}

#[tokio::test]
async fn a_stream_that_nobody_serves_is_reset() {
    let pair = Pair::new(echo_streams()).await;
    let (_send, mut recv) = within(pair.connection.open(("no", "body"))).await.unwrap();
    let error = within(recv.recv()).await.unwrap_err();
    assert!(
        matches!(&error, RecvError::Reset(failure) if failure.code == ErrorCode::NOT_FOUND),
        "{error}"
    );
}

#[tokio::test]
async fn more_streams_than_the_peer_grants_wait_for_one_to_end() {
    let mut config = Config::default();
    config.limits.max_streams = 4;
    let pair = Pair::with(echo_streams(), Services::default(), config).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..100_u8 {
        let connection = pair.connection.clone();
        tasks.spawn(async move {
            let (mut send, mut recv) = connection.open(("echo", "stream")).await.unwrap();
            send.send(Bytes::copy_from_slice(&[number])).await.unwrap();
            send.finish();
            assert_eq!(
                collect(&mut recv).await.unwrap(),
                [Bytes::copy_from_slice(&[number])]
            );
        });
    }
    within(async {
        while let Some(done) = tasks.join_next().await {
            done.unwrap()
        }
    })
    .await;
}

#[tokio::test]
async fn the_critical_class_has_no_streams() {
    let pair = Pair::new(echo_streams()).await;
    let error = within(pair.connection.open(("echo", "stream")).class(Class::Critical))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::Refused(Refusal::Misuse(_))), "{error}");
}

#[tokio::test]
async fn accept_ends_with_the_connection() {
    let pair = Pair::new(Services::builder().keep_unrouted_streams().build().unwrap()).await;
    let accepted = pair.accepted().await;
    let waiting = tokio::spawn(async move { accepted.accept().await.is_none() });
    pair.connection.close();
    assert!(within(waiting).await.unwrap());
}
