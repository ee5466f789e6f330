//! A registry under load: a fleet that renews, churns and dies, a thousand watches, and somebody who asks all the time.
//!
//! `cargo run --release -p valkyrie-registry --example scale -- 100000 30`: agents, and seconds of load. Without arguments a small
//! fleet runs for a moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use valkyrie_registry::agent::{AgentId, Description, Service, Word};
use valkyrie_registry::directory::Directory;
use valkyrie_registry::ledger::Bounds;
use valkyrie_registry::query::Query;
use valkyrie_registry::store::{Event, LeaseId};
use valkyrie_registry::{MemStore, Registrar, Store, View};
use valkyrie_security::UnixTime;
use valkyrie_security::identity::SigningKey;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const WATCHES: usize = 1000;
/// Agents of one service.
const PER_SERVICE: usize = 100;
const RENEWALS_PER_SECOND: u64 = 10_000;
/// Agents that say something else each second.
const UPDATES_PER_SECOND: u64 = 20;
/// Agents of the fleet; long enough that each is renewed three times in its time at that rate.
const TTL: Duration = Duration::from_secs(30);
/// Agents that die, one after the other.
const DYING: usize = 100;
const DYING_TTL: Duration = Duration::from_secs(2);

fn now() -> UnixTime {
    SystemTime::now().into()
}

fn word(text: &str) -> Word {
    text.parse().unwrap_or_else(|_| unreachable!("{text} is a word"))
}

fn describe(number: usize) -> Result<Description> {
    let place = format!(
        "tcp://10.{}.{}.{}:7000",
        number >> 16,
        number >> 8 & 255,
        number & 255
    );
    let service = word(&format!("service-{}", number / PER_SERVICE));
    Ok(Description::new(word(&format!("agent-{number}")))
        .zone(word(["eu-1", "eu-2", "us-1"][number % 3]))
        .locator(place.parse()?)
        .service(Service::new(service, "1.4.0".parse()?)))
}

/// Figures, and what so many of them keep below.
struct Figures(Vec<Duration>);

impl Figures {
    fn show(mut self, what: &str) {
        self.0.sort_unstable();
        let at = |share: f64| {
            let last = self.0.len().saturating_sub(1);
            self.0
                .get((last as f64 * share) as usize)
                .copied()
                .unwrap_or_default()
        };
        show(&format!(
            "{what:<44} {:>9} of them, p50 {:>9.1?}, p99 {:>9.1?}, most {:>9.1?}",
            self.0.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        ));
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let agents: usize = arguments.next().map_or(Ok(1000), |text| text.parse())?;
    let load_for = Duration::from_secs(arguments.next().map_or(Ok(1), |text| text.parse())?);

    // One identity with an instance for each agent: a hundred thousand keys would say nothing more.
    let key = Arc::new(SigningKey::generate_classical()?);
    let store: Arc<dyn Store> = Arc::new(MemStore::new(Bounds::DEFAULT));
    let begun = Instant::now();
    let mut fleet = Vec::with_capacity(agents);
    for number in 0..agents {
        let instance = word(&format!("i{number}"));
        let registrar = Registrar::new(Arc::clone(&store), word("scale"), instance, Arc::clone(&key))?;
        let registration = registrar.register(now(), &describe(number)?, 10 * TTL).await?;
        fleet.push((registrar, registration));
    }
    let took = begun.elapsed();
    show(&format!(
        "{agents} agents registered, signatures included, in {took:.1?}"
    ));

    let begun = Instant::now();
    let view = Arc::new(View::follow(
        Arc::clone(&store),
        Directory::new(word("scale")),
        now,
    ));
    view.wait_for(|progress| progress.listed).await?;
    show(&format!(
        "a reader has verified all of them after {:.1?}",
        begun.elapsed()
    ));

    let over = Arc::new(AtomicBool::new(false));
    let seen = Arc::new(AtomicU64::new(0));
    let (saw_death, mut deaths) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..WATCHES {
        let mut watch = store
            .watch(
                &AgentId::prefix(),
                fleet.last().map_or_else(Default::default, |(_, r)| r.modified()),
            )
            .await?;
        let (seen, saw_death) = (Arc::clone(&seen), saw_death.clone());
        tasks.spawn(async move {
            while let Ok(batch) = watch.next(64).await {
                for change in &batch.changes {
                    seen.fetch_add(1, Ordering::Relaxed);
                    for event in &change.events {
                        if let Event::Deleted { key, .. } = event {
                            let _ = saw_death.send((key.clone(), Instant::now()));
                        }
                    }
                }
            }
        });
    }
    drop(saw_death);

    // Somebody asks, on a thread of its own.
    let asked = {
        let (view, over) = (Arc::clone(&view), Arc::clone(&over));
        std::thread::spawn(move || {
            let services = (agents / PER_SERVICE).max(1);
            let queries: Vec<Query> = (0..services)
                .map(|number| Query::service(word(&format!("service-{number}"))).with_zone(word("eu-1")))
                .collect();
            let mut took = Vec::new();
            for query in queries.iter().cycle() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let begun = Instant::now();
                let found = view.snapshot().find(query).count();
                took.push(begun.elapsed());
                assert!(found <= PER_SERVICE);
                // As often as a busy router asks.
                std::thread::sleep(Duration::from_micros(200));
            }
            Figures(took)
        })
    };

    let leases: Vec<LeaseId> = fleet
        .iter()
        .map(|(_, registration)| registration.lease().id)
        .collect();
    let renewing = {
        let (store, over) = (Arc::clone(&store), Arc::clone(&over));
        tokio::spawn(async move {
            let (mut took, mut next) = (Vec::new(), leases.iter().cycle());
            let begun = Instant::now();
            let mut tick = tokio::time::interval(Duration::from_millis(5));
            while !over.load(Ordering::Relaxed) {
                tick.tick().await;
                let due = begun.elapsed().as_micros() as u64 * RENEWALS_PER_SECOND / 1_000_000;
                while (took.len() as u64) < due {
                    let Some(lease) = next.next() else { break };
                    let sent = Instant::now();
                    let _ = store.keep_alive(std::slice::from_ref(lease)).await;
                    took.push(sent.elapsed());
                }
            }
            (took.len() as f64 / begun.elapsed().as_secs_f64(), Figures(took))
        })
    };

    // Some die: each lease is granted and left to run out.
    let mut due = std::collections::HashMap::new();
    let mortal = Arc::new(SigningKey::generate_classical()?);
    let (begun, mut updates, mut died) = (Instant::now(), 0_u64, 0);
    let dying_every = load_for.saturating_sub(DYING_TTL) / DYING as u32;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    while begun.elapsed() < load_for {
        tick.tick().await;
        while updates < begun.elapsed().as_millis() as u64 * UPDATES_PER_SECOND / 1000 {
            let at = updates as usize * 7919 % agents;
            let (registrar, registration) = &mut fleet[at];
            registrar.update(now(), registration, &describe(at)?).await?;
            updates += 1;
        }
        if died < DYING && begun.elapsed() >= dying_every * died as u32 {
            let registrar = Registrar::new(
                Arc::clone(&store),
                word("scale"),
                word(&format!("d{died}")),
                Arc::clone(&mortal),
            )?;
            let registration = registrar.register(now(), &describe(died)?, DYING_TTL).await?;
            due.insert(registrar.id().key(), Instant::now() + registration.lease().ttl);
            died += 1;
        }
    }
    // The last of them.
    tokio::time::sleep(DYING_TTL + Duration::from_millis(500)).await;
    over.store(true, Ordering::Relaxed);
    tasks.abort_all();
    let (rate, renewals) = renewing.await?;
    show(&format!(
        "{rate:.0} renewals and {UPDATES_PER_SECOND} updates a second; {} changes seen by {WATCHES} watches",
        seen.load(Ordering::Relaxed)
    ));
    asked
        .join()
        .map_err(|_| "the thread that asks panicked")?
        .show("a question: a service in a zone");
    renewals.show("a renewal");
    let mut late = Vec::new();
    while let Ok((key, at)) = deaths.try_recv() {
        if let Some(due) = due.get(&key) {
            late.push(at.saturating_duration_since(*due));
        }
    }
    assert_eq!(late.len(), due.len() * WATCHES, "every watch sees every end");
    Figures(late).show("a lease's end, until a watch has seen it");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn show(line: &str) {
    println!("{line}");
}
