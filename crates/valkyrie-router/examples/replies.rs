//! A long list of replies from three nodes that go away one after the other while it is read: it arrives whole, each reply once.
//! `cargo run -p valkyrie-router --example replies`

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use valkyrie_endpoint::security::trust::FirstUse;
use valkyrie_endpoint::security::{Identity, Live, Security, Trust};
use valkyrie_endpoint::{AccessPolicy, Context, Endpoint, EndpointBuilder, ErrorCode, Failure};
use valkyrie_endpoint::{RecvStream, SendStream, Services};
use valkyrie_router::{StreamRouter, Target};
use valkyrie_transport::Locator;
use valkyrie_transport::mem::MemTransport;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const LINES: u64 = 30_000;

/// Somebody who trusts whom it meets within this machine.
fn endpoint(mem: &MemTransport, name: &str) -> Result<EndpointBuilder> {
    let identity = Identity::generate(name, std::time::SystemTime::now().into())?;
    let trust = Trust::default().with_first_use(FirstUse::Local);
    Ok(Endpoint::builder()
        .transport(mem.clone())
        .security(Security::new(Live::new(identity), Live::new(trust)))
        .on_first_use(|_| {})
        .policy(AccessPolicy::allow_authenticated()))
}

/// The service's part: after a given line every node gives the same lines in the same order.
async fn lines(_: Context, mut send: SendStream, mut recv: RecvStream) -> std::result::Result<(), Failure> {
    let request = recv.recv().await?.map(|message| message.payload);
    let after = request.and_then(|bytes| Some(u64::from_be_bytes(*bytes.first_chunk()?)));
    let after = after.ok_or_else(|| Failure::new(ErrorCode::INVALID_ARGUMENT, "not 8 bytes"))?;
    for line in after + 1..=LINES {
        send.send(Bytes::from(format!("line {line}"))).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let mem = MemTransport::new();
    let mut nodes = BTreeMap::<Locator, Endpoint>::new();
    for name in ["ann", "bob", "cid"] {
        let services = Services::builder().stream("log", "lines", lines).build()?;
        let node = endpoint(&mem, name)?.services(services).build()?;
        let place = node.listen(&*format!("mem://{name}")).await?;
        nodes.insert(place, node);
    }
    let router = StreamRouter::builder(endpoint(&mem, "reader")?.build()?)
        .fixed("log".parse()?, nodes.keys().cloned())
        .build();
    let log = router.route(Target::service("log".parse()?))?;

    // The caller's part: how to ask for what comes after so many lines.
    let after = |received: u64| Bytes::from(received.to_be_bytes().to_vec());
    let mut replies = log.replies(("log", "lines"), after).await?;
    while let Some(reply) = replies.recv().await? {
        let line = replies.received();
        assert_eq!(reply.payload, format!("line {line}"), "each once and in order");
        if line == 5_000 || line == 15_000 {
            let place = replies.locator().ok_or("it is somewhere")?;
            let node = nodes.remove(&place).ok_or("it was taken down already")?;
            show(&format!("line {line} came from {place}, which goes away"));
            node.drain(Duration::ZERO).await;
        }
    }
    show(&format!(
        "{} lines, each once and in order; the stream moved {} times",
        replies.received(),
        replies.moves()
    ));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn show(line: &str) {
    println!("{line}");
}
