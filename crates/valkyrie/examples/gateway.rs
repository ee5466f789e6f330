//! A room that web pages and curl can talk in: `say` is a call, `hear` a stream of events.
//!
//! ```text
//! cargo run -p valkyrie --features gateway --example gateway -- http://127.0.0.1:8080 https://app.example.org
//! curl -N -X POST -H 'accept: text/event-stream' http://127.0.0.1:8080/v2/call/room/hear
//! curl -d hello http://127.0.0.1:8080/v2/call/room/say
//! ```
//!
//! The first argument is where to listen, the others are the origins whose pages may call.

use std::env;
use std::io::{self, Write};

use bytes::Bytes;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use valkyrie::gateway::{Gateway, Node};
use valkyrie::{AccessPolicy, Endpoint, ErrorCode, Failure, Services};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args().skip(1);
    let place = arguments
        .next()
        .unwrap_or_else(|| "http://127.0.0.1:8080".to_owned());
    let (room, _) = broadcast::channel::<Bytes>(WORDS_MAX);
    let heard = room.clone();
    let services = Services::builder()
        .unary("room", "say", move |_, words| {
            // An error says that nobody is there, which is no reason not to talk.
            let listeners = room.send(words).unwrap_or(0);
            async move { Ok(Bytes::from(listeners.to_string())) }
        })
        .stream("room", "hear", move |_, mut send, _| {
            let mut words = heard.subscribe();
            async move {
                send.send(Bytes::from_static(b"welcome")).await?;
                loop {
                    match words.recv().await {
                        Ok(words) => send.send(words).await?,
                        Err(RecvError::Closed) => return Ok(()),
                        Err(RecvError::Lagged(missed)) => {
                            let text = format!("you hear too slowly, and missed {missed}");
                            return Err(Failure::new(ErrorCode::OVERLOADED, text));
                        }
                    }
                }
            }
        })
        .build()?;
    let policy = AccessPolicy::allow_authenticated();
    let node = Node::new(Endpoint::builder().services(services).policy(policy)).await?;
    let gateway = Gateway::new(node).with_origins(arguments);
    let server = gateway.listen(&place.parse()?).await?;
    writeln!(io::stdout(), "gateway on {}", server.locator())?;
    server.run(std::future::pending()).await;
    Ok(())
}

/// What is said waits for slow listeners up to here.
const WORDS_MAX: usize = 64;
