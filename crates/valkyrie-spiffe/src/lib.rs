//! The identity of a workload as its SPIFFE agent gives it, and the bundles of those it is to believe: fetched over the
//! Workload API, put into the identity and the trust of `valkyrie-security`, and replaced there as they rotate.
//!
//! It judges nobody: what a certificate is worth is decided by [`valkyrie_security::spiffe`]. It issues nothing either:
//! an agent, such as SPIRE's, has to run on the machine and know this workload. Read [`Workload`].

mod agent;
mod fault;
mod keeper;
mod state;
mod workload;

pub use fault::{AgentFault, WorkloadError};
pub use state::WorkloadState;
pub use workload::Workload;
