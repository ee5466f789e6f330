//! What a decision costs: `cargo bench -p valkyrie-router`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fastrand::Rng;
use valkyrie_frame::{Class, StreamId};
use valkyrie_router::{Balance, BreakerLimits, Needs, Table, Way};
use valkyrie_transport::Capabilities;

fn table(count: usize, now: Instant) -> Table {
    let ways = (0..count).map(|number| Way {
        peer: (),
        locator: format!(
            "tcp://10.{}.{}.{}:7000",
            number >> 16,
            (number >> 8) & 255,
            number & 255
        )
        .parse()
        .expect("a locator"),
        capabilities: Capabilities::default(),
        weight: 1 + u32::try_from(number % 7).unwrap_or(0),
        near: number % 3 == 0,
    });
    Table::new(ways, BreakerLimits::default(), now).expect("not too many")
}

fn classify(c: &mut Criterion) {
    let ids: Vec<StreamId> = (0..1024)
        .map(|number: u32| StreamId::new(number * 17 % 12_000))
        .collect();
    let mut at = 0;
    c.bench_function("classify", |b| {
        b.iter(|| {
            at = (at + 1) & 1023;
            black_box(black_box(ids[at]).class())
        });
    });
}

fn choose(c: &mut Criterion) {
    let mut group = c.benchmark_group("choose");
    let now = Instant::now();
    for count in [100, 10_000] {
        let table = table(count, now);
        for (name, balance) in [
            ("two_choices", Balance::TwoChoices),
            ("least_in_flight", Balance::LeastInFlight),
            ("weighted", Balance::Weighted),
            ("by_key", Balance::ByKey),
        ] {
            let (needs, mut rng) = (Needs::of(Class::Data), Rng::with_seed(1));
            let mut key = 0_u64;
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| {
                    key += 1;
                    table.choose(
                        black_box(&needs),
                        balance,
                        Some(&key.to_be_bytes()),
                        now,
                        &mut rng,
                    )
                });
            });
        }
    }
    group.finish();
}

/// A decision with all that belongs to one message: class, choice, what is in flight, the answer, its delay.
fn whole(c: &mut Criterion) {
    let begun = Instant::now();
    let (table, mut rng) = (table(10_000, begun), Rng::with_seed(1));
    let stream = StreamId::new(1001);
    let mut now = begun;
    c.bench_function("choose_begin_answer/10000", |b| {
        b.iter(|| {
            now += Duration::from_micros(1);
            let needs = Needs::of(black_box(stream).class());
            let id = table
                .choose(&needs, Balance::TwoChoices, None, now, &mut rng)
                .expect("there are many");
            let sent = table.begin(id, now).expect("it is of this table");
            table.succeeded(id, now);
            sent.answered(now + Duration::from_micros(200));
        });
    });
}

criterion_group!(benches, classify, choose, whole);
criterion_main!(benches);
