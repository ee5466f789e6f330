//! Properties that hold for any limits, any bytes cut anywhere, any order of commands.

mod common;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use common::{opened, request};
use proptest::prelude::*;
use valkyrie_proto::{Batch, Class, Config, Event, Extensions, Inbox, Limits, Message, Session, Side};
use valkyrie_sim::{Chaos, Pair, Path};

/// Any limits that a configuration may have, most of them near the narrow end.
fn limits() -> impl Strategy<Value = Limits> {
    let frame = prop_oneof![Just(4096u32), 4096u32..20_000, Just(1 << 20)];
    (frame, 0u32..5000, 0u32..5000, 0u32..5000, 0u32..5000).prop_map(|(max_frame, a, b, c, d)| {
        let least = Limits::min_window(max_frame);
        let (system, job, data) = (least + a, least + b, least + c);
        let widest = system.max(job + 10_000).max(data);
        Limits {
            max_frame,
            max_message: 64 << 20,
            window_system: system,
            window_job: job,
            window_job_max: job + 10_000,
            window_data: data,
            window_connection: widest + d,
            send_queue_max: 16 * 1024,
            ..Limits::default()
        }
    })
}

fn payload(len: usize) -> Bytes {
    (0..len).map(|n| (n % 251) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_message_gets_through_whatever_the_limits(
        here in limits(),
        there in limits(),
        sizes in proptest::collection::vec(prop_oneof![0usize..3000, 3000usize..200_000], 1..8),
        class in prop_oneof![Just(Class::System), Just(Class::Job), Just(Class::Data), Just(Class::Bulk)],
    ) {
        let config = |limits| Config { limits, ..Config::default() };
        let mut pair = Pair::new(config(here), config(there), Path::new(1 << 30, Duration::from_micros(50)), 1);
        pair.run_until_quiet();
        let mut keys = Vec::new();
        let mut sent = Vec::new();
        for side in [Side::Dialer, Side::Acceptor] {
            let now = pair.now();
            for &size in &sizes {
                if let Ok(key) = pair.session(side).call(now, class, None, payload(size).into(), None) {
                    keys.push((side, key, size));
                }
            }
            let key = pair.session(side)
                .open(now, Class::Data, None, Extensions::EMPTY, Bytes::new(), None)
                .expect("a stream is free");
            let fit = sizes.iter().take_while(|&&size| pair.session(side).send(key, payload(size).into()).is_ok());
            sent.push(fit.copied().collect::<Vec<_>>());
            pair.session(side).finish(key).expect("open");
        }
        let mut got = [Vec::new(), Vec::new()];
        let mut streams = [None, None];
        let mut answered = 0;
        for _ in 0..4000 {
            pair.run_for(Duration::from_micros(200));
            for (place, side) in [Side::Acceptor, Side::Dialer].into_iter().enumerate() {
                streams[place] = streams[place].or_else(|| opened(&mut pair, side));
                if let Some(key) = streams[place] {
                    let mut inbox = Inbox::new();
                    pair.session(side).recv(key, &mut inbox).expect("in order");
                    got[place].extend(std::iter::from_fn(|| inbox.pop_front()).map(|message| message.payload));
                }
                let echo = common::take(&mut pair, side, |event| match event {
                    Event::Incoming(incoming) => Some((incoming.id?, incoming.payload.clone())),
                    _ => None,
                });
                if let Some((id, payload)) = echo {
                    let now = pair.now();
                    pair.session(side).respond(now, id, Ok(Message::data(payload))).expect("once");
                    answered += 1;
                }
            }
            if answered == keys.len() && got.iter().zip(&sent).all(|(got, sent)| got.len() == sent.len()) {
                break;
            }
        }
        pair.run_for(Duration::from_millis(100));
        prop_assert!(request(&mut pair, Side::Dialer).is_none());
        for (got, sent) in got.iter().zip(&sent) {
            prop_assert_eq!(got.len(), sent.len(), "no credit deadlock");
            for (message, &size) in got.iter().zip(sent) {
                prop_assert_eq!(message, &payload(size));
            }
        }
        for (side, key, size) in keys {
            let answer = pair.session(side).take_response(key);
            prop_assert!(matches!(answer, Some(Ok(ref message)) if message.payload == payload(size)), "{:?}", answer);
        }
    }

    #[test]
    fn random_commands_over_any_cutting_of_bytes_keep_every_promise(
        choices in proptest::collection::vec(any::<u16>(), 200..3000),
        packet in 1usize..3000,
        buffer in 1usize..20_000,
        delay_us in 0u64..3000,
        loss in 0u32..50_000,
        seed in any::<u64>(),
    ) {
        let path = Path {
            packet,
            buffer,
            loss_per_million: loss,
            retransmit_after: Duration::from_millis(5),
            ..Path::new(20_000_000, Duration::from_micros(delay_us))
        };
        let mut chaos = Chaos::new(path, seed);
        let mut choices = choices.into_iter();
        while choices.len() > 0 {
            chaos.step(&mut |end| choices.next().map_or(0, |choice| u64::from(choice) % end.max(1)));
        }
        chaos.reconcile();
    }

    #[test]
    fn however_its_bytes_are_cut_a_conversation_means_the_same(
        cuts in proptest::collection::vec(1usize..200, 1..60),
    ) {
        let now = std::time::Instant::now();
        let config = std::sync::Arc::new(Config::default());
        let mut dialer = Session::new(Side::Dialer, config.clone(), now);
        let mut acceptor = Session::new(Side::Acceptor, config.clone(), now);
        let take = |session: &mut Session| {
            let mut batch = Batch::default();
            while session.poll_transmit(now, &mut batch, 1 << 20) {}
            batch.chunks().flatten().copied().collect::<Vec<u8>>()
        };
        let hello = take(&mut dialer);
        acceptor.handle_input(now, &mut BytesMut::from(&hello[..])).expect("good");
        let answer = take(&mut acceptor);
        dialer.handle_input(now, &mut BytesMut::from(&answer[..])).expect("good");
        let key = dialer.open(now, Class::Job, None, Extensions::EMPTY, payload(9), None).expect("free");
        for size in [0, 1, 100, 1024, 1025, 40_000, 3] {
            dialer.send(key, payload(size).into()).expect("room");
            dialer.call(now, Class::Data, None, payload(size).into(), Some(Duration::from_secs(1))).expect("room");
        }
        dialer.finish(key).expect("open");
        let bytes = [hello, take(&mut dialer)].concat();

        let hear = |cuts: &[usize]| {
            let mut session = Session::new(Side::Acceptor, config.clone(), now);
            let mut input = BytesMut::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (now_come, later) = rest.split_at((*cut).min(rest.len()));
                input.extend_from_slice(now_come);
                session.handle_input(now, &mut input).expect("good");
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            let mut said = Vec::new();
            let mut messages = Inbox::new();
            while let Some(event) = session.poll_event() {
                if let Event::Opened(opened) = &event {
                    session.recv(opened.key, &mut messages).expect("open");
                }
                said.push(format!("{event:?}"));
            }
            let messages: Vec<_> = std::iter::from_fn(|| messages.pop_front()).map(|message| message.payload).collect();
            (said, messages, session.stats().class(Class::Job).frames_received)
        };
        let (events, messages, frames) = hear(&cuts);
        let (whole_events, whole_messages, whole_frames) = hear(&[bytes.len()]);
        prop_assert_eq!(events, whole_events);
        prop_assert_eq!(messages, whole_messages);
        prop_assert_eq!(frames, whole_frames);
    }
}
