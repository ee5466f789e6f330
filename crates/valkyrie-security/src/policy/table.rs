//! Names of calls and what was decided about them: a hash table that is read without a lock and without copying.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use valkyrie_frame::Class;

/// What the rules say about a call in one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No rule allows it.
    Unruled,
    /// Allowed, as often as the peer likes.
    Free,
    /// Allowed by the rule whose meter has this place in the grant.
    Metered(u16),
    /// Denied by the rule of this number.
    Denied(u16),
}

/// A verdict for each class.
pub(super) type Verdicts = [Verdict; Class::COUNT];

/// A call and what is decided about it.
#[derive(Debug)]
pub(super) struct Entry {
    hash: u64,
    /// The service and behind it the method, which begins at `method`.
    name: Box<str>,
    method: u32,
    pub(super) verdicts: Verdicts,
    /// What a token adds, as the grant writes it; 0 when nobody has asked the token yet.
    pub(super) token: AtomicU64,
}

impl Entry {
    pub(super) fn new(name: &CallName<'_>, verdicts: Verdicts) -> Self {
        Self {
            hash: name.hash,
            name: [name.service, name.method].concat().into(),
            // Nothing has room for a longer name; the call would never be found here, and decided anew each time.
            method: u32::try_from(name.service.len()).unwrap_or(u32::MAX),
            verdicts,
            token: AtomicU64::new(0),
        }
    }

    #[inline]
    fn is(&self, name: &CallName<'_>) -> bool {
        self.hash == name.hash
            && self.method as usize == name.service.len()
            && self.name.len() == name.service.len() + name.method.len()
            && self.name.starts_with(name.service)
            && self.name.ends_with(name.method)
    }
}

/// A service and a method with their hash.
#[derive(Clone, Copy)]
pub(super) struct CallName<'a> {
    pub(super) service: &'a str,
    pub(super) method: &'a str,
    hash: u64,
}

impl<'a> CallName<'a> {
    #[inline]
    pub(super) fn new(service: &'a str, method: &'a str) -> Self {
        // The lengths keep ("ab", "c") and ("a", "bc") apart.
        let begin = (service.len() as u64) << 32 | method.len() as u64;
        let hash = mix(mix(begin, service.as_bytes()), method.as_bytes());
        Self {
            service,
            method,
            hash: hash ^ hash >> 29,
        }
    }
}

/// Multiplies and folds eight bytes at a time. It has no secret: what goes into a shared table comes from the policy
/// file, and what a peer puts in goes into its own, of fixed size.
#[inline]
fn mix(mut hash: u64, bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut step = |word: u64| {
        let product = u128::from(hash ^ word) * u128::from(FACTOR);
        hash = product as u64 ^ (product >> 64) as u64;
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        step(u64::from_le_bytes(*word));
    }
    let last = rest.iter().fold(1_u64, |word, byte| word << 8 | u64::from(*byte));
    step(last);
    hash
}

/// The calls that the rules write out, decided beforehand. Never changes, and is shared by every peer to whom the
/// same rules apply.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Two to four times as many as entries, a power of two. Holds the place of an entry plus one.
    slots: Box<[u16]>,
    entries: Box<[Entry]>,
}

impl Table {
    /// Calls in one table. What is written out beyond that is looked up in the rules, like what has a star.
    pub(super) const ENTRIES_MAX: usize = 1024;

    /// `entries` are distinct and no more than [`Self::ENTRIES_MAX`]; what is more is left out.
    pub(super) fn new(mut entries: Vec<Entry>) -> Self {
        entries.truncate(Self::ENTRIES_MAX);
        let mut slots = vec![0_u16; (entries.len() * 2).next_power_of_two()];
        for (place, entry) in (1_u16..).zip(&entries) {
            let free = probe(entry.hash, slots.len()).find(|slot| slots.get(*slot) == Some(&0));
            if let Some(slot) = free.and_then(|slot| slots.get_mut(slot)) {
                *slot = place;
            }
        }
        Self {
            slots: slots.into(),
            entries: entries.into(),
        }
    }

    #[inline]
    pub(super) fn find(&self, name: &CallName<'_>) -> Option<&Entry> {
        for slot in probe(name.hash, self.slots.len()) {
            let place = self.slots.get(slot)?.checked_sub(1)?;
            let entry = self.entries.get(usize::from(place))?;
            if entry.is(name) {
                return Some(entry);
            }
        }
        None
    }
}

/// Every slot once, beginning where the hash says. `slots` is a power of two.
#[inline]
fn probe(hash: u64, slots: usize) -> impl Iterator<Item = usize> {
    let mask = slots.wrapping_sub(1);
    (0..slots).map(move |step| (hash as usize).wrapping_add(step) & mask)
}

/// Calls that a peer has made and that no table has: decided once, then remembered. It is filled and never emptied, so
/// that it is read without a lock; it belongs to one connection, so that a peer that fills it with junk slows down
/// nobody else.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The first few, which is all that most peers ever call. Nothing until the first such call: an idle connection does
    /// not pay for it.
    few: Slots,
    /// A hash table for those that come when the first few are taken.
    many: Slots,
}

/// Places for entries, made when the first is put in.
type Slots = OnceLock<Box<[OnceLock<Box<Entry>>]>>;

impl Seen {
    /// Calls that are remembered beside the first few; with names of the greatest length, 20 KiB.
    const SLOTS: usize = 64;
    /// Slots that are tried for a call.
    const PROBES: usize = 8;
    /// Calls before there is a hash table, which costs a kilobyte. Finding one of them is comparing so many hashes at
    /// most.
    const FEW: usize = 4;

    #[inline]
    pub(super) fn find(&self, name: &CallName<'_>) -> Option<&Entry> {
        // They are taken in their order, so an empty one is the end.
        for slot in self.few.get()? {
            let entry = slot.get()?;
            if entry.is(name) {
                return Some(entry);
            }
        }
        let slots = self.many.get()?;
        for slot in probe(name.hash, Self::SLOTS).take(Self::PROBES) {
            let entry = slots.get(slot)?.get()?;
            if entry.is(name) {
                return Some(entry);
            }
        }
        None
    }

    /// The entry as it is remembered, or the entry itself when there is no room.
    pub(super) fn insert(&self, name: &CallName<'_>, entry: Box<Entry>) -> Result<&Entry, Box<Entry>> {
        let few = slots(&self.few, Self::FEW);
        put(few, 0..Self::FEW, name, entry).or_else(|entry| {
            let many = slots(&self.many, Self::SLOTS);
            put(
                many,
                probe(name.hash, Self::SLOTS).take(Self::PROBES),
                name,
                entry,
            )
        })
    }
}

fn slots(slots: &Slots, count: usize) -> &[OnceLock<Box<Entry>>] {
    slots.get_or_init(|| std::iter::repeat_with(OnceLock::new).take(count).collect())
}

/// Puts an entry into the first of `places` that is free.
fn put<'a>(
    slots: &'a [OnceLock<Box<Entry>>],
    places: impl Iterator<Item = usize>,
    name: &CallName<'_>,
    mut entry: Box<Entry>,
) -> Result<&'a Entry, Box<Entry>> {
    for place in places {
        let Some(slot) = slots.get(place) else { break };
        match slot.set(entry) {
            Ok(()) => {
                return slot
                    .get()
                    .map(|held| &**held)
                    .ok_or_else(|| unreachable_entry(name));
            }
            // Taken, perhaps this moment and for the same call.
            Err(back) => match slot.get() {
                Some(held) if held.is(name) => return Ok(held),
                _ => entry = back,
            },
        }
    }
    Err(entry)
}

/// A slot that was set is never empty; should it be, the call counts as not remembered and as not allowed.
fn unreachable_entry(name: &CallName<'_>) -> Box<Entry> {
    Box::new(Entry::new(name, [Verdict::Unruled; Class::COUNT]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FREE: Verdicts = [Verdict::Free; Class::COUNT];

    fn entry(service: &str, method: &str) -> Entry {
        Entry::new(&CallName::new(service, method), FREE)
    }

    #[test]
    fn an_empty_table_has_nothing() {
        assert!(Table::new(Vec::new()).find(&CallName::new("a", "b")).is_none());
        assert!(Table::default().find(&CallName::new("", "")).is_none());
    }

    #[test]
    fn names_are_not_run_together() {
        let table = Table::new(vec![entry("ab", "c")]);
        assert!(table.find(&CallName::new("ab", "c")).is_some());
        assert!(table.find(&CallName::new("a", "bc")).is_none());
    }

    #[test]
    fn what_was_seen_is_bounded_and_what_is_in_stays() {
        let seen = Seen::default();
        let mut kept = Vec::new();
        for number in 0..10_000 {
            let method = number.to_string();
            let name = CallName::new("junk", &method);
            if seen.insert(&name, Box::new(Entry::new(&name, FREE))).is_ok() {
                kept.push(method);
            }
        }
        assert!(kept.len() <= Seen::SLOTS + Seen::FEW);
        assert!(kept.len() > Seen::SLOTS / 2);
        for method in kept {
            assert!(seen.find(&CallName::new("junk", &method)).is_some());
        }
    }

    #[test]
    fn a_peer_that_calls_little_has_no_hash_table() {
        let seen = Seen::default();
        assert!(seen.few.get().is_none(), "one that calls nothing has nothing");
        for round in 0..2 {
            for method in ["a", "b", "c", "d"] {
                let name = CallName::new("service", method);
                assert_eq!(seen.find(&name).is_some(), round == 1);
                assert!(seen.insert(&name, Box::new(Entry::new(&name, FREE))).is_ok());
                assert!(seen.find(&name).is_some());
            }
        }
        assert!(seen.many.get().is_none());
        let name = CallName::new("service", "e");
        assert!(seen.insert(&name, Box::new(Entry::new(&name, FREE))).is_ok());
        assert!(seen.many.get().is_some() && seen.find(&name).is_some());
    }

    proptest! {
        #[test]
        fn a_table_finds_what_is_in_it_and_nothing_else(
            names in prop::collection::btree_set(("[a-c]{0,3}", "[a-c]{0,20}"), 0..200),
            others in prop::collection::vec(("[a-c]{0,3}", "[a-c]{0,20}"), 50)
        ) {
            let table = Table::new(names.iter().map(|(service, method)| entry(service, method)).collect());
            for (service, method) in names.iter().chain(&others) {
                let found = table.find(&CallName::new(service, method)).is_some();
                prop_assert_eq!(found, names.contains(&(service.clone(), method.clone())));
            }
        }
    }
}
