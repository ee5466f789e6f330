//! A decision asks for no memory: not to choose, and not to count what is under way and how it ended.

use std::time::{Duration, Instant};

use fastrand::Rng;
use valkyrie_frame::{Class, StreamId};
use valkyrie_router::{Balance, BreakerLimits, Needs, Table, Way};
use valkyrie_transport::Capabilities;

fn table(count: u32, now: Instant) -> Table {
    let ways = (0..count).map(|number| Way {
        peer: (),
        locator: format!("tcp://10.0.0.{}:{}", number % 200, 1000 + number)
            .parse()
            .expect("a locator"),
        capabilities: Capabilities::default(),
        weight: 1 + number % 7,
        near: number % 3 == 0,
    });
    Table::new(ways, BreakerLimits::default(), now).expect("not too many")
}

#[test]
fn a_message_costs_no_allocation() {
    let begun = Instant::now();
    let mut rng = Rng::with_seed(1);
    for count in [1, 100, 10_000] {
        let table = table(count, begun);
        for balance in [
            Balance::TwoChoices,
            Balance::LeastInFlight,
            Balance::Weighted,
            Balance::ByKey,
        ] {
            let mut now = begun;
            let mut key = 0_u64;
            let info = allocation_counter::measure(|| {
                for failing in (0..1000).map(|at| at % 10 == 0) {
                    now += Duration::from_micros(10);
                    key += 1;
                    let needs = Needs::of(StreamId::new(1001).class());
                    assert_eq!(needs, Needs::of(Class::Data));
                    let chosen = table.choose(&needs, balance, Some(&key.to_be_bytes()), now, &mut rng);
                    let Ok(id) = chosen else { continue };
                    let Some(sent) = table.begin(id, now) else {
                        continue;
                    };
                    if failing {
                        table.failed(id, now);
                    } else {
                        table.succeeded(id, now);
                    }
                    sent.answered(now + Duration::from_micros(200));
                }
            });
            assert_eq!(info.count_total, 0, "{balance:?} among {count}");
        }
    }
}
