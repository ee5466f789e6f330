//! Both sides call each other over one connection, and a deadline holds for all of it:
//! `cargo run --example bidirectional`.

use std::error::Error;
use std::time::Duration;

use valkyrie::{AccessPolicy, CallError, Services};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Nobody may call anything on either side unless a policy says so.
    let policy = AccessPolicy::allow_authenticated;
    // The server asks its caller for its name before it answers. The nested call inherits what is left of the
    // caller's deadline by itself.
    let services = Services::builder()
        .unary("greeter", "greet", |context, greeting| async move {
            let name = context.connection().call(("client", "name"), "").await?;
            Ok([&greeting[..], b", ", &name[..]].concat().into())
        })
        .build()?;
    let server = valkyrie::endpoint().services(services).policy(policy()).build()?;
    server.listen("mem://greeter").await?;

    // A client serves on the connection that it dialled.
    let friendly = Services::builder()
        .unary("client", "name", |_, _| async { Ok("Brynhild".into()) })
        .build()?;
    let client = valkyrie::endpoint().services(friendly).policy(policy()).build()?;
    let connection = client.connect("mem://greeter").await?;
    let answer = connection.call(("greeter", "greet"), "Hail").await?;
    say(&format!("the server says: {}", String::from_utf8_lossy(&answer)));

    // One that never says its name holds the server up no longer than the deadline.
    let silent = Services::builder()
        .unary("client", "name", |_, _| std::future::pending())
        .build()?;
    let client = valkyrie::endpoint().services(silent).policy(policy()).build()?;
    let connection = client.connect("mem://greeter").await?;
    let call = connection
        .call(("greeter", "greet"), "Hail")
        .timeout(Duration::from_millis(100));
    match call.await {
        Err(error @ (CallError::DeadlineExceeded | CallError::Failed(_))) => {
            say(&format!("and then: {error}"))
        }
        other => say(&format!("unexpected: {other:?}")),
    }
    Ok(())
}

/// Examples print; the crates themselves never do.
#[allow(clippy::print_stdout)]
fn say(text: &str) {
    println!("{text}");
}
