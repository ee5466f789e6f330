//! What is to be done with the calls of one service.

use std::time::Duration;

use crate::Balance;

/// How calls of a service find their way, and what may be done when one fails or is slow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePolicy {
    /// How calls are spread over the ways to the service.
    pub balance: Balance,
    /// How many of the ways one caller uses, where there are more; `None` for all of them. Of ten thousand ways and as many
    /// callers it keeps each from holding a connection to every other.
    pub subset: Option<u16>,
    /// How often a call is tried again. One that may have been processed only if it is idempotent, one that was refused
    /// before in any case.
    pub retries: u8,
    /// Whether a call that takes longer than most is asked for a second time elsewhere; idempotent ones alone.
    pub hedge: bool,
    /// What may be done twice.
    pub idempotent: Idempotent,
    /// How long a connection is used before another takes its place; `None` for as long as it lives.
    pub connection_age: Option<Duration>,
}

impl ServicePolicy {
    /// Tries again unless told otherwise: enough for a node that restarts and one beside it that is full.
    pub const RETRIES: u8 = 2;
    /// The most tries again that a policy may ask for. More would be the overload.
    pub const RETRIES_MAX: u8 = 5;

    /// Whether a slow call of this method is asked for twice.
    pub fn hedges(&self, method: &str) -> bool {
        self.hedge && self.idempotent.includes(method)
    }
}

impl Default for ServicePolicy {
    fn default() -> Self {
        Self {
            balance: Balance::default(),
            subset: None,
            retries: Self::RETRIES,
            hedge: false,
            idempotent: Idempotent::None,
            connection_age: None,
        }
    }
}

/// Which methods of a service may be called twice where once was meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Idempotent {
    /// None that is known.
    #[default]
    None,
    /// Every method.
    All,
    /// These methods.
    Methods(Box<[Box<str>]>),
}

impl Idempotent {
    /// Whether a method is among them.
    pub fn includes(&self, method: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Methods(methods) => methods.iter().any(|known| **known == *method),
        }
    }
}
