//! Which rule decided, told to people.

use std::fmt;

use valkyrie_frame::Class;

use super::rule::{Effect, Rule};
use super::subject::Subject;

/// What a policy says about a call and why. Its text is for people.
#[derive(Clone, Debug)]
pub struct Explanation {
    decision: Decision,
    call: String,
    /// The rule that decided, as it would be said.
    decided: Option<Said>,
    /// Rules that would have allowed it, had one thing been otherwise.
    near: Vec<(Said, Miss)>,
}

/// What a policy says about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A rule allows it, and none denies it.
    Allowed,
    /// A rule denies it.
    Forbidden,
    /// No rule allows it.
    Unruled,
}

#[derive(Clone, Debug)]
struct Said {
    line: u32,
    text: String,
}

/// The one thing that kept a rule from allowing the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Miss {
    Class,
    Peer,
    Call,
}

/// Rules that came near and are told.
const NEAR_MAX: usize = 3;

impl Explanation {
    /// What the policy says.
    pub const fn decision(&self) -> Decision {
        self.decision
    }

    /// The line of the rule that decided; 0 where it is built in, `None` where no rule did.
    pub fn line(&self) -> Option<u32> {
        self.decided.as_ref().map(|rule| rule.line)
    }
}

pub(super) fn explain(
    rules: &[Rule],
    subject: &Subject<'_>,
    service: &str,
    method: &str,
    class: Class,
) -> Explanation {
    let decides = |rule: &&Rule| rule.peers.include(subject) && rule.covers_call(service, method, class);
    let of = |effect| move |rule: &&Rule| rule.effect == effect;
    let denying = rules.iter().filter(of(Effect::Deny)).find(decides);
    let deciding = denying.or_else(|| rules.iter().filter(of(Effect::Allow)).find(decides));
    let mut near = Vec::new();
    if deciding.is_none() {
        let allowing = rules.iter().filter(of(Effect::Allow));
        near.extend(allowing.filter_map(|rule| Some((rule, miss(rule, subject, service, method, class)?))));
        near.sort_by_key(|(rule, miss)| (*miss, rule.line));
        near.truncate(NEAR_MAX);
    }
    Explanation {
        decision: match deciding.map(|rule| rule.effect) {
            Some(Effect::Allow) => Decision::Allowed,
            Some(Effect::Deny) => Decision::Forbidden,
            None => Decision::Unruled,
        },
        call: format!("{service}/{method} in class {}", class.name()),
        decided: deciding.map(Said::new),
        near: near
            .into_iter()
            .map(|(rule, miss)| (Said::new(rule), miss))
            .collect(),
    }
}

/// What a rule lacks, when it is one thing.
fn miss(rule: &Rule, subject: &Subject<'_>, service: &str, method: &str, class: Class) -> Option<Miss> {
    let lacks = [
        (rule.classes.contains(class), Miss::Class),
        (rule.peers.include(subject), Miss::Peer),
        (rule.calls.include(service, method), Miss::Call),
    ];
    let mut missing = lacks.iter().filter(|(has, _)| !has).map(|(_, miss)| *miss);
    missing.next().filter(|_| missing.next().is_none())
}

impl Said {
    fn new(rule: &Rule) -> Self {
        Self {
            line: rule.line,
            text: rule.to_string(),
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "the built-in rule: {}", self.text),
            line => write!(f, "line {line}: {}", self.text),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.decision, &self.decided) {
            (Decision::Allowed, Some(rule)) => write!(f, "{} is allowed by {rule}", self.call),
            (Decision::Forbidden, Some(rule)) => write!(f, "{} is denied by {rule}", self.call),
            _ => write!(f, "{} is denied: no rule allows it", self.call),
        }?;
        for (rule, miss) in &self.near {
            let lack = match miss {
                Miss::Class => "is not for this class",
                Miss::Peer => "is not for this peer",
                Miss::Call => "is not for this call",
            };
            write!(f, "\n  {lack}: {rule}")?;
        }
        Ok(())
    }
}
