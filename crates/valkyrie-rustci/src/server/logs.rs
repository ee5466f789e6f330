//! The stream `log`: bytes of one attempt from a runner into its [`Spool`](super::spool::Spool).

use std::sync::Arc;

use valkyrie_endpoint::{Context, ErrorCode, Extensions, Failure, Kind, Message, RecvStream, SendStream};

use super::Plane;
use super::spool::Spool;
use crate::log::LogRecord;
use crate::wire::{JobRef, LogFrame};

/// Messages that are written to disk at once: a megabyte of the longest.
const BATCH_MESSAGES: usize = 16;

/// What a batch of messages says.
#[derive(Default)]
struct Batch {
    records: Vec<LogRecord>,
    end: Option<u64>,
}

/// Serves one log stream until it ends. Every batch is acknowledged when it has been written.
pub(super) async fn serve(
    plane: Arc<Plane>,
    context: Context,
    mut send: SendStream,
    mut recv: RecvStream,
) -> Result<(), Failure> {
    let connection = context.connection().id();
    let mut log: Option<(JobRef, Arc<Spool>, u64)> = None;
    let mut arrived = Vec::new();
    while recv.recv_many(&mut arrived, BATCH_MESSAGES).await? > 0 {
        let mut batch = Batch::default();
        for message in arrived.drain(..) {
            let Some(frame) = read(&message) else { continue };
            if log.is_none() {
                log = Some(open(&plane, connection, place(&frame))?);
            }
            let own = log.as_ref().is_some_and(|(at, ..)| *at == place(&frame));
            match frame {
                LogFrame::Data { record, .. } if own => batch.records.push(record),
                LogFrame::End { offset, .. } if own => batch.end = Some(offset),
                _ => {}
            }
        }
        let Some((at, spool, writer)) = log.clone() else {
            continue;
        };
        let keeper = Arc::clone(&spool);
        let appended = tokio::task::spawn_blocking(move || {
            let appended = keeper.append(writer, batch.records)?;
            if batch.end == Some(appended.kept) {
                keeper.close();
            }
            Ok(appended)
        });
        let appended = appended
            .await
            .map_err(|error| Failure::new(ErrorCode::INTERNAL, error.to_string()))?;
        // The report may wait for these bytes, or for the news that none will be kept.
        plane.change(|state, now| state.try_settle(at, now));
        let appended = appended.map_err(|error: super::spool::Broken| {
            Failure::new(ErrorCode::RESOURCE_EXHAUSTED, error.to_string())
        })?;
        let offset = appended.kept;
        let answer = match appended.gap {
            true => LogFrame::Rewind { at, offset },
            false => LogFrame::Ack { at, offset },
        };
        send.send(write(&answer)?).await?;
    }
    Ok(())
}

/// The log that this connection's runner may write to.
fn open(plane: &Plane, connection: u64, at: JobRef) -> Result<(JobRef, Arc<Spool>, u64), Failure> {
    let spool = plane.look(|state, _| {
        let runner = state.registry.on_connection(connection);
        runner.map_or(Ok(None), |runner| state.spool(&plane.config, runner, at))
    });
    match spool {
        Ok(Some(spool)) => {
            let writer = spool.take_over();
            Ok((at, spool, writer))
        }
        Ok(None) => {
            let text = "the attempt is not this runner's; its log is not wanted";
            Err(Failure::new(ErrorCode::NOT_FOUND, text))
        }
        Err(error) => {
            let text = format!("the server cannot make a file for the log: {error}");
            Err(Failure::new(ErrorCode::RESOURCE_EXHAUSTED, text))
        }
    }
}

fn read(message: &Message) -> Option<LogFrame> {
    (message.kind == Kind::LOG)
        .then(|| LogFrame::decode(&message.payload).ok())
        .flatten()
}

fn write(frame: &LogFrame) -> Result<Message, Failure> {
    let payload = frame
        .encode()
        .map_err(|error| Failure::new(ErrorCode::INTERNAL, error.to_string()))?;
    Ok(Message {
        kind: Kind::LOG,
        extensions: Extensions::EMPTY,
        payload,
    })
}

fn place(frame: &LogFrame) -> JobRef {
    match frame {
        LogFrame::Data { at, .. }
        | LogFrame::End { at, .. }
        | LogFrame::Ack { at, .. }
        | LogFrame::Rewind { at, .. } => *at,
    }
}
