//! Keys change in time, in step, and not for the sake of it.

use super::*;

/// How many epochs the records in `wire` begin, and how many records each epoch but the last has.
fn epochs(wire: &[u8]) -> Vec<usize> {
    let mut counts = vec![0];
    let mut epoch = 0;
    for record in cut(wire) {
        if record[1] != epoch {
            assert_eq!(record[1], epoch.wrapping_add(1));
            epoch = record[1];
            counts.push(0);
        }
        *counts.last_mut().unwrap() += 1;
    }
    counts
}

#[test]
fn keys_change_after_so_many_records() {
    let (mut sealer, mut opener) = pair(config(|config| config.rekey.records = 5));
    let (now, mut wire) = (Instant::now(), BytesMut::new());
    for _ in 0..9 {
        sealer.seal(now, [&b"content"[..]], &mut wire).unwrap();
    }
    assert_eq!(epochs(&wire), [5, 5, 1], "REKEY is one of the five");
    let plain = opened(&mut opener, now, &wire).unwrap();
    assert_eq!(plain, b"content".repeat(9));
    assert_eq!((opener.stats().rekeys, opener.stats().records), (2, 11));
}

#[test]
fn keys_change_before_so_many_bytes() {
    const LIMIT: u64 = 10_000;
    let (mut sealer, mut opener) = pair(config(|config| {
        config.record_bytes = 1000;
        config.rekey.bytes = LIMIT;
    }));
    let (now, mut wire) = (Instant::now(), BytesMut::new());
    let content = vec![9; 100_000];
    sealer.seal(now, [&content[..]], &mut wire).unwrap();
    let mut by_epoch = [0_u64; 64];
    for record in cut(&wire) {
        by_epoch[usize::from(record[1])] += (record.len() - 21) as u64;
    }
    assert!(by_epoch.iter().all(|&bytes| bytes <= LIMIT), "{by_epoch:?}");
    assert!(by_epoch[0] > LIMIT - 2000, "not much sooner than needed");
    assert_eq!(opened(&mut opener, now, &wire).unwrap(), content);
}

#[test]
fn keys_change_when_they_are_old_and_there_is_something_to_send() {
    let (mut sealer, mut opener) = pair(ChannelConfig::default());
    let begin = Instant::now();
    let minute = Duration::from_secs(60);
    let mut wire = sealed(&mut sealer, begin, b"1");
    sealer.seal(begin + 14 * minute, [&b"2"[..]], &mut wire).unwrap();
    assert_eq!(epochs(&wire), [2]);
    sealer.seal(begin + 15 * minute, [&b"3"[..]], &mut wire).unwrap();
    assert_eq!(epochs(&wire), [3, 1]);
    sealer.seal(begin + 29 * minute, [&b"4"[..]], &mut wire).unwrap();
    assert_eq!(epochs(&wire), [3, 2], "the age is that of the new keys");
    // A night without a word is one rekey, not forty.
    sealer.seal(begin + LONG, [&b"5"[..]], &mut wire).unwrap();
    assert_eq!(epochs(&wire), [3, 3, 1]);
    assert_eq!(opened(&mut opener, begin, &wire).unwrap(), b"12345");
}

#[test]
fn limits_beyond_the_protocols_are_lowered() {
    let (mut sealer, mut opener) = pair(config(|config| {
        config.rekey = RekeyLimits {
            bytes: u64::MAX,
            records: u64::MAX,
            age: Duration::MAX,
        };
    }));
    let now = Instant::now();
    let last = RekeyLimits::MAX.records - 2;
    sealer.skip_to(0, last);
    opener.skip_to(0, last);
    let mut wire = sealed(&mut sealer, now, b"last but REKEY");
    sealer.seal(now, [&b"next"[..]], &mut wire).unwrap();
    assert_eq!(epochs(&wire), [2, 1]);
    assert_eq!(opened(&mut opener, now, &wire).unwrap(), b"last but REKEYnext");
    sealer
        .seal(now + RekeyLimits::MAX.age, [&b"old"[..]], &mut wire)
        .unwrap();
    assert_eq!(epochs(&wire), [2, 2, 1]);
}

#[test]
fn every_epoch_has_keys_of_its_own_and_the_byte_wraps() {
    let (mut sealer, mut opener) = pair(config(|config| config.rekey.records = 2));
    let mut now = Instant::now();
    let mut seen = std::collections::HashSet::new();
    for round in 0..600_u32 {
        now += Duration::from_secs(1);
        let wire = sealed(&mut sealer, now, b"the same content under number 0");
        assert!(
            seen.insert(cut(&wire).last().unwrap().to_vec()),
            "two epochs seal alike"
        );
        assert_eq!(
            opened(&mut opener, now, &wire).unwrap(),
            b"the same content under number 0"
        );
        assert_eq!(opener.epoch(), round);
    }
}

#[test]
fn a_record_of_another_epoch_is_refused() {
    let now = Instant::now();
    let keys = dialler_keys();
    let next = keys.next().unwrap();
    let rekey = record(&keys, 0, 2, &control::rekey(1));
    let mut opener = pair(ChannelConfig::default()).1;
    let early = record(&next, 0, 1, b"early");
    let error = OpenError::Epoch {
        found: 1,
        expected: 0,
    };
    assert_eq!(opened(&mut opener, now, &early), Err(error));

    let mut opener = pair(ChannelConfig::default()).1;
    opened(&mut opener, now, &rekey).unwrap();
    let error = OpenError::Epoch {
        found: 0,
        expected: 1,
    };
    assert_eq!(
        opened(&mut opener, now, &record(&keys, 1, 1, b"stale")),
        Err(error)
    );

    // With the byte of the new epoch, old keys open nothing.
    let mut opener = pair(ChannelConfig::default()).1;
    opened(&mut opener, now, &rekey).unwrap();
    let mut stale = dialler_keys();
    stale.rename(1);
    assert_eq!(
        opened(&mut opener, now, &record(&stale, 0, 1, b"stale")),
        Err(OpenError::Tag)
    );
    let mut opener = pair(ChannelConfig::default()).1;
    opened(&mut opener, now, &rekey).unwrap();
    assert_eq!(
        opened(&mut opener, now, &early).unwrap(),
        b"early",
        "now it is its time"
    );
}

#[test]
fn a_rekey_for_another_epoch_than_the_next_is_refused() {
    let now = Instant::now();
    for found in [0, 2, 3, 256, 257, u32::MAX] {
        let mut opener = pair(ChannelConfig::default()).1;
        let stale = record(&dialler_keys(), 0, 2, &control::rekey(found));
        let error = OpenError::Rekey { found, current: 0 };
        assert_eq!(opened(&mut opener, now, &stale), Err(error));
        assert_eq!((opener.epoch(), opener.stats().rekeys), (0, 0));
        assert_eq!(error.code(), valkyrie_frame::ErrorCode::INTEGRITY);
    }
}

#[test]
fn a_flood_of_rekeys_is_refused_and_a_steady_trickle_is_not() {
    let begin = Instant::now();
    let flood = |rekeys: u32, apart: Duration| {
        let (mut keys, mut opener) = (dialler_keys(), pair(ChannelConfig::default()).1);
        for epoch in 1..=rekeys {
            let record = record(&keys, 0, 2, &control::rekey(epoch));
            opened(&mut opener, begin + apart * epoch, &record)?;
            keys = keys.next().unwrap();
        }
        Ok(opener.stats().rekeys)
    };
    assert_eq!(flood(64, Duration::ZERO), Ok(64));
    assert_eq!(flood(65, Duration::ZERO), Err(OpenError::TooManyRekeys));
    assert_eq!(
        flood(1000, Duration::from_millis(156)),
        Err(OpenError::TooManyRekeys)
    );
    assert_eq!(
        flood(1000, Duration::from_millis(157)),
        Ok(1000),
        "64 within any ten seconds"
    );
    assert_eq!(
        OpenError::TooManyRekeys.code(),
        valkyrie_frame::ErrorCode::EXCESSIVE_LOAD
    );
}

#[test]
fn the_last_epoch_ends_the_channel() {
    let now = Instant::now();
    let (mut sealer, mut opener) = pair(config(|config| config.rekey.records = 4));
    sealer.skip_to(u32::MAX - 1, 2);
    opener.skip_to(u32::MAX - 1, 2);
    let mut wire = BytesMut::new();
    for _ in 0..4 {
        sealer.seal(now, [&b"x"[..]], &mut wire).unwrap();
    }
    assert_eq!(opened(&mut opener, now, &wire).unwrap(), b"xxxx");
    assert_eq!(opener.epoch(), u32::MAX);
    let before = wire.clone();
    for _ in 0..3 {
        assert_eq!(
            sealer.seal(now, [&b"x"[..]], &mut wire),
            Err(SealError::Exhausted)
        );
    }
    let control = frame(Kind::AUTH_SUCCESS, b"");
    assert_eq!(
        sealer.seal_control(now, &control, &mut wire),
        Err(SealError::Exhausted)
    );
    assert_eq!(wire, before, "nothing was written");
    // A peer that goes on regardless is refused.
    let keys = {
        let mut keys = dialler_keys().next().unwrap();
        keys.rename(u32::MAX);
        keys
    };
    let rekey = record(&keys, 3, 2, &control::rekey(0));
    assert!(matches!(
        opened(&mut opener, now, &rekey),
        Err(OpenError::Rekey { found: 0, .. })
    ));
}

#[test]
fn a_batch_that_comes_to_the_end_is_not_written_in_part() {
    let now = Instant::now();
    let (mut sealer, _) = pair(config(|config| {
        config.record_bytes = 100;
        config.rekey.records = 4;
    }));
    sealer.skip_to(u32::MAX, 0);
    let mut wire = BytesMut::from(&b"before"[..]);
    assert_eq!(
        sealer.seal(now, [&[1; 1000][..]], &mut wire),
        Err(SealError::Exhausted)
    );
    assert_eq!(&wire[..], b"before");
    assert_eq!(
        sealer.seal(now, [&[1; 1][..]], &mut wire),
        Err(SealError::Exhausted),
        "nonces were used"
    );
}

#[test]
fn the_last_number_is_never_used() {
    // No epoch has so many records: the limits end it long before. This is the wall behind them.
    let now = Instant::now();
    let (mut sealer, mut opener) = pair(ChannelConfig::default());
    opener.skip_to(0, u64::MAX - 1);
    let last = record(&dialler_keys(), u64::MAX - 1, 1, b"x");
    assert_eq!(opened(&mut opener, now, &last).unwrap(), b"x");
    let beyond = record(&dialler_keys(), u64::MAX, 1, b"x");
    assert_eq!(opened(&mut opener, now, &beyond), Err(OpenError::Exhausted));
    let (_, mut opener) = pair(ChannelConfig::default());
    opener.skip_to(0, u64::MAX);
    let error = opener
        .open_within(now, &mut beyond.clone(), &mut Within::default())
        .unwrap_err();
    assert_eq!(error, OpenError::Exhausted);

    sealer.skip_to(0, u64::MAX);
    let mut wire = BytesMut::new();
    assert_eq!(
        sealer.seal(now, [&b"x"[..]], &mut wire),
        Err(SealError::Exhausted)
    );
    assert!(wire.is_empty());
}
