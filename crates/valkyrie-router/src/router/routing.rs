//! How the messages of one service are routed. Plain data.

use std::time::Duration;

use valkyrie_frame::Class;

use crate::{Balance, BreakerLimits, OutlierLimits, RetryBudgetLimits, ServicePolicy};

/// How messages for one target are routed.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Routing {
    /// How they are spread.
    pub balance: Balance,
    /// How many of the peers this router talks to at most; the others are left to other routers. `None` is all of them.
    pub subset: Option<usize>,
    /// How often a message is sent again after it failed; each must also be safe and within the budget.
    pub retries: u32,
    /// How many retries there may be beside first attempts.
    pub budget: RetryBudgetLimits,
    /// Whether an idempotent call whose answer takes longer than nineteen of twenty do is sent to a second peer.
    pub hedge: bool,
    /// How long a message waits for a peer when there is none that may be used.
    pub wait_for_peer: Duration,
    /// How long a call takes at most where it does not say itself.
    pub timeout: Option<Duration>,
    /// The class of messages that do not say theirs.
    pub class: Class,
    /// When a peer is left alone.
    pub breaker: BreakerLimits,
    /// When a peer stands out from the others.
    pub outliers: OutlierLimits,
    /// How old a connection may grow before it is replaced by another, give or take a tenth; `None` is any age. Connections that are
    /// made anew spread over what there is then.
    pub connection_age: Option<Duration>,
}

impl Default for Routing {
    /// Two choices among all, three retries within a budget of a fifth, no hedging, ten seconds' wait for a peer.
    fn default() -> Self {
        Self {
            balance: Balance::TwoChoices,
            subset: None,
            retries: 3,
            budget: RetryBudgetLimits::default(),
            hedge: false,
            wait_for_peer: Duration::from_secs(10),
            timeout: None,
            class: Class::Data,
            breaker: BreakerLimits::default(),
            outliers: OutlierLimits::default(),
            connection_age: None,
        }
    }
}

impl Routing {
    /// With what a policy of quality of service says about the service; the rest stays.
    #[must_use]
    pub fn following(mut self, policy: &ServicePolicy) -> Self {
        self.balance = policy.balance;
        self.subset = policy.subset.map(usize::from);
        self.retries = policy.retries.into();
        self.hedge = policy.hedge;
        self.connection_age = policy.connection_age;
        self
    }
}
