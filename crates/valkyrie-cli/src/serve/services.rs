//! The built-in services: echo to try things with, health for supervisors, describe for the curious.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use valkyrie::{
    Class, Endpoint, ErrorCode, Failure, Message, RecvStream, SendStream, Services, ServicesBuilder,
};

use crate::links::LinkReport;
use crate::process;
use crate::units::parse_duration;

/// What the handlers share.
pub(crate) struct State {
    pub(crate) begun: Instant,
    /// Set once the endpoint is built, which needs the handlers first.
    pub(crate) endpoint: OnceLock<Endpoint>,
}

/// What `health/process` answers: what the process has used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ProcessReport {
    pub(crate) pid: u32,
    /// User and system time of all threads.
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) uptime_seconds: f64,
    pub(crate) connections: usize,
}

/// Puts the services together.
pub(crate) fn builder(state: &Arc<State>) -> ServicesBuilder {
    let (process, describe) = (Arc::clone(state), Arc::clone(state));
    let (node, qos) = (Arc::clone(state), Arc::clone(state));
    Services::builder()
        .unary("echo", "echo", |_, payload| async move { Ok(payload) })
        .unary("echo", "delay", |_, payload| delay(payload))
        .unary(
            "echo",
            "fail",
            |_, payload| async move { Err(failure_of(&payload)) },
        )
        .notify("echo", "notify", |_, _| async {})
        .stream("echo", "stream", |_, send, recv| echo_stream(send, recv))
        .stream("echo", "discard", |_, send, recv| discard(send, recv))
        .unary("health", "check", |_, _| async {
            Ok(Bytes::from_static(br#"{"status":"serving"}"#))
        })
        .unary("health", "process", move |_, _| {
            let report = report(&process);
            async move { to_json(&report) }
        })
        .unary("describe", "services", move |_, _| {
            let description = description(&describe);
            async move { to_json(&description) }
        })
        .unary("node", "links", move |_, _| {
            let node = Arc::clone(&node);
            async move { to_json(&links(&node).await) }
        })
        .unary("node", "qos", move |_, _| {
            let report = qos_report(&qos);
            async move { to_json(&report) }
        })
}

/// What is done for the quality of service, on all connections together.
fn qos_report(state: &State) -> serde_json::Value {
    let stats = state.endpoint.get().map(Endpoint::qos_stats).unwrap_or_default();
    let classes = Class::ALL.map(|class| {
        let stats = stats.class(class);
        json!({
            "class": class.name(),
            "in_progress": stats.in_progress,
            "refused": stats.refused,
        })
    });
    json!({"version": stats.version, "classes": classes})
}

/// What carries each connection there is, and how far away the peer is now.
async fn links(state: &State) -> Vec<LinkReport> {
    let connections = state.endpoint.get().map_or_else(Vec::new, Endpoint::connections);
    let mut asked = tokio::task::JoinSet::new();
    for connection in connections.iter().take(PINGED_MAX) {
        let connection = connection.clone();
        asked.spawn(async move {
            let answered = tokio::time::timeout(PING_PATIENCE, connection.ping()).await;
            (connection.id(), answered.ok().and_then(Result::ok))
        });
    }
    let mut delays = std::collections::HashMap::new();
    while let Some(asked) = asked.join_next().await {
        if let Ok((id, Some(delay))) = asked {
            delays.insert(id, delay);
        }
    }
    let mut links: Vec<LinkReport> = connections
        .iter()
        .map(|connection| LinkReport::of(connection, delays.get(&connection.id()).copied()))
        .collect();
    links.sort_by_key(|link| link.id);
    links
}

/// Connections that are asked how far away they are; of further ones the last that is known is told.
const PINGED_MAX: usize = 1000;

/// How long an answer to that may take.
const PING_PATIENCE: Duration = Duration::from_secs(1);

/// Gives every message back.
async fn echo_stream(mut send: SendStream, mut recv: RecvStream) -> Result<(), Failure> {
    let mut arrived = Vec::new();
    let mut unsent = std::collections::VecDeque::new();
    while recv.recv_many(&mut arrived, BATCH_MESSAGES).await? > 0 {
        unsent.extend(arrived.drain(..));
        while !unsent.is_empty() {
            send.send_many(&mut unsent).await?;
        }
    }
    Ok(())
}

/// Takes every message, and says at the end how many there were.
async fn discard(mut send: SendStream, mut recv: RecvStream) -> Result<(), Failure> {
    let (mut messages, mut bytes) = (0_u64, 0_u64);
    let mut arrived = Vec::new();
    while recv.recv_many(&mut arrived, BATCH_MESSAGES).await? > 0 {
        messages += arrived.len() as u64;
        bytes += arrived
            .drain(..)
            .map(|message| message.payload.len() as u64)
            .sum::<u64>();
    }
    let summary = to_json(&json!({"messages": messages, "bytes": bytes}))?;
    send.send(Message::data(summary)).await?;
    Ok(())
}

/// Answers with the payload after the time that it names.
async fn delay(payload: Bytes) -> Result<Bytes, Failure> {
    let invalid = |text: String| Failure::new(ErrorCode::INVALID_ARGUMENT, text);
    let text = std::str::from_utf8(&payload).map_err(|error| invalid(error.to_string()))?;
    let time = parse_duration(text).map_err(invalid)?;
    if time > DELAY_MAX {
        return Err(invalid("an hour is the longest delay".to_owned()));
    }
    tokio::time::sleep(time).await;
    Ok(payload)
}

/// The failure whose number the payload is; 500 when it is none.
fn failure_of(payload: &[u8]) -> Failure {
    let code = std::str::from_utf8(payload)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    Failure::new(
        code.map_or(ErrorCode::INTERNAL, ErrorCode::new),
        "the caller asked for this failure",
    )
}

fn report(state: &State) -> ProcessReport {
    ProcessReport {
        pid: std::process::id(),
        cpu_seconds: process::cpu_time().as_secs_f64(),
        resident_bytes: process::resident_bytes(),
        uptime_seconds: state.begun.elapsed().as_secs_f64(),
        connections: state
            .endpoint
            .get()
            .map_or(0, |endpoint| endpoint.connections().len()),
    }
}

fn description(state: &State) -> serde_json::Value {
    let methods = state.endpoint.get().map_or_else(Vec::new, |endpoint| {
        endpoint
            .services()
            .routes()
            .map(|(service, method, shape)| {
                json!({
                    "service": service,
                    "method": method,
                    "shape": shape.to_string(),
                    "about": about(service, method),
                })
            })
            .collect()
    });
    json!({
        "program": "valkyrie",
        "version": env!("CARGO_PKG_VERSION"),
        "wire": valkyrie::frame::VERSION,
        "methods": methods,
    })
}

fn about(service: &str, method: &str) -> &'static str {
    match (service, method) {
        ("echo", "echo") => "answers with the payload",
        ("echo", "delay") => "answers with the payload after the time it names, as in 250ms",
        ("echo", "fail") => "fails with the code whose number the payload is",
        ("echo", "notify") => "takes the message",
        ("echo", "stream") => "sends every message back",
        ("echo", "discard") => "takes every message and says at the end how many there were",
        ("health", "check") => "says whether this server serves",
        ("node", "links") => "says what carries each connection, and how far away its peer is",
        ("node", "qos") => "says how many calls of each class are in progress, and were refused",
        ("health", "process") => "says what the process has used: CPU time, memory, connections",
        ("describe", "services") => "says what this server serves",
        ("swim", "packet") => "takes what another member says",
        _ => "",
    }
}

fn to_json(value: &impl Serialize) -> Result<Bytes, Failure> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| Failure::new(ErrorCode::INTERNAL, error.to_string()))
}

/// Messages handled under one lock: enough to make the lock free, few enough to keep a batch of them in the cache.
const BATCH_MESSAGES: usize = 1024;

/// The longest time that a caller can hold a slot by asking for it.
const DELAY_MAX: Duration = Duration::from_secs(3600);
