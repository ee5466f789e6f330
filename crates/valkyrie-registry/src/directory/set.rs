//! The agents that have one thing in common, as a value that is cheap to clone.
//!
//! What is asked most, who offers a service, is about a few agents out of very many, and none of those is in a cache. A tree
//! costs three pointers to follow for each agent before anything is known of it. So a few are kept side by side, each with what
//! most questions are decided by; many are kept as a tree, of which a change copies a path and not the whole.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::snapshot::Member;
use crate::agent::{AgentId, Word};

/// Agents by their id.
pub(super) type Members = RedBlackTreeMapSync<AgentId, Arc<Member>>;

/// Some agents, ascending by id.
#[derive(Clone, Debug)]
pub(super) enum Set {
    Few(Arc<Vec<Slot>>),
    Many(Members),
}

/// An agent, and a digest of the zone that it is in.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    zone: u64,
    member: Arc<Member>,
}

impl Default for Set {
    fn default() -> Self {
        Self::Few(Arc::default())
    }
}

impl Set {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(slots) => slots.len(),
            Self::Many(members) => members.size(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn get(&self, id: &AgentId) -> Option<&Arc<Member>> {
        match self {
            Self::Few(slots) => {
                let at = slots.binary_search_by(|slot| slot.member.id().cmp(id)).ok()?;
                Some(&slots[at].member)
            }
            Self::Many(members) => members.get(id),
        }
    }

    pub(super) fn insert(&mut self, member: Arc<Member>) {
        match self {
            Self::Few(slots) => {
                let slots = Arc::make_mut(slots);
                let slot = Slot {
                    zone: digest(member.description().zone.as_ref()),
                    member,
                };
                match slots.binary_search_by(|held| held.member.id().cmp(slot.member.id())) {
                    Ok(at) => slots[at] = slot,
                    Err(at) => slots.insert(at, slot),
                }
                if slots.len() > FEW_MAX {
                    let pairs = slots
                        .drain(..)
                        .map(|slot| (slot.member.id().clone(), slot.member));
                    *self = Self::Many(pairs.collect());
                }
            }
            Self::Many(members) => {
                members.insert_mut(member.id().clone(), member);
            }
        }
    }

    pub(super) fn remove(&mut self, id: &AgentId) {
        match self {
            Self::Few(slots) => {
                if let Ok(at) = slots.binary_search_by(|slot| slot.member.id().cmp(id)) {
                    Arc::make_mut(slots).remove(at);
                }
            }
            Self::Many(members) => {
                members.remove_mut(id);
            }
        }
    }

    /// Those that may be in a zone: none that is is left out, and most that are not.
    pub(super) fn maybe_in(&self, zone: Option<&Word>) -> impl Iterator<Item = &Arc<Member>> {
        let wanted = zone.map(|zone| digest(Some(zone)));
        let (few, many) = match self {
            Self::Few(slots) => (Some(slots.iter()), None),
            Self::Many(members) => (None, Some(members.values())),
        };
        let few = few.into_iter().flatten();
        let few = few.filter(move |slot| wanted.is_none_or(|wanted| slot.zone == wanted));
        few.map(|slot| &slot.member).chain(many.into_iter().flatten())
    }
}

fn digest(zone: Option<&Word>) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(zone)
}

/// More than this are kept as a tree: what a change of a few copies must stay little beside checking a signature.
const FEW_MAX: usize = 256;
