use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn breaker(now: Instant) -> Breaker {
    Breaker::new(BreakerLimits::default(), now)
}

fn open_for(breaker: &Breaker, now: Instant) -> Duration {
    match breaker.admission(now) {
        Admission::Closed(until) => until - now,
        _ => Duration::ZERO,
    }
}

#[test]
fn failures_in_a_row_open_it_and_a_success_begins_anew() {
    let now = Instant::now();
    let breaker = breaker(now);
    for _ in 0..4 {
        assert!(!breaker.failed(now));
    }
    breaker.succeeded(now);
    for _ in 0..4 {
        assert!(!breaker.failed(now));
    }
    assert!(breaker.failed(now), "the fifth");
    assert_eq!(
        breaker.admission(now),
        Admission::Full,
        "nobody has opened it yet"
    );
    breaker.open(now);
    assert_eq!(open_for(&breaker, now), SECOND);
}

#[test]
fn it_lets_back_a_growing_share() {
    let now = Instant::now();
    let breaker = breaker(now);
    breaker.open(now);
    let mut before = 0.0;
    for tenth in 0..100 {
        let at = now + SECOND + SECOND * tenth / 10;
        match breaker.admission(at) {
            Admission::Share(share) => {
                assert!(share >= before && share > 0.0 && share < 1.0, "{share}");
                before = share;
            }
            other => panic!("{other:?} after {tenth} tenths"),
        }
    }
    assert_eq!(breaker.admission(now + 11 * SECOND), Admission::Full);
}

#[test]
fn who_fails_again_is_left_alone_for_twice_as_long_up_to_a_bound() {
    let mut now = Instant::now();
    let breaker = breaker(now);
    breaker.open(now);
    let mut lasted = vec![open_for(&breaker, now)];
    for _ in 0..8 {
        now += open_for(&breaker, now);
        assert!(breaker.failed(now), "one is enough now");
        breaker.open(now);
        lasted.push(open_for(&breaker, now));
    }
    let seconds: Vec<u64> = lasted.iter().map(Duration::as_secs).collect();
    assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    // Once all is well for a whole ramp, it begins with a second again.
    now += open_for(&breaker, now) + 10 * SECOND;
    breaker.succeeded(now);
    breaker.open(now);
    assert_eq!(open_for(&breaker, now), SECOND);
}

#[test]
fn late_failures_of_what_was_sent_before_do_not_lengthen_it() {
    let now = Instant::now();
    let breaker = breaker(now);
    breaker.open(now);
    for _ in 0..100 {
        assert!(!breaker.failed(now));
    }
}
