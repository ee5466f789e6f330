//! A server and a client of one method, over a Unix socket: `cargo run --example echo`.

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use valkyrie::{AccessPolicy, Method, Services};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // The server: one method, answered in the pass that reads the request.
    let services = Services::builder()
        .unary("echo", "echo", |_context, payload| async move { Ok(payload) })
        .build()?;
    let policy = AccessPolicy::allow_authenticated();
    let server = valkyrie::endpoint().services(services).policy(policy).build()?;
    let path = std::env::temp_dir().join(format!("valkyrie-echo-{}.sock", std::process::id()));
    let place = server.listen(&format!("uds://{}", path.display())).await?;

    // The client. It could be any program on this machine; `tcp://host:port` would make it any machine.
    let client = valkyrie::endpoint().build()?;
    let connection = client.connect(&place).await?;
    let echo = Method::new("echo", "echo")?;
    let answer = connection
        .call(&echo, "hello")
        .timeout(Duration::from_secs(1))
        .await?;
    say(&format!("{} answered {answer:?}", connection.peer()));

    // A prepared method costs nothing to call again.
    let begun = Instant::now();
    for _ in 0..1000 {
        connection.call(&echo, Bytes::from_static(&[7; 64])).await?;
    }
    say(&format!(
        "1000 calls, one after the other: {:?} each",
        begun.elapsed() / 1000
    ));

    // Gently: both sides end what is running, then close.
    server.drain(Duration::from_secs(1)).await;
    Ok(())
}

/// Examples print; the crates themselves never do.
#[allow(clippy::print_stdout)]
fn say(text: &str) {
    println!("{text}");
}
