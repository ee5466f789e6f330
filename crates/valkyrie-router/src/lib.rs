//! Which of many peers a message goes to, and which way.
//!
//! [`StreamRouter`] sends messages to targets: it follows a registry, keeps connections, retries what may be retried and goes
//! around what fails. What it decides is decided by parts that do no I/O, read no clock and hold no connection; they can be used
//! by themselves:
//!
//! - [`Needs`] says what a class asks of whatever carries it, and [`Needs::check`] refuses what cannot, by name.
//! - [`Table`] holds the ways to a service and chooses one: [`Balance`] says how.
//! - [`Load`] is how busy and how slow a way is; [`Breaker`] keeps messages from one that fails; [`RetryBudget`] keeps
//!   retries from becoming the load.
//! - [`QosPolicy`] is the policy of quality of service as a file says it: shares, limits and admission for an endpoint, and
//!   a [`ServicePolicy`] for the calls of each service.
//! - [`OutlierLimits`] says when a way stands out from the others, and [`Delays`] what delay answers keep below.
//!
//! Read [`StreamRouter::route`] first, or [`Table::choose`] for how one is chosen.

mod balance;
mod breaker;
mod budget;
mod load;
mod needs;
mod outliers;
mod probe;
mod qos;
mod quantile;
mod router;
mod table;

pub use balance::Balance;
pub use breaker::{Admission, Breaker, BreakerLimits};
pub use budget::{RetryBudget, RetryBudgetLimits};
pub use load::{InFlight, Load};
pub use needs::{Capability, Needs, Unfit};
pub use outliers::OutlierLimits;
pub use probe::ProbeRules;
pub use qos::{Idempotent, QosError, QosFault, QosHandle, QosPolicy, ServicePolicy};
pub use quantile::Delays;
pub use router::{
    ContinuedError, ContinuedReplies, Leaving, Position, PublishError, Route, RouteStats, RoutedCall,
    RoutedError, RoutedNotify, RoutedOpen, RoutedReplies, Routing, StreamRouter, StreamRouterBuilder, Target,
    Watching, leave,
};
pub use table::{Aside, RouteError, Table, WAYS_MAX, Way, WayId};
