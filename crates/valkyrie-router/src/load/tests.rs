use super::*;

const MS: Duration = Duration::from_millis(1);

fn answered(load: &Arc<Load>, at: Instant, took: Duration) {
    load.begin(at).answered(at + took);
}

#[test]
fn a_slow_answer_counts_at_once_and_fast_ones_little_by_little() {
    let now = Instant::now();
    let load = Arc::new(Load::new(now));
    answered(&load, now, MS);
    assert_eq!(load.delay(now + MS), MS);
    answered(&load, now, 100 * MS);
    assert_eq!(load.delay(now + 100 * MS), 100 * MS);
    let mut before = 100 * MS;
    for second in 1..30 {
        let at = now + Duration::from_secs(second);
        answered(&load, at, MS);
        let delay = load.delay(at);
        assert!(delay < before && delay >= MS, "{delay:?} after {before:?}");
        before = delay;
    }
    assert!(before < 10 * MS, "{before:?}");
}

#[test]
fn what_was_seen_long_ago_fades() {
    let now = Instant::now();
    let load = Arc::new(Load::new(now));
    answered(&load, now, 500 * MS);
    let soon = load.delay(now + Duration::from_secs(1));
    assert_eq!(soon, 500 * MS);
    let later = load.delay(now + Duration::from_secs(60));
    assert!(later < 5 * MS, "{later:?}");
}

#[test]
fn what_is_in_flight_is_counted_however_it_ends() {
    let now = Instant::now();
    let load = Arc::new(Load::new(now));
    let first = load.begin(now);
    let second = load.begin(now);
    assert_eq!(load.in_flight(), 2);
    drop(first);
    second.answered(now + MS);
    assert_eq!(load.in_flight(), 0);
}

#[test]
fn a_new_peer_gets_one_message_and_not_all() {
    let now = Instant::now();
    let (new, known) = (Arc::new(Load::new(now)), Arc::new(Load::new(now)));
    answered(&known, now, 20 * MS);
    assert!(new.cost(now) < known.cost(now));
    let _sent = new.begin(now);
    assert!(new.cost(now) > known.cost(now));
}

#[test]
fn time_that_runs_backwards_is_no_delay() {
    let now = Instant::now() + Duration::from_secs(100);
    let load = Arc::new(Load::new(now));
    load.begin(now).answered(now - Duration::from_secs(5));
    assert!(load.delay(now) <= MS);
}

#[test]
fn the_time_before_it_is_sent_does_not_count() {
    let begun = Instant::now();
    let load = Arc::new(Load::new(begun));
    let mut message = load.begin(begun);
    assert_eq!(load.in_flight(), 1);
    message.sent(begun + Duration::from_secs(3));
    message.answered(begun + Duration::from_secs(3) + Duration::from_millis(2));
    assert_eq!(
        load.delay(begun + Duration::from_secs(3)),
        Duration::from_millis(2)
    );
}
