//! The gateway for plain HTTP clients, and what puts the services of a node behind it.
//!
//! [`Gateway`] is that of `valkyrie-transport-http`; [`Node`] is an [`Upstream`] that makes calls to [`Services`] of this
//! process as the peer of a connection in memory, so that policy, deadlines, cancellation, rates and the audit log are what they
//! are for any other peer. Unary calls do not go over that connection: it says who calls, and the handler is run.
//!
//! ```
//! use valkyrie::gateway::{Gateway, Node};
//! use valkyrie::{AccessPolicy, Endpoint, Services};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let services = Services::builder()
//!     .unary("greeter", "hello", |_, name| async move { Ok([b"Hello, ", &name[..]].concat().into()) })
//!     .build()?;
//! let policy = AccessPolicy::parse(
//!     "version = 1\n[[allow]]\npeers = [\"role:gateway\"]\nservices = [\"greeter\"]",
//! )?;
//! let node = Node::new(Endpoint::builder().services(services).policy(policy)).await?;
//! let server = Gateway::new(node).listen(&"http://127.0.0.1:0".parse()?).await?;
//! // `curl -d World http://127.0.0.1:PORT/v2/call/greeter/hello`
//! server.run(async {}).await;
//! # Ok(()) }
//! ```

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use tokio::sync::Semaphore;
use valkyrie_endpoint::{
    BuildError, CallError, ConnectError, Connection, Dialer, Endpoint, EndpointBuilder, ErrorCode, Expect,
    ListenError, LocalCaller, Locator, Message, Method, RecvError, RecvStream, Redial, Security, Services,
};
use valkyrie_security::identity::{Fingerprint, IdentityError};
use valkyrie_security::provider::PublicKey;
use valkyrie_security::trust::{self, TrustFileFault};
use valkyrie_security::{Identity, Live, Trust};
use valkyrie_transport::BoxFuture;
use valkyrie_transport::mem::MemTransport;
pub use valkyrie_transport_http::gateway::*;

/// The services of this process, as a gateway calls them.
///
/// A client without a token is the peer named `gateway` with the role `gateway`, whoever it is: what a policy allows to
/// `role:gateway`, or to `any`, it allows to everybody who reaches the gateway. A client with a token is an anonymous peer
/// that has shown this token, and may do what the token and the policy say.
#[derive(Debug)]
pub struct Node {
    services: Services,
    known: HashMap<String, HashMap<String, Known>>,
    /// Where it listens, which is within this value.
    acceptor: Endpoint,
    memory: MemTransport,
    place: Locator,
    fingerprint: Fingerprint,
    /// As whom clients without a token call.
    nameless: Dialer,
    nameless_key: PublicKey,
    /// Of clients without a token, once one has called.
    known_nameless: Mutex<Option<Arc<Client>>>,
    /// Held by whoever finds it.
    beginning: tokio::sync::Mutex<()>,
    /// Of clients with one, the one that was used last in front.
    bearers: Mutex<VecDeque<Bearer>>,
    /// How many are being dialled.
    dialling: Semaphore,
}

/// A method that is served, put into words once.
#[derive(Debug)]
struct Known {
    method: Method,
    shape: valkyrie_endpoint::Shape,
}

#[derive(Debug)]
struct Bearer {
    token: BearerToken,
    client: Arc<Client>,
}

/// Who calls.
#[derive(Debug)]
struct Client {
    /// For streams and notifications, and for as long as the client is known.
    connection: Connection,
    /// The same peer, without the way there and back.
    caller: LocalCaller,
}

/// Why services cannot be put behind a gateway. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The endpoint cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The system gave no randomness or no memory for keys.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The gateway's own name was refused.
    #[error("the gateway's own identity cannot be pinned: {0}")]
    Pin(#[from] TrustFileFault),
    /// The place in memory cannot be listened on or dialled.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The same, from the other side.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl Node {
    /// Serves what `builder` says: its services under its policy, with its audit sink and limits. Its transports and its
    /// security are replaced: nobody but the gateway dials it.
    ///
    /// # Errors
    /// [`NodeError`]: an option of the builder cannot be, or this machine gave no randomness.
    pub async fn new(builder: EndpointBuilder) -> Result<Self, NodeError> {
        let now = SystemTime::now().into();
        let caller = Identity::generate(NAME, now)?;
        let node = Identity::generate("node", now)?;
        let fingerprint = fingerprint_of(&node);
        let mut pin = trust::Pin::new(fingerprint_of(&caller));
        pin.name = Some(NAME.to_owned());
        pin.roles = vec![NAME.to_owned()];
        let mut trusted = Trust::default().with_anonymous(true);
        trusted.pins_mut().add(pin)?;

        let nameless_key = caller.static_key().public();
        let memory = MemTransport::new();
        let acceptor = builder
            .transport(memory.clone())
            .security(Security::new(Live::new(node), Live::new(trusted)))
            .build()?;
        let place = acceptor.listen("mem://node").await?;
        let nameless = dialler(
            &memory,
            Security::new(Live::new(caller), Live::new(Trust::default())),
        )?
        .dialer_expecting(&place, Expect::Fingerprint(fingerprint), Redial::default())?;
        let mut known = HashMap::<_, HashMap<_, _>>::new();
        for (service, name, shape) in acceptor.services().routes() {
            // What is served has a name that can be called.
            if let Ok(method) = Method::new(service, name) {
                let methods = known.entry(service.to_owned()).or_default();
                methods.insert(name.to_owned(), Known { method, shape });
            }
        }
        Ok(Self {
            services: acceptor.services().clone(),
            known,
            acceptor,
            memory,
            place,
            fingerprint,
            nameless,
            nameless_key,
            known_nameless: Mutex::default(),
            beginning: tokio::sync::Mutex::default(),
            bearers: Mutex::default(),
            dialling: Semaphore::new(DIALLING_MAX),
        })
    }

    fn bearers(&self) -> MutexGuard<'_, VecDeque<Bearer>> {
        // Nothing panics while it is held.
        self.bearers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client: there is one for each token, and one for all that have none.
    async fn client(&self, token: Option<&BearerToken>) -> Result<Arc<Client>, Failure> {
        let Some(token) = token else {
            return self.nameless_client().await;
        };
        if let Some(client) = self.known(token) {
            return Ok(client);
        }
        // It is never closed, so there is always a place in the end.
        let _place = self.dialling.acquire().await;
        // Another call with the same token may have been first.
        if let Some(client) = self.known(token) {
            return Ok(client);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(token.expose().trim_end_matches('='))
            .map_err(|_| Failure::new(ErrorCode::UNAUTHENTICATED, "the Bearer token is not base64"))?;
        let nobody = Identity::anonymous().map_err(|error| internal(&error))?;
        let key = nobody.static_key().public();
        let security = Security::new(Live::new(nobody), Live::new(Trust::default())).with_token(bytes);
        let endpoint = dialler(&self.memory, security).map_err(|error| internal(&error))?;
        let connection = endpoint
            .connect_expecting(&self.place, Expect::Fingerprint(self.fingerprint))
            .await
            .map_err(|error| {
                Failure::new(error.code().unwrap_or(ErrorCode::UNAVAILABLE), error.to_string())
            })?;
        let client = Arc::new(self.accepted(connection, &key).await?);
        let mut bearers = self.bearers();
        bearers.push_front(Bearer {
            token: token.clone(),
            client: Arc::clone(&client),
        });
        bearers.truncate(BEARERS_MAX);
        Ok(client)
    }

    async fn nameless_client(&self) -> Result<Arc<Client>, Failure> {
        let known = || self.known_nameless.lock().unwrap_or_else(PoisonError::into_inner);
        let open = || {
            known()
                .as_ref()
                .filter(|client| !client.caller.is_closed())
                .map(Arc::clone)
        };
        if let Some(client) = open() {
            return Ok(client);
        }
        // One of those who come meanwhile looks for it, and all have it from then on.
        let _turn = self.beginning.lock().await;
        if let Some(client) = open() {
            return Ok(client);
        }
        let connection = self.nameless.connection().await.map_err(|error| {
            Failure::new(error.code().unwrap_or(ErrorCode::UNAVAILABLE), error.to_string())
        })?;
        let client = Arc::new(self.accepted(connection, &self.nameless_key).await?);
        *known() = Some(Arc::clone(&client));
        Ok(client)
    }

    /// The client that dialled with this key, once the node has accepted it.
    async fn accepted(&self, connection: Connection, key: &PublicKey) -> Result<Client, Failure> {
        // An answer over it says that the other end has opened.
        let answered = connection.ping().await;
        answered.map_err(|error| Failure::new(ErrorCode::UNAVAILABLE, error.to_string()))?;
        let accepted = self.acceptor.connections().into_iter();
        let mut accepted = accepted.filter(|end| end.identity().static_key() == Some(key));
        let caller = accepted.next().map(|end| end.local_caller()).ok_or_else(|| {
            Failure::new(
                ErrorCode::UNAVAILABLE,
                "the connection to the node has ended as it began",
            )
        })?;
        Ok(Client { connection, caller })
    }

    fn known(&self, token: &BearerToken) -> Option<Arc<Client>> {
        let mut bearers = self.bearers();
        bearers.retain(|bearer| !bearer.client.connection.is_closed());
        let place = bearers.iter().position(|bearer| bearer.token == *token)?;
        let bearer = bearers.remove(place)?;
        let client = Arc::clone(&bearer.client);
        bearers.push_front(bearer);
        Some(client)
    }

    /// What is asked for, and how it answers if it is served here. What is not is the node's to refuse.
    fn find(&self, asked: &Asked) -> Result<(Method, Option<valkyrie_endpoint::Shape>), Failure> {
        let methods = self.known.get(&asked.service);
        if let Some(known) = methods.and_then(|methods| methods.get(&asked.method)) {
            return Ok((known.method.clone(), Some(known.shape)));
        }
        match Method::new(&asked.service, &asked.method) {
            Ok(method) => Ok((method, None)),
            Err(error) => Err(failure(CallError::from(error).into())),
        }
    }
}

impl Upstream for Node {
    fn call(&self, asked: Asked) -> BoxFuture<'_, Result<Bytes, Failure>> {
        Box::pin(async move {
            let client = self.client(asked.metadata.token.as_ref()).await?;
            let (method, shape) = self.find(&asked)?;
            if shape == Some(valkyrie_endpoint::Shape::Notify) {
                let sent = client.connection.notify(method, asked.body).await;
                return sent.map(|()| Bytes::new()).map_err(|error| failure(error.into()));
            }
            let mut call = client.caller.call(&method, asked.body).timeout(asked.timeout);
            if let Some(context) = asked.metadata.trace_context {
                call = call.trace_context(&context);
            }
            call.await.map_err(|error| failure(error.into()))
        })
    }

    fn stream(&self, asked: Asked) -> BoxFuture<'_, Result<Box<dyn Replies>, Failure>> {
        Box::pin(async move {
            let (method, shape) = self.find(&asked)?;
            if shape == Some(valkyrie_endpoint::Shape::Unary) {
                // One answer is a stream of one.
                let answer = self.call(asked).await?;
                return Ok(Box::new(Once(Some(answer))) as Box<dyn Replies>);
            }
            let client = self.client(asked.metadata.token.as_ref()).await?;
            let mut open = client.connection.open(method).timeout(asked.timeout);
            if let Some(context) = asked.metadata.trace_context {
                open = open.trace_context(&context);
            }
            let (mut send, recv) = open.await.map_err(|error| failure(error.into()))?;
            if !asked.body.is_empty() {
                let sent = send.send(Message::data(asked.body)).await;
                sent.map_err(|error| failure(error.into()))?;
            }
            send.finish();
            Ok(Box::new(Received::new(recv)) as Box<dyn Replies>)
        })
    }

    fn describe(&self) -> Vec<Offer> {
        let routes = self.services.routes();
        let offers = routes.map(|(service, method, shape)| Offer {
            service: service.to_owned(),
            method: method.to_owned(),
            shape: match shape {
                valkyrie_endpoint::Shape::Notify => Shape::Notify,
                valkyrie_endpoint::Shape::Stream => Shape::Stream,
                _ => Shape::Unary,
            },
            about: String::new(),
        });
        offers.collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Connections hold their endpoints; without this they would go on with nobody to call.
        for connection in self.acceptor.connections() {
            connection.close();
        }
    }
}

struct Once(Option<Bytes>);

impl Replies for Once {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}

type Next = (Option<Result<Message, RecvError>>, RecvStream);

/// The messages of a stream. Dropped, it lets go of the stream, which cancels the handler.
struct Received(Pin<Box<dyn Future<Output = Next> + Send>>);

impl Received {
    fn new(recv: RecvStream) -> Self {
        Self(Box::pin(next(recv)))
    }
}

async fn next(mut recv: RecvStream) -> Next {
    let next = recv.recv().await.transpose();
    (next, recv)
}

impl Replies for Received {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        let (message, recv) = ready!(self.0.as_mut().poll(cx));
        self.0 = Box::pin(next(recv));
        Poll::Ready(message.map(|message| {
            message
                .map(|message| message.payload)
                .map_err(|error| failure(error.into()))
        }))
    }
}

fn dialler(memory: &MemTransport, security: Security) -> Result<Endpoint, BuildError> {
    Endpoint::builder()
        .transport(memory.clone())
        .security(security)
        .build()
}

fn fingerprint_of(identity: &Identity) -> Fingerprint {
    // One that was generated has a document.
    identity
        .fingerprint()
        .expect("a generated identity has a fingerprint")
}

fn failure(failure: valkyrie_endpoint::Failure) -> Failure {
    let mut translated = Failure::new(failure.code, failure.text.to_string());
    if failure.retry_after_ms > 0 {
        translated.retry_after = Some(Duration::from_millis(failure.retry_after_ms.into()));
    }
    translated
}

fn internal(error: &dyn std::error::Error) -> Failure {
    Failure::new(ErrorCode::INTERNAL, error.to_string())
}

/// The name and the role of clients without a token.
const NAME: &str = "gateway";

/// How many tokens have a connection kept for them. One costs some kilobytes, and a handshake when it is needed again.
pub const BEARERS_MAX: usize = 256;

/// How many connections for tokens are dialled at once: a handshake keeps a core for a third of a millisecond, and
/// anybody can make tokens up.
pub const DIALLING_MAX: usize = 4;
