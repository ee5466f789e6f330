//! The nodes, those who call them, and what befalls them. Time is virtual (`start_paused(true)`).

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;
use valkyrie_endpoint::security::identity::{Identity, SigningKey};
use valkyrie_endpoint::security::provider::StaticKey;
use valkyrie_endpoint::security::trust::FirstUse;
use valkyrie_endpoint::security::{Live, Trust, UnixTime};
use valkyrie_endpoint::{AccessPolicy, Endpoint, Security, Services};
use valkyrie_registry::agent::{AgentId, Description, Service, Status, Version, Word};
use valkyrie_registry::directory::Directory;
use valkyrie_registry::ledger::Bounds;
use valkyrie_registry::{MemStore, Presence, Registrar, Store, View};
use valkyrie_router::{Route, Routing, StreamRouter, Target};
use valkyrie_transport::mem::MemTransport;

use crate::net::{At, Net, Place};
use crate::store::StoreAt;

const NODES: usize = 50;
/// Where the registry is.
const REGISTRY: Place = NODES;
const PLACES: usize = NODES + 1;
const TTL: Duration = Duration::from_secs(6);
/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// Calls that each client has under way.
const UNDER_WAY: usize = 2;
/// Faults at one time.
const FAULTS_MAX: usize = 4;

/// What all have in common.
struct Shared {
    net: Arc<Net>,
    mem: MemTransport,
    store: MemStore,
    began: Instant,
    /// How wrong each clock is, in milliseconds.
    skew: Vec<AtomicI64>,
    slow: Vec<AtomicBool>,
    /// How often the handler of each call ran.
    runs: Mutex<HashMap<u64, u32>>,
    next_call: AtomicU64,
    calls: AtomicU64,
    answered: AtomicU64,
    calling: AtomicBool,
}

pub(crate) struct World {
    shared: Arc<Shared>,
    nodes: Vec<Arc<Node>>,
    clients: Vec<Client>,
    rng: Rng,
    faults: u64,
}

struct Node {
    place: Place,
    key: Arc<SigningKey>,
    shared: Arc<Shared>,
    alive: tokio::sync::Mutex<Option<Alive>>,
    /// One who kills or restarts it at a time.
    hands: tokio::sync::Mutex<()>,
}

/// A process.
struct Alive {
    endpoint: Endpoint,
    presence: Presence,
    description: Description,
}

struct Client {
    view: Arc<View>,
    route: Route,
}

#[derive(Debug, Default)]
#[allow(dead_code, reason = "shown")]
pub(crate) struct Outcome {
    pub(crate) calls: u64,
    pub(crate) answered: u64,
    pub(crate) faults: u64,
    pub(crate) retries: u64,
    pub(crate) hedges: u64,
    pub(crate) virtual_seconds: u64,
}

fn word(text: &str) -> Word {
    text.parse().unwrap()
}

impl Shared {
    /// The time of day as the clock of a place has it.
    fn day(&self, place: Place) -> UnixTime {
        let skew = self.skew[place].load(Ordering::SeqCst);
        let noon = UnixTime::from_secs(1_800_000_000).saturating_add(self.began.elapsed());
        match u64::try_from(skew) {
            Ok(fast) => noon.saturating_add(Duration::from_millis(fast)),
            Err(_) => noon.saturating_sub(Duration::from_millis(skew.unsigned_abs())),
        }
    }

    fn store_at(&self, place: Place) -> Arc<dyn Store> {
        Arc::new(StoreAt {
            net: Arc::clone(&self.net),
            place,
            registry: REGISTRY,
            store: self.store.clone(),
        })
    }

    fn endpoint(&self, place: Place, key: &SigningKey) -> valkyrie_endpoint::EndpointBuilder {
        let again = SigningKey::from_seeds(key.ed25519_seed(), None).unwrap();
        let now = std::time::SystemTime::now().into();
        let identity = Identity::self_signed("node", now, StaticKey::generate().unwrap(), again).unwrap();
        let trust = Trust::default().with_first_use(FirstUse::Local);
        Endpoint::builder()
            .transport(At {
                net: Arc::clone(&self.net),
                place,
                mem: self.mem.clone(),
            })
            .security(Security::new(Live::new(identity), Live::new(trust)))
            .on_first_use(|_| {})
            .policy(AccessPolicy::allow_authenticated())
    }

    fn services(self: &Arc<Self>, place: Place) -> Services {
        let shared = Arc::clone(self);
        Services::builder()
            .unary("orders", "put", move |_, payload| {
                let shared = Arc::clone(&shared);
                async move {
                    let number = u64::from_le_bytes(payload[..].try_into().unwrap());
                    *shared.runs.lock().unwrap().entry(number).or_insert(0) += 1;
                    let slow = shared.slow[place].load(Ordering::SeqCst);
                    let takes = if slow { 800 } else { fastrand::u64(1..8) };
                    tokio::time::sleep(Duration::from_millis(takes)).await;
                    Ok(payload)
                }
            })
            .build()
            .unwrap()
    }
}

impl Node {
    fn id(&self) -> AgentId {
        AgentId::new(self.key.fingerprint(), word("main")).unwrap()
    }

    async fn start(&self) {
        let mut alive = self.alive.lock().await;
        let services = self.shared.services(self.place);
        let endpoint = self
            .shared
            .endpoint(self.place, &self.key)
            .services(services)
            .build()
            .unwrap();
        let place = endpoint
            .listen(&*format!("mem://node-{}", self.place))
            .await
            .unwrap();
        let description = Description::new(word(&format!("node-{}", self.place)))
            .locator(place)
            .service(Service::new(word("orders"), Version::new(1, 0, 0)));
        let (store, key) = (self.shared.store_at(self.place), Arc::clone(&self.key));
        let registrar = Registrar::new(store, word("sim"), word("main"), key).unwrap();
        let (shared, place) = (Arc::clone(&self.shared), self.place);
        let presence = Presence::keep(registrar, description.clone(), TTL, move || shared.day(place));
        *alive = Some(Alive {
            endpoint,
            presence,
            description,
        });
    }

    /// Its process is killed, and is back after a while.
    async fn kill_for(&self, down: Duration) {
        let _hands = self.hands.lock().await;
        if let Some(alive) = self.alive.lock().await.take() {
            drop(alive.presence);
            self.shared.net.break_links(self.place);
            alive.endpoint.drain(Duration::ZERO).await;
        }
        tokio::time::sleep(down).await;
        self.start().await;
    }

    /// It is restarted as an operator would.
    async fn restart(&self) {
        let _hands = self.hands.lock().await;
        let Some(alive) = self.alive.lock().await.take() else {
            return;
        };
        let leaving = alive.description.clone().status(Status::Draining);
        // Where the registry cannot be told, it goes all the same.
        let _ = tokio::time::timeout(Duration::from_secs(2), alive.presence.describe(leaving)).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let back_in = Duration::from_millis(300);
        alive
            .endpoint
            .drain_and_return(Duration::from_secs(3), back_in)
            .await;
        let _ = tokio::time::timeout(Duration::from_secs(2), alive.presence.leave()).await;
        tokio::time::sleep(back_in).await;
        self.start().await;
    }
}

impl World {
    pub(crate) async fn new(seed: u64) -> Self {
        fastrand::seed(seed);
        let shared = Arc::new(Shared {
            net: Arc::default(),
            mem: MemTransport::new(),
            store: MemStore::new(Bounds::DEFAULT),
            began: Instant::now(),
            skew: (0..PLACES).map(|_| AtomicI64::new(0)).collect(),
            slow: (0..PLACES).map(|_| AtomicBool::new(false)).collect(),
            runs: Mutex::default(),
            next_call: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            calling: AtomicBool::new(true),
        });
        let mut nodes = Vec::new();
        for place in 0..NODES {
            let node = Arc::new(Node {
                place,
                key: Arc::new(SigningKey::generate_classical().unwrap()),
                shared: Arc::clone(&shared),
                alive: tokio::sync::Mutex::default(),
                hands: tokio::sync::Mutex::default(),
            });
            node.start().await;
            nodes.push(node);
        }
        let mut clients = Vec::new();
        for place in 0..NODES {
            let clock = {
                let shared = Arc::clone(&shared);
                move || shared.day(place)
            };
            let view = View::follow(shared.store_at(place), Directory::new(word("sim")), clock);
            let view = Arc::new(view);
            view.wait_for(|progress| progress.listed).await.unwrap();
            let key = SigningKey::generate_classical().unwrap();
            let mut routing = Routing::default();
            (routing.subset, routing.hedge) = (Some(6), true);
            let router = StreamRouter::builder(shared.endpoint(place, &key).build().unwrap())
                .view(Arc::clone(&view))
                .routing(routing)
                .build();
            let route = router.route(Target::service(word("orders"))).unwrap();
            clients.push(Client { view, route });
        }
        let mut world = Self {
            shared,
            nodes,
            clients,
            rng: Rng::with_seed(seed),
            faults: 0,
        };
        world.converges_within(Duration::from_secs(20)).await;
        world
    }

    /// Calls go on while one fault follows the other.
    pub(crate) async fn live_through_faults(&mut self, calls: u64) {
        let mut callers = Vec::new();
        for client in &self.clients {
            for _ in 0..UNDER_WAY {
                let (shared, route) = (Arc::clone(&self.shared), client.route.clone());
                callers.push(tokio::spawn(async move {
                    while shared.calling.load(Ordering::SeqCst) {
                        call(&shared, &route).await;
                        tokio::time::sleep(Duration::from_millis(fastrand::u64(10..800))).await;
                    }
                }));
            }
        }
        let mut running: Vec<tokio::task::JoinHandle<()>> = Vec::new();
        while self.shared.calls.load(Ordering::SeqCst) < calls {
            running.retain(|fault| !fault.is_finished());
            if running.len() < FAULTS_MAX {
                running.push(self.fault());
                self.faults += 1;
            }
            tokio::time::sleep(Duration::from_millis(self.rng.u64(20..200))).await;
        }
        for fault in running {
            fault.await.unwrap();
        }
        self.shared.calling.store(false, Ordering::SeqCst);
        for caller in callers {
            caller.await.unwrap();
        }
    }

    /// Something happens, and after a while it is over.
    fn fault(&mut self) -> tokio::task::JoinHandle<()> {
        let rng = &mut self.rng;
        let lasts = Duration::from_millis(rng.u64(200..5000));
        let shared = Arc::clone(&self.shared);
        let node = Arc::clone(&self.nodes[rng.usize(..NODES)]);
        let place = node.place;
        match rng.u32(..8) {
            0 | 1 => {
                // A part, with the registry or without it.
                let count = rng.usize(1..NODES / 2);
                let mut part: Vec<Place> = (0..NODES).collect();
                rng.shuffle(&mut part);
                part.truncate(count);
                if rng.bool() {
                    part.push(REGISTRY);
                }
                tokio::spawn(async move {
                    shared.net.cut(&part, PLACES, true);
                    tokio::time::sleep(lasts).await;
                    shared.net.cut(&part, PLACES, false);
                })
            }
            2 => {
                let times = rng.u32(2..8);
                tokio::spawn(async move {
                    for _ in 0..times {
                        shared.net.break_links(place);
                        tokio::time::sleep(lasts / times).await;
                    }
                })
            }
            3 => tokio::spawn(async move {
                shared.slow[place].store(true, Ordering::SeqCst);
                tokio::time::sleep(lasts).await;
                shared.slow[place].store(false, Ordering::SeqCst);
            }),
            4 => tokio::spawn(async move { node.kill_for(lasts).await }),
            5 => {
                let some: Vec<_> = (0..5)
                    .map(|at| Arc::clone(&self.nodes[(place + at) % NODES]))
                    .collect();
                tokio::spawn(async move {
                    for node in some {
                        node.restart().await;
                    }
                })
            }
            6 => {
                let wrong = rng.i64(-4000..4000);
                tokio::spawn(async move {
                    shared.skew[place].store(wrong, Ordering::SeqCst);
                    tokio::time::sleep(lasts).await;
                    shared.skew[place].store(0, Ordering::SeqCst);
                })
            }
            _ => tokio::spawn(async move {
                // Stopped and continued: silent to everybody.
                shared.net.cut(&[place], PLACES, true);
                tokio::time::sleep(lasts).await;
                shared.net.cut(&[place], PLACES, false);
            }),
        }
    }

    /// Every client knows of every node, and of nobody else.
    pub(crate) async fn converges_within(&mut self, bound: Duration) {
        let wanted: BTreeSet<AgentId> = self.nodes.iter().map(|node| node.id()).collect();
        let began = Instant::now();
        for client in &self.clients {
            loop {
                let snapshot = client.view.snapshot();
                let ready = snapshot
                    .members()
                    .filter(|member| member.description().status == Status::Ready);
                let seen: BTreeSet<AgentId> = ready.map(|member| member.id().clone()).collect();
                if seen == wanted {
                    break;
                }
                let missing: Vec<_> = wanted.difference(&seen).collect();
                assert!(
                    began.elapsed() < bound,
                    "after {bound:?} {missing:?} are not seen"
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Whoever was left alone while there were faults is used again.
    pub(crate) async fn nobody_is_left_alone_after(&self, bound: Duration) {
        let began = Instant::now();
        for client in &self.clients {
            while !client.route.left_alone().is_empty() {
                let left = client.route.left_alone();
                assert!(began.elapsed() < bound, "after {bound:?} {left:?} are left alone");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        // And has its whole share back.
        tokio::time::sleep(Duration::from_secs(10)).await;
    }

    pub(crate) async fn every_call_is_answered(&self) {
        for client in &self.clients {
            for _ in 0..20 {
                assert!(
                    call(&self.shared, &client.route).await,
                    "a call failed though all is well"
                );
            }
        }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        let stats = self.clients.iter().map(|client| client.route.stats());
        let (retries, hedges) =
            stats.fold((0, 0), |sum, stats| (sum.0 + stats.retries, sum.1 + stats.hedges));
        Outcome {
            calls: self.shared.calls.load(Ordering::SeqCst),
            answered: self.shared.answered.load(Ordering::SeqCst),
            faults: self.faults,
            retries,
            hedges,
            virtual_seconds: self.shared.began.elapsed().as_secs(),
        }
    }
}

/// One call, and all that must hold of it. Whether it was answered.
async fn call(shared: &Shared, route: &Route) -> bool {
    let number = shared.next_call.fetch_add(1, Ordering::SeqCst);
    let idempotent = fastrand::bool();
    let begun = Instant::now();
    let mut call = route
        .call(("orders", "put"), number.to_le_bytes().to_vec())
        .timeout(DEADLINE);
    if idempotent {
        call = call.idempotent();
    }
    let answer = call.await;
    let took = begun.elapsed();
    assert!(
        took <= DEADLINE + LATE_MAX,
        "call {number} took {took:?}: {answer:?}"
    );
    let runs = shared.runs.lock().unwrap().get(&number).copied().unwrap_or(0);
    if !idempotent {
        assert!(runs <= 1, "call {number} ran {runs} times");
    }
    if let Ok(echo) = &answer {
        assert_eq!(echo[..], number.to_le_bytes());
        assert!(runs >= 1);
    }
    shared.calls.fetch_add(1, Ordering::SeqCst);
    shared
        .answered
        .fetch_add(u64::from(answer.is_ok()), Ordering::SeqCst);
    answer.is_ok()
}

/// A timer's grain.
const LATE_MAX: Duration = Duration::from_millis(20);
