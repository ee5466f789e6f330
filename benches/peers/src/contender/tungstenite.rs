//! tokio-tungstenite: each message is one of WebSocket's. What is sent together is fed to it and then flushed, and the echo
//! answers all that is there with one flush.

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use super::messages::{self, Incoming, MessageClient, Outgoing};
use super::{Client, Ready};
use crate::address::{Address, Socket};
use crate::failure::Failure;
use crate::frames::{self, Listener};

/// Accepts and serves each connection in a task of its own.
pub(super) async fn serve(socket: Socket, ready: Ready) -> Result<(), Failure> {
    let (Listener::Tcp(listener), address) = Listener::bind(socket).await? else {
        return Err(Failure::Control(format!("speaks no WebSocket over {socket}")));
    };
    ready(address);
    let refused = Failure::io("accept");
    loop {
        let (stream, _) = listener.accept().await.map_err(&refused)?;
        stream.set_nodelay(true).map_err(&refused)?;
        tokio::spawn(async move {
            // A client that goes away ends its connection, and that is all there is to say about it.
            if let Ok(accepted) = accept_async(stream).await {
                let (send, recv) = accepted.split();
                let _ = messages::serve(Sending(send), Receiving(recv)).await;
            }
        });
    }
}

/// Opens a connection for each purpose; only one is used in a window.
pub(super) async fn connect(address: &Address) -> Result<Box<dyn Client>, Failure> {
    let client = MessageClient::announced(open(address).await?, open(address).await?);
    Ok(Box::new(client.await?))
}

async fn open(address: &Address) -> Result<(Sending, Receiving), Failure> {
    let stream = frames::dial_tcp(address.port()?).await?;
    let opened = client_async("ws://localhost/", stream).await;
    let (send, recv) = opened.map_err(Failure::of(NAME))?.0.split();
    Ok((Sending(send), Receiving(recv)))
}

type Connection = WebSocketStream<TcpStream>;

struct Sending(SplitSink<Connection, Message>);

impl Outgoing for Sending {
    async fn send(&mut self, messages: &mut Vec<Bytes>) -> Result<(), Failure> {
        for message in messages.drain(..) {
            let fed = self.0.feed(Message::Binary(message)).await;
            fed.map_err(Failure::of(NAME))?;
        }
        self.0.flush().await.map_err(Failure::of(NAME))
    }
}

struct Receiving(SplitStream<Connection>);

impl Incoming for Receiving {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let next = self.0.next().await.transpose();
        Ok(next.map_err(Failure::of(NAME))?.map(Message::into_data))
    }

    fn ready(&mut self) -> Result<Option<Bytes>, Failure> {
        let next = self.0.next().now_or_never().flatten().transpose();
        Ok(next.map_err(Failure::of(NAME))?.map(Message::into_data))
    }
}

const NAME: &str = "tungstenite";
