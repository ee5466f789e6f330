//! The client: it calls whoever offers `orders`, registers agents, counts by the second, and at the end judges.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use valkyrie_registry::agent::{AgentId, Description};
use valkyrie_registry::directory::Directory;
use valkyrie_registry::store::list_all;
use valkyrie_registry::{Registrar, View};
use valkyrie_router::{Routing, StreamRouter, Target};

use crate::node::{endpoint, key, now, store};
use crate::{CLUSTER, DEADLINE, Result, pairs, say, word};

/// A second of calls.
#[derive(Default)]
struct Second {
    failed: u32,
    took: Vec<Duration>,
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(arguments: &[String]) -> Result<()> {
    let given = pairs(arguments);
    let seconds: u64 = given["seconds"].parse()?;
    let store = store(given["store"]).await?;
    let view = Arc::new(View::follow(
        Arc::clone(&store),
        Directory::new(word(CLUSTER)),
        now,
    ));
    let mut routing = Routing::default();
    routing.hedge = true;
    let router = StreamRouter::builder(endpoint("client", 200)?.build()?)
        .view(Arc::clone(&view))
        .routing(routing)
        .build();
    let route = router.route(Target::service(word("orders")))?;
    // The load begins when everybody is there.
    let nodes: usize = given["nodes"].parse()?;
    while route.peers() < nodes {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    std::fs::write(given["ready"], "")?;

    let counts: Arc<Mutex<BTreeMap<u64, Second>>> = Arc::default();
    let lock = |counts: &Mutex<BTreeMap<u64, Second>>, at: u64, took: Option<Duration>| {
        let mut counts = counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let second = counts.entry(at).or_default();
        match took {
            Some(took) => second.took.push(took),
            None => second.failed += 1,
        }
    };
    let begun = Instant::now();
    let registering = tokio::spawn(register(Arc::clone(&store), seconds));
    let mut tick = tokio::time::interval(Duration::from_secs(1) / CALLS_PER_SECOND);
    let mut calls = tokio::task::JoinSet::new();
    let mut number = 0_u64;
    while begun.elapsed() < Duration::from_secs(seconds) {
        tick.tick().await;
        number += 1;
        let (route, counts) = (route.clone(), Arc::clone(&counts));
        calls.spawn(async move {
            let sent = Instant::now();
            // Every other one may run twice, and says so in its number.
            let idempotent = number.is_multiple_of(2);
            let text = format!("{}{number}", if idempotent { 'i' } else { 'n' });
            let mut call = route.call(("orders", "put"), text).timeout(DEADLINE);
            if idempotent {
                call = call.idempotent();
            }
            let answered = call.await.is_ok();
            let at = sent.duration_since(begun).as_secs();
            lock(&counts, at, answered.then(|| sent.elapsed()));
        });
        while calls.try_join_next().is_some() {}
    }
    while calls.join_next().await.is_some() {}
    let (acknowledged, refused) = registering.await??;

    let mut lines = String::from("second,answered,failed,p50_us,p99_us\n");
    let (mut answered, mut failed, mut failed_at_the_end) = (0, 0, 0);
    let mut counts = std::mem::take(&mut *counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    for (at, second) in &mut counts {
        second.took.sort_unstable();
        let of = |share: usize| {
            let place = (second.took.len() * share / 100).min(second.took.len().saturating_sub(1));
            second.took.get(place).map_or(0, Duration::as_micros)
        };
        let (count, p50, p99) = (second.took.len(), of(50), of(99));
        let _ = writeln!(lines, "{at},{count},{},{p50},{p99}", second.failed);
        answered += count;
        failed += second.failed;
        if at + LAST_SECONDS >= seconds {
            failed_at_the_end += second.failed;
        }
    }
    std::fs::write(given["csv"], lines)?;

    // What was acknowledged is there.
    let there = list_all(&*store, &AgentId::prefix(), usize::MAX).await?;
    let there: std::collections::HashSet<_> = there.value.iter().map(|entry| entry.key.clone()).collect();
    let lost = acknowledged.iter().filter(|key| !there.contains(*key)).count();
    say(&format!(
        "calls: {answered} answered, {failed} failed, of which {failed_at_the_end} in the last {LAST_SECONDS} s"
    ));
    say(&format!(
        "registrations: {} acknowledged, {lost} of them lost, {refused} not acknowledged",
        acknowledged.len()
    ));
    say(&format!("{:?}", route.stats()));
    if lost > 0 {
        return Err(format!("{lost} registrations that were acknowledged are lost").into());
    }
    if failed_at_the_end > 0 {
        return Err("calls fail although everything has been well for a while".into());
    }
    Ok(())
}

/// Registers one agent after the other. The keys of those that were acknowledged, and how many were not.
async fn register(
    store: Arc<dyn valkyrie_registry::Store>,
    seconds: u64,
) -> Result<(Vec<valkyrie_registry::Key>, u32)> {
    let begun = Instant::now();
    let signer = Arc::new(key(201)?);
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    for number in 0.. {
        if begun.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
        tick.tick().await;
        let instance = word(&format!("r{number}"));
        let registrar = Registrar::new(Arc::clone(&store), word(CLUSTER), instance, Arc::clone(&signer))?;
        let description = Description::new(word("registered"));
        match registrar
            .register(now(), &description, Duration::from_secs(7200))
            .await
        {
            Ok(_) => acknowledged.push(registrar.id().key()),
            Err(_) => refused += 1,
        }
    }
    Ok((acknowledged, refused))
}

const CALLS_PER_SECOND: u32 = 200;
/// In which no call may fail.
const LAST_SECONDS: u64 = 5;
