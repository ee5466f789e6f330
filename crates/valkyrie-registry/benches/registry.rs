//! What a registry of 100,000 agents costs: a question, a renewal, a registration, and a change that a thousand watches see.
//!
//! `cargo bench -p valkyrie-registry`. Percentiles of queries are printed beside criterion's own figures, which are means.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use valkyrie_registry::agent::{AgentId, Description, Incarnation, Service, Word};
use valkyrie_registry::directory::{Directory, Snapshot};
use valkyrie_registry::ledger::{Bounds, Ledger};
use valkyrie_registry::query::Query;
use valkyrie_registry::record::Record;
use valkyrie_registry::store::{Change, Entry, Event, LeaseId, Revision, Txn};
use valkyrie_registry::{EmbeddedStore, Key, MemStore, Moment, Prefix, Store};
use valkyrie_security::UnixTime;
use valkyrie_security::identity::SigningKey;

/// Services of the fleet: a hundred agents each.
const SERVICES: usize = 1000;
const WATCHES: usize = 1000;
const NOW: UnixTime = UnixTime::from_secs(1_000_000);

/// Agents of the fleet; fewer where benches are run once, unmeasured.
static AGENTS: LazyLock<usize> =
    LazyLock::new(|| match std::env::args().any(|argument| argument == "--test") {
        true => 2000,
        false => 100_000,
    });

fn word(text: &str) -> Word {
    text.parse().unwrap()
}

fn describe(number: usize) -> Description {
    Description::new(word(&format!("agent-{number}")))
        .zone(word(["eu-1", "eu-2", "us-1"][number % 3]))
        .locator(
            format!(
                "tcp://10.{}.{}.{}:7000",
                number >> 16,
                number >> 8 & 255,
                number & 255
            )
            .parse()
            .unwrap(),
        )
        .service(
            Service::new(
                word(&format!("service-{}", number % SERVICES)),
                "1.4.0".parse().unwrap(),
            )
            .label(
                word("tier"),
                ["gold", "silver"][number / SERVICES % 2].parse().unwrap(),
            )
            .label(
                word("shard"),
                (number / SERVICES % 10).to_string().parse().unwrap(),
            ),
        )
}

/// Everybody is of one identity, with an instance each: a hundred thousand keys would say nothing more.
fn change(key: &SigningKey, number: usize, sequence: u64) -> Change {
    let record = Record::seal(
        &word("bench"),
        &word(&format!("i{number}")),
        (Incarnation::new(1), sequence),
        NOW.saturating_add(Duration::from_secs(3600)),
        &describe(number),
        key,
    );
    let record = record.unwrap();
    let revision = Revision::new(number as u64 + 1 + sequence * *AGENTS as u64);
    let entry = Entry {
        key: record.id().key(),
        value: record.as_bytes().clone(),
        created: revision,
        modified: revision,
        version: 1,
        lease: Some(LeaseId::new(number as u64 + 1)),
    };
    Change {
        revision,
        events: vec![Event::Put(Arc::new(entry))],
    }
}

fn fleet(key: &SigningKey) -> Directory {
    let mut directory = Directory::new(word("bench"));
    for number in 0..*AGENTS {
        directory.apply(NOW, &change(key, number, 0));
        while directory.poll_event().is_some() {}
    }
    assert_eq!(directory.snapshot().len(), *AGENTS);
    directory
}

fn queries(criterion: &mut Criterion) {
    let key = SigningKey::from_seeds(&[1; 32], None).unwrap();
    let mut directory = fleet(&key);
    let snapshot = directory.snapshot();
    let mut group = criterion.benchmark_group("query_100k_agents");
    type Ask = fn(usize) -> Query;
    let kinds: [(&str, Ask); 3] = [
        ("service", |n| {
            Query::service(word(&format!("service-{}", n % SERVICES)))
        }),
        ("service_version_zone_labels", |n| {
            Query::service(word(&format!("service-{}", n % SERVICES)))
                .with_version("^1.2".parse().unwrap())
                .with_zone(word("eu-1"))
                .with_labels("tier = gold and shard in (0, 2, 4)".parse().unwrap())
        }),
        ("name", |n| {
            Query::new().with_name(word(&format!("agent-{}", n % *AGENTS)))
        }),
    ];
    for (name, ask) in kinds {
        let asked: Vec<Query> = (0..997).map(|n| ask(n * 101)).collect();
        percentiles(name, &snapshot, &asked);
        let mut next = asked.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(snapshot.find(next.next().unwrap()).count()));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("directory_100k_agents");
    group.sample_size(20);
    let mut sequence = 0;
    // With a snapshot held, as readers do, so that every path that changes is copied.
    group.bench_function("apply_one_record_and_publish", |bencher| {
        bencher.iter_batched(
            || {
                sequence += 1;
                change(&key, (sequence as usize * 7919) % *AGENTS, sequence)
            },
            |change| {
                let held = directory.snapshot();
                directory.apply(NOW, &change);
                while directory.poll_event().is_some() {}
                black_box(held)
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

#[expect(clippy::print_stderr, reason = "criterion has no percentiles of single calls")]
fn percentiles(name: &str, snapshot: &Snapshot, asked: &[Query]) {
    let mut times: Vec<Duration> = (0..20_000)
        .map(|n| {
            let query = &asked[n % asked.len()];
            let begin = Instant::now();
            black_box(snapshot.find(query).count());
            begin.elapsed()
        })
        .collect();
    times.sort();
    let at = |share: f64| times[(times.len() as f64 * share) as usize];
    eprintln!(
        "query {name}: p50 {:?}, p99 {:?}, p99.9 {:?}",
        at(0.5),
        at(0.99),
        at(0.999)
    );
}

fn ledger(criterion: &mut Criterion) {
    let mut ledger = Ledger::new(Bounds::DEFAULT);
    let owner = SigningKey::from_seeds(&[1; 32], None).unwrap().fingerprint();
    let value = Bytes::from(vec![7; 400]);
    let mut keys = Vec::new();
    for number in 0..*AGENTS {
        let lease = ledger.grant(Moment::START, Duration::from_secs(60)).unwrap();
        let key = AgentId::new(owner, word(&format!("i{number}"))).unwrap().key();
        ledger
            .commit(
                Moment::START,
                &Txn::new().put(key.clone(), value.clone(), Some(lease.id)),
            )
            .unwrap();
        keys.push((key, lease.id));
        while ledger.poll_effect().is_some() {}
    }
    let mut group = criterion.benchmark_group("ledger_100k_agents");
    group.throughput(Throughput::Elements(1));
    let (mut now, mut next) = (0, 0);
    group.bench_function("renew", |bencher| {
        bencher.iter(|| {
            next = (next + 7919) % *AGENTS;
            // Ten thousand renewals a second.
            now += u64::from(next % 10 == 0);
            black_box(ledger.keep_alive(Moment::from_millis(now), keys[next].1))
        });
    });
    // Everybody lives on, whatever the first bench did to the time.
    for (_, lease) in &keys {
        ledger.keep_alive(Moment::from_millis(now), *lease);
    }
    group.bench_function("put_and_publish", |bencher| {
        bencher.iter(|| {
            next = (next + 7919) % *AGENTS;
            let (key, _) = &keys[next];
            let held = ledger.state();
            ledger
                .commit(
                    Moment::from_millis(now),
                    &Txn::new().put(key.clone(), value.clone(), None),
                )
                .unwrap();
            while ledger.poll_effect().is_some() {}
            black_box(held)
        });
    });
    group.finish();
}

/// From a commit until the last of a thousand watches has it.
fn fan_out(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("watch_fan_out");
    group
        .sample_size(20)
        .throughput(Throughput::Elements(WATCHES as u64));
    group.bench_function("one_change_to_1000_watches", |bencher| {
        bencher.iter_custom(|rounds| {
            runtime.block_on(async {
                let store = MemStore::new(Bounds::DEFAULT);
                let (seen, mut told) = tokio::sync::mpsc::unbounded_channel();
                for _ in 0..WATCHES {
                    let mut watch = store.watch(&Prefix::all(), Revision::NONE).await.unwrap();
                    let seen = seen.clone();
                    tokio::spawn(async move {
                        while let Ok(batch) = watch.next(64).await {
                            if seen.send(batch.changes.len()).is_err() {
                                return;
                            }
                        }
                    });
                }
                let begin = Instant::now();
                for _ in 0..rounds {
                    let txn = Txn::new().put("a".parse().unwrap(), Bytes::from_static(b"v"), None);
                    store.commit(txn).await.unwrap();
                    let mut left = WATCHES;
                    while left > 0 {
                        left -= told.recv().await.unwrap();
                    }
                }
                begin.elapsed()
            })
        });
    });
    group.finish();
}

/// Sixty-four clients that renew as fast as they can, and that register: a lease and an entry each, on the disk.
fn through_a_file(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.redb");
    let store = runtime
        .block_on(EmbeddedStore::open(&path, Bounds::DEFAULT))
        .unwrap();
    let mut group = criterion.benchmark_group("embedded_store_64_clients");
    group.sample_size(10).throughput(Throughput::Elements(CLIENTS));
    let lease = runtime
        .block_on(store.grant(Duration::from_secs(3600)))
        .unwrap()
        .value;
    group.bench_function("renew", |bencher| {
        bencher.iter_custom(|rounds| {
            runtime.block_on(at_once(rounds, &store, move |store, _| async move {
                store.keep_alive(&[lease.id]).await.unwrap();
            }))
        });
    });
    let next = Arc::new(AtomicU64::new(0));
    group.bench_function("register", |bencher| {
        bencher.iter_custom(|rounds| {
            let next = Arc::clone(&next);
            runtime.block_on(at_once(rounds, &store, move |store, _| {
                let number = next.fetch_add(1, Ordering::Relaxed) % 10_000;
                async move {
                    let lease = store.grant(Duration::from_secs(600)).await.unwrap().value;
                    let key = format!("agents/{number}").parse().unwrap();
                    let txn = Txn::new().put(key, Bytes::from_static(&[7; 400]), Some(lease.id));
                    store.commit(txn).await.unwrap();
                }
            }))
        });
    });
    group.finish();
    runtime.block_on(lateness(&store));
}

/// How long so many rounds of all clients take.
async fn at_once<F, T>(rounds: u64, store: &EmbeddedStore, each: F) -> Duration
where
    F: Fn(EmbeddedStore, u64) -> T + Clone + Send + 'static,
    T: Future<Output = ()> + Send,
{
    let begin = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (store, each) = (store.clone(), each.clone());
            tokio::spawn(async move {
                for _ in 0..rounds {
                    each(store.clone(), client).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    begin.elapsed()
}

/// By how much later than its time the end of a lease is seen by a watch.
#[expect(
    clippy::print_stderr,
    reason = "this is a measure of time that criterion has no form for"
)]
async fn lateness(store: &EmbeddedStore) {
    let begin = store.get(&"nothing".parse().unwrap()).await.unwrap().revision;
    let prefix = Prefix::beneath("late").unwrap();
    let mut watch = store.watch(&prefix, begin).await.unwrap();
    let mut due = HashMap::new();
    for number in 0..200 {
        let lease = store.grant(Duration::from_secs(1)).await.unwrap().value;
        let key: Key = format!("late/{number}").parse().unwrap();
        // The lease began a little earlier than this, so what is measured is a little less than it was.
        due.insert(key.clone(), Instant::now() + lease.ttl);
        store
            .commit(Txn::new().put(key, Bytes::new(), Some(lease.id)))
            .await
            .unwrap();
    }
    let mut late = Vec::new();
    while late.len() < 200 {
        for change in watch.next(64).await.unwrap().changes {
            for event in &change.events {
                if let Event::Deleted { key, .. } = event {
                    late.push(Instant::now().saturating_duration_since(due[key]));
                }
            }
        }
    }
    late.sort();
    eprintln!(
        "leases end late by: p50 {:?}, p99 {:?}, most {:?}",
        late[100], late[197], late[199]
    );
}

const CLIENTS: u64 = 64;

criterion_group!(benches, queries, ledger, fan_out, through_a_file);
criterion_main!(benches);
