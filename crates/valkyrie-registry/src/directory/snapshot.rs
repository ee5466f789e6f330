//! Who is here at one revision, as a value: cloned for the price of reference counts, asked without locks.
//!
//! Members and index are persistent: a change copies the paths to what it changes, or a list of a few, and shares the rest with whoever
//! holds an earlier snapshot.

use std::sync::Arc;

use rpds::HashTrieMapSync;

use super::set::{Members, Set};
use crate::agent::{AgentId, Description, LabelValue, Service, Word};
use crate::query::{LabelTest, Query};
use crate::record::Record;
use crate::store::{Entry, LeaseId, Revision};

/// An agent that is here: its record, and what the store says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    record: Record,
    created: Revision,
    modified: Revision,
    lease: Option<LeaseId>,
}

impl Member {
    pub(super) fn new(record: Record, entry: &Entry) -> Self {
        Self {
            record,
            created: entry.created,
            modified: entry.modified,
            lease: entry.lease,
        }
    }

    /// The same record where the store has it now.
    pub(super) fn moved_to(&self, entry: &Entry) -> Self {
        Self::new(self.record.clone(), entry)
    }

    /// What the agent says, verified.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Who it is.
    pub fn id(&self) -> &AgentId {
        self.record.id()
    }

    /// What it says about itself.
    pub fn description(&self) -> &Description {
        self.record.description()
    }

    /// The change that created its entry: the token that fences off its former selves. The store's word.
    pub fn created(&self) -> Revision {
        self.created
    }

    /// The change that wrote its record: what a guarded delete names. The store's word.
    pub fn modified(&self) -> Revision {
        self.modified
    }

    /// The lease that it lives under. The store's word.
    pub fn lease(&self) -> Option<LeaseId> {
        self.lease
    }
}

/// The agents of a cluster at one revision.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    members: Members,
    index: HashTrieMapSync<Term, Set>,
    revision: Revision,
}

/// Something that agents are looked up by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Term {
    Name(Word),
    Zone(Word),
    Service(Word),
    HasLabel(Word),
    Label(Word, LabelValue),
}

/// Among whom those are that a query is about.
enum Candidates<'a> {
    Nobody,
    Some(&'a Set),
    Everybody,
}

/// An agent that a query found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The agent.
    pub member: &'a Arc<Member>,
    /// The first of its services that was asked for, if anything was asked about services.
    pub service: Option<&'a Service>,
}

impl Snapshot {
    /// The last change in it.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Agents.
    pub fn len(&self) -> usize {
        self.members.size()
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// An agent.
    pub fn get(&self, id: &AgentId) -> Option<&Arc<Member>> {
        self.members.get(id)
    }

    /// Every agent, ascending by id.
    pub fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.values()
    }

    /// The agents that a query is about, ascending by id. It looks at as many as the rarest thing that the query asks for has,
    /// and at all of them only where it asks for nothing that is indexed: a name, a zone, a service, or a label that must
    /// be there.
    pub fn find<'a>(&'a self, query: &'a Query) -> impl Iterator<Item = Found<'a>> {
        let (all, some) = match self.candidates(query) {
            Candidates::Nobody => (None, None),
            Candidates::Everybody => (Some(self.members.values()), None),
            Candidates::Some(set) => (None, Some(set.maybe_in(query.wanted_zone()))),
        };
        let members = all.into_iter().flatten().chain(some.into_iter().flatten());
        members.filter_map(|member| {
            let description = member.description();
            let service = query.find(description)?.map(|at| &description.services[at]);
            Some(Found { member, service })
        })
    }

    /// The least set that has everybody the query is about.
    fn candidates(&self, query: &Query) -> Candidates<'_> {
        let mut least: Option<&Set> = None;
        for term in terms_of_query(query) {
            let Some(set) = self.index.get(&term) else {
                return Candidates::Nobody;
            };
            if least.is_none_or(|least| set.len() < least.len()) {
                least = Some(set);
            }
        }
        least.map_or(Candidates::Everybody, Candidates::Some)
    }

    pub(super) fn set_revision(&mut self, revision: Revision) {
        self.revision = revision;
    }

    pub(super) fn insert(&mut self, member: Arc<Member>) {
        let terms = terms_of(member.description());
        if let Some(before) = self.members.get(member.id()).cloned() {
            for term in terms_of(before.description()) {
                if !terms.contains(&term) {
                    self.unindex(&term, member.id());
                }
            }
        }
        for term in terms {
            match self.index.get_mut(&term) {
                Some(set) => set.insert(Arc::clone(&member)),
                None => {
                    let mut set = Set::default();
                    set.insert(Arc::clone(&member));
                    self.index.insert_mut(term, set);
                }
            }
        }
        self.members.insert_mut(member.id().clone(), member);
    }

    pub(super) fn remove(&mut self, id: &AgentId) -> Option<Arc<Member>> {
        let member = self.members.get(id)?.clone();
        self.members.remove_mut(id);
        for term in terms_of(member.description()) {
            self.unindex(&term, id);
        }
        Some(member)
    }

    fn unindex(&mut self, term: &Term, id: &AgentId) {
        let Some(set) = self.index.get_mut(term) else {
            return;
        };
        set.remove(id);
        if set.is_empty() {
            self.index.remove_mut(term);
        }
    }

    pub(super) fn invariants(&self) {
        let mut indexed = 0;
        for member in self.members() {
            for term in terms_of(member.description()) {
                let found = self.index.get(&term).and_then(|set| set.get(member.id()));
                assert_eq!(found, Some(member), "{term:?}");
                indexed += 1;
            }
        }
        let held: usize = self.index.values().map(Set::len).sum();
        assert_eq!(held, indexed, "the index has somebody who is not here");
    }
}

/// What an agent is looked up by, each once.
fn terms_of(description: &Description) -> Vec<Term> {
    let mut terms = vec![Term::Name(description.name.clone())];
    terms.extend(description.zone.clone().map(Term::Zone));
    for service in &description.services {
        terms.push(Term::Service(service.name.clone()));
        for (name, value) in &service.labels {
            terms.push(Term::HasLabel(name.clone()));
            terms.push(Term::Label(name.clone(), value.clone()));
        }
    }
    let mut seen = std::collections::HashSet::new();
    terms.retain(|term| seen.insert(term.clone()));
    terms
}

/// What everybody whom the query is about has.
fn terms_of_query(query: &Query) -> impl Iterator<Item = Term> {
    let labels = query
        .wanted_labels()
        .into_iter()
        .flat_map(|labels| labels.necessary());
    let labels = labels.filter_map(|test| match test {
        LabelTest::Has(name) => Some(Term::HasLabel(name.clone())),
        LabelTest::In(name, values) => Some(match values.as_slice() {
            [value] => Term::Label(name.clone(), value.clone()),
            _ => Term::HasLabel(name.clone()),
        }),
        LabelTest::NotIn(..) => None,
    });
    let name = query.wanted_name().cloned().map(Term::Name);
    let zone = query.wanted_zone().cloned().map(Term::Zone);
    let service = query.wanted_service().cloned().map(Term::Service);
    name.into_iter().chain(zone).chain(service).chain(labels)
}
