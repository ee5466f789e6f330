//! Datagrams are lost, repeated, overtaken and made up, and the channel goes on.

use proptest::prelude::*;

use super::*;

fn pair() -> (DatagramSealer, DatagramOpener) {
    pair_of(config(|config| config.rekey.records = 100))
}

fn pair_of(config: ChannelConfig) -> (DatagramSealer, DatagramOpener) {
    let (sealer, _) = schedule(Cipher::Aes256Gcm, Role::Dialler).datagrams(config);
    let (_, opener) = schedule(Cipher::Aes256Gcm, Role::Acceptor).datagrams(config);
    (sealer, opener)
}

fn seal(sealer: &mut DatagramSealer, now: Instant, plain: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    sealer.seal(now, plain, &mut out).unwrap();
    out.to_vec()
}

fn open(opener: &mut DatagramOpener, now: Instant, datagram: &[u8]) -> Result<Vec<u8>, DatagramDrop> {
    let mut plain = BytesMut::from(&b"before "[..]);
    let outcome = opener.open(now, datagram, &mut plain).unwrap();
    assert!(plain.starts_with(b"before "));
    assert!(outcome.is_ok() || plain.len() == 7, "plaintext was released");
    outcome.map(|()| plain[7..].to_vec())
}

/// A datagram with a number that no sealer would have come to.
fn numbered(keys: &EpochKeys, number: u64) -> Vec<u8> {
    let header = datagram::header(keys.epoch_byte(), number);
    let mut body = b"content".to_vec();
    let tag = keys.seal(number, &header, &mut body).unwrap();
    [&header[..], &body, &tag].concat()
}

fn keys() -> EpochKeys {
    schedule(Cipher::Aes256Gcm, Role::Dialler).datagram_directions().0
}

#[test]
fn datagrams_are_opened_in_any_order_and_once() {
    let (mut sealer, mut opener) = pair();
    let now = Instant::now();
    let datagrams: Vec<_> = (0..10_u8).map(|at| seal(&mut sealer, now, &[at])).collect();
    for at in [3, 1, 9, 0, 2] {
        assert_eq!(open(&mut opener, now, &datagrams[at]), Ok(vec![at as u8]));
    }
    for at in [3, 1, 9, 0, 2] {
        assert_eq!(
            open(&mut opener, now, &datagrams[at]),
            Err(DatagramDrop::Replayed)
        );
    }
    assert_eq!(open(&mut opener, now, &datagrams[4]), Ok(vec![4]));
    let stats = opener.stats();
    assert_eq!((stats.opened, stats.replayed, stats.forged), (6, 5, 0));
}

#[test]
fn a_flipped_bit_or_a_missing_byte_is_dropped_and_harms_nothing() {
    let (mut sealer, mut opener) = pair();
    let now = Instant::now();
    let datagram = seal(&mut sealer, now, b"content");
    for at in 0..datagram.len() {
        for bit in 0..8 {
            let mut other = datagram.clone();
            other[at] ^= 1 << bit;
            assert_eq!(open(&mut opener, now, &other), Err(DatagramDrop::Forged));
        }
        assert_eq!(open(&mut opener, now, &datagram[..at]), Err(DatagramDrop::Forged));
    }
    let longer = [&datagram[..], &[0]].concat();
    assert_eq!(open(&mut opener, now, &longer), Err(DatagramDrop::Forged));
    let huge = [&datagram[..10], &vec![0; RECORD_PLAINTEXT_MAX + 17]].concat();
    assert_eq!(open(&mut opener, now, &huge), Err(DatagramDrop::Forged));
    assert_eq!(
        open(&mut opener, now, &datagram),
        Ok(b"content".to_vec()),
        "its number was not used up"
    );
}

#[test]
fn numbers_at_the_edges_are_taken_at_most_once() {
    let now = Instant::now();
    let edges = [
        0,
        1,
        2047,
        2048,
        2049,
        1 << 63,
        (1 << 63) + 2047,
        u64::MAX - 2048,
        u64::MAX - 1,
        u64::MAX,
    ];
    let mut opener = pair().1;
    for number in edges {
        assert_eq!(
            open(&mut opener, now, &numbered(&keys(), number)),
            Ok(b"content".to_vec()),
            "{number}"
        );
        assert_eq!(
            open(&mut opener, now, &numbered(&keys(), number)),
            Err(DatagramDrop::Replayed)
        );
    }
    for number in edges {
        assert_eq!(
            open(&mut opener, now, &numbered(&keys(), number)),
            Err(DatagramDrop::Replayed)
        );
    }
    assert_eq!(
        open(&mut opener, now, &numbered(&keys(), u64::MAX - 2047)),
        Ok(b"content".to_vec())
    );
    assert_eq!(
        open(&mut opener, now, &numbered(&keys(), u64::MAX - 2049)),
        Err(DatagramDrop::Replayed),
        "too old to tell"
    );
}

#[test]
fn an_epoch_begins_with_its_first_good_datagram_and_ends_three_seconds_after() {
    let (mut sealer, mut opener) = pair();
    let now = Instant::now();
    let datagrams: Vec<_> = (0..101).map(|_| seal(&mut sealer, now, b"x")).collect();
    assert_eq!((datagrams[99][1], datagrams[100][1]), (0, 1), "100 to an epoch");
    open(&mut opener, now, &datagrams[0]).unwrap();

    let mut forged = datagrams[100].clone();
    forged[12] ^= 1;
    assert_eq!(open(&mut opener, now, &forged), Err(DatagramDrop::Forged));
    let much_later = now + LONG;
    assert!(
        open(&mut opener, much_later, &datagrams[1]).is_ok(),
        "a forgery begins nothing"
    );

    open(&mut opener, much_later, &datagrams[100]).unwrap();
    let within = much_later + DatagramOpener::OVERLAP;
    assert!(open(&mut opener, within, &datagrams[2]).is_ok());
    assert_eq!(
        open(&mut opener, within, &datagrams[2]),
        Err(DatagramDrop::Replayed)
    );
    let after = within + Duration::from_millis(1);
    assert_eq!(
        open(&mut opener, after, &datagrams[3]),
        Err(DatagramDrop::Forged),
        "its keys are erased"
    );
    assert_eq!(
        open(&mut opener, after, &datagrams[100]),
        Err(DatagramDrop::Replayed)
    );
}

#[test]
fn epochs_of_which_nothing_arrived_are_passed_over() {
    let now = Instant::now();
    for ahead in 1..=6_u32 {
        let (mut opener, mut keys) = (pair().1, keys());
        open(&mut opener, now, &numbered(&keys, 0)).unwrap();
        for _ in 0..ahead {
            keys = keys.next().unwrap();
        }
        let outcome = open(&mut opener, now, &numbered(&keys, 7));
        assert_eq!(
            outcome.is_ok(),
            ahead <= u32::from(DatagramOpener::AHEAD_MAX),
            "{ahead}"
        );
        // A straggler of the first epoch is still good.
        assert!(open(&mut opener, now, &numbered(&self::keys(), 1)).is_ok());
    }
}

#[test]
fn datagrams_that_come_back_to_their_sender_are_dropped() {
    let now = Instant::now();
    let (mut sealer, mut opener) =
        schedule(Cipher::Aes256Gcm, Role::Dialler).datagrams(ChannelConfig::default());
    let datagram = seal(&mut sealer, now, b"an echo");
    assert_eq!(open(&mut opener, now, &datagram), Err(DatagramDrop::Forged));
}

#[test]
fn forgeries_without_end_close_the_channel_and_repetitions_do_not() {
    let (mut sealer, mut opener) = pair();
    let now = Instant::now();
    let (good, next) = (seal(&mut sealer, now, b"x"), seal(&mut sealer, now, b"y"));
    open(&mut opener, now, &good).unwrap();
    let mut plain = BytesMut::new();
    for _ in 0..DatagramOpener::FORGED_MAX - 1 {
        assert_eq!(
            opener.open(now, b"junk", &mut plain),
            Ok(Err(DatagramDrop::Forged))
        );
    }
    for _ in 0..1000 {
        assert_eq!(open(&mut opener, now, &good), Err(DatagramDrop::Replayed));
    }
    assert_eq!(
        open(&mut opener, now, &next),
        Ok(b"y".to_vec()),
        "the session survives"
    );
    assert_eq!(
        opener.open(now, b"junk", &mut plain),
        Ok(Err(DatagramDrop::Forged))
    );
    assert_eq!(opener.open(now, &next, &mut plain), Err(OpenError::Tag));
}

#[test]
fn the_last_epoch_and_the_last_number_end_the_sealer() {
    let now = Instant::now();
    let (mut sealer, _) = pair();
    let mut out = BytesMut::new();
    sealer.skip_to(u32::MAX, 100);
    assert_eq!(sealer.seal(now, b"x", &mut out), Err(SealError::Exhausted));
    assert_eq!(sealer.seal(now, b"x", &mut out), Err(SealError::Exhausted));
    // The number within an epoch comes to its end long after the limit; this is the wall behind that.
    let (mut sealer, _) = pair_of(ChannelConfig::default());
    sealer.skip_to(u32::MAX, u64::MAX);
    assert_eq!(sealer.seal(now, b"x", &mut out), Err(SealError::Exhausted));
    assert!(out.is_empty());
    let (mut sealer, _) = pair();
    let too_long = vec![0; RECORD_PLAINTEXT_MAX + 1];
    assert_eq!(sealer.seal(now, &too_long, &mut out), Err(SealError::TooLong));
    assert!(out.is_empty());
    assert!(sealer.seal(now, &too_long[1..], &mut out).is_ok(), "and goes on");
}

#[test]
fn keys_change_with_age_and_bytes() {
    let now = Instant::now();
    let (mut sealer, mut opener) = pair_of(config(|config| config.rekey.bytes = 100));
    let epochs: Vec<_> = [60, 40, 1, 200, 1]
        .map(|len| {
            let datagram = seal(&mut sealer, now, &vec![1; len]);
            open(&mut opener, now, &datagram).unwrap();
            datagram[1]
        })
        .to_vec();
    assert_eq!(epochs, [0, 0, 1, 2, 3]);
    let (mut sealer, _) = pair();
    assert_eq!(seal(&mut sealer, now, b"x")[1], 0);
    assert_eq!(seal(&mut sealer, now + RekeyLimits::MAX.age, b"x")[1], 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_lost_repeated_and_overtaken_each_comes_at_most_once(
        arrivals in prop::collection::vec((0_usize..300, 0_u64..1000), 1..600),
    ) {
        let (mut sealer, mut opener) = pair();
        let mut now = Instant::now();
        let datagrams: Vec<_> = (0..300_u16).map(|at| seal(&mut sealer, now, &at.to_be_bytes())).collect();
        let mut taken = std::collections::HashSet::new();
        for (at, wait) in arrivals {
            now += Duration::from_millis(wait);
            if let Ok(plain) = open(&mut opener, now, &datagrams[at]) {
                prop_assert_eq!(&plain[..], (at as u16).to_be_bytes());
                prop_assert!(taken.insert(at), "{} came twice", at);
            }
        }
    }
}
