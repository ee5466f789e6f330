//! Floods on virtual time, and the bounds one by one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

const MS: Duration = Duration::from_millis(1);

fn v4(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number))
}

fn admission(change: impl FnOnce(&mut HandshakeLimits)) -> Admission {
    let mut limits = HandshakeLimits::default();
    change(&mut limits);
    Admission::new(limits)
}

/// How junk behaves.
#[derive(Clone, Copy, PartialEq)]
enum Junk {
    /// Every second one says nothing, the others send a first message and cannot receive the cookie.
    Spoofed,
    /// All of them send a first message, and another one with the cookie.
    Answering,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Opens {
        honest: bool,
        number: u32,
    },
    First {
        honest: bool,
        id: HalfOpenId,
        proved: bool,
    },
    Ends {
        honest: bool,
        id: HalfOpenId,
    },
}

#[derive(Default, Debug)]
struct Outcome {
    honest: u32,
    honest_done: u32,
    junk: u32,
    junk_computed: u32,
}

/// A way there and back for honest peers.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// 10,000 junk links a second for ten seconds from so many addresses, and 100 honest ones a second from elsewhere.
fn flood(addresses: u32, junk: Junk) -> (Outcome, AdmissionStats) {
    let mut admission = admission(|_| {});
    let begin = Instant::now();
    let mut events = BinaryHeap::new();
    for number in 0..100_000 {
        let at = MS * number / 10;
        events.push(Reverse((
            at,
            Step::Opens {
                honest: false,
                number,
            },
        )));
        if number % 100 == 0 {
            events.push(Reverse((
                at,
                Step::Opens {
                    honest: true,
                    number: number / 100,
                },
            )));
        }
    }
    let mut outcome = Outcome::default();
    let mut evicted = HashSet::new();
    while let Some(Reverse((at, step))) = events.pop() {
        let now = begin + at;
        match step {
            Step::Opens { honest, number } => {
                let address = if honest {
                    v4(0x10_0000 + number)
                } else {
                    v4(number % addresses)
                };
                *(if honest {
                    &mut outcome.honest
                } else {
                    &mut outcome.junk
                }) += 1;
                let Ok(opened) = admission.opened(now, Some(address)) else {
                    assert!(!honest, "an honest address was refused");
                    continue;
                };
                evicted.extend(opened.evicted);
                let id = opened.id;
                let silent = !honest && junk == Junk::Spoofed && number % 2 == 0;
                let (delay, next) = if silent {
                    (HandshakeLimits::TIMEOUT, Step::Ends { honest, id })
                } else {
                    (
                        ROUND_TRIP,
                        Step::First {
                            honest,
                            id,
                            proved: false,
                        },
                    )
                };
                events.push(Reverse((at + delay, next)));
            }
            Step::First { honest, id, proved } if !evicted.contains(&id) => {
                let next = match admission.first_message(now, proved) {
                    Verdict::Go => {
                        outcome.junk_computed += u32::from(!honest);
                        // What junk sends does not verify, so its link is closed at once.
                        Step::Ends { honest, id }
                    }
                    Verdict::Challenge if honest || junk == Junk::Answering => {
                        assert!(!proved, "a good cookie was answered with another challenge");
                        Step::First {
                            honest,
                            id,
                            proved: true,
                        }
                    }
                    _ => {
                        assert!(!honest, "an honest peer was refused");
                        Step::Ends { honest: false, id }
                    }
                };
                let delay = match next {
                    Step::Ends { honest: false, .. } if proved => Duration::ZERO,
                    Step::Ends { honest: false, .. } => HandshakeLimits::TIMEOUT,
                    _ => ROUND_TRIP,
                };
                events.push(Reverse((at + delay, next)));
            }
            Step::Ends { honest, id } if !evicted.contains(&id) => {
                outcome.honest_done += u32::from(honest);
                admission.done(id);
            }
            Step::First { honest, .. } | Step::Ends { honest, .. } => {
                assert!(!honest, "an honest peer made way for junk");
            }
        }
        admission.invariants();
    }
    let stats = admission.stats();
    assert_eq!(stats.half_open, 0, "every place was given back");
    (outcome, stats)
}

#[test]
fn a_flood_from_one_address_costs_that_address_alone() {
    for junk in [Junk::Spoofed, Junk::Answering] {
        let (outcome, stats) = flood(1, junk);
        assert_eq!(outcome.honest_done, outcome.honest);
        // 500 a second for ten seconds and a burst of 1,000 were let in at all.
        assert!(stats.refused_by_address >= 94_000 - 1, "{stats:?}");
        assert!(outcome.junk_computed <= 6_000, "{outcome:?}");
        assert_eq!(stats.evicted, 0);
    }
}

#[test]
fn a_flood_from_many_addresses_that_cannot_answer_stops_nobody() {
    let (outcome, stats) = flood(100_000, Junk::Spoofed);
    assert_eq!(outcome.honest_done, outcome.honest);
    assert!(
        stats.evicted > 80_000,
        "the half-open table turned over: {stats:?}"
    );
    assert!(
        stats.addresses_forgotten > 0,
        "the table of addresses turned over"
    );
    // Before cookies are asked for, 512 links are half-open; from then on junk is answered for the price of a cookie.
    assert!(outcome.junk_computed < 1_000, "{outcome:?}");
    assert!(stats.challenged > 1_000);
}

#[test]
fn what_is_computed_stays_within_the_total_whoever_asks() {
    let mut admission = admission(|_| {});
    let begin = Instant::now();
    let mut computed = 0;
    for number in 0..100_000_u32 {
        computed += u32::from(admission.first_message(begin + MS * number / 10, true) == Verdict::Go);
    }
    let stats = admission.stats();
    assert!(
        (47_900..=48_001).contains(&computed),
        "8,000 and ten times 4,000, not {computed}"
    );
    assert_eq!(stats.computed + stats.refused_in_total, 100_000);
}

#[test]
fn a_refusal_says_when_to_come_back_and_keeps_its_word() {
    let mut admission = admission(|limits| {
        limits.per_address = Rate::new(10, 2);
        limits.total = Rate::new(10, 1);
    });
    let now = Instant::now();
    assert!(admission.opened(now, Some(v4(1))).is_ok());
    assert!(admission.opened(now, Some(v4(1))).is_ok());
    let refused = admission.opened(now, Some(v4(1))).unwrap_err();
    assert_eq!(refused.retry_after, 100 * MS);
    assert!(admission.opened(now + 99 * MS, Some(v4(1))).is_err());
    assert!(admission.opened(now + 100 * MS, Some(v4(1))).is_ok());
    assert!(
        admission.opened(now, Some(v4(2))).is_ok(),
        "others are not concerned"
    );

    assert_eq!(admission.first_message(now, true), Verdict::Go);
    let retry_after = 100 * MS;
    assert_eq!(
        admission.first_message(now, true),
        Verdict::Refuse { retry_after }
    );
    assert_eq!(admission.first_message(now + retry_after, true), Verdict::Go);
}

#[test]
fn the_oldest_half_open_handshake_makes_way() {
    let mut admission = admission(|limits| limits.half_open_max = 2);
    let now = Instant::now();
    let mut open = || admission.opened(now, None).unwrap();
    let (first, second, third) = (open(), open(), open());
    assert_eq!((first.evicted, second.evicted), (None, None));
    assert_eq!(third.evicted, Some(first.id));
    admission.done(first.id);
    admission.done(second.id);
    assert_eq!(admission.opened(now, None).unwrap().evicted, None);
    assert_eq!(admission.stats().half_open, 2);
}

#[test]
fn cookies_are_asked_for_under_load_alone() {
    let mut admission = admission(|limits| {
        limits.cookies_above = 1;
        limits.total = Rate::new(10, 4);
    });
    let now = Instant::now();
    let first = admission.opened(now, None).unwrap().id;
    assert_eq!(admission.first_message(now, false), Verdict::Go);
    admission.opened(now, None).unwrap();
    assert_eq!(
        admission.first_message(now, false),
        Verdict::Challenge,
        "two are half-open"
    );
    assert_eq!(admission.first_message(now, true), Verdict::Go);
    admission.done(first);
    assert_eq!(admission.first_message(now, false), Verdict::Go);
    assert_eq!(
        admission.first_message(now, false),
        Verdict::Challenge,
        "three of four have been computed"
    );
    assert_eq!(admission.first_message(now, true), Verdict::Go);
    assert!(matches!(
        admission.first_message(now, true),
        Verdict::Refuse { .. }
    ));
}

#[test]
fn this_machine_and_links_without_addresses_have_no_rate_of_their_own() {
    let mut admission = admission(|limits| limits.per_address = Rate::new(1, 1));
    let now = Instant::now();
    for address in [
        None,
        Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        Some(IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped())),
    ] {
        for _ in 0..3 {
            admission.opened(now, address).unwrap();
        }
    }
    assert_eq!(admission.stats().addresses, 0);
    assert_eq!(admission.stats().half_open, 12, "they count in total");
}

#[test]
fn a_host_is_one_address_whichever_form_it_takes() {
    let mut admission = admission(|limits| limits.per_address = Rate::new(1, 1));
    let now = Instant::now();
    let v6 = |text: &str| Some(text.parse().unwrap());
    assert!(admission.opened(now, v6("2001:db8:1:2::1")).is_ok());
    assert!(
        admission.opened(now, v6("2001:db8:1:2:ffff::9")).is_err(),
        "the same /64"
    );
    assert!(admission.opened(now, v6("2001:db8:1:3::1")).is_ok());
    assert!(admission.opened(now, v6("::ffff:192.0.2.1")).is_ok());
    assert!(
        admission.opened(now, v6("192.0.2.1")).is_err(),
        "the same IPv4 address"
    );
}

#[test]
fn addresses_with_nothing_against_them_are_forgotten_first() {
    let mut admission = admission(|limits| {
        limits.per_address = Rate::new(10, 2);
        limits.addresses_max = 3;
    });
    let now = Instant::now();
    for number in [1, 1, 2, 3] {
        admission.opened(now, Some(v4(number))).unwrap();
    }
    // 2 and 3 have opened one each, 1 both that it may. One of them makes way, not 1.
    admission.opened(now, Some(v4(4))).unwrap();
    assert!(admission.opened(now, Some(v4(1))).is_err());
    assert_eq!(admission.stats().addresses_forgotten, 1);
    admission.invariants();
    for number in 0..1000 {
        let _ = admission.opened(now, Some(v4(number)));
        admission.invariants();
    }
}

#[test]
fn a_shortage_ends_the_older_half_and_leaves_room_for_no_more_until_all_are_over() {
    let mut admission = admission(|limits| limits.half_open_max = 100);
    let now = Instant::now();
    let opened = |admission: &mut Admission| admission.opened(now, None).unwrap();
    let ids: Vec<_> = (0..21).map(|_| opened(&mut admission).id).collect();
    let ended = admission.shortage();
    assert_eq!(Vec::from_iter(ended), ids[..11], "the older ones");
    let stats = admission.stats();
    assert_eq!((stats.shortages, stats.evicted, stats.half_open), (1, 11, 10));
    let next = opened(&mut admission);
    assert_eq!(next.evicted, Some(ids[11]), "there is room for ten");
    // Those that are ended say so too, and it changes nothing.
    ids.iter().for_each(|id| admission.done(*id));
    assert_eq!(admission.stats().half_open, 1);
    assert!((0..9).all(|_| opened(&mut admission).evicted.is_none()));
    assert!(opened(&mut admission).evicted.is_some());
    admission.invariants();
    // Everything is over: there may be as many as before.
    let all: Vec<_> = admission.half_open.iter().copied().collect();
    all.iter().for_each(|id| admission.done(*id));
    assert!((0..100).all(|_| opened(&mut admission).evicted.is_none()));
    assert!(opened(&mut admission).evicted.is_some());
}

#[test]
fn a_shortage_that_handshakes_are_not_to_blame_for_changes_nothing() {
    let mut admission = admission(|limits| limits.half_open_max = 2);
    assert!(admission.shortage().is_empty());
    let now = Instant::now();
    let evicted = [(); 3].map(|()| admission.opened(now, None).unwrap().evicted.is_some());
    assert_eq!(evicted, [false, false, true]);
    // The only one makes way as well: somebody has to.
    assert_eq!(admission.shortage().len(), 1);
    assert_eq!(admission.shortage().len(), 1);
    assert_eq!(admission.stats().half_open, 0);
}
