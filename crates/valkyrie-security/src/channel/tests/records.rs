//! Whatever is sealed is opened, however it is cut.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn paddings() -> impl Strategy<Value = Padding> {
    prop_oneof![
        Just(Padding::None),
        any::<u16>().prop_map(Padding::Multiple),
        (0_u16..300).prop_map(Padding::Multiple),
    ]
}

fn configs() -> impl Strategy<Value = ChannelConfig> {
    (0_usize..3000, paddings(), 0_u64..20, 0_u64..5000).prop_map(|(record_bytes, padding, records, bytes)| {
        config(|config| {
            config.record_bytes = record_bytes;
            config.padding = padding;
            config.rekey.records = records;
            config.rekey.bytes = bytes;
        })
    })
}

/// What a side does: data in chunks, or a control frame.
#[derive(Clone, Debug)]
enum Say {
    Data(Vec<Vec<u8>>),
    Control(Vec<u8>),
}

fn says() -> impl Strategy<Value = Say> {
    prop_oneof![
        4 => vec(vec(any::<u8>(), 0..2000), 0..8).prop_map(Say::Data),
        1 => vec(any::<u8>(), 0..2000).prop_map(Say::Control),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_chunks_come_out_whole_at_any_record_size_and_cut(
        config in configs(),
        cipher in prop::sample::select(&CIPHERS[..]),
        said in vec(says(), 1..12),
        cuts in vec(1_usize..4000, 1..20),
    ) {
        let (mut sealer, mut opener) = pair_with(cipher, config);
        let mut now = Instant::now();
        let mut wire = BytesMut::new();
        let (mut data, mut controls) = (Vec::new(), Vec::new());
        for say in &said {
            // A rekey after every second record is more than a peer takes, unless it has the time.
            now += Duration::from_secs(20);
            match say {
                Say::Data(chunks) => {
                    let before = wire.len();
                    sealer.seal(now, chunks.iter().map(Vec::as_slice), &mut wire).unwrap();
                    let content = chunks.concat();
                    prop_assert!(wire.len() - before <= sealer.sealed_len_max(content.len()));
                    data.extend(content);
                }
                Say::Control(payload) => {
                    let frame = frame(Kind::AUTH_RESPONSE, payload);
                    sealer.seal_control(now, &frame, &mut wire).unwrap();
                    controls.push((data.len(), frame));
                }
            }
        }
        for record in cut(&wire) {
            prop_assert!(record.len() <= RECORD_HEADER_BYTES + RECORD_PLAINTEXT_MAX + RECORD_TAG_BYTES);
        }
        let (mut input, mut plain, mut heard) = (BytesMut::new(), BytesMut::new(), Vec::new());
        let mut rest = &wire[..];
        for at in (0..cuts.len()).cycle() {
            let (now_in, later) = rest.split_at(cuts[at].min(rest.len()));
            input.extend_from_slice(now_in);
            rest = later;
            now += Duration::from_secs(20);
            while let Some(control) = opener.open(now, &mut input, &mut plain).unwrap() {
                heard.push((plain.len(), control.into_frame().to_vec()));
            }
            let begun = opener.begun_record_len(&input);
            prop_assert!(begun == 0 || begun > input.len(), "a whole record was left");
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(input.is_empty());
        prop_assert_eq!(&plain[..], &data[..]);
        prop_assert_eq!(heard, controls, "control records keep their place among the data");
        prop_assert_eq!(sealer.stats(), opener.stats());
    }

    /// With any room between, from none to more than a record, and whatever is cut where.
    #[test]
    fn opening_within_a_buffer_says_the_same_as_opening_elsewhere(
        config in configs(),
        cipher in prop::sample::select(&CIPHERS[..]),
        said in vec(says(), 1..8),
        cuts in vec(1_usize..4000, 1..20),
        room in prop::sample::select(&[0_usize, 1, 21, 4096, 16_384, 70_000][..]),
    ) {
        let (mut sealer, mut opener) = pair_with(cipher, config);
        let (_, mut within) = pair_with(cipher, config);
        let mut now = Instant::now();
        let mut wire = BytesMut::new();
        for say in &said {
            now += Duration::from_secs(20);
            match say {
                Say::Data(chunks) => sealer.seal(now, chunks.iter().map(Vec::as_slice), &mut wire).unwrap(),
                Say::Control(payload) => {
                    sealer.seal_control(now, &frame(Kind::AUTH_SUCCESS, payload), &mut wire).unwrap();
                }
            }
        }
        let (mut input, mut plain) = (BytesMut::new(), BytesMut::from(&b"before"[..]));
        let mut at = Within { plain: plain.len(), sealed: plain.len() + room };
        let mut buffer = plain.to_vec();
        buffer.resize(at.sealed, 0xee);
        let mut rest = &wire[..];
        for cut in (0..cuts.len()).cycle() {
            let (now_in, later) = rest.split_at(cuts[cut].min(rest.len()));
            rest = later;
            input.extend_from_slice(now_in);
            buffer.extend_from_slice(now_in);
            now += Duration::from_secs(20);
            loop {
                let control = opener.open(now, &mut input, &mut plain).unwrap();
                prop_assert_eq!(&within.open_within(now, &mut buffer, &mut at).unwrap(), &control);
                prop_assert_eq!(&buffer[..at.plain], &plain[..]);
                prop_assert_eq!(&buffer[at.sealed..], &input[..]);
                if control.is_none() {
                    break;
                }
            }
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(opener.stats(), within.stats());
    }

    #[test]
    fn any_bytes_are_refused_or_waited_for(bytes in vec(any::<u8>(), 0..200), now_kind in any::<bool>()) {
        let (_, mut opener) = pair(ChannelConfig::default());
        let mut bytes = bytes;
        if now_kind && bytes.len() > 4 {
            // A header that can be, so that the cipher is reached.
            bytes[..4].copy_from_slice(&[1, 0, 0, 0]);
        }
        let mut plain = BytesMut::from(&b"before"[..]);
        let _ = opener.open(Instant::now(), &mut BytesMut::from(&bytes[..]), &mut plain);
        prop_assert_eq!(&plain[..], b"before");
    }
}

#[test]
fn small_chunks_share_a_record_and_large_ones_are_cut() {
    let (mut sealer, _) = pair(ChannelConfig::default());
    let (now, mut wire) = (Instant::now(), BytesMut::new());
    let small = [7; 64];
    sealer.seal(now, (0..256).map(|_| &small[..]), &mut wire).unwrap();
    assert_eq!(cut(&wire).len(), 1, "16 KiB in all");
    wire.clear();
    sealer
        .seal(now, [&[7; 64 * 1024][..], &small[..]], &mut wire)
        .unwrap();
    let lengths: Vec<_> = cut(&wire).into_iter().map(<[u8]>::len).collect();
    assert_eq!(lengths, [16_405, 16_405, 16_405, 16_405, 64 + 21]);
    wire.clear();
    sealer.seal(now, [], &mut wire).unwrap();
    sealer.seal(now, [&b""[..], b""], &mut wire).unwrap();
    assert!(wire.is_empty(), "nothing is no record");
}

#[test]
fn padded_records_are_of_few_lengths() {
    let (mut sealer, mut opener) = pair(config(|config| config.padding = Padding::Multiple(256)));
    let now = Instant::now();
    for len in 1..600 {
        let wire = sealed(&mut sealer, now, &vec![0x80; len]);
        assert_eq!((wire.len() - 21) % 256, 0);
        assert_eq!(wire.len() - 21, (len + 1).next_multiple_of(256));
        assert_eq!(
            opened(&mut opener, now, &wire).unwrap(),
            vec![0x80; len],
            "content is no padding"
        );
    }
    let (mut sealer, _) = pair(config(|config| config.padding = Padding::Multiple(u16::MAX)));
    assert_eq!(sealed(&mut sealer, now, b"1").len() - 21, 65_535);
}

#[test]
fn the_largest_records_are_taken() {
    let (mut sealer, mut opener) = pair(config(|config| config.record_bytes = usize::MAX));
    let (now, content) = (Instant::now(), vec![5; RECORD_PLAINTEXT_MAX]);
    let wire = sealed(&mut sealer, now, &content);
    assert_eq!(wire.len(), RECORD_PLAINTEXT_MAX + 21, "one record");
    assert_eq!(opened(&mut opener, now, &wire).unwrap(), content);

    let payload = vec![6; RECORD_PLAINTEXT_MAX - Header::LEN];
    let mut wire = BytesMut::new();
    sealer
        .seal_control(now, &frame(Kind::AUTH_RESPONSE, &payload), &mut wire)
        .unwrap();
    let control = opener
        .open(now, &mut wire, &mut BytesMut::new())
        .unwrap()
        .unwrap();
    assert_eq!(
        (control.kind(), control.payload()),
        (Kind::AUTH_RESPONSE, payload.into())
    );
}

#[test]
fn what_is_no_control_frame_is_not_sealed_as_one() {
    let (mut sealer, mut opener) = pair(config(|config| config.padding = Padding::Multiple(64)));
    let (now, mut wire) = (Instant::now(), BytesMut::from(&b"before"[..]));
    let whole = frame(Kind::AUTH_RESPONSE, b"credentials");
    let too_long = frame(Kind::AUTH_RESPONSE, &[0; RECORD_PLAINTEXT_MAX]);
    let session = frame(Kind::PING, b"");
    for refused in [
        &whole[..whole.len() - 1],
        &[whole.clone(), whole.clone()].concat(),
        &too_long,
        b"",
        &session,
        &frame(Kind::REKEY, &[0, 0, 0, 1]),
    ] {
        assert_eq!(
            sealer.seal_control(now, refused, &mut wire),
            Err(SealError::NotControl)
        );
    }
    assert_eq!(&wire[..], b"before");
    wire.clear();
    sealer.seal_control(now, &whole, &mut wire).unwrap();
    let control = opener
        .open(now, &mut wire, &mut BytesMut::new())
        .unwrap()
        .unwrap();
    assert_eq!(
        control.frame(),
        &whole,
        "the channel goes on, and its numbers agree"
    );
    assert_eq!(format!("{control:?}"), "Control(AUTH_RESPONSE, 31 bytes)");
}

#[test]
fn a_control_record_stops_the_opener_until_it_is_called_again() {
    let (mut sealer, mut opener) = pair(ChannelConfig::default());
    let (now, mut wire) = (
        Instant::now(),
        sealed(&mut pair(ChannelConfig::default()).0, Instant::now(), b"a"),
    );
    wire.clear();
    sealer.seal(now, [&b"before "[..]], &mut wire).unwrap();
    sealer
        .seal_control(now, &frame(Kind::AUTH_SUCCESS, b"yes"), &mut wire)
        .unwrap();
    sealer.seal(now, [&b"after"[..]], &mut wire).unwrap();
    let mut plain = BytesMut::new();
    let control = opener.open(now, &mut wire, &mut plain).unwrap().unwrap();
    assert_eq!(
        (&plain[..], control.kind()),
        (&b"before "[..], Kind::AUTH_SUCCESS)
    );
    assert_eq!(opener.open(now, &mut wire, &mut plain), Ok(None));
    assert_eq!(&plain[..], b"before after");
}

#[test]
fn a_record_is_announced_as_soon_as_its_header_is_there() {
    let (mut sealer, opener) = pair(ChannelConfig::default());
    let wire = sealed(&mut sealer, Instant::now(), b"content");
    for len in 0..wire.len() {
        let expected = if len < RECORD_HEADER_BYTES { 0 } else { wire.len() };
        assert_eq!(opener.begun_record_len(&wire[..len]), expected);
    }
    assert_eq!(
        opener.begun_record_len(&[1, 0, 0xff, 0xff, 0xff]),
        0,
        "no room is made for what cannot be"
    );
}

#[test]
fn buffers_that_are_large_enough_stay_where_they_are() {
    let (mut sealer, mut opener) = pair(ChannelConfig::default());
    let (now, content) = (Instant::now(), vec![3; 100_000]);
    let mut wire = BytesMut::with_capacity(sealer.sealed_len_max(content.len() + 64));
    let mut plain = BytesMut::with_capacity(content.len() + 64 + RECORD_TAG_BYTES);
    let places = (wire.as_ptr(), plain.as_ptr());
    let header = [1; 64];
    sealer.seal(now, [&header[..], &content], &mut wire).unwrap();
    assert_eq!(wire.as_ptr(), places.0);
    opener.open(now, &mut wire, &mut plain).unwrap();
    assert_eq!((plain.as_ptr(), plain.len()), (places.1, content.len() + 64));
}

#[test]
fn a_place_outside_the_buffer_is_an_error_and_no_panic() {
    let now = Instant::now();
    for (plain, begin) in [(0, 23), (0, usize::MAX), (8, 0), (usize::MAX, 0)] {
        let (mut sealer, mut opener) = pair(ChannelConfig::default());
        let mut buffer = sealed(&mut sealer, now, b"x").to_vec();
        let place = Within { plain, sealed: begin };
        let mut at = place;
        assert_eq!(
            opener.open_within(now, &mut buffer, &mut at),
            Err(OpenError::Place)
        );
        assert_eq!(at, place);
    }
}
