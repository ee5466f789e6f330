//! Which of many peers a message goes to, and which way: the part of routing that only decides.
//!
//! It does no I/O, reads no clock and holds no connection: `now` is an argument, and what it says is carried out by
//! whoever asks. Nothing here finds peers or dials them yet; [`Table`] is given what there is.
//!
//! - [`Needs`] says what a class asks of whatever carries it, and [`Needs::check`] refuses what cannot, by name.
//! - [`Table`] holds the ways to a service and chooses one: [`Balance`] says how.
//! - [`Load`] is how busy and how slow a way is; [`Breaker`] keeps messages from one that fails; [`RetryBudget`] keeps
//!   retries from becoming the load.
//! - [`QosPolicy`] is the policy of quality of service as a file says it: shares, limits and admission for an endpoint, and
//!   a [`ServicePolicy`] for the calls of each service.
//!
//! Read [`Table::choose`] first.

mod balance;
mod breaker;
mod budget;
mod load;
mod needs;
mod qos;
mod table;

pub use balance::Balance;
pub use breaker::{Admission, Breaker, BreakerLimits};
pub use budget::{RetryBudget, RetryBudgetLimits};
pub use load::{InFlight, Load};
pub use needs::{Capability, Needs, Unfit};
pub use qos::{Idempotent, QosError, QosFault, QosHandle, QosPolicy, ServicePolicy};
pub use table::{RouteError, Table, WAYS_MAX, Way, WayId};
