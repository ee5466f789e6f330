//! Any bytes into a session, before the opening or after it, cut anywhere.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use valkyrie_proto::{Batch, Config, Event, Inbox, Message, Session, Side};

fuzz_target!(|data: &[u8]| {
    let [mode, cut, rest @ ..] = data else { return };
    let mut now = Instant::now();
    let config = Arc::new(Config::default());
    let side = if mode & 1 == 0 {
        Side::Acceptor
    } else {
        Side::Dialer
    };
    let mut session = Session::new(side, config.clone(), now);
    if mode & 2 != 0 {
        open(&mut session, config, now);
    }
    let mut input = BytesMut::new();
    let mut streams = Vec::new();
    for chunk in rest.chunks(1 + usize::from(*cut)) {
        input.extend_from_slice(chunk);
        let result = session.handle_input(now, &mut input);
        check(&session);
        while let Some(event) = session.poll_event() {
            match event {
                Event::Incoming(incoming) => match incoming.id {
                    Some(id) if mode & 4 != 0 => {
                        let _ = session.respond(now, id, Ok(Message::data(incoming.payload)));
                    }
                    None if mode & 8 != 0 => session.release_notify(incoming.lane, incoming.cost),
                    _ => {}
                },
                Event::Opened(opened) => streams.push(opened.key),
                _ => {}
            }
        }
        for key in &streams {
            if mode & 16 != 0 {
                let _ = session.recv(*key, &mut Inbox::new());
            }
            if mode & 32 != 0 {
                let _ = session.finish(*key);
            }
        }
        check(&session);
        if mode & 64 != 0 {
            let mut batch = Batch::default();
            session.poll_transmit(now, &mut batch, 1 << 16);
            check(&session);
        }
        now += Duration::from_millis(1);
        session.handle_timeout(now);
        check(&session);
        if result.is_err() {
            break;
        }
    }
    session.handle_eof(now);
    check(&session);
});

/// Lets a good peer open to the session.
fn open(session: &mut Session, config: Arc<Config>, now: Instant) {
    let mut peer = Session::new(session.side().peer(), config, now);
    for _ in 0..2 {
        carry(session, &mut peer, now);
        carry(&mut peer, session, now);
    }
    assert!(session.is_open());
}

fn carry(from: &mut Session, to: &mut Session, now: Instant) {
    let mut batch = Batch::default();
    from.poll_transmit(now, &mut batch, 1 << 16);
    let bytes: Vec<u8> = batch.chunks().flatten().copied().collect();
    to.handle_input(now, &mut BytesMut::from(&bytes[..]))
        .expect("a good opening");
}

fn check(session: &Session) {
    if let Err(broken) = session.invariants() {
        panic!("{broken}");
    }
}
