//! Valkyrie: one binary protocol, one session and one API over any link.
//!
//! ```
//! use valkyrie::{AccessPolicy, Method, Services};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let services = Services::builder()
//!         .unary("greeter", "hello", |_, name| async move { Ok([b"Hello, ", &name[..]].concat().into()) })
//!         .build()?;
//!     let policy = AccessPolicy::allow_authenticated();
//!     let server = valkyrie::endpoint().services(services).policy(policy).build()?;
//!     let place = server.listen("tcp://127.0.0.1:0").await?;
//!
//!     let client = valkyrie::endpoint().build()?;
//!     let connection = client.connect(&place).await?;
//!     let hello = Method::new("greeter", "hello")?;
//!     let answer = connection.call(&hello, "Valkyrie").await?;
//!     assert_eq!(answer, "Hello, Valkyrie");
//!     Ok(())
//! }
//! ```
//!
//! This crate is the front door: it re-exports what programs use and knows the transports of the house. It has no
//! logic of its own but what puts services behind the gateway for plain HTTP clients (`gateway`). [`endpoint`] gives a builder that dials and listens on `tcp://host:port`, `uds:///path`,
//! `uds://@name` and `mem://name`; with the feature of that name also on `quic://host:port`, on `http://` and
//! `https://host:port`, on `rdma://host:port` (which wants CMake and libclang to build), on `redis://` and `rediss://host:port/node`, and on `ws://` and `wss://host:port/path`, and with `quic` it dials `auto://host:port`, which is QUIC where that gets through and TCP
//! where not. Another transport is one more call of [`transport`](EndpointBuilder::transport).
//!
//! | for | read |
//! |---|---|
//! | listening, dialling, draining | [`Endpoint`] |
//! | calling, notifying, opening streams | [`Connection`], [`Method`] |
//! | serving | [`Services`], [`Context`] |
//! | messages both ways | [`SendStream`], [`RecvStream`] |
//! | a connection that is kept up | [`Dialer`], [`Redial`] |
//! | who may call what | [`AccessPolicy`], [`PolicyHandle`] |
//! | who one is, and whom one trusts | [`Security`], [`Verified`], [`Expect`] |
//! | limits, shares, keepalive, budgets | [`Config`] |
//! | shares, limits and admission while connections live, from a file | [`Qos`], [`QosPolicy`] |
//! | calling whoever offers a service, of many | [`router`] and [`registry`] |
//! | the codec alone | `valkyrie-frame` |
//! | plain HTTP clients | the module `gateway`, with the feature of that name |
//! | a transport of one's own | [`Transport`], [`Listener`], [`Link`] |

#[cfg(feature = "gateway")]
pub mod gateway;

pub use valkyrie_endpoint::{
    AccessPolicy, AdmissionLimits, ApiMisuse, AuditSink, BuildError, Call, CallError, Class, CloseReason,
    Config, ConfigError, ConnectError, Connection, ConnectionStats, Context, CriticalRate, Culprit,
    DelayTarget, Dialer, DialerError, Endpoint, EndpointBuilder, ErrorCode, Expect, Extensions, Failure,
    HandshakeError, HandshakeLimits, IncomingStream, Keepalive, Kind, LimitChanges, Limits, Link, LinkInfo,
    ListenError, Listener, Locator, Message, Method, MethodError, Notify, NotifyError, Open, OpenError,
    PingError, PlainRule, Policy, PolicyHandle, Priority, Processed, Qos, QosClassStats, QosRefused,
    QosStats, RecvError, RecvStream, Redial, Refusal, Security, SecurityStats, SendError, SendStream,
    Services, ServicesBuilder, ServicesError, Shape, Shares, Side, Stats, ToLocator, ToMethod, Transport,
    TransportError, Verified, WhileDown,
};
pub use valkyrie_router::{Idempotent, QosError, QosHandle, QosPolicy, ServicePolicy};
pub use valkyrie_transport::mem::MemTransport;
#[cfg(feature = "http")]
pub use valkyrie_transport_http::HttpTransport;
#[cfg(feature = "quic")]
pub use valkyrie_transport_quic::QuicTransport;
#[cfg(feature = "rdma")]
pub use valkyrie_transport_rdma::RdmaTransport;
#[cfg(feature = "redis")]
pub use valkyrie_transport_redis::{RedisBus, RedisTransport};
pub use valkyrie_transport_tcp::TcpTransport;
pub use valkyrie_transport_uds::UdsTransport;
#[cfg(feature = "ws")]
pub use valkyrie_transport_ws::WsTransport;

/// The frame codec.
pub use valkyrie_frame as frame;
/// The session as a sans-IO state machine.
pub use valkyrie_proto as proto;
/// Who is here, and are they well: agents under leases in a store. [`registry::Presence`] keeps one registered, [`registry::View`] follows the
/// others. The store in one file is there with the feature `registry-embedded`; the one in etcd, stores that are served, and
/// fleets without one are crates beside this one (`valkyrie-registry`, `valkyrie-registry-remote`, `valkyrie-registry-swim`).
pub use valkyrie_registry as registry;
/// Which of many peers a message goes to: [`router::StreamRouter`] follows a registry, keeps connections, and goes around what fails.
pub use valkyrie_router as router;
/// Identities, trust, policies and suites.
pub use valkyrie_security as security;
/// The contracts that transports implement.
pub use valkyrie_transport as transport;

/// Starts building an endpoint that knows `tcp`, `uds` and `mem`, and what the features add. A transport added for one of these schemes takes the
/// place of the one that is there.
///
/// Connections are encrypted and both ends know who the other is. Without an identity the endpoint is somebody new for
/// as long as it lives, which is enough between programs of one machine; see [`EndpointBuilder::security`]. Nobody may
/// call anything that [`EndpointBuilder::policy`] does not permit.
///
/// `mem` names belong to the whole process, so that two endpoints of one program meet.
pub fn endpoint() -> EndpointBuilder {
    let builder = Endpoint::builder()
        .transport(TcpTransport::default())
        .transport(UdsTransport::default())
        .transport(MemTransport::process_wide());
    #[cfg(feature = "quic")]
    let builder = builder.transport(QuicTransport::default());
    #[cfg(feature = "http")]
    let builder = builder
        .transport(HttpTransport::new())
        .transport(HttpTransport::secure(
            transport::tls::Certificates::default(),
            transport::tls::Roots::default(),
        ));
    #[cfg(feature = "rdma")]
    let builder = builder.transport(RdmaTransport::new());
    #[cfg(feature = "redis")]
    let builder = builder
        .transport(RedisTransport::new())
        .transport(RedisTransport::secure(transport::tls::Roots::System));
    #[cfg(feature = "ws")]
    let builder = builder
        .transport(WsTransport::new())
        .transport(WsTransport::secure(
            transport::tls::Certificates::default(),
            transport::tls::Roots::default(),
        ));
    builder
}

/// The README's code is compiled and run with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
