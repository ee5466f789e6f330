//! One rule of a policy.

use std::fmt;

use valkyrie_frame::Class;

use super::classes::Classes;
use super::pattern::Pattern;
use super::rate::Rate;
use super::selector::PeerSelector;
use super::subject::Subject;

/// One `[[allow]]` or `[[deny]]`.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// The line of the file; 0 for what is built in.
    pub(super) line: u32,
    pub(super) effect: Effect,
    pub(super) peers: Peers,
    pub(super) calls: Calls,
    pub(super) classes: Classes,
    pub(super) rate: Option<Rate>,
    pub(super) publish: Box<[Pattern]>,
    pub(super) subscribe: Box<[Pattern]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// Whom a rule is about.
#[derive(Clone, Debug)]
pub(super) enum Peers {
    /// Everybody, known or not.
    Everybody,
    Some(Box<[PeerSelector]>),
}

impl Peers {
    pub(super) fn include(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::Everybody => true,
            Self::Some(selectors) => selectors.iter().any(|selector| selector.matches(subject)),
        }
    }
}

/// What is called: each of `services` with each of `methods`, and `single` ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    pub(super) services: Box<[Pattern]>,
    pub(super) methods: Box<[Pattern]>,
    pub(super) single: Box<[(Pattern, Pattern)]>,
}

impl Calls {
    /// Every method of every service.
    pub(super) fn any() -> Self {
        Self::of_services(&["*"])
    }

    /// Every method of these services.
    pub(super) fn of_services(services: &[&str]) -> Self {
        Self {
            services: services.iter().map(|name| Pattern::new(name)).collect(),
            methods: Box::new([Pattern::any()]),
            single: Box::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.services.is_empty() && self.single.is_empty()
    }

    pub(super) fn include(&self, service: &str, method: &str) -> bool {
        let product = || {
            self.services.iter().any(|pattern| pattern.matches(service))
                && self.methods.iter().any(|pattern| pattern.matches(method))
        };
        product()
            || self
                .single
                .iter()
                .any(|(first, second)| first.matches(service) && second.matches(method))
    }

    /// The calls that are written out, without a star.
    pub(super) fn exact(&self) -> impl Iterator<Item = (&str, &str)> {
        let product = self
            .services
            .iter()
            .filter_map(Pattern::exact)
            .flat_map(|service| {
                let methods = self.methods.iter().filter_map(Pattern::exact);
                methods.map(move |method| (service, method))
            });
        let single = self.single.iter();
        product.chain(single.filter_map(|(service, method)| service.exact().zip(method.exact())))
    }
}

impl Rule {
    pub(super) fn covers_call(&self, service: &str, method: &str, class: Class) -> bool {
        self.classes.contains(class) && self.calls.include(service, method)
    }

    pub(super) fn topics(&self, topic_use: TopicUse) -> &[Pattern] {
        match topic_use {
            TopicUse::Publish => &self.publish,
            TopicUse::Subscribe => &self.subscribe,
        }
    }
}

/// What is done with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicUse {
    /// Messages are sent to it.
    Publish,
    /// Its messages are asked for.
    Subscribe,
}

impl fmt::Display for TopicUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        })
    }
}

/// The rule as it would be said: `allow role:runner to call rustci/* in job, data, bulk, at most 100/s and 100 at once`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.effect {
            Effect::Allow => "allow ",
            Effect::Deny => "deny ",
        })?;
        match &self.peers {
            Peers::Everybody => f.write_str("everybody")?,
            Peers::Some(selectors) => list(f, selectors, " or ")?,
        }
        let mut joint = " to ";
        if !self.calls.is_empty() {
            f.write_str(" to call ")?;
            self.write_calls(f)?;
            write!(f, " in {}", self.classes)?;
            joint = " and to ";
        }
        for (verb, topics) in [("publish to ", &self.publish), ("subscribe to ", &self.subscribe)] {
            if !topics.is_empty() {
                write!(f, "{joint}{verb}")?;
                list(f, topics, ", ")?;
                joint = " and to ";
            }
        }
        match &self.rate {
            Some(rate) => write!(f, ", at most {rate}"),
            None => Ok(()),
        }
    }
}

impl Rule {
    fn write_calls(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        let product = self.calls.services.iter().flat_map(|service| {
            let methods = self.calls.methods.iter();
            methods.map(move |method| (service, method))
        });
        let single = self
            .calls
            .single
            .iter()
            .map(|(service, method)| (service, method));
        for (place, (service, method)) in product.chain(single).enumerate() {
            if place == SHOWN_MAX {
                return f.write_str(" and more");
            }
            if !std::mem::take(&mut first) {
                f.write_str(", ")?;
            }
            write!(f, "{service}/{method}")?;
        }
        Ok(())
    }
}

/// Entries of a list that are said; the rest is "and more".
const SHOWN_MAX: usize = 8;

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T], joint: &str) -> fmt::Result {
    for (place, item) in items.iter().enumerate() {
        if place == SHOWN_MAX {
            return f.write_str(" and more");
        }
        if place > 0 {
            f.write_str(joint)?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}
