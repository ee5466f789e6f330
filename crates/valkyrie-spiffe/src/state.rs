//! What a workload knows of its agent.

use valkyrie_security::UnixTime;

use crate::fault::AgentFault;

/// What a workload knows of its agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkloadState {
    /// How many answers the agent gave that could be read, the first usable one being number 1. An agent that is connected
    /// anew says again what it said before.
    pub updates: u64,
    /// The workload's SPIFFE ID.
    pub spiffe_id: String,
    /// From here on the workload's certificate is not good any more.
    pub not_after: UnixTime,
    /// The trust domains whose workloads are believed because of the agent, in order.
    pub trust_domains: Vec<String>,
    /// What was wrong the last time, until an answer comes with which nothing is.
    pub fault: Option<AgentFault>,
    /// The agent is not asked any more.
    pub ended: bool,
}
