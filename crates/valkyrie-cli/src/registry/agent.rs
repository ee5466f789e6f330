//! An agent as it is printed: a row for people, an object for scripts.

use serde::Serialize;
use valkyrie_registry::agent::{AgentId, Description, Service, Status};
use valkyrie_registry::directory::Member;
use valkyrie_registry::record::Record;

/// What a script is told of an agent.
#[derive(Serialize)]
pub(super) struct AgentReport {
    id: String,
    fingerprint: String,
    #[serde(flatten)]
    said: Said,
    incarnation: u64,
    sequence: u64,
    /// When its record ends, in Unix seconds.
    record_ends: u64,
    created: u64,
    modified: u64,
    lease: Option<String>,
}

/// What an agent says about itself.
#[derive(Serialize)]
pub(crate) struct Said {
    name: String,
    zone: Option<String>,
    status: &'static str,
    weight: u32,
    slots: u32,
    locators: Vec<String>,
    adapters: Vec<String>,
    services: Vec<ServiceReport>,
}

#[derive(Serialize)]
struct ServiceReport {
    name: String,
    version: String,
    labels: serde_json::Map<String, serde_json::Value>,
}

impl AgentReport {
    pub(super) fn of(member: &Member) -> Self {
        let record = member.record();
        Self {
            id: record.id().to_string(),
            fingerprint: record.id().owner().to_string(),
            said: Said::of(record.description()),
            incarnation: record.incarnation().number(),
            sequence: record.sequence(),
            record_ends: record.not_after().secs(),
            created: member.created().number(),
            modified: member.modified().number(),
            lease: member.lease().map(|lease| lease.to_string()),
        }
    }
}

impl Said {
    pub(crate) fn of(description: &Description) -> Self {
        let texts =
            |words: &[valkyrie_registry::agent::Word]| words.iter().map(ToString::to_string).collect();
        Self {
            name: description.name.to_string(),
            zone: description.zone.as_ref().map(ToString::to_string),
            status: status_word(description.status),
            weight: description.capacity.weight,
            slots: description.capacity.slots,
            locators: description.locators.iter().map(ToString::to_string).collect(),
            adapters: texts(&description.adapters),
            services: description.services.iter().map(ServiceReport::of).collect(),
        }
    }
}

impl ServiceReport {
    fn of(service: &Service) -> Self {
        let labels = service.labels.iter();
        Self {
            name: service.name.to_string(),
            version: service.version.to_string(),
            labels: labels
                .map(|(name, value)| (name.to_string(), value.as_str().into()))
                .collect(),
        }
    }
}

pub(super) fn status_word(status: Status) -> &'static str {
    match status {
        Status::Ready => "ready",
        Status::NotReady => "not ready",
        Status::Draining => "draining",
    }
}

/// An id that fits a line: the beginning of the fingerprint, and the instance unless it is the only one.
pub(crate) fn short(id: &AgentId) -> String {
    let whole = id.to_string();
    match id.instance().as_str() {
        "main" => whole[..SHORT_DIGITS].to_owned(),
        instance => format!("{}/{instance}", &whole[..SHORT_DIGITS]),
    }
}

/// A service as `put` takes it.
pub(super) fn service_text(service: &Service) -> String {
    let mut text = format!("{}@{}", service.name, service.version);
    for (name, value) in &service.labels {
        text.push_str(&format!(",{name}={value}"));
    }
    text
}

/// Where an agent can be dialled and what it offers, in one line.
pub(crate) fn offers(record: &Record) -> String {
    let description = record.description();
    let locators = description.locators.iter().map(ToString::to_string);
    let services = description.services.iter().map(service_text);
    locators.chain(services).collect::<Vec<_>>().join(" ")
}

/// Columns, each as wide as what is in it.
pub(super) fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Digits of a fingerprint that tell agents apart to the eye: 48 bits.
pub(super) const SHORT_DIGITS: usize = 12;
