use alloc::format;

use super::*;

#[test]
fn classes_change_exactly_at_the_edges() {
    let edges = [
        (0, Class::Critical),
        (1, Class::System),
        (99, Class::System),
        (100, Class::Job),
        (999, Class::Job),
        (1000, Class::Data),
        (9999, Class::Data),
        (10_000, Class::Bulk),
        (u32::MAX, Class::Bulk),
    ];
    for (id, class) in edges {
        assert_eq!(StreamId::new(id).class(), class, "{id}");
        assert!(StreamId::range(class).contains(&id), "{id}");
    }
}

#[test]
fn ranges_join_without_gap() {
    let mut next = Some(0);
    for class in Class::ALL {
        assert_eq!(Some(*StreamId::range(class).start()), next);
        next = StreamId::range(class).end().checked_add(1);
    }
    assert_eq!(next, None);
}

#[test]
fn odd_ids_are_the_diallers() {
    assert_eq!(StreamId::CONTROL.opener(), None);
    assert_eq!(StreamId::new(101).opener(), Some(Side::Dialer));
    assert_eq!(StreamId::new(u32::MAX).opener(), Some(Side::Dialer));
    assert_eq!(StreamId::new(100).opener(), Some(Side::Acceptor));
    assert_eq!(Side::Dialer.peer(), Side::Acceptor);
    assert_eq!(Side::Acceptor.peer(), Side::Dialer);
}

#[test]
fn a_lane_is_the_first_id_its_side_may_open_in_its_class() {
    for side in [Side::Dialer, Side::Acceptor] {
        assert_eq!(StreamId::lane(Class::Critical, side), StreamId::CONTROL);
        for class in &Class::ALL[1..] {
            let first = StreamId::range(*class)
                .map(StreamId::new)
                .find(|id| id.opener() == Some(side));
            assert_eq!(first, Some(StreamId::lane(*class, side)));
        }
    }
}

#[test]
fn only_lanes_are_open_from_the_start() {
    for id in (0..20_000).map(StreamId::new) {
        let lane = [Side::Dialer, Side::Acceptor]
            .iter()
            .any(|&side| StreamId::lane(id.class(), side) == id);
        assert_eq!(id.is_lane(), lane, "{id}");
    }
    assert_eq!(format!("{}", StreamId::new(7)), "7");
}
