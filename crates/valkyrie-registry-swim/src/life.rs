//! A life of an agent: what is watched, accused, and gone for good when the next one begins.

use std::fmt;

use valkyrie_registry::agent::{AgentId, Incarnation};
use valkyrie_registry::record::Record;

/// An agent from one start to its end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life {
    /// Whose.
    pub id: AgentId,
    /// Which.
    pub incarnation: Incarnation,
}

impl Life {
    /// Of the agent that says this.
    pub fn of(record: &Record) -> Self {
        Self {
            id: record.id().clone(),
            incarnation: record.incarnation(),
        }
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{}", self.id, self.incarnation)
    }
}

/// What tells a statement of an agent from its others: the later one counts. Life first, then which of that life's.
pub type Numbers = (Incarnation, u64);
