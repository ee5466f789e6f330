//! Messages both ways on one stream, with back-pressure: `cargo run --example streaming`.

use std::error::Error;

use bytes::Bytes;
use valkyrie::{AccessPolicy, Class, ErrorCode, Failure, Services};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Adds up what arrives and sends every sum back. `recv` returns credit, so a handler that is slow slows its
    // sender down and nobody else; `?` resets the stream with the reason.
    let services = Services::builder()
        .stream("sums", "running", |_context, mut send, mut recv| async move {
            let mut sum = 0_u64;
            while let Some(message) = recv.recv().await? {
                let number = message.payload.as_ref().try_into();
                let number = number.map_err(|_| Failure::new(ErrorCode::INVALID_ARGUMENT, "not 8 bytes"))?;
                sum += u64::from_be_bytes(number);
                send.send(Bytes::copy_from_slice(&sum.to_be_bytes())).await?;
            }
            Ok(())
        })
        .build()?;
    let policy = AccessPolicy::allow_authenticated();
    let server = valkyrie::endpoint().services(services).policy(policy).build()?;
    let place = server.listen("tcp://127.0.0.1:0").await?;

    let client = valkyrie::endpoint().build()?;
    let connection = client.connect(&place).await?;
    let (mut send, mut recv) = connection.open(("sums", "running")).class(Class::Job).await?;
    let sending = tokio::spawn(async move {
        for number in 1..=100_000_u64 {
            send.send(Bytes::copy_from_slice(&number.to_be_bytes())).await?;
        }
        // Without this the other side would see a stream that broke off.
        send.finish();
        Ok::<_, valkyrie::SendError>(())
    });

    let (mut count, mut last) = (0, 0);
    while let Some(message) = recv.recv().await? {
        last = u64::from_be_bytes(message.payload.as_ref().try_into()?);
        count += 1;
    }
    sending.await??;
    say(&format!("{count} sums came back, the last is {last}"));
    Ok(())
}

/// Examples print; the crates themselves never do.
#[allow(clippy::print_stdout)]
fn say(text: &str) {
    println!("{text}");
}
