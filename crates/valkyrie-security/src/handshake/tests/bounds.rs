//! What somebody who has proved nothing gets of an acceptor: 4 KiB, 5 seconds, one handshake's computation. And how little
//! more once a key is proved and nobody's yet.

use super::*;
use crate::handshake::envelope;
use crate::suite::SuiteId;
use valkyrie_frame::{ErrorCode, Header, Kind};

/// A frame of which only the header is there, and which is to be so long with its payload.
fn announced(frame_len: usize) -> BytesMut {
    let mut frame = envelope::frame(Kind::KEY_EXCHANGE, |_| ());
    frame[12..16].copy_from_slice(&u32::to_be_bytes((frame_len - Header::LEN) as u32));
    BytesMut::from(&frame[..])
}

#[test]
fn what_is_said_in_clear_is_counted_over_all_frames_together() {
    let (ada, bob) = friends();
    let mut setup = Setup::new();
    setup.gate = challenges::loaded(setup.now);
    let mut first = BytesMut::new();
    setup.pair(&ada, &bob).dialler.poll_transmit(&mut first);
    let left = HandshakeLimits::CLEAR_BYTES_MAX - first.len();
    for (frame_len, fits) in [(left, true), (left + 1, false)] {
        let mut acceptor = setup.acceptor(&bob);
        acceptor
            .handle_input(setup.now, unix(), &mut first.clone())
            .unwrap();
        // It has asked for a cookie, and the peer announces all that it has left, or a byte more.
        let result = acceptor.handle_input(setup.now, unix(), &mut announced(frame_len));
        match fits {
            true => assert!(result.is_ok()),
            false => {
                let error = result.unwrap_err();
                assert!(matches!(error, HandshakeError::TooLong));
                assert_eq!(error.code(), ErrorCode::FRAME_SIZE);
            }
        }
        let mut pair = setup.pair(&ada, &bob);
        pair.dialler.poll_transmit(&mut pair.to_acceptor);
        pair.acceptor
            .handle_input(setup.now, unix(), &mut pair.to_acceptor)
            .unwrap();
        pair.acceptor.poll_transmit(&mut pair.to_dialler);
        let said = pair.to_dialler.len();
        pair.to_dialler.extend(announced(frame_len + first.len() - said));
        let result = pair.dialler.handle_input(setup.now, unix(), &mut pair.to_dialler);
        match fits {
            true => assert!(result.is_ok()),
            false => assert!(matches!(result, Err(HandshakeError::TooLong))),
        }
    }
    let stats = setup.gate.stats();
    assert_eq!((stats.computed, stats.too_long), (0, 1), "{stats:?}");
    setup.unharmed(&ada, &bob);
}

#[test]
fn credentials_that_are_too_long_are_refused_from_their_header() {
    // 16 KiB of credentials in a frame, padded and sealed.
    const RECORD_BYTES_MAX: usize = 5 + 20 + 16_384 + 256 + 16;
    let (ada, bob) = friends();
    let setup = Setup::new();
    for flight in [3, 4] {
        for (record, fits) in [(RECORD_BYTES_MAX, true), (RECORD_BYTES_MAX + 1, false)] {
            let outcome = setup.pair(&ada, &bob).run_with(|at, bytes| {
                if at == flight {
                    let [.., l0, l1, l2] = (record - 5).to_be_bytes();
                    *bytes = BytesMut::from(&[2, 0, l0, l1, l2][..]);
                }
            });
            let (reader, other) = match flight {
                3 => (&outcome.dialler, &outcome.acceptor),
                _ => (&outcome.acceptor, &outcome.dialler),
            };
            match fits {
                true => assert!(matches!(reader, Ok(None)), "it waits for the rest"),
                false => assert!(matches!(reader, Err(HandshakeError::TooLong))),
            }
            // The dialler is done when it has sent its own; the acceptor never is.
            assert!(flight == 4 || matches!(other, Ok(None)));
        }
    }
    assert_eq!(setup.gate.stats().too_long, 1, "what its own peer announced");
    setup.unharmed(&ada, &bob);
}

#[test]
fn one_link_buys_one_answer_and_one_failed_attempt_at_most() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    let known = acquainted(&ada, &bob, &setup);
    let by_key = Known::key(known.static_key);
    /// A first message as honest diallers write it, each time another.
    fn fresh(setup: &Setup, ada: &Party, bob: &Party, known: Option<&Known>) -> Vec<u8> {
        let setup = Setup {
            known: known.cloned(),
            gate: Arc::clone(&setup.gate),
            ..*setup
        };
        let mut bytes = BytesMut::new();
        setup.pair(ada, bob).dialler.poll_transmit(&mut bytes);
        bytes.to_vec()
    }
    // Every way to put four messages of these together: good ones, junk, and answers to what was asked.
    let messages = |which: usize| match which {
        0 => fresh(&setup, &ada, &bob, None),
        1 => fresh(&setup, &ada, &bob, Some(&by_key)),
        2 => {
            let mut junk = fresh(&setup, &ada, &bob, Some(&by_key));
            *junk.last_mut().unwrap() ^= 1;
            junk
        }
        _ => {
            // Its message is for XX, and the suite that it names is none that is permitted first.
            let mut other = fresh(&setup, &ada, &bob, None);
            other[Header::LEN + 3] = SuiteId::XX_CHACHA.0;
            other
        }
    };
    for sequence in 0..4_usize.pow(4) {
        let mut acceptor = setup.acceptor(&bob);
        let before = setup.gate.stats().computed;
        let mut said = BytesMut::new();
        for place in 0..4 {
            let mut input = BytesMut::from(&messages(sequence / 4_usize.pow(place) % 4)[..]);
            let result = acceptor.handle_input(setup.now, unix(), &mut input);
            acceptor.poll_transmit(&mut said);
            if result.is_err() {
                break;
            }
        }
        let stats = setup.gate.stats();
        let computed = stats.computed - before;
        assert_eq!(stats.refused_in_total, 0, "there is room for all of them");
        let answers = kinds(&said)
            .into_iter()
            .filter(|kind| *kind == Kind::KEY_EXCHANGE.byte())
            .count();
        assert!(answers <= 1, "{sequence:o}: {answers} answers");
        assert!(computed <= 2, "{sequence:o}: {computed} computations");
        assert!(acceptor.established().is_none());
    }
    setup.unharmed(&ada, &bob);
}

/// The kinds of the frames in clear that `bytes` begins with.
fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let Ok(Some(frame)) = envelope::peek(bytes, usize::from(u16::MAX)) {
        kinds.push(bytes[3]);
        bytes = &bytes[frame.header.frame_len()..];
    }
    kinds
}

#[test]
fn bytes_that_drip_buy_no_time() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    let mut pair = setup.pair(&ada, &bob);
    let mut first = BytesMut::new();
    pair.dialler.poll_transmit(&mut first);
    let deadline = pair.acceptor.poll_timeout().unwrap();
    assert_eq!(deadline, setup.now + HandshakeLimits::TIMEOUT);
    let mut input = BytesMut::new();
    for (second, byte) in (1..5).zip(&first) {
        input.extend([*byte]);
        let now = setup.now + Duration::from_secs(second);
        pair.acceptor.handle_input(now, unix(), &mut input).unwrap();
        assert!(pair.acceptor.handle_timeout(now).is_ok());
        assert_eq!(pair.acceptor.poll_timeout(), Some(deadline), "as it was");
    }
    let error = pair.acceptor.handle_timeout(deadline).unwrap_err();
    assert!(matches!(error, HandshakeError::TimedOut));
    assert_eq!(error.code(), ErrorCode::HANDSHAKE_TIMEOUT);
    // Nor does getting far: the deadline of a handshake that waits for its credentials alone is the first one's.
    let mut pair = setup.pair(&ada, &bob);
    let outcome = pair.run_with(|flight, bytes| {
        if flight == 4 {
            bytes.truncate(bytes.len() - 1);
        }
    });
    assert!(matches!(outcome.acceptor, Ok(None)));
    assert_eq!(pair.acceptor.poll_timeout(), Some(deadline));
    assert!(pair.acceptor.handle_timeout(deadline).is_err());
    assert_eq!(setup.gate.stats().timed_out, 2);
    setup.unharmed(&ada, &bob);
}
