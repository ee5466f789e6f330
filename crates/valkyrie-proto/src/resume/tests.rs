//! What is retained is what was sent, cut at any frame.

use proptest::prelude::*;
use valkyrie_frame::FrameRef;

use super::*;

/// A frame of the data class whose payload begins with its number.
fn push(batch: &mut Batch, number: u64, len: usize) {
    let mut payload = vec![number as u8; len.max(8)];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    let header = Header::new(Kind::DATA, StreamId::new(LANE));
    batch.push(header, &[], payload.into()).unwrap();
}

/// A lane of the data class.
const LANE: u32 = 1001;

fn numbers(batch: &Batch) -> Vec<u64> {
    let bytes = batch.chunks().collect::<Vec<_>>().concat();
    let mut numbers = Vec::new();
    let mut rest = &bytes[..];
    while let Some((frame, behind)) = FrameRef::decode(rest, u32::MAX).unwrap() {
        numbers.push(u64::from_be_bytes(*frame.payload.first_chunk().unwrap()));
        rest = behind;
    }
    assert!(rest.is_empty());
    numbers
}

proptest! {
    #[test]
    fn what_was_not_received_is_sent_again_from_any_place(
        writes in proptest::collection::vec(proptest::collection::vec(0_usize..3000, 1..8), 1..20),
        acked_share in 0.0..=1.0_f64,
        received_share in 0.0..=1.0_f64,
        max_bytes in 1_usize..20_000,
    ) {
        let mut ledger = Ledger::default();
        let mut sent = 0_u64;
        for lens in writes {
            let mut batch = Batch::default();
            push(&mut batch, u64::MAX, 1);
            let mark = batch.mark();
            let frames = lens.len() as u32;
            for len in lens {
                push(&mut batch, sent, len);
                sent += 1;
            }
            ledger.retain(Class::Data, frames, &batch, mark);
            ledger.invariants().unwrap();
        }
        let acked = (sent as f64 * acked_share) as u64;
        let received = acked + ((sent - acked) as f64 * received_share) as u64;
        let mut counts = Counts::default();
        counts.0[Class::Data.index()] = acked;
        prop_assert!(ledger.acknowledge(counts));
        ledger.invariants().unwrap();
        let mut next = received;
        let mut seen = Vec::new();
        while next < sent {
            let mut batch = Batch::default();
            let after = ledger.replay(Class::Data, next, &mut batch, max_bytes);
            prop_assert!(after > next);
            next = after;
            seen.extend(numbers(&batch));
        }
        prop_assert_eq!(seen, (received..sent).collect::<Vec<_>>());
        counts.0[Class::Data.index()] = sent;
        prop_assert!(ledger.acknowledge(counts));
        prop_assert_eq!(ledger.retained_bytes(), 0);
    }
}

#[test]
fn impossible_counts_are_refused_and_change_nothing() {
    let mut ledger = Ledger::default();
    let mut batch = Batch::default();
    let mark = batch.mark();
    push(&mut batch, 0, 10);
    push(&mut batch, 1, 10);
    ledger.retain(Class::Data, 2, &batch, mark);
    let counts = |data: u64, bulk: u64| {
        let mut counts = Counts::default();
        counts.0[Class::Data.index()] = data;
        counts.0[Class::Bulk.index()] = bulk;
        counts
    };
    assert!(!ledger.acknowledge(counts(3, 0)));
    assert!(!ledger.acknowledge(counts(1, 1)));
    assert!(ledger.acknowledge(counts(1, 0)));
    assert!(!ledger.acknowledge(counts(0, 0)), "what has arrived has arrived");
    let mut again = Batch::default();
    assert_eq!(ledger.replay(Class::Data, 1, &mut again, 1), 2);
    assert_eq!(numbers(&again), [1]);
}

#[test]
fn payloads_come_back() {
    let mut resume = Resume::new([7; SESSION_ID_LEN], 9, [8; RESUME_TOKEN_LEN]);
    resume.received.0 = [1, 2, 3, 4, u64::MAX];
    let payload = resume.encode();
    assert_eq!(payload.len(), Resume::LEN);
    assert_eq!(Resume::decode(&payload), Some(resume.clone()));
    assert_eq!(Resume::decode(&payload[1..]), None);
    assert_eq!(Counts::decode(&resume.received.to_bytes()), Some(resume.received));
    assert_eq!(Counts::decode(&[0; Counts::LEN + 1]), None);
    assert!(!format!("{resume:?}").contains("8, 8"), "a token is not for logs");
}

#[test]
fn a_credit_frame_has_the_class_of_its_first_entry() {
    let credit = |entries: &[Credit]| {
        let mut payload = BytesMut::new();
        entries.iter().for_each(|entry| entry.encode(&mut payload));
        counted_class(Kind::CREDIT, StreamId::CONTROL, &payload)
    };
    assert_eq!(credit(&[Credit::Connection(5)]), Some(Class::Critical));
    assert_eq!(credit(&[Credit::Streams(5)]), Some(Class::Critical));
    assert_eq!(
        credit(&[Credit::Stream(StreamId::new(LANE), 5)]),
        Some(StreamId::new(LANE).class())
    );
    assert_eq!(counted_class(Kind::PING, StreamId::CONTROL, &[]), None);
    assert_eq!(
        counted_class(Kind::DRAIN, StreamId::CONTROL, &[]),
        Some(Class::Critical)
    );
}
