//! The policy of quality of service: one file for all connections of a node and for the calls that it makes.
//!
//! It is data. What of it concerns connections goes to an endpoint as a [`Qos`], which hands it to every session; what
//! concerns calls is a [`ServicePolicy`] for each service, for whoever chooses ways. How a file is written is in
//! `docs/book/qos.md`. Who may call what is no part of it: that is the access policy's.
//!
//! Read [`QosPolicy`] first.

mod handle;
mod read;
mod service;
#[cfg(test)]
mod tests;
mod units;

use std::collections::BTreeMap;
use std::sync::Arc;

use valkyrie_endpoint::Qos;
pub use valkyrie_security::policy::{PolicyError as QosError, PolicyFault as QosFault};

pub use handle::QosHandle;
pub use service::{Idempotent, ServicePolicy};

/// What a file says about the quality of service. Cloning is a reference count.
///
/// ```
/// use valkyrie_router::QosPolicy;
///
/// let policy = QosPolicy::parse(
///     r#"
///     version = 1
///     [shares]
///     system = "50%"
///     job = "30%"
///     data = "15%"
///     bulk = "5%"
///     [services.store]
///     idempotent = ["get", "list"]
///     hedge = true
///     "#,
/// )?;
/// assert_eq!(policy.qos().shares.map(|shares| shares.system), Some(500));
/// assert!(policy.service("store").hedges("get"));
/// assert!(!policy.service("store").hedges("put"));
/// # Ok::<(), valkyrie_router::QosError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QosPolicy {
    inner: Arc<Inner>,
}

#[derive(Debug, Default, PartialEq)]
struct Inner {
    qos: Qos,
    services: BTreeMap<Box<str>, ServicePolicy>,
    /// For services that are not named.
    others: ServicePolicy,
}

impl QosPolicy {
    /// Bytes that a file may have: a thousand services of a full page each.
    pub const FILE_BYTES_MAX: usize = 1 << 20;
    /// Services that a file may name.
    pub const SERVICES_MAX: usize = 1024;

    /// Reads a file.
    ///
    /// # Errors
    /// [`QosError`] has every mistake that was found, with its place. Nothing of the file is used then.
    pub fn parse(text: &str) -> Result<Self, QosError> {
        let inner = Arc::new(read::read(text)?);
        Ok(Self { inner })
    }

    /// What concerns connections, for [`Endpoint::set_qos`](valkyrie_endpoint::Endpoint::set_qos).
    pub fn qos(&self) -> &Qos {
        &self.inner.qos
    }

    /// What concerns calls of a service: its own, or what the file says of `*`, or the default.
    pub fn service(&self, name: &str) -> &ServicePolicy {
        self.inner.services.get(name).unwrap_or(&self.inner.others)
    }

    /// The services that are named, in the order of their names.
    pub fn services(&self) -> impl Iterator<Item = (&str, &ServicePolicy)> {
        self.inner.services.iter().map(|(name, policy)| (&**name, policy))
    }
}
