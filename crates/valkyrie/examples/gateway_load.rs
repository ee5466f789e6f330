//! A bare axum handler, a gateway before nothing, and a gateway before a node, to be loaded by the same line of h2load:
//!
//! ```text
//! cargo run --release -p valkyrie --features gateway --example gateway_load
//! h2load -n 200000 -c 16 -m 16 -d message http://127.0.0.1:PORT/v2/call/echo/echo
//! ```
//!
//! All answer with the body they were sent. `--h1` to h2load measures HTTP/1.1.

use std::io::{self, Write};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use axum::serve::ListenerExt;
use valkyrie::gateway::{Asked, Failure, Gateway, Node, Replies, Upstream};
use valkyrie::transport::BoxFuture;
use valkyrie::{AccessPolicy, Endpoint, Services};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bare = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let mut out = io::stdout();
    writeln!(
        out,
        "bare axum on http://{}/v2/call/echo/echo",
        bare.local_addr()?
    )?;
    let router = Router::new().route("/v2/call/echo/echo", post(|body: Bytes| async move { body }));
    // As a gateway has it: an answer is on its way when it is written.
    let bare = bare.tap_io(|tcp| drop(tcp.set_nodelay(true)));
    tokio::spawn(async move { axum::serve(bare, router).await });

    let server = Gateway::new(Echo).listen(&"http://127.0.0.1:0".parse()?).await?;
    writeln!(
        out,
        "gateway before nothing on {}/v2/call/echo/echo",
        server.locator()
    )?;
    tokio::spawn(server.run(std::future::pending()));

    let services = Services::builder()
        .unary("echo", "echo", |_, payload| async move { Ok(payload) })
        .build()?;
    let policy = AccessPolicy::allow_authenticated();
    let node = Node::new(Endpoint::builder().services(services).policy(policy)).await?;
    let server = Gateway::new(node).listen(&"http://127.0.0.1:0".parse()?).await?;
    writeln!(
        out,
        "gateway before a node on {}/v2/call/echo/echo",
        server.locator()
    )?;
    server.run(std::future::pending()).await;
    Ok(())
}

struct Echo;

impl Upstream for Echo {
    fn call(&self, asked: Asked) -> BoxFuture<'_, Result<Bytes, Failure>> {
        Box::pin(async move { Ok(asked.body) })
    }

    fn stream(&self, _: Asked) -> BoxFuture<'_, Result<Box<dyn Replies>, Failure>> {
        Box::pin(async { Err(Failure::not_found("nothing streams here")) })
    }
}
