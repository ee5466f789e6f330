//! Classes of service under load, in virtual time.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::load::{RATE, fill, open, read_all, wide};
use common::{count, message, opened, take};
use valkyrie_proto::{
    Class, CloseReason, Config, ErrorCode, Event, Failure, Inbox, Keepalive, Limits, Message, Refusal,
    Shares, Side,
};
use valkyrie_sim::{Pair, Path};

/// Saturates the wire with these classes for a while and returns each one's part in thousandths.
fn parts(shares: Shares, classes: &[Class], lens: &[usize]) -> Vec<f64> {
    let mut pair = Pair::open(wide(shares), Path::new(RATE, Duration::from_millis(2)), 7);
    let keys: Vec<_> = classes.iter().map(|class| open(&mut pair, *class)).collect();
    pair.run_for(Duration::from_millis(20));
    let mut far = Vec::new();
    while let Some(key) = opened(&mut pair, Side::Acceptor) {
        far.push(key);
    }
    let sent = |pair: &mut Pair, class: Class| pair.session(Side::Dialer).stats().class(class).bytes_sent;
    let mut before = Vec::new();
    for round in 0..1050 {
        for ((key, class), len) in keys.iter().zip(classes).zip(lens) {
            fill(&mut pair, *key, *class, *len);
        }
        pair.run_for(Duration::from_millis(1));
        read_all(&mut pair, &far);
        if round == 50 {
            before = classes.iter().map(|class| sent(&mut pair, *class)).collect();
        }
    }
    let carried: Vec<_> = classes
        .iter()
        .zip(before)
        .map(|(class, before)| (sent(&mut pair, *class) - before) as f64)
        .collect();
    let total: f64 = carried.iter().sum();
    assert!(
        total > RATE as f64 * 0.98,
        "the wire was full: {total} bytes in a second"
    );
    carried.iter().map(|bytes| bytes / total * 1000.0).collect()
}

fn assert_near(found: &[f64], wanted: &[f64], what: &str) {
    for (found_part, wanted_part) in found.iter().zip(wanted) {
        assert!(
            (found_part - wanted_part).abs() < 20.0,
            "{what}: {found:?}, wanted {wanted:?}"
        );
    }
}

#[test]
fn each_class_gets_its_share_of_a_full_wire() {
    for (system, job, data) in [(800, 600, 400), (500, 500, 500), (100, 900, 10), (300, 200, 700)] {
        let shares = Shares { system, job, data };
        let (system, job, data) = (f64::from(system), f64::from(job), f64::from(data));
        let wanted_system = system;
        let wanted_job = (1000.0 - system) * job / 1000.0;
        let wanted_data = (1000.0 - system - wanted_job) * data / 1000.0;
        let wanted_bulk = 1000.0 - system - wanted_job - wanted_data;
        let wanted = [wanted_system, wanted_job, wanted_data, wanted_bulk];
        let classes = [Class::System, Class::Job, Class::Data, Class::Bulk];
        for lens in [[4000; 4], [60_000, 900, 16_000, 3000]] {
            let found = parts(shares, &classes, &lens);
            assert_near(&found, &wanted, &format!("{shares:?} {lens:?}"));
        }
    }
}

#[test]
fn what_a_class_leaves_flows_down() {
    let shares = Shares::default();
    for (classes, wanted) in [
        (
            vec![Class::Job, Class::Data, Class::Bulk],
            vec![600.0, 160.0, 240.0],
        ),
        (
            vec![Class::System, Class::Data, Class::Bulk],
            vec![800.0, 80.0, 120.0],
        ),
        (
            vec![Class::System, Class::Job, Class::Bulk],
            vec![800.0, 120.0, 80.0],
        ),
        (
            vec![Class::System, Class::Job, Class::Data],
            vec![800.0, 120.0, 80.0],
        ),
        (vec![Class::Data, Class::Bulk], vec![400.0, 600.0]),
        (vec![Class::System, Class::Bulk], vec![800.0, 200.0]),
        (vec![Class::Bulk], vec![1000.0]),
        (vec![Class::Data], vec![1000.0]),
    ] {
        let found = parts(shares, &classes, &vec![4000; classes.len()]);
        assert_near(&found, &wanted, &format!("{classes:?}"));
    }
}

#[test]
fn a_class_that_was_idle_has_saved_nothing_up() {
    let mut pair = Pair::open(
        wide(Shares::default()),
        Path::new(RATE, Duration::from_millis(2)),
        7,
    );
    let system = open(&mut pair, Class::System);
    let bulk = open(&mut pair, Class::Bulk);
    pair.run_for(Duration::from_millis(20));
    let far: Vec<_> = std::iter::from_fn(|| opened(&mut pair, Side::Acceptor)).collect();
    // Two seconds of bulk alone.
    for _ in 0..200 {
        for _ in 0..4 {
            fill(&mut pair, bulk, Class::Bulk, 4000);
        }
        pair.run_for(Duration::from_millis(10));
        read_all(&mut pair, &far);
    }
    let before = pair.session(Side::Dialer).stats().class(Class::Bulk).bytes_sent;
    for _ in 0..400 {
        fill(&mut pair, bulk, Class::Bulk, 4000);
        fill(&mut pair, system, Class::System, 4000);
        pair.run_for(Duration::from_millis(1));
        read_all(&mut pair, &far);
    }
    let after = pair.session(Side::Dialer).stats().class(Class::Bulk).bytes_sent;
    let part = (after - before) as f64 / (RATE as f64 * 0.4);
    assert!(
        (0.17..0.23).contains(&part),
        "bulk keeps its fifth at once, it had {part}"
    );
}

#[test]
fn a_class_that_waited_for_credit_has_saved_nothing_up() {
    let mut pair = Pair::open(
        wide(Shares::default()),
        Path::new(RATE, Duration::from_millis(2)),
        7,
    );
    let system = open(&mut pair, Class::System);
    let bulk = open(&mut pair, Class::Bulk);
    pair.run_for(Duration::from_millis(20));
    let far: Vec<_> = std::iter::from_fn(|| opened(&mut pair, Side::Acceptor)).collect();
    // Nobody reads for a while: the system stream has spent its window and waits.
    for _ in 0..5000 {
        fill(&mut pair, system, Class::System, 4000);
        fill(&mut pair, bulk, Class::Bulk, 4000);
        pair.run_for(Duration::from_millis(1));
    }
    read_all(&mut pair, &far);
    pair.run_for(Duration::from_millis(5));
    let before = pair.session(Side::Dialer).stats().class(Class::Bulk).bytes_sent;
    for _ in 0..400 {
        fill(&mut pair, bulk, Class::Bulk, 4000);
        fill(&mut pair, system, Class::System, 4000);
        pair.run_for(Duration::from_millis(1));
        read_all(&mut pair, &far);
    }
    let after = pair.session(Side::Dialer).stats().class(Class::Bulk).bytes_sent;
    let part = (after - before) as f64 / (RATE as f64 * 0.4);
    assert!(
        (0.17..0.23).contains(&part),
        "bulk keeps its fifth at once, it had {part}"
    );
}

#[test]
fn critical_waits_for_one_fragment_at_most() {
    for class in [Class::Bulk, Class::Data, Class::System] {
        let delay = Duration::from_millis(1);
        let mut pair = Pair::open(wide(Shares::default()), Path::new(RATE, delay), 3);
        let key = open(&mut pair, class);
        pair.run_for(Duration::from_millis(10));
        let far = [opened(&mut pair, Side::Acceptor).expect("opened")];
        // One frame at a time: what has been asked for cannot be overtaken.
        pair.node(Side::Dialer).write_max = 1;
        let mut worst = Duration::ZERO;
        for round in 0..100 {
            // One message of many fragments is always under way.
            fill(&mut pair, key, class, 900_000);
            pair.run_for(Duration::from_micros(3000 + 37 * round));
            read_all(&mut pair, &far);
            let now = pair.now();
            // What the wire holds already nobody can overtake.
            let free = pair.pipe(Side::Dialer).free_at().max(now);
            pair.session(Side::Dialer)
                .notify(now, Class::Critical, None, message(64))
                .expect("room");
            let limit = Duration::from_secs(1);
            pair.run_until_true(limit, |pair| {
                count(pair, Side::Acceptor, |event| matches!(event, Event::Incoming(_))) > 0
            });
            pair.node(Side::Acceptor).events.clear();
            worst = worst.max(pair.now() - delay - free);
        }
        let bytes = worst.as_nanos() * u128::from(RATE) / 1_000_000_000;
        let fragment = u128::from(Limits::default().max_frame) + 20;
        assert!(
            bytes <= fragment + 84 + 1460,
            "{class}: {bytes} bytes between, one fragment and the packet it ends in are {fragment} + 1460"
        );
        assert!(bytes > 84, "the wire was never free");
    }
}

#[test]
fn the_critical_stream_keeps_to_its_rate_and_starves_nobody() {
    let mut config = wide(Shares::default());
    config.policy.critical.bytes_per_second = 100_000;
    config.policy.critical.burst = 10_000;
    let mut pair = Pair::open(config, Path::new(RATE, Duration::from_millis(1)), 3);
    let start = pair
        .session(Side::Dialer)
        .stats()
        .class(Class::Critical)
        .bytes_sent;
    for _ in 0..2000 {
        let now = pair.now();
        while pair
            .session(Side::Dialer)
            .notify(now, Class::Critical, None, message(80))
            .is_ok()
        {}
        pair.run_for(Duration::from_millis(1));
        pair.node(Side::Acceptor).events.clear();
        if pair.session(Side::Acceptor).is_closed() {
            break;
        }
    }
    let sent = pair
        .session(Side::Dialer)
        .stats()
        .class(Class::Critical)
        .bytes_sent
        - start;
    assert!(
        (195_000..=211_000).contains(&sent),
        "two seconds and a burst carry 210,000 bytes: {sent}"
    );
}

#[test]
fn best_effort_drops_the_oldest_and_counts_exactly() {
    let config = Config {
        limits: Limits {
            best_effort_queue_max: 10 * 1020,
            ..Limits::default()
        },
        ..Config::default()
    };
    let mut pair = Pair::open(config, Path::INSTANT, 1);
    let key = open(&mut pair, Class::Bulk);
    pair.run_until_quiet();
    let far = opened(&mut pair, Side::Acceptor).expect("opened");
    let numbered = |n: u32| {
        let mut bytes = vec![0; 1000];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Message::data(Bytes::from(bytes))
    };
    // The sender keeps the ten newest of 25.
    for n in 0..25 {
        pair.session(Side::Dialer)
            .send(key, numbered(n))
            .expect("never blocks");
    }
    assert_eq!(
        pair.session(Side::Dialer)
            .stats()
            .class(Class::Bulk)
            .dropped_sending,
        15
    );
    pair.run_until_quiet();
    // The reader sleeps: of these and 7 more the ten newest stay.
    for n in 25..32 {
        pair.session(Side::Dialer).send(key, numbered(n)).expect("room");
    }
    pair.run_until_quiet();
    assert_eq!(
        pair.session(Side::Acceptor)
            .stats()
            .class(Class::Bulk)
            .dropped_receiving,
        7
    );
    let mut inbox = Inbox::new();
    pair.session(Side::Acceptor).recv(far, &mut inbox).expect("open");
    let got: Vec<u32> = std::iter::from_fn(|| inbox.pop_front())
        .map(|message| u32::from_be_bytes([0, 1, 2, 3].map(|place| message.payload[place])))
        .collect();
    assert_eq!(got, (22..32).collect::<Vec<_>>());
}

#[test]
fn best_effort_notifications_are_dropped_and_counted_but_calls_are_kept() {
    let config = Config {
        limits: Limits {
            best_effort_queue_max: 20_000,
            send_queue_max: 20_000,
            ..Limits::default()
        },
        ..Config::default()
    };
    let mut pair = Pair::open(config, Path::INSTANT, 1);
    let now = pair.now();
    let mut calls = Vec::new();
    let refused = loop {
        match pair
            .session(Side::Dialer)
            .call(now, Class::Bulk, None, message(980), None)
        {
            Ok(key) => calls.push(key),
            Err(error) => break error.refusal,
        }
        assert!(calls.len() < 1000, "a queue has a bound in every class");
    };
    assert_eq!(refused, Refusal::Blocked);
    assert_eq!(calls.len(), 20);
    for _ in 0..10 {
        pair.session(Side::Dialer)
            .notify(now, Class::Bulk, None, message(980))
            .expect("never blocks");
    }
    let dropped = pair
        .session(Side::Dialer)
        .stats()
        .class(Class::Bulk)
        .dropped_sending;
    assert_eq!(dropped, 9, "each makes room for the next");
    pair.run_until_quiet();
    assert_eq!(
        common::answer_all(&mut pair, Side::Acceptor),
        20,
        "no call is dropped"
    );
    pair.run_until_quiet();
    assert!(
        take(&mut pair, Side::Dialer, |event| matches!(
            event,
            Event::LaneWritable(Class::Bulk)
        )
        .then_some(()))
        .is_some()
    );
}

/// Sends one way as fast as it goes and returns bytes per second of the second half.
fn throughput(class: Class, delay: Duration, limits: Limits, seconds: u64) -> u64 {
    let config = Config {
        limits,
        ..Config::default()
    };
    let mut pair = Pair::open(config, Path::new(RATE, delay), 5);
    let key = open(&mut pair, class);
    let mut far = Vec::new();
    let mut half = 0;
    for round in 0..seconds * 1000 {
        fill(&mut pair, key, class, 8000);
        pair.run_for(Duration::from_millis(1));
        far.extend(std::iter::from_fn(|| opened(&mut pair, Side::Acceptor)));
        read_all(&mut pair, &far);
        if round == seconds * 500 {
            half = pair.session(Side::Acceptor).stats().class(class).bytes_received;
        }
    }
    let all = pair.session(Side::Acceptor).stats().class(class).bytes_received;
    (all - half) * 2 / seconds
}

#[test]
fn a_job_window_grows_with_bandwidth_and_delay_and_a_system_window_does_not() {
    let limits = Limits {
        window_system: 64 * 1024,
        window_job: 64 * 1024,
        window_job_max: 8 << 20,
        ..Limits::default()
    };
    // 20 Mbit/s and 200 ms there and back hold half a megabyte, eight times the first window.
    let delay = Duration::from_millis(100);
    let job = throughput(Class::Job, delay, limits.clone(), 6);
    let system = throughput(Class::System, delay, limits, 6);
    assert!(job > RATE * 9 / 10, "the job class fills the path: {job}");
    assert!(
        system < 700_000,
        "a fixed window carries about itself a round trip: {system}"
    );
}

#[test]
fn data_yields_when_delay_grows_and_job_does_not() {
    // Whether data has been there before or fills the path at once.
    for learns in [true, false] {
        let (data, job) = (
            mean_in_flight(Class::Data, learns),
            mean_in_flight(Class::Job, learns),
        );
        assert!(job > 1_000_000, "a job uses its window: {job} bytes in flight");
        // The target of 25 ms is 25 KB here; a round of 100 ms carries 100 KB.
        assert!(
            data < 150_000,
            "data keeps the queue short: {data} bytes in flight"
        );
    }
}

/// Bytes in flight while one stream sends as much as it may over a path with a deep buffer, having learned before what the path is
/// like, or not.
fn mean_in_flight(class: Class, learns: bool) -> usize {
    let limits = Limits {
        window_job: 2 << 20,
        window_job_max: 2 << 20,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    // A deep buffer beneath, as a home router has: what is sent too fast waits there.
    let deep = Path {
        buffer: 8 << 20,
        ..Path::new(1_000_000, Duration::from_millis(5))
    };
    let mut pair = Pair::open(config, deep, 5);
    let key = open(&mut pair, class);
    let mut far = Vec::new();
    if learns {
        pair.session(Side::Dialer).send(key, message(100)).expect("room");
        pair.run_for(Duration::from_millis(300));
    }
    let (mut sum, mut samples) = (0, 0);
    for round in 0..2500 {
        fill(&mut pair, key, class, 16_000);
        pair.run_for(Duration::from_millis(10));
        far.extend(std::iter::from_fn(|| opened(&mut pair, Side::Acceptor)));
        read_all(&mut pair, &far);
        if round > 1000 {
            sum += pair.pipe(Side::Dialer).in_flight();
            samples += 1;
        }
    }
    let received = pair.session(Side::Acceptor).stats().class(class).bytes_received;
    assert!(
        received > 10_000_000,
        "{class} is not starved: {received} of 25 MB"
    );
    sum / samples
}

#[test]
fn data_that_yielded_goes_on_by_itself() {
    let mut config = Config {
        keepalive: Keepalive {
            interval: None,
            ..Keepalive::default()
        },
        ..Config::default()
    };
    config.policy.data_delay_target = valkyrie_proto::DelayTarget(Duration::from_millis(1));
    let deep = Path {
        buffer: 8 << 20,
        ..Path::new(1_000_000, Duration::from_millis(5))
    };
    let mut pair = Pair::open(config, deep, 5);
    let key = open(&mut pair, Class::Data);
    pair.run_for(Duration::from_millis(300));
    let far = opened(&mut pair, Side::Acceptor).expect("opened");
    let mut sent = 0;
    for _ in 0..400 {
        while sent < 600 && pair.session(Side::Dialer).send(key, message(8000)).is_ok() {
            sent += 1;
        }
        pair.run_for(Duration::from_millis(100));
        read_all(&mut pair, &[far]);
    }
    assert_eq!(sent, 600);
    let received = pair
        .session(Side::Acceptor)
        .stats()
        .class(Class::Data)
        .bytes_received;
    assert!(
        received >= 600 * 8020,
        "nothing but its own timer moves it on: {received}"
    );
}

#[test]
fn keepalive_asks_only_in_silence_and_finds_a_dead_peer() {
    let mut pair = Pair::open(Config::default(), Path::new(RATE, Duration::from_millis(10)), 1);
    let frames = |pair: &mut Pair| {
        pair.session(Side::Dialer)
            .stats()
            .class(Class::Critical)
            .frames_sent
    };
    let before = frames(&mut pair);
    // A notification every second is life enough, though nobody answers it.
    for _ in 0..100 {
        let now = pair.now();
        pair.session(Side::Acceptor)
            .notify(now, Class::System, None, message(1))
            .expect("room");
        pair.run_for(Duration::from_secs(1));
        while let Some(Event::Incoming(incoming)) = pair.node(Side::Dialer).events.pop_front() {
            pair.session(Side::Dialer)
                .release_notify(incoming.lane, incoming.cost);
        }
    }
    let acceptor_asked = frames(&mut pair) - before;
    assert!(
        acceptor_asked <= 5,
        "the dialler answers the acceptor's PINGs and asks nothing: {acceptor_asked}"
    );
    // Silence: a PING each way every 20 s, answered.
    let before = frames(&mut pair);
    pair.run_for(Duration::from_secs(200));
    let asked = frames(&mut pair) - before;
    assert!((8..=22).contains(&asked), "{asked}");
    assert!(pair.session(Side::Dialer).is_open() && pair.session(Side::Acceptor).is_open());
    // Death: found within interval and timeout.
    pair.cut();
    pair.run_for(Duration::from_secs(31));
    for side in [Side::Dialer, Side::Acceptor] {
        let reason = pair.session(side).close_reason().expect("found dead");
        assert!(matches!(reason, CloseReason::Timeout(_)), "{reason:?}");
        assert!(reason.is_transient());
    }
}

#[test]
fn deadlines_reach_the_peer_and_end_on_both_sides() {
    let mut pair = Pair::open(Config::default(), Path::new(RATE, Duration::from_millis(10)), 1);
    let now = pair.now();
    let key = pair
        .session(Side::Dialer)
        .call(
            now,
            Class::Job,
            None,
            message(1),
            Some(Duration::from_millis(100)),
        )
        .expect("room");
    pair.run_for(Duration::from_millis(50));
    let now = pair.now();
    let left = take(&mut pair, Side::Acceptor, |event| match event {
        Event::Incoming(incoming) => incoming.deadline,
        _ => None,
    })
    .expect("the deadline travels")
        - now;
    assert!(
        (Duration::from_millis(50)..Duration::from_millis(70)).contains(&left),
        "{left:?} are left"
    );
    pair.run_for(Duration::from_millis(60));
    assert!(matches!(
        pair.session(Side::Dialer).take_response(key),
        Some(Err(valkyrie_proto::CallError::DeadlineExceeded))
    ));
    pair.run_for(Duration::from_millis(20));
    let id = take(&mut pair, Side::Acceptor, |event| match event {
        Event::Cancelled { id, code } if *code == ErrorCode::DEADLINE_EXCEEDED => Some(*id),
        _ => None,
    })
    .expect("the handler hears of it, once");
    assert_eq!(
        count(&mut pair, Side::Acceptor, |event| matches!(
            event,
            Event::Cancelled { .. }
        )),
        0
    );
    assert_eq!(pair.session(Side::Dialer).outstanding(), 1);
    let now = pair.now();
    pair.session(Side::Acceptor)
        .respond(now, id, Err(Failure::new(ErrorCode::CANCELLED, "")))
        .expect("owed");
    pair.run_for(Duration::from_millis(50));
    assert_eq!(pair.session(Side::Dialer).outstanding(), 0);
}
