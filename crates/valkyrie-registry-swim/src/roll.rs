//! Who is here and who is gone, each with the last statement that was verified.
//!
//! It is memory and nothing else: what goes in has been checked ([`crate::swim`]), and both parts are bounded.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use valkyrie_registry::Moment;
use valkyrie_registry::agent::AgentId;
use valkyrie_registry::record::Record;
use valkyrie_transport::Locator;

use crate::Life;
use crate::life::Numbers;
use crate::wire::{Standing, Statement, Update};

/// Somebody who is known, here or gone.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) life: Life,
    pub(crate) sequence: u64,
    pub(crate) record: Record,
}

impl Known {
    pub(crate) fn of(record: Record) -> Self {
        Self {
            life: Life::of(&record),
            sequence: record.sequence(),
            record,
        }
    }

    pub(crate) fn numbers(&self) -> Numbers {
        (self.life.incarnation, self.sequence)
    }

    pub(crate) fn statement(&self) -> Statement {
        Statement {
            life: self.life.clone(),
            sequence: self.sequence,
            record: self.record.as_bytes().clone(),
        }
    }

    pub(crate) fn update(&self, standing: Standing) -> Update {
        Update {
            life: self.life.clone(),
            sequence: self.sequence,
            standing,
        }
    }

    pub(crate) fn places(&self) -> &[Locator] {
        &self.record.description().locators
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        self.record.as_bytes()
    }
}

#[derive(Debug)]
struct Here {
    known: Known,
    /// Until when an accusation can be answered, if there is one.
    until: Option<Moment>,
}

#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) known: Known,
    pub(crate) since: Moment,
    /// It has said so itself, or its record has ended: nobody tries to reach it.
    pub(crate) over: bool,
}

#[derive(Debug)]
pub(crate) struct Roll {
    here: BTreeMap<AgentId, Here>,
    gone: BTreeMap<AgentId, Gone>,
    /// Who was gone when, the longest ago first.
    since: BTreeSet<(Moment, AgentId)>,
    /// When accusations become verdicts.
    verdicts: BTreeSet<(Moment, AgentId)>,
    /// Others than this member.
    others_max: usize,
}

impl Roll {
    pub(crate) fn new(others_max: usize) -> Self {
        Self {
            here: BTreeMap::new(),
            gone: BTreeMap::new(),
            since: BTreeSet::new(),
            verdicts: BTreeSet::new(),
            others_max,
        }
    }

    pub(crate) fn here(&self, id: &AgentId) -> Option<&Known> {
        self.here.get(id).map(|here| &here.known)
    }

    pub(crate) fn gone(&self, id: &AgentId) -> Option<&Gone> {
        self.gone.get(id)
    }

    pub(crate) fn known(&self, id: &AgentId) -> Option<&Known> {
        let gone = || self.gone.get(id).map(|gone| &gone.known);
        self.here(id).or_else(gone)
    }

    pub(crate) fn len(&self) -> usize {
        self.here.len()
    }

    /// Whether one more has room.
    pub(crate) fn is_full(&self) -> bool {
        self.here.len() >= self.others_max
    }

    pub(crate) fn all_here(&self) -> impl Iterator<Item = &Known> {
        self.here.values().map(|here| &here.known)
    }

    pub(crate) fn all_gone(&self) -> impl Iterator<Item = &Gone> {
        self.gone.values()
    }

    pub(crate) fn suspected(&self) -> impl Iterator<Item = &AgentId> {
        self.verdicts.iter().map(|(_, id)| id)
    }

    pub(crate) fn is_suspected(&self, id: &AgentId) -> bool {
        self.here.get(id).is_some_and(|here| here.until.is_some())
    }

    /// Takes a later statement of somebody who is here with it. Whoever was accused has answered.
    pub(crate) fn put(&mut self, known: Known) {
        let id = known.life.id.clone();
        self.clear(&id);
        if let Some(gone) = self.gone.remove(&id) {
            self.since.remove(&(gone.since, id.clone()));
        }
        self.here.insert(id, Here { known, until: None });
    }

    /// Notes that an accusation will be a verdict.
    pub(crate) fn accuse(&mut self, id: &AgentId, until: Moment) {
        if let Some(here) = self.here.get_mut(id)
            && here.until.is_none()
        {
            here.until = Some(until);
            self.verdicts.insert((until, id.clone()));
        }
    }

    /// Moves somebody to those who are gone, with the last statement there is.
    pub(crate) fn lose(&mut self, now: Moment, known: Known, over: bool) {
        let id = known.life.id.clone();
        self.clear(&id);
        self.here.remove(&id);
        if let Some(gone) = self.gone.remove(&id) {
            self.since.remove(&(gone.since, id.clone()));
        }
        self.since.insert((now, id.clone()));
        self.gone.insert(
            id,
            Gone {
                known,
                since: now,
                over,
            },
        );
        // As many as there may be members: a fleet that was cut off as a whole can be found again.
        while self.gone.len() > self.others_max {
            self.forget_first();
        }
    }

    /// Forgets who has been gone since before `then`.
    pub(crate) fn forget_before(&mut self, then: Moment) {
        while self.since.first().is_some_and(|(since, _)| *since < then) {
            self.forget_first();
        }
    }

    /// The next accusation that is a verdict by now.
    pub(crate) fn poll_verdict(&mut self, now: Moment) -> Option<AgentId> {
        let (until, id) = self.verdicts.first()?.clone();
        if until > now {
            return None;
        }
        self.clear(&id);
        Some(id)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Moment> {
        self.verdicts.first().map(|(until, _)| *until)
    }

    fn clear(&mut self, id: &AgentId) {
        if let Some(until) = self.here.get_mut(id).and_then(|here| here.until.take()) {
            self.verdicts.remove(&(until, id.clone()));
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, id)) = self.since.pop_first() {
            self.gone.remove(&id);
        }
    }

    /// Whether what is known twice agrees.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn invariants(&self) {
        assert!(self.here.len() <= self.others_max && self.gone.len() <= self.others_max);
        assert_eq!(self.since.len(), self.gone.len());
        for (id, gone) in &self.gone {
            assert!(!self.here.contains_key(id), "{id} is here and gone");
            assert!(self.since.contains(&(gone.since, id.clone())));
        }
        let accused = self.here.values().filter(|here| here.until.is_some()).count();
        assert_eq!(accused, self.verdicts.len());
    }
}
