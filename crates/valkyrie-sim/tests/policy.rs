//! Policies that are replaced while a session is under load, in virtual time, and what is counted when the quality of
//! service was not kept.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::load::{RATE, fill, open, read_all, wide};
use common::{count, message, opened};
use valkyrie_proto::{Class, Config, ConfigError, Event, Extensions, Policy, Shares, Side};
use valkyrie_sim::{Pair, Path};

#[test]
fn a_new_policy_divides_the_wire_at_once() {
    // Under the first, one frame of system is worth sixteen megabytes of everybody else's.
    let tiny = Shares {
        system: 1,
        ..Shares::default()
    };
    let mut pair = Pair::open(wide(tiny), Path::new(RATE, Duration::from_millis(2)), 7);
    let system = open(&mut pair, Class::System);
    let bulk = open(&mut pair, Class::Bulk);
    pair.run_for(Duration::from_millis(20));
    let far: Vec<_> = std::iter::from_fn(|| opened(&mut pair, Side::Acceptor)).collect();
    let part_of_system = |pair: &mut Pair| {
        let sent = |pair: &mut Pair, class| pair.session(Side::Dialer).stats().class(class).bytes_sent;
        let before = [Class::System, Class::Bulk].map(|class| sent(pair, class));
        for _ in 0..200 {
            fill(pair, system, Class::System, 4000);
            fill(pair, bulk, Class::Bulk, 4000);
            pair.run_for(Duration::from_millis(1));
            read_all(pair, &far);
        }
        let [system, bulk] = [Class::System, Class::Bulk].map(|class| sent(pair, class));
        let (system, bulk) = (system - before[0], bulk - before[1]);
        system as f64 / (system + bulk) as f64
    };
    let found = part_of_system(&mut pair);
    assert!(
        found < 0.1,
        "a thousandth, and the frame that it begins with: {found}"
    );
    for (share, wanted) in [(500, 0.5), (900, 0.9), (100, 0.1), (700, 0.7)] {
        let now = pair.now();
        let shares = Shares {
            system: share,
            ..Shares::default()
        };
        let policy = wide(shares).policy;
        pair.session(Side::Dialer)
            .set_policy(now, Arc::new(policy))
            .expect("a good share");
        let found = part_of_system(&mut pair);
        assert!(
            (found - wanted).abs() < 0.06,
            "{found} of {wanted} in the first 200 ms"
        );
    }
}

#[test]
fn a_faster_critical_rate_lets_go_what_waited_and_a_slower_one_gives_no_second_burst() {
    let mut config = wide(Shares::default());
    config.policy.critical.bytes_per_second = 1;
    config.policy.critical.burst = 1000;
    let mut pair = Pair::open(config.clone(), Path::new(RATE, Duration::from_millis(1)), 3);
    let heard = |pair: &mut Pair| count(pair, Side::Acceptor, |event| matches!(event, Event::Incoming(_)));
    for _ in 0..40 {
        let now = pair.now();
        pair.session(Side::Dialer)
            .notify(now, Class::Critical, None, message(80))
            .expect("room");
    }
    pair.run_for(Duration::from_millis(100));
    assert_eq!(heard(&mut pair), 10, "the burst, and the rest waits for minutes");
    let set = |pair: &mut Pair, bytes_per_second: u32| {
        let now = pair.now();
        let mut policy = config.policy.clone();
        policy.critical.bytes_per_second = bytes_per_second;
        pair.session(Side::Dialer)
            .set_policy(now, Arc::new(policy))
            .expect("a good policy");
    };
    // Slower again and again: what was spent stays spent.
    for _ in 0..5 {
        set(&mut pair, 2);
        set(&mut pair, 1);
        pair.run_for(Duration::from_millis(100));
    }
    assert_eq!(heard(&mut pair), 10, "no burst for a change");
    set(&mut pair, 10_000);
    pair.run_for(Duration::from_millis(350));
    assert_eq!(heard(&mut pair), 40, "at ten messages in a tenth of a second");
}

#[test]
fn a_policy_that_starves_somebody_is_refused_and_nothing_changes() {
    let mut pair = Pair::open(Config::default(), Path::INSTANT, 1);
    let now = pair.now();
    for shares in [0, 1000].map(|job| Shares {
        job,
        ..Shares::default()
    }) {
        let policy = wide(shares).policy;
        let refused = pair.session(Side::Dialer).set_policy(now, Arc::new(policy));
        assert_eq!(refused, Err(ConfigError::Share(shares.job)));
    }
    assert_eq!(*pair.session(Side::Dialer).policy(), Policy::default());
}

#[test]
fn what_waited_here_beyond_its_deadline_is_counted_by_class() {
    // A second of bulk and system is queued before everything else.
    let mut pair = Pair::open(
        wide(Shares::default()),
        Path::new(100_000, Duration::from_millis(1)),
        3,
    );
    let system = open(&mut pair, Class::System);
    pair.run_for(Duration::from_millis(20));
    fill(&mut pair, system, Class::System, 16_000);
    let now = pair.now();
    let soon = Some(Duration::from_millis(50));
    let session = pair.session(Side::Dialer);
    for _ in 0..3 {
        session
            .call(now, Class::Data, None, message(15_000), soon)
            .expect("room");
    }
    let stream = session
        .open(now, Class::Job, None, Extensions::EMPTY, Bytes::new(), soon)
        .expect("a stream is free");
    for _ in 0..10 {
        session.send(stream, message(10_000)).expect("room");
    }
    // This one goes out at once, and is answered by nobody.
    session
        .call(now, Class::Critical, None, message(10), soon)
        .expect("room");
    pair.run_for(Duration::from_millis(500));
    let mut counts = |side: Side, class: Class| {
        let stats = *pair.session(side).stats().class(class);
        (stats.deadlines_passed, stats.deadlines_passed_unsent)
    };
    assert_eq!(counts(Side::Dialer, Class::Data), (3, 3));
    assert_eq!(counts(Side::Dialer, Class::Job), (1, 1));
    assert_eq!(counts(Side::Dialer, Class::Critical), (1, 0));
    assert_eq!(counts(Side::Acceptor, Class::Critical), (1, 0));
    assert_eq!(counts(Side::Dialer, Class::System), (0, 0));
}
