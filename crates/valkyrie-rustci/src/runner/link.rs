//! One connection of a runner to its server, from `register` to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use valkyrie_endpoint::{
    CallError, Class, Connection, ErrorCode, Extensions, Kind, Message, Processed, RecvError, RecvStream,
    SendStream,
};

use super::RunnerNews;
use super::hub::Hub;
use super::log_out::LogOut;
use crate::wire::{
    FromRunner, FromServer, JobRef, LogFrame, METHOD_JOBS, METHOD_LOG, METHOD_REGISTER, PROTOCOL, Registered,
    SERVICE,
};

/// How long the server may take to answer `register`.
const REGISTER_WITHIN: Duration = Duration::from_secs(10);
/// The shortest lease that is believed: below it a runner would do nothing but renew.
const LEASE_MIN: Duration = Duration::from_millis(300);

/// Why a connection was left.
pub(super) enum Left {
    /// The runner is stopping and everything is settled.
    Done,
    /// The server will never take this runner.
    Refused(String),
    /// The connection is of no use any more.
    Broken(String),
}

/// Registers and works until the connection ends or there is nothing left to do.
pub(super) async fn serve(hub: &Arc<Hub>, connection: &Connection) -> Left {
    let lease = match register(hub, connection).await {
        Ok(lease) => lease,
        Err(left) => return left,
    };
    match connection.open((SERVICE, METHOD_JOBS)).class(Class::Job).await {
        Ok((send, recv)) => work(hub, connection, send, recv, lease).await,
        Err(error) => Left::Broken(error.to_string()),
    }
}

async fn register(hub: &Hub, connection: &Connection) -> Result<Duration, Left> {
    let broken = |error: &dyn std::error::Error| Left::Broken(error.to_string());
    let registration = hub
        .registration()
        .encode()
        .map_err(|error| Left::Refused(error.to_string()))?;
    let call = connection.call((SERVICE, METHOD_REGISTER), registration);
    let answer = call
        .class(Class::Job)
        .timeout(REGISTER_WITHIN)
        .await
        .map_err(|error| match &error {
            CallError::Failed(failure)
                if failure.retry_after_ms == 0
                    && (error.processed() == Processed::Yes
                        || failure.code == ErrorCode::PERMISSION_DENIED) =>
            {
                Left::Refused(failure.to_string())
            }
            _ => Left::Broken(error.to_string()),
        })?;
    let registered = Registered::decode(&answer).map_err(|error| broken(&error))?;
    if registered.protocol != PROTOCOL {
        return Err(Left::Refused(format!(
            "it speaks protocol {} of jobs",
            registered.protocol
        )));
    }
    hub.registered(registered.runner, &registered.stop);
    hub.news(RunnerNews::Registered {
        peer: connection.peer().to_owned(),
    });
    Ok(Duration::from_millis(registered.lease_ms).max(LEASE_MIN))
}

async fn work(
    hub: &Arc<Hub>,
    connection: &Connection,
    send: SendStream,
    mut recv: RecvStream,
    lease: Duration,
) -> Left {
    let mut logs = JoinSet::new();
    let mut send = Some(send);
    let mut renew = interval(lease / 3);
    renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard_by = Instant::now() + lease;
    let mut broken = Vec::new();
    loop {
        for (at, log) in hub.take_unstreamed() {
            logs.spawn(send_log(connection.clone(), at, log));
        }
        while let Some(message) = hub.take_message() {
            let Some(send) = &mut send else { break };
            let message = match to_message(&message) {
                Ok(message) => message,
                Err(reason) => return Left::Broken(reason),
            };
            if let Err(error) = send.send(message).await {
                return Left::Broken(error.to_string());
            }
        }
        if hub.is_done() {
            // The end of the stream is the last word: the server forgets the runner at once.
            if let Some(send) = send.take() {
                send.finish();
            }
            let _ = tokio::time::timeout(super::GOODBYE, recv.recv()).await;
            return Left::Done;
        }
        tokio::select! {
            heard = recv.recv() => match heard {
                Ok(Some(message)) => {
                    // What cannot be read is ignored, as a server may be newer than this runner.
                    if let Ok(message) = FromServer::decode(message.kind.byte(), &message.payload) {
                        if matches!(message, FromServer::Lease(_)) {
                            heard_by = Instant::now() + lease;
                        }
                        hear(hub, message);
                    }
                }
                Ok(None) => return Left::Broken(String::from("the server ended the stream of jobs")),
                Err(error) => return Left::Broken(error.to_string()),
            },
            () = hub.wake.notified() => {}
            _ = renew.tick() => {
                // By the next renewal the server has said if it does not want the attempt.
                hub.stream_again(broken.drain(..));
                hub.renew_lease();
            }
            () = sleep_until(heard_by) => {
                return Left::Broken(format!("the server did not renew the lease within {lease:?}"));
            }
            Some(ended) = logs.join_next() => match ended {
                Ok(LogEnd::Refused(at)) => hub.log_refused(at),
                Ok(LogEnd::Broken(at)) => broken.push(at),
                Ok(LogEnd::Over) | Err(_) => {}
            },
        }
    }
}

fn hear(hub: &Arc<Hub>, message: FromServer) {
    match message {
        FromServer::Request(request) => hub.offered(request),
        FromServer::Cancel(cancel) => hub.cancelled(&cancel),
        FromServer::Lease(lease) => hub.stopped(&lease.stop),
        FromServer::Settled(settled) => hub.settled(&settled),
        FromServer::Status(_) => {}
    }
}

fn to_message(message: &FromRunner) -> Result<Message, String> {
    Ok(Message {
        kind: Kind::from_byte(message.kind().code()),
        extensions: Extensions::EMPTY,
        payload: message.encode().map_err(|error| error.to_string())?,
    })
}

/// How a log stream ended.
enum LogEnd {
    /// Nothing is left to send.
    Over,
    /// The server keeps no more of this log.
    Refused(JobRef),
    /// The stream broke. If the attempt is still wanted, another stream takes its place.
    Broken(JobRef),
}

impl LogEnd {
    fn after(error: &RecvError, at: JobRef) -> Self {
        match error {
            RecvError::Reset(failure) if failure.code == ErrorCode::RESOURCE_EXHAUSTED => Self::Refused(at),
            _ => Self::Broken(at),
        }
    }
}

/// Sends one attempt's log on this connection.
async fn send_log(connection: Connection, at: JobRef, log: Arc<LogOut>) -> LogEnd {
    while !log.has_something() {
        if log.is_over() {
            return LogEnd::Over;
        }
        log.ready.notified().await;
    }
    log.rewind();
    let opened = connection.open((SERVICE, METHOD_LOG)).class(Class::Data).await;
    let Ok((mut send, mut recv)) = opened else {
        return LogEnd::Broken(at);
    };
    let mut next: Option<Message> = None;
    while !log.is_over() {
        if next.is_none() {
            next = log
                .poll_send()
                .and_then(|frame| frame.encode().ok())
                .map(log_message);
        }
        // A message whose sending is cut short by an answer was not sent, and goes again.
        let message = next.clone();
        tokio::select! {
            biased;
            answer = recv.recv() => match answer {
                Ok(Some(message)) => if hear_log(&log, at, &message) {
                    next = None;
                },
                Ok(None) => return LogEnd::Broken(at),
                Err(error) => return LogEnd::after(&error, at),
            },
            sent = async { match message {
                Some(message) => send.send(message).await,
                None => std::future::pending().await,
            } } => {
                next = None;
                if sent.is_err() {
                    // The answer says why, if there is one.
                    return recv.recv().await.map_or_else(|error| LogEnd::after(&error, at), |_| LogEnd::Broken(at));
                }
            }
            () = log.ready.notified() => {}
        }
    }
    send.finish();
    LogEnd::Over
}

/// Takes in an answer, and says whether sending begins again further back.
fn hear_log(log: &LogOut, at: JobRef, message: &Message) -> bool {
    match LogFrame::decode(&message.payload) {
        Ok(LogFrame::Ack { at: about, offset }) if about == at => log.acknowledge(offset),
        Ok(LogFrame::Rewind { at: about, offset }) if about == at => {
            log.acknowledge(offset);
            log.rewind();
            return true;
        }
        _ => {}
    }
    false
}

fn log_message(payload: bytes::Bytes) -> Message {
    Message {
        kind: Kind::LOG,
        extensions: Extensions::EMPTY,
        payload,
    }
}
