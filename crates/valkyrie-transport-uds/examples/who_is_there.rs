//! A listener that knows who connects: `cargo run -p valkyrie-transport-uds --example who_is_there`.

#[cfg(unix)]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::io::{self, Write};

    use valkyrie_transport::{Locator, Transport, accept};
    use valkyrie_transport_uds::UdsTransport;

    let path = std::env::temp_dir().join(format!("who-is-there-{}.sock", std::process::id()));
    let place = Locator::new(
        "uds",
        path.to_str().ok_or("the temporary directory is not UTF-8")?,
    )?;

    // Only this user may connect.
    let transport = UdsTransport::new().with_mode(Some(0o600));
    let mut listener = transport.listen(&place).await?;
    let _client = transport.dial(&place).await?;
    let server = accept(&mut *listener).await?;
    writeln!(io::stdout(), "{}", server.peer())?;
    writeln!(io::stdout(), "{:?}", server.capabilities().peer_credentials)?;

    drop(listener);
    writeln!(io::stdout(), "the socket file is gone: {}", !path.exists())?;
    Ok(())
}

#[cfg(not(unix))]
fn main() {}
