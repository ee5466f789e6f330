//! Two endpoints and a connection between them.

use std::time::Duration;

use bytes::Bytes;
use valkyrie_endpoint::{AccessPolicy, Config, Connection, Endpoint, Services};
use valkyrie_transport::mem::MemTransport;

/// A server, a client and what connects them. Dropping it ends all of them.
pub(crate) struct Pair {
    pub(crate) server: Endpoint,
    pub(crate) client: Endpoint,
    pub(crate) connection: Connection,
    pub(crate) transport: MemTransport,
}

impl Pair {
    pub(crate) async fn new(services: Services) -> Self {
        Self::with(services, Services::default(), Config::default()).await
    }

    pub(crate) async fn with(services: Services, client_services: Services, config: Config) -> Self {
        Self::permitting(
            AccessPolicy::allow_authenticated(),
            services,
            client_services,
            config,
        )
        .await
    }

    /// A pair of which both sides may do what `policy` says.
    pub(crate) async fn permitting(
        policy: AccessPolicy,
        services: Services,
        client_services: Services,
        config: Config,
    ) -> Self {
        let transport = MemTransport::new();
        let build = |services| {
            let builder = Endpoint::builder().transport(transport.clone());
            let builder = builder.services(services).config(config.clone());
            builder.policy(policy.clone()).build().unwrap()
        };
        let (server, client) = (build(services), build(client_services));
        server.listen("mem://server").await.unwrap();
        let connection = client.connect("mem://server").await.unwrap();
        Self {
            server,
            client,
            connection,
            transport,
        }
    }

    /// The server's side of the connection.
    pub(crate) async fn accepted(&self) -> Connection {
        loop {
            if let Some(connection) = self.server.connections().pop() {
                return connection;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Answers what it is sent.
pub(crate) fn echo() -> Services {
    Services::builder()
        .unary("echo", "echo", |_, payload| async move { Ok(payload) })
        .build()
        .unwrap()
}

/// Longer than anything in these tests takes: a hang fails instead of hanging.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("took more than a minute")
}

pub(crate) fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}
