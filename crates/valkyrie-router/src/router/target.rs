//! What a message is for.

use valkyrie_registry::agent::{AgentId, Word};
use valkyrie_registry::query::Query;

/// Whom a message is for: one node, or anybody who offers a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target(pub(crate) Whom);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Whom {
    Node(AgentId),
    Service(Query),
}

impl Target {
    /// One agent and no other.
    pub fn node(id: AgentId) -> Self {
        Self(Whom::Node(id))
    }

    /// Whoever offers a service of this name.
    pub fn service(name: Word) -> Self {
        Self(Whom::Service(Query::service(name)))
    }

    /// Whoever a query finds: a service in a range of versions, with labels, in a zone.
    pub fn matching(query: Query) -> Self {
        Self(Whom::Service(query))
    }
}
