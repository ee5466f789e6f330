//! The workers: each does the same over and over, and says when it is done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use valkyrie::{Class, Connection, Message, Method, RecvStream, SendStream};

use super::meter::Meter;
use super::pacer::Pacer;
use super::{Shape, is_passing};
use crate::exit::{CliError, Exit};

/// What all workers share.
pub(crate) struct Load {
    pub(crate) method: Method,
    pub(crate) payload: Bytes,
    pub(crate) class: Class,
    pub(crate) in_flight: usize,
    pub(crate) timeout: Duration,
    pub(crate) meter: Meter,
    /// When messages are due; `None` in a closed loop, where they are due at once.
    pub(crate) pacer: Option<Pacer>,
    /// Messages that may still begin; `None` where only the time is bounded.
    pub(crate) left: Option<AtomicU64>,
    pub(crate) stopped: watch::Receiver<bool>,
}

impl Load {
    /// Whether no message begins any more.
    fn is_over(&self) -> bool {
        let used_up = |left: &AtomicU64| left.load(Ordering::Relaxed) == 0;
        *self.stopped.borrow() || self.left.as_ref().is_some_and(used_up)
    }

    /// Waits until a message is due; `None` at the end. Whoever gets a time sends a message.
    ///
    /// Nothing of the count is taken before the last wait is over, so that a wait which is given up costs no message.
    async fn next_due(&self, stopped: &mut watch::Receiver<bool>) -> Option<Instant> {
        if self.is_over() {
            return None;
        }
        let due = match &self.pacer {
            None => Instant::now(),
            Some(pacer) => tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return None,
                due = pacer.next() => due,
            },
        };
        self.take_one().then_some(due)
    }

    /// When the next message is due, if it already is.
    fn try_next_due(&self) -> Option<Instant> {
        let due = match &self.pacer {
            None => Instant::now(),
            Some(pacer) => pacer.try_next()?,
        };
        self.take_one().then_some(due)
    }

    /// Takes one of the messages that may still begin.
    fn take_one(&self) -> bool {
        self.left.as_ref().is_none_or(|left| {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok()
        })
    }

    /// Messages that are due at `now`, that are wanted, and that nobody was free to send.
    pub(crate) fn overdue(&self, now: Instant) -> u64 {
        let due = self.pacer.as_ref().map_or(0, |pacer| pacer.overdue(now));
        let wanted = self.left.as_ref().map(|left| left.load(Ordering::Relaxed));
        due.min(wanted.unwrap_or(u64::MAX))
    }

    fn message(&self) -> Message {
        Message::data(self.payload.clone())
    }

    /// An answer that is not the request's bytes measures nothing.
    fn check(&self, answer: &Bytes) -> Result<(), CliError> {
        if answer.len() == self.payload.len() {
            return Ok(());
        }
        Err(CliError::new(
            Exit::Protocol,
            format!("the peer echoed {} bytes of {}", answer.len(), self.payload.len()),
        ))
    }
}

/// Starts the workers of one connection.
pub(crate) fn spawn(
    shape: Shape,
    load: &Arc<Load>,
    shard: usize,
    connection: &Connection,
    workers: &mut JoinSet<Result<(), CliError>>,
) {
    let workers_here = if shape == Shape::Unary { load.in_flight } else { 1 };
    for _ in 0..workers_here {
        let (load, connection) = (Arc::clone(load), connection.clone());
        workers.spawn(async move {
            match shape {
                Shape::Unary => unary(&load, shard, &connection).await,
                Shape::Stream => stream(&load, shard, &connection).await,
                Shape::OneWay => one_way(&load, shard, &connection).await,
                Shape::Notify => notify(&load, shard, &connection).await,
            }
        });
    }
}

async fn unary(load: &Load, shard: usize, connection: &Connection) -> Result<(), CliError> {
    let mut stopped = load.stopped.clone();
    while let Some(due) = load.next_due(&mut stopped).await {
        let call = connection
            .call(&load.method, load.payload.clone())
            .class(load.class)
            .timeout(load.timeout);
        match call.await {
            Ok(answer) => {
                load.check(&answer)?;
                load.meter.done_at(shard, due, Instant::now());
            }
            Err(error) if is_passing(&error) => load.meter.failed(shard),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn stream(load: &Load, shard: usize, connection: &Connection) -> Result<(), CliError> {
    let (mut send, mut recv) = connection.open(&load.method).class(load.class).await?;
    let mut stopped = load.stopped.clone();
    // Since the echo keeps the order, the oldest time belongs to the next message that comes back.
    let mut due_times: VecDeque<Instant> = VecDeque::new();
    let mut unsent: VecDeque<Message> = VecDeque::new();
    let mut arrived = Vec::new();
    loop {
        let over = load.is_over();
        while !over && due_times.len() < load.in_flight {
            let Some(due) = load.try_next_due() else { break };
            due_times.push_back(due);
            unsent.push_back(load.message());
        }
        if over && due_times.is_empty() {
            break;
        }
        let waits_for_due = !over && due_times.len() < load.in_flight;
        tokio::select! {
            sent = send.send_many(&mut unsent), if !unsent.is_empty() => { sent?; }
            received = recv.recv_many(&mut arrived, BATCH_MESSAGES) => {
                if received? == 0 {
                    return Err(CliError::new(Exit::Failed, "the peer ended the stream before the benchmark did"));
                }
                for message in &arrived {
                    load.check(&message.payload)?;
                }
                let done = arrived.len().min(due_times.len());
                load.meter.all_done_at(shard, due_times.drain(..done), Instant::now());
                arrived.clear();
            }
            due = load.next_due(&mut stopped), if waits_for_due => {
                if let Some(due) = due {
                    due_times.push_back(due);
                    unsent.push_back(load.message());
                }
            }
        }
    }
    send.finish();
    Ok(())
}

async fn one_way(load: &Load, shard: usize, connection: &Connection) -> Result<(), CliError> {
    let (mut send, recv) = connection.open(&load.method).class(load.class).await?;
    let mut stopped = load.stopped.clone();
    let mut unsent: VecDeque<Message> = VecDeque::new();
    let mut total = 0_u64;
    while load.next_due(&mut stopped).await.is_some() {
        unsent.push_back(load.message());
        while unsent.len() < BATCH_MESSAGES && load.try_next_due().is_some() {
            unsent.push_back(load.message());
        }
        while !unsent.is_empty() {
            let sent = send.send_many(&mut unsent).await?;
            load.meter.sent(shard, sent);
            total += sent as u64;
        }
    }
    confirm(send, recv, total).await
}

/// What `echo/discard` says at the end.
#[derive(Deserialize)]
struct Discarded {
    messages: u64,
}

/// Ends the stream and compares what the peer counted with what was sent.
async fn confirm(send: SendStream, mut recv: RecvStream, total: u64) -> Result<(), CliError> {
    send.finish();
    let message = recv.recv().await?;
    let counted = message.and_then(|message| serde_json::from_slice::<Discarded>(&message.payload).ok());
    match counted {
        Some(Discarded { messages }) if messages == total => Ok(()),
        Some(Discarded { messages }) => Err(CliError::new(
            Exit::Protocol,
            format!("{total} messages were sent and the peer counted {messages}"),
        )),
        None => Err(CliError::new(
            Exit::Failed,
            "the peer did not say how many messages it took",
        )),
    }
}

async fn notify(load: &Load, shard: usize, connection: &Connection) -> Result<(), CliError> {
    let mut stopped = load.stopped.clone();
    while load.next_due(&mut stopped).await.is_some() {
        connection
            .notify(&load.method, load.payload.clone())
            .class(load.class)
            .await?;
        load.meter.sent(shard, 1);
    }
    // Nothing is answered. But messages of one class keep their order on a connection, so the peer has taken every
    // notification when it answers a call of the same class that was made behind them.
    let call = connection
        .call(("echo", "echo"), Bytes::new())
        .class(load.class)
        .timeout(load.timeout);
    call.await?;
    Ok(())
}

/// Messages handled at once: enough to make a lock free, few enough to stay in the cache.
const BATCH_MESSAGES: usize = 256;
