//! Nodes that register and answer as they are told, and a router among them. Nodes take virtual time to answer: every test here has
//! `start_paused = true`.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::Notify;
use valkyrie_endpoint::security::identity::{Identity, SigningKey};
use valkyrie_endpoint::security::provider::StaticKey;
use valkyrie_endpoint::security::trust::FirstUse;
use valkyrie_endpoint::security::{Live, Trust, UnixTime};
use valkyrie_endpoint::{
    AccessPolicy, Context, Endpoint, EndpointBuilder, ErrorCode, Failure, RecvStream, Security, SendStream,
    Services,
};
use valkyrie_registry::agent::{Capacity, Description, Service, Status, Version, Word};
use valkyrie_registry::directory::Directory;
use valkyrie_registry::ledger::Bounds;
use valkyrie_registry::{MemStore, Registrar, Registration, Store, View};
use valkyrie_router::{Routing, StreamRouter, StreamRouterBuilder};
use valkyrie_transport::mem::MemTransport;
use valkyrie_transport::{Locator, Transport};

use crate::breakable::Breaker;

/// What a node does with a call.
#[derive(Clone)]
pub(crate) enum Behaviour {
    /// Answers its own name.
    Answers,
    /// The same after a while.
    AnswersAfter(Duration),
    /// Never answers.
    Hangs,
    Fails(Failure),
    /// Fails the first calls in this way.
    FailsFirst(u32, Failure),
    /// Fails one call in so many.
    FailsEvery(u32, Failure),
    /// Closes the connection on which it is called.
    Dies,
    /// How long the caller still waits, in milliseconds.
    Remaining,
    /// Gives replies of a stream up to this one and then none, for as long as somebody waits.
    Stops(u64),
    /// Ends a stream in this way after so many replies.
    FailsAfter(u64, Failure),
    /// Closes the connection after so many replies of a stream.
    DiesAfter(u64),
}

/// How many replies there are to `orders/history`, which are their numbers from 1.
pub(crate) const HISTORY: u64 = 10_000;

/// What the streams of a node come to.
#[derive(Default)]
pub(crate) struct Streams {
    /// Begun so far.
    pub(crate) begun: AtomicU32,
    /// Under way now.
    pub(crate) running: AtomicU32,
    /// Replies given to all of them.
    pub(crate) replies: AtomicU64,
    /// Told when one ends.
    pub(crate) ended: Notify,
    /// How long the last one's caller waited when it began.
    pub(crate) remaining: Mutex<Option<Duration>>,
}

impl Streams {
    pub(crate) fn begun(&self) -> u32 {
        self.begun.load(Ordering::SeqCst)
    }
}

/// A stream that is under way, until its handler is gone.
struct UnderWay(Arc<Streams>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        self.0.ended.notify_one();
    }
}

pub(crate) struct Fleet {
    pub(crate) mem: MemTransport,
    pub(crate) store: Arc<dyn Store>,
}

pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) registrar: Registrar,
    pub(crate) registration: Registration,
    pub(crate) description: Description,
    pub(crate) calls: Arc<AtomicU32>,
    pub(crate) behaviour: Arc<Mutex<Behaviour>>,
    /// Told with every call that arrives.
    pub(crate) called: Arc<Notify>,
    pub(crate) streams: Arc<Streams>,
    /// Breaks its links.
    pub(crate) breaker: Breaker,
}

pub(crate) fn word(text: &str) -> Word {
    text.parse().unwrap()
}

pub(crate) fn now() -> UnixTime {
    SystemTime::now().into()
}

pub(crate) fn failure(code: ErrorCode) -> Failure {
    Failure::new(code, "as told")
}

/// An identity, and its signing key once more.
pub(crate) fn identity(name: &str) -> (Identity, Arc<SigningKey>) {
    let again = |key: &SigningKey| {
        SigningKey::from_seeds(key.ed25519_seed(), key.ml_dsa_65_seed().map(|seed| &**seed)).unwrap()
    };
    let key = SigningKey::generate().unwrap();
    let identity = Identity::self_signed(name, now(), StaticKey::generate().unwrap(), again(&key)).unwrap();
    (identity, Arc::new(key))
}

pub(crate) fn endpoint(transport: impl Transport, identity: Identity) -> EndpointBuilder {
    let trust = Trust::default().with_first_use(FirstUse::Local);
    Endpoint::builder()
        .transport(transport)
        .security(Security::new(Live::new(identity), Live::new(trust)))
        .on_first_use(|_| {})
        .policy(AccessPolicy::allow_authenticated())
}

async fn behave(
    name: &str,
    number: u32,
    behaviour: &Mutex<Behaviour>,
    context: &Context,
) -> Result<Bytes, Failure> {
    let name = Bytes::copy_from_slice(name.as_bytes());
    let act = behaviour.lock().unwrap().clone();
    match act {
        Behaviour::Answers => Ok(name),
        Behaviour::AnswersAfter(wait) => {
            tokio::time::sleep(wait).await;
            Ok(name)
        }
        Behaviour::Hangs => std::future::pending().await,
        Behaviour::Fails(failure) => Err(failure),
        Behaviour::FailsFirst(0, _) => Ok(name),
        Behaviour::FailsFirst(left, failure) => {
            *behaviour.lock().unwrap() = Behaviour::FailsFirst(left - 1, failure.clone());
            Err(failure)
        }
        Behaviour::FailsEvery(every, failure) if number.is_multiple_of(every) => Err(failure),
        Behaviour::FailsEvery(..) => Ok(name),
        Behaviour::Dies => {
            context.connection().close();
            std::future::pending().await
        }
        Behaviour::Remaining => {
            let left = context.remaining().map_or(u128::MAX, |left| left.as_millis());
            Ok(Bytes::from(left.to_string()))
        }
        Behaviour::Stops(_) | Behaviour::FailsAfter(..) | Behaviour::DiesAfter(_) => Ok(name),
    }
}

/// Gives what comes after the number that is asked for, each padded to the bytes that are asked for.
pub(crate) async fn history(
    context: Context,
    mut send: SendStream,
    mut recv: RecvStream,
    streams: Arc<Streams>,
    behaviour: Arc<Mutex<Behaviour>>,
) -> Result<(), Failure> {
    streams.begun.fetch_add(1, Ordering::SeqCst);
    streams.running.fetch_add(1, Ordering::SeqCst);
    *streams.remaining.lock().unwrap() = context.remaining();
    let _under_way = UnderWay(Arc::clone(&streams));
    let request = recv.recv().await?.map_or(Bytes::new(), |message| message.payload);
    let (Some(after), Some(bytes)) = (word_at(&request, 0), word_at(&request, 8)) else {
        return Err(Failure::new(ErrorCode::INVALID_ARGUMENT, "not two numbers"));
    };
    for number in after + 1..=HISTORY {
        let act = behaviour.lock().unwrap().clone();
        match act {
            Behaviour::Fails(failure) => return Err(failure),
            Behaviour::FailsAfter(last, failure) if number > last => {
                // A reset overtakes what was not read; by then all was.
                tokio::time::sleep(Duration::from_millis(1)).await;
                return Err(failure);
            }
            Behaviour::Stops(last) if number > last => std::future::pending().await,
            Behaviour::DiesAfter(replies) if number > after + replies => {
                // What was given has gone out by then.
                tokio::time::sleep(Duration::from_millis(1)).await;
                context.connection().close();
                std::future::pending().await
            }
            Behaviour::Dies => {
                context.connection().close();
                std::future::pending().await
            }
            _ => {}
        }
        let mut reply = number.to_be_bytes().to_vec();
        reply.resize(reply.len().max(bytes as usize), 0);
        send.send(Bytes::from(reply)).await?;
        streams.replies.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

pub(crate) fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl Fleet {
    pub(crate) fn new() -> Self {
        Self {
            mem: MemTransport::new(),
            store: Arc::new(MemStore::new(Bounds::DEFAULT)),
        }
    }

    /// A node that offers the service `orders`.
    pub(crate) async fn node(&self, name: &str) -> Node {
        self.node_with(name, |description| description).await
    }

    pub(crate) async fn node_with(
        &self,
        name: &str,
        change: impl FnOnce(Description) -> Description,
    ) -> Node {
        let (identity, key) = identity(name);
        let calls = Arc::new(AtomicU32::new(0));
        let behaviour = Arc::new(Mutex::new(Behaviour::Answers));
        let called = Arc::new(Notify::new());
        let (streams, breaker) = (Arc::<Streams>::default(), Breaker::default());
        let services = {
            let (counted, acts) = (Arc::clone(&streams), Arc::clone(&behaviour));
            let (calls, behaviour, called) =
                (Arc::clone(&calls), Arc::clone(&behaviour), Arc::clone(&called));
            let name = name.to_owned();
            Services::builder()
                .unary("orders", "get", move |context, _| {
                    let number = calls.fetch_add(1, Ordering::SeqCst);
                    called.notify_one();
                    let (behaviour, name) = (Arc::clone(&behaviour), name.clone());
                    async move { behave(&name, number, &behaviour, &context).await }
                })
                .stream("orders", "watch", |context, mut send, mut recv| async move {
                    let _context = context;
                    while let Ok(Some(message)) = recv.recv().await {
                        if send.send(message.payload).await.is_err() {
                            break;
                        }
                    }
                    Ok(())
                })
                .stream("orders", "history", move |context, send, recv| {
                    history(context, send, recv, Arc::clone(&counted), Arc::clone(&acts))
                })
                .build()
                .unwrap()
        };
        let endpoint = endpoint(breaker.over(self.mem.clone()), identity)
            .services(services)
            .build()
            .unwrap();
        let place: Locator = endpoint.listen(&*format!("mem://{name}")).await.unwrap();
        let description = change(
            Description::new(word(name))
                .locator(place)
                .capacity(Capacity { weight: 1, slots: 0 })
                .service(Service::new(word("orders"), Version::new(1, 0, 0))),
        );
        let registrar = Registrar::new(Arc::clone(&self.store), word("test"), word("main"), key).unwrap();
        let registration = registrar
            .register(now(), &description, Duration::from_secs(3600))
            .await
            .unwrap();
        Node {
            endpoint,
            registrar,
            registration,
            description,
            calls,
            behaviour,
            called,
            streams,
            breaker,
        }
    }

    /// A router that has seen all that is registered.
    pub(crate) async fn router(&self, routing: Routing) -> StreamRouter {
        self.builder().await.routing(routing).build()
    }

    pub(crate) async fn builder(&self) -> StreamRouterBuilder {
        self.builder_with(|endpoint| endpoint).await
    }

    /// One that dials with an endpoint that is built otherwise.
    pub(crate) async fn builder_with(
        &self,
        change: impl FnOnce(EndpointBuilder) -> EndpointBuilder,
    ) -> StreamRouterBuilder {
        let view = Arc::new(View::follow(
            Arc::clone(&self.store),
            Directory::new(word("test")),
            now,
        ));
        view.wait_for(|progress| progress.listed).await.unwrap();
        let (identity, _) = identity("router");
        let endpoint = change(endpoint(self.mem.clone(), identity));
        StreamRouter::builder(endpoint.build().unwrap()).view(view)
    }
}

impl Node {
    pub(crate) fn does(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Its process is gone, and its links with it: nobody is told. Its registration stays.
    pub(crate) async fn dies(&self) {
        self.breaker.break_all();
        self.endpoint.drain(Duration::ZERO).await;
    }

    /// It has died or drained, and its lease has ended.
    pub(crate) async fn forgotten(self) {
        self.registrar.deregister(self.registration).await.unwrap();
    }

    /// Says in the registry that it takes nothing new.
    pub(crate) async fn says(&mut self, status: Status) {
        self.description.status = status;
        self.registrar
            .update(now(), &mut self.registration, &self.description)
            .await
            .unwrap();
    }
}
