//! Questions about who is here: by name, service, version, zone and labels. A query is parsed and checked once and then
//! asked of any [`Snapshot`](crate::directory::Snapshot).

mod labels;
mod parse;
#[cfg(test)]
mod tests;

pub use self::labels::{LabelExpr, LabelTest};
pub use self::parse::{LabelExprError, LabelExprFault};

use crate::agent::{Description, Service, VersionRange, Word};

/// Which agents, and which of their services. All that is said must hold; nothing said means everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Query {
    name: Option<Word>,
    zone: Option<Word>,
    service: Option<Word>,
    version: Option<VersionRange>,
    labels: Option<LabelExpr>,
}

impl Query {
    /// Everybody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those who offer this service.
    pub fn service(name: Word) -> Self {
        Self {
            service: Some(name),
            ..Self::default()
        }
    }

    /// Of this name.
    #[must_use]
    pub fn with_name(mut self, name: Word) -> Self {
        self.name = Some(name);
        self
    }

    /// In this zone.
    #[must_use]
    pub fn with_zone(mut self, zone: Word) -> Self {
        self.zone = Some(zone);
        self
    }

    /// With a service in one of these versions.
    #[must_use]
    pub fn with_version(mut self, range: VersionRange) -> Self {
        self.version = Some(range);
        self
    }

    /// With a service whose labels are so.
    #[must_use]
    pub fn with_labels(mut self, labels: LabelExpr) -> Self {
        self.labels = Some(labels);
        self
    }

    /// The name that is asked for.
    pub fn wanted_name(&self) -> Option<&Word> {
        self.name.as_ref()
    }

    /// The zone that is asked for.
    pub fn wanted_zone(&self) -> Option<&Word> {
        self.zone.as_ref()
    }

    /// The service that is asked for.
    pub fn wanted_service(&self) -> Option<&Word> {
        self.service.as_ref()
    }

    /// The labels that are asked for.
    pub fn wanted_labels(&self) -> Option<&LabelExpr> {
        self.labels.as_ref()
    }

    /// Whether anything is asked about services. If not, an agent without any is found too.
    pub fn asks_for_a_service(&self) -> bool {
        self.service.is_some() || self.version.is_some() || self.labels.is_some()
    }

    /// Whether an agent is one, services apart.
    pub fn matches_agent(&self, agent: &Description) -> bool {
        self.name.as_ref().is_none_or(|name| agent.name == *name)
            && self
                .zone
                .as_ref()
                .is_none_or(|zone| agent.zone.as_ref() == Some(zone))
    }

    /// Whether a service is one. All that is asked about services must hold of the same one.
    pub fn matches_service(&self, service: &Service) -> bool {
        self.service.as_ref().is_none_or(|name| service.name == *name)
            && self
                .version
                .as_ref()
                .is_none_or(|range| range.contains(&service.version))
            && self.labels.as_ref().is_none_or(|labels| labels.matches(service))
    }

    /// The first of an agent's services that is one, by its place in the description; `None` where the agent is not one,
    /// `Some(None)` where it is and nothing is asked about services.
    pub fn find(&self, agent: &Description) -> Option<Option<usize>> {
        if !self.matches_agent(agent) {
            return None;
        }
        if !self.asks_for_a_service() {
            return Some(None);
        }
        agent
            .services
            .iter()
            .position(|service| self.matches_service(service))
            .map(Some)
    }
}
