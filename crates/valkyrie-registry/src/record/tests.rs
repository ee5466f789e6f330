use std::sync::LazyLock;

use bytes::Bytes;
use proptest::prelude::*;
use valkyrie_security::UnixTime;
use valkyrie_security::identity::{SignatureError, SigningKey};

use super::*;
use crate::agent::{Capacity, LOCATORS_MAX, Service, Status, Version};

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_seeds(&[1; 32], None).unwrap());
static OTHER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_seeds(&[2; 32], None).unwrap());
static HYBRID: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::from_seeds(&[3; 32], Some(&[4; 32])).unwrap());

fn word(text: &str) -> Word {
    text.parse().unwrap()
}

fn description() -> Description {
    Description::new(word("web-1"))
        .zone(word("eu-1"))
        .status(Status::Draining)
        .capacity(Capacity { weight: 3, slots: 16 })
        .locator("tcp://10.0.0.1:7000".parse().unwrap())
        .locator("uds:///run/v.sock".parse().unwrap())
        .adapter(word("tcp"))
        .adapter(word("quic"))
        .service(
            Service::new(word("orders"), Version::new(1, 2, 3))
                .label(word("tier"), "gold".parse().unwrap())
                .label(word("canary"), "".parse().unwrap()),
        )
}

fn seal(key: &SigningKey) -> Record {
    let numbers = (Incarnation::new(7), 2);
    Record::seal(
        &word("prod"),
        &word("main"),
        numbers,
        UnixTime::from_secs(1_000),
        &description(),
        key,
    )
    .unwrap()
}

#[test]
fn what_was_sealed_is_opened() {
    for key in [&*KEY, &*HYBRID] {
        let record = seal(key);
        let opened = Record::open(&word("prod"), &record.id().key(), record.as_bytes()).unwrap();
        assert_eq!(opened, record);
        assert_eq!(*opened.description(), description());
        assert_eq!(
            (opened.incarnation(), opened.sequence()),
            (Incarnation::new(7), 2)
        );
        assert_eq!(opened.id().owner(), key.fingerprint());
    }
}

#[test]
fn a_record_counts_in_its_cluster_and_at_its_place_alone() {
    let record = seal(&KEY);
    let open = |cluster: &str, key: &Key| Record::open(&word(cluster), key, record.as_bytes());
    assert!(matches!(
        open("test", &record.id().key()),
        Err(RecordError::Signature(SignatureError::Wrong(_)))
    ));
    let elsewhere = AgentId::new(OTHER.fingerprint(), word("main")).unwrap().key();
    assert_eq!(open("prod", &elsewhere), Err(RecordError::Place));
    let twin = AgentId::new(KEY.fingerprint(), word("twin")).unwrap().key();
    assert_eq!(open("prod", &twin), Err(RecordError::Place));
    assert_eq!(open("prod", &"jobs/1".parse().unwrap()), Err(RecordError::Place));
}

#[test]
fn no_byte_can_be_changed_and_none_left_out() {
    let record = seal(&KEY);
    let key = record.id().key();
    let bytes = record.as_bytes();
    for at in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        assert!(
            Record::open(&word("prod"), &key, &changed.into()).is_err(),
            "byte {at}"
        );
        assert!(
            Record::open(&word("prod"), &key, &bytes.slice(..at)).is_err(),
            "cut at {at}"
        );
    }
    let longer = Bytes::from([bytes, &[0][..]].concat());
    assert_eq!(
        Record::open(&word("prod"), &key, &longer),
        Err(RecordError::Trailing(1))
    );
}

#[test]
fn a_description_past_its_bounds_is_not_signed() {
    let mut many = description();
    for port in 0..LOCATORS_MAX {
        many = many.locator(format!("tcp://10.0.0.1:{port}").parse().unwrap());
    }
    let refused = Record::seal(
        &word("prod"),
        &word("main"),
        (Incarnation::new(1), 0),
        UnixTime::from_secs(1),
        &many,
        &KEY,
    );
    assert!(matches!(refused, Err(SealError::Description(_))), "{refused:?}");
    let mut unsorted = description();
    unsorted.adapters.reverse();
    assert!(unsorted.check().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let key = seal(&KEY).id().key();
        prop_assert!(Record::open(&word("prod"), &key, &bytes.into()).is_err());
    }

    #[test]
    fn records_with_parts_of_others_are_refused(from in 0usize..300, len in 1usize..64, to in 0usize..300) {
        let record = seal(&KEY);
        let mut bytes = record.as_bytes().to_vec();
        let end = (from + len).min(bytes.len());
        let from = from.min(end);
        let part = bytes[from..end].to_vec();
        let to = to.min(bytes.len() - part.len());
        bytes[to..to + part.len()].copy_from_slice(&part);
        let changed = bytes != record.as_bytes()[..];
        let opened = Record::open(&word("prod"), &record.id().key(), &bytes.into());
        prop_assert_eq!(opened.is_err(), changed);
    }
}
