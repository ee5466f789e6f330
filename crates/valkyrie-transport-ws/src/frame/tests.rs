//! Frames, whole and cut, right and wrong.

use super::*;

/// Decodes `bytes` in pieces of at most `cut` bytes: the payload, and every event but data.
fn decode(side: Side, bytes: &[u8], cut: usize) -> Result<(Vec<u8>, Vec<Event>), Violation> {
    let mut decoder = Decoder::new(side);
    let (mut payload, mut others) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(cut) {
        let mut piece = piece.to_vec();
        let mut at = 0;
        while at < piece.len() {
            let step = decoder.decode(&mut piece[at..])?;
            assert!(step.consumed > 0, "the decoder stands still");
            match step.event {
                Some(Event::Data { at: place, .. }) => {
                    payload.extend_from_slice(&piece[at + place.start..at + place.end]);
                }
                Some(other) => others.push(other),
                None => {}
            }
            at += step.consumed;
        }
    }
    Ok((payload, others))
}

fn violation(side: Side, bytes: &[u8]) -> Violation {
    let whole = decode(side, bytes, usize::MAX).expect_err("was accepted");
    assert_eq!(
        decode(side, bytes, 1).expect_err("was accepted byte by byte"),
        whole
    );
    whole
}

#[test]
fn the_examples_of_rfc_6455_are_understood() {
    // Section 5.7.
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(decode(Side::Acceptor, &masked, 3).unwrap().0, b"Hello");
    let fragments = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
    assert_eq!(decode(Side::Dialler, &fragments, 4).unwrap().0, b"Hello");
    let ping = [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    let (_, events) = decode(Side::Dialler, &ping, 2).unwrap();
    assert!(matches!(&events[..], [Event::Ping(payload)] if payload.as_bytes() == b"Hello"));
}

#[test]
fn what_is_encoded_is_decoded_however_it_is_cut() {
    for (from, to) in [(Side::Dialler, Side::Acceptor), (Side::Acceptor, Side::Dialler)] {
        for length in [0, 1, 7, 8, 9, 125, 126, 127, 65_535, 65_536, 100_001] {
            let text: Vec<u8> = (0..length).map(|index| (index * 7 % 251) as u8).collect();
            let mut bytes = Vec::new();
            append_frame(&mut bytes, from, Opcode::Binary, &text);
            append_frame(&mut bytes, from, Opcode::Ping, b"now?");
            append_frame(&mut bytes, from, Opcode::Binary, &text);
            for cut in [1, 2, 5, 13, 4096, usize::MAX] {
                let (payload, events) = decode(to, &bytes, cut).unwrap();
                assert_eq!(payload, [&text[..], &text[..]].concat());
                assert!(matches!(&events[..], [Event::Ping(ping)] if ping.as_bytes() == b"now?"));
            }
        }
    }
}

#[test]
fn masks_differ_from_frame_to_frame() {
    let mask = || Header::new(Side::Dialler, Opcode::Binary, 1).mask.unwrap();
    let first = mask();
    assert!((0..8).any(|_| mask() != first));
    assert_eq!(Header::new(Side::Acceptor, Opcode::Binary, 1).mask, None);
}

#[test]
fn a_control_frame_may_come_between_fragments() {
    let bytes = [0x02, 0x01, b'a', 0x8a, 0x00, 0x00, 0x00, 0x80, 0x01, b'b'];
    let (payload, events) = decode(Side::Dialler, &bytes, usize::MAX).unwrap();
    assert_eq!(payload, b"ab");
    assert!(matches!(&events[..], [Event::Pong(_)]));
}

#[test]
fn only_a_message_without_a_byte_in_any_fragment_is_empty() {
    let ends = |bytes: &[u8]| {
        let mut decoder = Decoder::new(Side::Dialler);
        let (mut bytes, mut at, mut empty) = (bytes.to_vec(), 0, 0);
        while at < bytes.len() {
            let step = decoder.decode(&mut bytes[at..]).unwrap();
            at += step.consumed;
            empty += usize::from(matches!(
                step.event,
                Some(Event::Data {
                    ended: true,
                    message_bytes: 0,
                    ..
                })
            ));
        }
        empty
    };
    assert_eq!(ends(&[0x82, 0x00]), 1);
    assert_eq!(ends(&[0x02, 0x00, 0x00, 0x00, 0x80, 0x00]), 1);
    assert_eq!(ends(&[0x02, 0x01, b'a', 0x80, 0x00]), 0);
}

#[test]
fn every_broken_rule_is_named() {
    use Violation as V;
    let from_acceptor: &[(&[u8], Violation)] = &[
        (&[0x83, 0x00], V::Opcode),
        (&[0x8f, 0x00], V::Opcode),
        (&[0xc2, 0x00], V::ReservedBits),
        (&[0xa2, 0x00], V::ReservedBits),
        (&[0x92, 0x00], V::ReservedBits),
        (&[0x82, 0x80, 1, 2, 3, 4], V::Masked),
        (&[0x82, 126, 0, 125], V::Length),
        (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], V::Length),
        (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], V::Length),
        (&[0x09, 0x00], V::ControlFragmented),
        (&[0x89, 126, 0, 126], V::ControlTooLong { length: 126 }),
        (&[0x80, 0x00], V::NothingToContinue),
        (&[0x02, 0x00, 0x82, 0x00], V::Interleaved),
        (
            &[0x82, 127, 0, 0, 0, 0, 1, 0, 0, 1],
            V::FrameTooLarge {
                length: FRAME_BYTES_MAX + 1,
            },
        ),
        (&[0x88, 0x01, 0x03], V::CloseTooShort),
        (&[0x88, 0x02, 0x03, 0xed], V::CloseCode { code: 1005 }),
        (&[0x88, 0x02, 0x00, 0x00], V::CloseCode { code: 0 }),
        (&[0x88, 0x03, 0x03, 0xe8, 0xff], V::CloseReason),
    ];
    for (bytes, expected) in from_acceptor {
        assert_eq!(violation(Side::Dialler, bytes), *expected, "{bytes:02x?}");
    }
    assert_eq!(violation(Side::Acceptor, &[0x82, 0x00]), V::NotMasked);
    assert_eq!(V::NotMasked.close_code(), 1002);
    assert_eq!(V::CloseReason.close_code(), 1007);
    assert_eq!(V::MessageTooLarge.close_code(), 1009);
}

#[test]
fn a_message_of_many_fragments_is_bounded_too() {
    let mut decoder = Decoder::new(Side::Dialler);
    let mut payload = vec![0; FRAME_BYTES_MAX as usize];
    for index in 0..=MESSAGE_BYTES_MAX / FRAME_BYTES_MAX {
        let opcode = if index == 0 { 0x02 } else { 0x00 };
        let mut header = [opcode, 127, 0, 0, 0, 0, 1, 0, 0, 0];
        let opened = decoder.decode(&mut header);
        if index == MESSAGE_BYTES_MAX / FRAME_BYTES_MAX {
            assert_eq!(opened, Err(Violation::MessageTooLarge));
        } else {
            assert_eq!(opened.unwrap().consumed, header.len());
            assert_eq!(decoder.decode(&mut payload).unwrap().consumed, payload.len());
        }
    }
}

#[test]
fn nothing_behind_a_close_frame_means_anything() {
    let (payload, events) = decode(Side::Dialler, &[0x88, 0x00, 0xff, 0xff, 0x82, 0x01, 7], 3).unwrap();
    assert_eq!(payload, b"");
    assert!(matches!(&events[..], [Event::Close(Close { code: None, .. })]));
}

/// Everything that bytes meant, however they were cut: payload, how many events, and the violation that ended it.
fn meaning(side: Side, bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, usize, Option<Violation>) {
    let mut decoder = Decoder::new(side);
    let (mut payload, mut events) = (Vec::new(), 0);
    let (mut rest, mut cuts) = (bytes, cuts.iter().cycle());
    while !rest.is_empty() {
        let cut = cuts.next().map_or(rest.len(), |cut| (*cut).clamp(1, rest.len()));
        let (piece, behind) = rest.split_at(cut);
        rest = behind;
        let mut piece = piece.to_vec();
        let mut at = 0;
        while at < piece.len() {
            match decoder.decode(&mut piece[at..]) {
                Ok(step) => {
                    assert!(step.consumed > 0 && step.consumed <= piece.len() - at);
                    match step.event {
                        Some(Event::Data { at: place, ended, .. }) => {
                            payload.extend_from_slice(&piece[at + place.start..at + place.end]);
                            events += usize::from(ended);
                        }
                        Some(_) => events += 1,
                        None => {}
                    }
                    at += step.consumed;
                }
                Err(violation) => return (payload, events, Some(violation)),
            }
        }
    }
    (payload, events, None)
}

proptest::proptest! {
    #[test]
    fn any_bytes_mean_the_same_however_they_are_cut(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600),
        frames in proptest::collection::vec((0_usize..6, 0_usize..300), 0..6),
        cuts in proptest::collection::vec(1_usize..40, 1..8),
        dials in proptest::prelude::any::<bool>(),
    ) {
        let (from, to) = if dials { (Side::Dialler, Side::Acceptor) } else { (Side::Acceptor, Side::Dialler) };
        let opcodes = [Opcode::Binary, Opcode::Text, Opcode::Ping, Opcode::Pong, Opcode::Continuation, Opcode::Close];
        let mut all = Vec::new();
        for (opcode, length) in frames {
            append_frame(&mut all, from, opcodes[opcode], &bytes[..length.min(bytes.len())]);
        }
        all.extend_from_slice(&bytes);
        let whole = meaning(to, &all, &[usize::MAX]);
        proptest::prop_assert_eq!(&meaning(to, &all, &[1]), &whole);
        proptest::prop_assert_eq!(&meaning(to, &all, &cuts), &whole);
    }
}
