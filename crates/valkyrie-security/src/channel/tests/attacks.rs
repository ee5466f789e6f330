//! Somebody on the path does to records what can be done to them. Each time the opener says so, releases nothing and is
//! closed for good.

use super::*;

/// Three records of the dialler, as the acceptor is to get them.
fn three() -> (Opener, [Vec<u8>; 3]) {
    let (mut sealer, opener) = pair(ChannelConfig::default());
    let now = Instant::now();
    let records =
        [&b"first"[..], b"second", b"third"].map(|content| sealed(&mut sealer, now, content).to_vec());
    (opener, records)
}

/// Gives `input` to an opener that has taken `good`, and sees to it that nothing comes of it.
fn refused(good: &[Vec<u8>], input: &[u8]) -> OpenError {
    let now = Instant::now();
    let (mut opener, _) = three();
    let content = opened(&mut opener, now, &good.concat()).unwrap();
    let before = opener.stats();

    let mut wire = BytesMut::from(input);
    let mut plain = BytesMut::from(&content[..]);
    let error = opener.open(now, &mut wire, &mut plain).unwrap_err();
    assert_eq!(plain, content, "plaintext was released");
    assert_eq!(wire, input, "the refused record was taken out");
    assert_eq!(opener.stats(), before, "the refused record was counted");
    assert_eq!(opener.epoch(), 0);

    // Closed: even the record that was due is refused, in the same way, however it is given.
    let (_, records) = three();
    let due = records.get(good.len()).unwrap_or(&records[0]);
    assert_eq!(opened(&mut opener, now, due), Err(error));
    let mut at = Within::default();
    assert_eq!(opener.open_within(now, &mut due.clone(), &mut at), Err(error));
    assert_eq!(at, Within::default());
    assert_eq!(opener.open_next(now, due, &mut plain), Err(error));
    assert_eq!(plain, content);

    // The same where the records lie.
    let (mut within, _) = three();
    let mut buffer = [&good.concat()[..], input].concat();
    let mut at = Within::default();
    assert_eq!(within.open_within(now, &mut buffer, &mut at), Err(error));
    let sealed = good.concat().len();
    assert_eq!(
        at,
        Within {
            plain: content.len(),
            sealed
        }
    );
    assert_eq!(buffer[..at.plain], content, "what was good stays");
    assert_eq!(
        within.open_within(now, &mut due.clone(), &mut Within::default()),
        Err(error)
    );
    error
}

#[test]
fn a_flipped_bit_is_refused_at_every_byte() {
    let (_, records) = three();
    for at in 0..records[0].len() {
        for bit in 0..8 {
            let mut record = records[0].clone();
            record[at] ^= 1 << bit;
            // A longer length waits for bytes that make it up; they are there.
            record.extend([0; 70_000]);
            let error = refused(&[], &record);
            assert_eq!(error.code(), valkyrie_frame::ErrorCode::INTEGRITY);
        }
    }
}

#[test]
fn a_record_is_nothing_before_its_last_byte() {
    let (_, records) = three();
    let now = Instant::now();
    for len in 0..records[0].len() {
        let (mut opener, _) = three();
        let cut = &records[0][..len];
        assert_eq!(opened(&mut opener, now, cut).unwrap(), b"", "it waits");
        assert_eq!(opened(&mut opener, now, &records[0]).unwrap(), b"first");

        let (mut opener, _) = three();
        let mut at = Within::default();
        assert_eq!(opener.open_within(now, &mut cut.to_vec(), &mut at), Ok(None));
        assert_eq!(at, Within::default(), "it waits");

        // The next record is refused in place of the bytes that are missing.
        if len > 0 {
            refused(&[], &[cut, &records[1], &[0; 70_000]].concat());
        }
    }
}

#[test]
fn a_replayed_record_is_refused() {
    let (_, records) = three();
    assert_eq!(refused(&records[..1], &records[0]), OpenError::Tag);
    assert_eq!(refused(&records[..2], &records[0]), OpenError::Tag);
    assert_eq!(refused(&records, &records[2]), OpenError::Tag);
}

#[test]
fn a_record_that_overtakes_another_is_refused() {
    let (_, records) = three();
    assert_eq!(refused(&[], &records[1]), OpenError::Tag);
    assert_eq!(
        refused(&[], &[&records[1][..], &records[0]].concat()),
        OpenError::Tag
    );
}

#[test]
fn a_record_after_one_that_was_left_out_is_refused() {
    let (_, records) = three();
    assert_eq!(refused(&records[..1], &records[2]), OpenError::Tag);
}

#[test]
fn records_that_come_back_to_their_sender_are_refused() {
    let now = Instant::now();
    for role in [Role::Dialler, Role::Acceptor] {
        let (mut sealer, mut opener) = schedule(Cipher::Aes256Gcm, role).channel(ChannelConfig::default());
        let wire = sealed(&mut sealer, now, b"an echo");
        assert_eq!(opened(&mut opener, now, &wire), Err(OpenError::Tag));
    }
}

#[test]
fn two_diallers_do_not_understand_each_other() {
    let now = Instant::now();
    let channel = || schedule(Cipher::Aes256Gcm, Role::Dialler).channel(ChannelConfig::default());
    let ((mut sealer, _), (_, mut opener)) = (channel(), channel());
    assert_eq!(
        opened(&mut opener, now, &sealed(&mut sealer, now, b"x")),
        Err(OpenError::Tag)
    );
}

#[test]
fn good_records_before_a_bad_one_are_kept() {
    let (mut opener, mut records) = three();
    records[1][7] ^= 1;
    let (mut wire, mut plain) = (BytesMut::from(&records.concat()[..]), BytesMut::new());
    assert_eq!(
        opener.open(Instant::now(), &mut wire, &mut plain),
        Err(OpenError::Tag)
    );
    assert_eq!(&plain[..], b"first", "its end was the end of what is good");
    assert_eq!(wire, records[1..].concat());
}

#[test]
fn padding_of_zeros_alone_is_refused() {
    let keys = dialler_keys();
    for len in [1, 2, 64, 1000] {
        assert_eq!(
            refused(&[], &record(&keys, 0, 0x81, &vec![0; len])),
            OpenError::Padding
        );
        assert_eq!(
            refused(&[], &record(&keys, 0, 0x82, &vec![0; len])),
            OpenError::Padding
        );
    }
    assert_eq!(
        refused(&[], &record(&keys, 0, 0x81, b"content\x81\0\0")),
        OpenError::Padding
    );
}

#[test]
fn padding_taken_off_a_record_that_says_it_has_none_is_content() {
    let (mut opener, _) = three();
    let plain = record(&dialler_keys(), 0, 1, b"content\x80\0");
    assert_eq!(
        opened(&mut opener, Instant::now(), &plain).unwrap(),
        b"content\x80\0"
    );
    let mut relabelled = plain;
    relabelled[0] = 0x81;
    assert_eq!(
        refused(&[], &relabelled),
        OpenError::Tag,
        "the type is authenticated"
    );
}

#[test]
fn a_length_out_of_range_is_refused_at_the_header() {
    for length in [0, 1, 16, 65_553, 65_554, 0xff_ffff_u32] {
        let [_, l0, l1, l2] = length.to_be_bytes();
        assert_eq!(
            refused(&[], &[1, 0, l0, l1, l2]),
            OpenError::Length { found: length }
        );
    }
    let (mut opener, _) = three();
    assert_eq!(
        opened(&mut opener, Instant::now(), &[1, 0, 1, 0, 16]).unwrap(),
        b"",
        "65,552 is waited for"
    );
}

#[test]
fn a_type_that_is_none_is_refused_at_the_header() {
    for kind in (0..=255_u8).filter(|kind| !matches!(kind & 0x7f, 1 | 2)) {
        assert_eq!(
            refused(&[], &[kind, 0, 0, 0, 17]),
            OpenError::Kind { found: kind }
        );
    }
}

#[test]
fn a_control_record_of_anything_else_is_refused() {
    let keys = dialler_keys();
    let ping = frame(Kind::PING, b"");
    let two = [frame(Kind::AUTH_RESPONSE, b""), frame(Kind::AUTH_RESPONSE, b"")].concat();
    for plain in [&b"x"[..], &ping, &two, &two[..10], &two[..30]] {
        let error = refused(&[], &record(&keys, 0, 2, plain));
        assert_eq!(error, OpenError::Control);
        assert_eq!(error.code(), valkyrie_frame::ErrorCode::PROTOCOL);
    }
}

#[test]
fn the_other_cipher_does_not_open() {
    let now = Instant::now();
    let (mut sealer, _) = pair_with(Cipher::Aes256Gcm, ChannelConfig::default());
    let (_, mut opener) = pair_with(Cipher::ChaCha20Poly1305, ChannelConfig::default());
    assert_eq!(
        opened(&mut opener, now, &sealed(&mut sealer, now, b"x")),
        Err(OpenError::Tag)
    );
}

#[test]
fn record_and_datagram_keys_are_not_each_others() {
    let now = Instant::now();
    let (mut sealer, _) = schedule(Cipher::Aes256Gcm, Role::Dialler).datagrams(ChannelConfig::default());
    let mut datagram = BytesMut::new();
    sealer.seal(now, b"content", &mut datagram).unwrap();
    // The same content as a record with the same number.
    let body = &datagram[DATAGRAM_HEADER_BYTES..];
    let record = [&[1, 0, 0, 0, body.len() as u8][..], body].concat();
    assert_eq!(refused(&[], &record), OpenError::Tag);
}
