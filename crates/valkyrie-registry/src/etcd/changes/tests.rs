//! However a stream is cut, the same changes come of it.

use etcd_client::proto::PbKeyValue;
use proptest::prelude::*;

use super::*;

fn place() -> Place {
    Place::beneath(&"p".parse().unwrap())
}

fn event(kind: i32, key: &str, at: i64) -> PbEvent {
    PbEvent {
        r#type: kind,
        kv: Some(PbKeyValue {
            key: format!("p/{key}").into_bytes(),
            create_revision: if kind == PUT { 1 } else { 0 },
            mod_revision: at,
            version: i64::from(kind == PUT),
            value: Vec::new(),
            lease: 0,
        }),
        prev_kv: None,
    }
}

fn message(events: Vec<PbEvent>, fragment: bool) -> PbWatchResponse {
    PbWatchResponse {
        events,
        fragment,
        ..PbWatchResponse::default()
    }
}

fn put_together(after: u64, messages: Vec<PbWatchResponse>) -> (Vec<Arc<Change>>, Revision) {
    let mut changes = Changes::after(place(), Revision::new(after));
    let mut whole = VecDeque::new();
    for message in messages {
        changes.take(message, Revision::new(1_000), &mut whole).unwrap();
    }
    (whole.into(), changes.seen())
}

fn causes(change: &Change) -> Vec<Cause> {
    let cause = |event: &Event| match event {
        Event::Deleted { cause, .. } => Some(*cause),
        Event::Put(_) => None,
    };
    change.events.iter().filter_map(cause).collect()
}

#[test]
fn a_mark_says_that_a_transaction_deleted_what_lies_in_its_folder() {
    let events = vec![
        event(DELETE, "a/1", 5),
        event(DELETE, "b/1", 5),
        event(PUT, "a/!", 5),
    ];
    let (changes, _) = put_together(1, vec![message(events, false)]);
    assert_eq!(causes(&changes[0]), [Cause::Deleted, Cause::LeaseEnded]);
    assert_eq!(changes[0].events.len(), 2, "the mark itself is no event");
}

#[test]
fn a_mark_is_seen_in_whichever_part_it_comes() {
    let parts = vec![
        message(vec![event(DELETE, "a/1", 5)], true),
        message(vec![event(PUT, "a/!", 5)], false),
    ];
    let (changes, _) = put_together(1, parts);
    assert_eq!(changes.len(), 1);
    assert_eq!(causes(&changes[0]), [Cause::Deleted]);
}

#[test]
fn marks_that_go_are_no_change() {
    let (changes, seen) = put_together(1, vec![message(vec![event(DELETE, "a/!", 7)], false)]);
    assert!(changes.is_empty());
    assert_eq!(seen, Revision::new(7));
}

#[test]
fn a_message_without_events_says_how_far_the_stream_has_come_and_one_with_events_does_not() {
    assert_eq!(
        put_together(1, vec![message(Vec::new(), false)]).1,
        Revision::new(1_000)
    );
    let events = vec![event(PUT, "a", 5)];
    assert_eq!(put_together(1, vec![message(events, false)]).1, Revision::new(5));
    let created = PbWatchResponse {
        created: true,
        ..message(Vec::new(), false)
    };
    assert_eq!(put_together(1, vec![created]).1, Revision::new(1));
}

#[test]
fn what_goes_back_or_is_of_no_kind_is_refused() {
    let mut nothing = event(PUT, "a", 5);
    nothing.kv = None;
    for events in [
        vec![event(PUT, "a", 6), event(PUT, "b", 5)],
        vec![event(2, "a", 5)],
        vec![event(PUT, "a b", 5)],
        vec![event(PUT, "a", -1)],
        vec![nothing],
    ] {
        let mut changes = Changes::after(place(), Revision::new(1));
        let taken = changes.take(message(events, false), Revision::new(9), &mut VecDeque::new());
        assert!(matches!(taken, Err(StoreError::Broken(_))), "{taken:?}");
    }
}

proptest! {
    /// Events of ascending revisions, cut anywhere into parts, and begun anew after any part from what was seen by then.
    #[test]
    fn cuts_and_new_beginnings_change_nothing(
        steps in prop::collection::vec((0..3_i64, prop::bool::ANY), 1..40),
        cuts in prop::collection::vec(1..6_usize, 1..40),
        breaks in prop::collection::vec(prop::bool::weighted(0.3), 40),
    ) {
        let mut at = 2;
        let events: Vec<_> = steps
            .iter()
            .enumerate()
            .map(|(index, (step, put))| {
                at += step;
                event(if *put { PUT } else { DELETE }, &format!("a/{index}"), at)
            })
            .collect();
        let (expected, _) = put_together(1, vec![message(events.clone(), false)]);

        let mut changes = Changes::after(place(), Revision::new(1));
        let mut whole = VecDeque::new();
        let mut breaks = breaks.into_iter();
        let mut cuts = cuts.into_iter().cycle();
        let mut from = 0;
        while from < events.len() {
            let to = (from + cuts.next().unwrap()).min(events.len());
            let last = to == events.len();
            let part = message(events[from..to].to_vec(), !last);
            changes.take(part, Revision::new(1_000), &mut whole).unwrap();
            from = to;
            if !last && breaks.next() == Some(true) {
                // The stream breaks: another begins at what was seen.
                changes.forget_parts();
                let seen = i64::try_from(changes.seen().number()).unwrap();
                from = events
                    .iter()
                    .position(|event| event.kv.as_ref().unwrap().mod_revision >= seen)
                    .unwrap();
            }
        }
        prop_assert_eq!(Vec::from(whole), expected);
    }
}
