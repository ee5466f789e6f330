//! Attempts here take virtual time: nothing waits in earnest, and every instant is exact.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{interleave, race};

const DELAY: Duration = Duration::from_millis(250);

fn v6(last: u16) -> SocketAddr {
    SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 7000))
}

fn v4(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 7000))
}

/// What an address does, and after how many milliseconds.
#[derive(Clone, Copy)]
enum Answer {
    Connects(u64),
    Refuses(u64),
    Never,
}
use Answer::{Connects, Never, Refuses};

struct Race {
    /// Who won, or who failed in order.
    result: Result<SocketAddr, Vec<SocketAddr>>,
    took_ms: u128,
    /// When each attempt began.
    begun: Vec<(SocketAddr, u128)>,
}

async fn run(answers: &[(SocketAddr, Answer)]) -> Race {
    let start = Instant::now();
    let begun = RefCell::new(Vec::new());
    let addresses: Vec<SocketAddr> = answers.iter().map(|(address, _)| *address).collect();
    let result = race(&addresses, DELAY, |address| {
        begun.borrow_mut().push((address, start.elapsed().as_millis()));
        let answer = answers
            .iter()
            .find(|(other, _)| *other == address)
            .map(|(_, answer)| *answer);
        async move {
            match answer {
                Some(Connects(ms)) => {
                    sleep(Duration::from_millis(ms)).await;
                    Ok(address)
                }
                Some(Refuses(ms)) => {
                    sleep(Duration::from_millis(ms)).await;
                    Err("refused")
                }
                Some(Never) | None => std::future::pending().await,
            }
        }
    })
    .await
    .map_err(|failures| failures.into_iter().map(|(address, _)| address).collect());
    Race {
        result,
        took_ms: start.elapsed().as_millis(),
        begun: begun.into_inner(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_address_alone_is_tried_when_it_answers_in_time() {
    let race = run(&[(v6(1), Connects(249)), (v4(1), Connects(1))]).await;
    assert_eq!(race.result, Ok(v6(1)));
    assert_eq!(race.begun, [(v6(1), 0)]);
    assert_eq!(race.took_ms, 249);
}

#[tokio::test(start_paused = true)]
async fn a_silent_first_address_costs_one_attempt_delay() {
    let race = run(&[(v6(1), Never), (v4(1), Connects(10))]).await;
    assert_eq!(race.result, Ok(v4(1)));
    assert_eq!(race.begun, [(v6(1), 0), (v4(1), 250)]);
    assert_eq!(race.took_ms, 260);
}

#[tokio::test(start_paused = true)]
async fn a_slow_first_address_still_wins_over_a_slower_second() {
    let race = run(&[(v6(1), Connects(300)), (v4(1), Connects(100))]).await;
    assert_eq!(race.result, Ok(v6(1)));
    assert_eq!(race.took_ms, 300);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_begins_the_next_attempt_at_once() {
    let race = run(&[(v6(1), Refuses(20)), (v4(1), Refuses(5)), (v6(2), Connects(1))]).await;
    assert_eq!(race.result, Ok(v6(2)));
    assert_eq!(race.begun, [(v6(1), 0), (v4(1), 20), (v6(2), 25)]);
    assert_eq!(race.took_ms, 26);
}

#[tokio::test(start_paused = true)]
async fn a_late_refusal_of_an_older_attempt_does_not_hurry_the_next() {
    let race = run(&[(v6(1), Refuses(300)), (v4(1), Never), (v6(2), Connects(0))]).await;
    assert_eq!(race.result, Ok(v6(2)));
    assert_eq!(race.begun, [(v6(1), 0), (v4(1), 250), (v6(2), 500)]);
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_every_failure_is_told_in_the_order_it_happened() {
    let race = run(&[(v6(1), Refuses(400)), (v4(1), Refuses(10)), (v6(2), Refuses(10))]).await;
    assert_eq!(race.result, Err(vec![v4(1), v6(2), v6(1)]));
    assert_eq!(race.took_ms, 400);
}

#[tokio::test(start_paused = true)]
async fn refusals_that_come_at_once_are_all_gone_through() {
    let answers: Vec<_> = (1..=16).map(|last| (v4(last), Refuses(0))).collect();
    let race = run(&answers).await;
    assert_eq!(race.result.map_err(|failures| failures.len()), Err(16));
}

#[tokio::test(start_paused = true)]
async fn no_address_is_no_success_and_no_hang() {
    assert_eq!(run(&[]).await.result, Err(vec![]));
}

#[test]
fn families_alternate_from_the_preferred_one() {
    assert_eq!(
        interleave([v6(1), v6(2), v6(3), v4(1), v4(2)], 16),
        [v6(1), v4(1), v6(2), v4(2), v6(3)]
    );
    assert_eq!(interleave([v4(1), v4(2), v6(1)], 16), [v4(1), v6(1), v4(2)]);
    assert_eq!(interleave([v4(1), v4(2)], 16), [v4(1), v4(2)]);
    assert_eq!(interleave([v4(1), v4(1), v6(1), v4(1)], 16), [v4(1), v6(1)]);
    assert_eq!(interleave([], 16), []);
}

#[test]
fn a_name_with_very_many_addresses_is_cut_and_keeps_both_families() {
    let many = (0..1000).map(v6).chain((0..=255).map(v4));
    assert_eq!(interleave(many, 4), [v6(0), v4(0), v6(1), v4(1)]);
}
