//! The rules that apply to one kind of peer, decided for every call that they write out.

use std::collections::BTreeSet;
use std::sync::Arc;

use valkyrie_frame::Class;

use super::classes::Classes;
use super::rule::{Effect, Rule, TopicUse};
use super::table::{CallName, Entry, Table, Verdict, Verdicts};

/// The rules that apply to a peer. Peers to whom the same rules apply share it.
#[derive(Debug)]
pub(super) struct Compiled {
    rules: Arc<[Rule]>,
    /// The numbers of the rules that apply, ascending.
    applying: Box<[u16]>,
    /// Those of them that have a rate.
    pub(super) metered: Box<[u16]>,
    /// Decided beforehand.
    pub(super) table: Table,
    /// Where something may be called.
    pub(super) classes: Classes,
}

impl Compiled {
    pub(super) fn new(rules: Arc<[Rule]>, applying: Box<[u16]>) -> Self {
        let rated = |number: &u16| {
            rules
                .get(usize::from(*number))
                .is_some_and(|rule| rule.rate.is_some())
        };
        let mut compiled = Self {
            metered: applying.iter().copied().filter(rated).collect(),
            rules,
            applying,
            table: Table::default(),
            classes: Classes::NONE,
        };
        let allowing = compiled
            .with(Effect::Allow)
            .filter(|(_, rule)| !rule.calls.is_empty());
        compiled.classes = allowing.fold(Classes::NONE, |all, (_, rule)| all.union(rule.classes));
        let mut written_out = BTreeSet::new();
        for call in compiled.applying().flat_map(|(_, rule)| rule.calls.exact()) {
            written_out.insert(call);
            if written_out.len() == Table::ENTRIES_MAX {
                break;
            }
        }
        let entries = written_out.into_iter().map(|(service, method)| {
            let verdicts = compiled.decide(service, method);
            Entry::new(&CallName::new(service, method), verdicts)
        });
        compiled.table = Table::new(entries.collect());
        compiled
    }

    /// What the rules say about a call in each class: one that denies wins, else the first that allows.
    pub(super) fn decide(&self, service: &str, method: &str) -> Verdicts {
        // The names are compared once for each rule, not once for each class.
        let mut verdicts = [Verdict::Unruled; Class::COUNT];
        for (number, rule) in self.with(Effect::Deny).chain(self.with(Effect::Allow)) {
            if !rule.calls.include(service, method) {
                continue;
            }
            for class in rule.classes.iter() {
                if let Some(verdict @ Verdict::Unruled) = verdicts.get_mut(class.index()) {
                    *verdict = self.verdict(number, rule);
                }
            }
        }
        verdicts
    }

    /// What the rules say about a topic.
    pub(super) fn topic(&self, topic_use: TopicUse, topic: &str) -> Verdict {
        self.with(Effect::Deny)
            .chain(self.with(Effect::Allow))
            .find(|(_, rule)| {
                rule.topics(topic_use)
                    .iter()
                    .any(|pattern| pattern.matches(topic))
            })
            .map_or(Verdict::Unruled, |(number, rule)| self.verdict(number, rule))
    }

    /// The line of a rule.
    pub(super) fn line(&self, number: u16) -> u32 {
        self.rules.get(usize::from(number)).map_or(0, |rule| rule.line)
    }

    fn verdict(&self, number: u16, rule: &Rule) -> Verdict {
        match (rule.effect, &rule.rate) {
            (Effect::Deny, _) => Verdict::Denied(number),
            (Effect::Allow, None) => Verdict::Free,
            (Effect::Allow, Some(_)) => {
                match (0..).zip(&self.metered).find(|(_, metered)| **metered == number) {
                    Some((place, _)) => Verdict::Metered(place),
                    None => Verdict::Unruled,
                }
            }
        }
    }

    fn applying(&self) -> impl Iterator<Item = (u16, &Rule)> {
        let rule = |number: &u16| Some((*number, self.rules.get(usize::from(*number))?));
        self.applying.iter().filter_map(rule)
    }

    fn with(&self, effect: Effect) -> impl Iterator<Item = (u16, &Rule)> {
        self.applying().filter(move |(_, rule)| rule.effect == effect)
    }
}
