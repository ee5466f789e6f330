//! A stream for each request, which is how quinn's own examples ask and answer.

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};

use super::NAME;
use crate::address::Address;
use crate::contender::{Client, Ready, Running};
use crate::failure::Failure;
use crate::load::{Caller, Done, Load, closed_loop};
use crate::scenario::Shape;

/// Answers each stream in a task of its own.
pub(in crate::contender) async fn serve(ready: Ready) -> Result<(), Failure> {
    super::accept(ready, |connection| async move {
        while let Ok((send, recv)) = connection.accept_bi().await {
            tokio::spawn(answer(send, recv));
        }
    })
    .await
}

/// A client that is gone has no use for an answer, and says so itself where it is not.
async fn answer(mut send: SendStream, mut recv: RecvStream) {
    if let Ok(request) = recv.read_to_end(REQUEST_MAX).await
        && send.write_chunk(request.into()).await.is_ok()
    {
        let _ = send.finish();
    }
}

/// Opens one connection.
pub(in crate::contender) async fn connect(address: &Address) -> Result<Box<dyn Client>, Failure> {
    let connection = super::open(address).await?;
    Ok(Box::new(Requests { connection }))
}

#[derive(Clone)]
struct Requests {
    connection: Connection,
}

impl Caller for Requests {
    async fn call(&mut self, payload: Bytes) -> Result<Bytes, Failure> {
        let opened = self.connection.open_bi().await;
        let (mut send, mut recv) = opened.map_err(Failure::of(NAME))?;
        send.write_chunk(payload).await.map_err(Failure::of(NAME))?;
        send.finish().map_err(Failure::of(NAME))?;
        let answer = recv.read_to_end(REQUEST_MAX).await;
        Ok(answer.map_err(Failure::of(NAME))?.into())
    }
}

impl Client for Requests {
    fn run<'a>(&'a mut self, shape: Shape, load: &'a Load) -> Running<'a, Done> {
        Box::pin(async move {
            match shape {
                Shape::Unary { .. } => closed_loop(self, load).await,
                Shape::Echo { .. } | Shape::Stream => Err(Failure::Control("streams nothing".to_owned())),
            }
        })
    }
}

/// More than is ever asked.
const REQUEST_MAX: usize = 1024 * 1024;
