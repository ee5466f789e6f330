//! What a message asks of whatever carries it, and what a hop cannot do.

use std::fmt;

use valkyrie_frame::Class;
use valkyrie_transport::Capabilities;

/// What a message needs of the link or bus that carries it.
///
/// Classes above bulk are reliable and ordered wherever they go (`docs/protocol/streams.md`).
/// What is asked beyond that is the caller's, or a policy's.
///
/// ```
/// use valkyrie_frame::Class;
/// use valkyrie_router::{Capability, Needs};
/// use valkyrie_transport::Capabilities;
///
/// let lossy = Capabilities::default().with_reliable(false);
/// assert!(Needs::of(Class::Bulk).check(&lossy).is_ok());
/// let unfit = Needs::of(Class::Job).check(&lossy).unwrap_err();
/// assert_eq!(unfit.capability, Capability::Reliable);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    class: Class,
    reliable: bool,
    ordered: bool,
    secure: bool,
    local: bool,
    lanes_min: u8,
}

impl Needs {
    /// What the class itself needs.
    pub const fn of(class: Class) -> Self {
        let reliable = !matches!(class, Class::Bulk);
        Self {
            class,
            reliable,
            ordered: reliable,
            secure: false,
            local: false,
            lanes_min: 1,
        }
    }

    /// The class.
    pub const fn class(&self) -> Class {
        self.class
    }

    /// Delivered or failed, whatever the class.
    #[must_use]
    pub const fn reliably(mut self) -> Self {
        self.reliable = true;
        self
    }

    /// By a hop that encrypts by itself, below the records of the session.
    #[must_use]
    pub const fn securely(mut self) -> Self {
        self.secure = true;
        self
    }

    /// Within this machine.
    #[must_use]
    pub const fn locally(mut self) -> Self {
        self.local = true;
        self
    }

    /// With at least so many lanes, so that classes do not hold each other up.
    #[must_use]
    pub const fn with_lanes_min(mut self, lanes: u8) -> Self {
        self.lanes_min = lanes;
        self
    }

    /// Whether more is asked than any link between two peers can do.
    pub(crate) const fn is_particular(&self) -> bool {
        self.secure || self.local || self.lanes_min > 1
    }

    /// Whether something that can do this may carry it.
    ///
    /// # Errors
    ///
    /// [`Unfit`] names the first capability that is missing.
    pub fn check(&self, has: &Capabilities) -> Result<(), Unfit> {
        let missing = if self.reliable && !has.reliable {
            Capability::Reliable
        } else if self.ordered && !has.ordered {
            Capability::Ordered
        } else if self.secure && !has.secure {
            Capability::Secure
        } else if self.local && !has.local {
            Capability::Local
        } else if has.lanes < self.lanes_min {
            Capability::Lanes {
                wanted: self.lanes_min,
                has: has.lanes,
            }
        } else {
            return Ok(());
        };
        Err(Unfit {
            class: self.class,
            capability: missing,
        })
    }
}

/// Something cannot carry what it was asked to. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it cannot carry the class {class}, which needs it to be {capability}; nothing was sent")]
pub struct Unfit {
    /// What was to be carried.
    pub class: Class,
    /// What it cannot do.
    pub capability: Capability,
}

/// Something that a hop may be unable to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// What is written arrives, or the hop fails.
    Reliable,
    /// What arrives, arrives in the order it was written.
    Ordered,
    /// It encrypts by itself.
    Secure,
    /// Both ends are on this machine.
    Local,
    /// There are as many lanes as are wanted.
    Lanes {
        /// How many are wanted.
        wanted: u8,
        /// How many there are.
        has: u8,
    },
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reliable => f.write_str("reliable"),
            Self::Ordered => f.write_str("ordered"),
            Self::Secure => f.write_str("encrypted by itself"),
            Self::Local => f.write_str("within this machine"),
            Self::Lanes { wanted, has } => write!(f, "of {wanted} lanes and not {has}"),
        }
    }
}

#[cfg(test)]
mod tests;
