//! An agent: who it is, where it is, what it offers and how it says it is doing.
//!
//! It is what one agent says about itself, well formed and no more. That the agent really said it is for
//! [`crate::record`], and whether it is well for [`crate::health`].

mod id;
mod service;
mod word;

pub(crate) use self::word::is_value_byte;

use valkyrie_transport::Locator;

pub use self::id::{AgentId, AgentIdError, Incarnation};
pub use self::service::{Service, VERSION_BYTES_MAX, Version, VersionError, VersionRange};
pub use self::word::{LABEL_VALUE_BYTES_MAX, LabelValue, WORD_BYTES_MAX, Word, WordError};

/// What an agent says about itself. Every field is within its bounds and in order; [`Description::check`] made sure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// A name for people and for queries. Several agents may have one.
    pub name: Word,
    /// Where it stands: a region, a rack, whatever calls within are cheaper than calls across.
    pub zone: Option<Word>,
    /// How it says it is doing.
    pub status: Status,
    /// How much it can take.
    pub capacity: Capacity,
    /// Where it can be dialled, the best first.
    pub locators: Vec<Locator>,
    /// What it can speak, by scheme, ascending.
    pub adapters: Vec<Word>,
    /// Where it can be asked how it is. A prober goes there only if its own policy allows that for this agent.
    pub probe: Option<Locator>,
    /// What it offers, ascending by name and version.
    pub services: Vec<Service>,
}

impl Description {
    /// An agent of this name that is ready, at no place, offering nothing.
    pub fn new(name: Word) -> Self {
        Self {
            name,
            zone: None,
            status: Status::Ready,
            capacity: Capacity::default(),
            locators: Vec::new(),
            adapters: Vec::new(),
            probe: None,
            services: Vec::new(),
        }
    }

    /// In this zone.
    #[must_use]
    pub fn zone(mut self, zone: Word) -> Self {
        self.zone = Some(zone);
        self
    }

    /// Doing so.
    #[must_use]
    pub fn status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }

    /// Able to take so much.
    #[must_use]
    pub fn capacity(mut self, capacity: Capacity) -> Self {
        self.capacity = capacity;
        self
    }

    /// At this place too, after those before.
    #[must_use]
    pub fn locator(mut self, locator: Locator) -> Self {
        self.locators.push(locator);
        self
    }

    /// Speaking this scheme too.
    #[must_use]
    pub fn adapter(mut self, scheme: Word) -> Self {
        self.adapters.push(scheme);
        self.adapters.sort();
        self.adapters.dedup();
        self
    }

    /// Offering this too.
    #[must_use]
    pub fn service(mut self, service: Service) -> Self {
        self.services.push(service);
        self.services
            .sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        self
    }

    /// Checks the bounds and the order.
    ///
    /// # Errors
    /// [`DescriptionError`]: whoever wrote it is at fault.
    pub fn check(&self) -> Result<(), DescriptionError> {
        at_most("locators", self.locators.len(), LOCATORS_MAX)?;
        at_most("adapters", self.adapters.len(), ADAPTERS_MAX)?;
        at_most("services", self.services.len(), SERVICES_MAX)?;
        for locator in self.locators.iter().chain(&self.probe) {
            at_most("bytes in a locator", locator.as_str().len(), LOCATOR_BYTES_MAX)?;
        }
        if !self.adapters.is_sorted_by(|a, b| a < b) {
            return Err(DescriptionError::Order("adapters"));
        }
        let ascending = |a: &Service, b: &Service| (&a.name, &a.version) < (&b.name, &b.version);
        if !self.services.is_sorted_by(ascending) {
            return Err(DescriptionError::Order("services"));
        }
        for service in &self.services {
            service.check()?;
        }
        Ok(())
    }
}

fn at_most(what: &'static str, count: usize, max: usize) -> Result<(), DescriptionError> {
    match count > max {
        true => Err(DescriptionError::Count { what, count, max }),
        false => Ok(()),
    }
}

/// How an agent says it is doing. That it is reachable at all is for others to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It takes calls.
    Ready,
    /// It is here and not ready yet, or for now.
    NotReady,
    /// It finishes what it has and takes nothing new.
    Draining,
}

/// How much an agent can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capacity {
    /// Its share beside others of its kind. One with 0 gets nothing.
    pub weight: u32,
    /// What it can do at once; 0 where it does not say.
    pub slots: u32,
}

impl Default for Capacity {
    /// One share, slots not said.
    fn default() -> Self {
        Self { weight: 1, slots: 0 }
    }
}

/// What an agent says about itself breaks a rule. Whoever wrote it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptionError {
    /// Too many of something.
    #[error("an agent has {count} {what}, and at most {max} are allowed")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// Out of order, or one is there twice.
    #[error("the {0} of an agent are not in order, or one is there twice")]
    Order(&'static str),
}

/// Places of an agent: its interfaces times its transports, with room.
pub const LOCATORS_MAX: usize = 16;
/// Bytes of a place in a record, less than a locator may have elsewhere: a path or a host name of any length in use.
pub const LOCATOR_BYTES_MAX: usize = 512;
/// Schemes of an agent: twice what there are.
pub const ADAPTERS_MAX: usize = 16;
/// Services of an agent, in all their versions.
pub const SERVICES_MAX: usize = 32;
/// Labels of a service.
pub const LABELS_MAX: usize = 16;
