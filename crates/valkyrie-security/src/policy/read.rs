//! Reads a policy file: TOML, every mistake with its place.

use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};
use valkyrie_frame::Class;

use super::classes::Classes;
use super::entry;
use super::fault::{PolicyError, PolicyFault};
use super::pattern::Pattern;
use super::rate::Rate;
use super::rule::{Calls, Effect, Peers, Rule};
use super::{Policy, TokenRules};
use crate::token::TokenRoot;

/// Mistakes that are told. More of them are of no use to anybody.
const FAULTS_MAX: usize = 20;

/// Entries of one list: peers of a rule, or services. With [`Policy::RULES_MAX`] it bounds what deciding one call costs.
const ENTRIES_MAX: usize = 256;

/// Root keys whose tokens are taken: each is tried in turn.
const ROOTS_MAX: usize = 16;

/// The version of the format.
const VERSION: &str = "1";

const TOP_KEYS: &[&str] = &["version", "allow", "deny", "tokens"];
const ALLOW_KEYS: &[&str] = &[
    "peers",
    "services",
    "methods",
    "calls",
    "classes",
    "rate",
    "burst",
    "publish",
    "subscribe",
];
const DENY_KEYS: &[&str] = &[
    "peers",
    "services",
    "methods",
    "calls",
    "classes",
    "publish",
    "subscribe",
];
const TOKEN_KEYS: &[&str] = &["roots", "classes", "revoked"];

type Value<'a> = Spanned<DeValue<'a>>;

pub(super) fn read(text: &str) -> Result<(Vec<Rule>, TokenRules), PolicyError> {
    let mut reader = Reader {
        text,
        faults: Vec::new(),
    };
    if text.len() > Policy::FILE_BYTES_MAX {
        let message = format!("the file is longer than {} bytes", Policy::FILE_BYTES_MAX);
        reader.fault(0..0, message, None);
        return Err(PolicyError::new(reader.faults));
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        reader.fault(error.span().unwrap_or(0..0), error.message().to_owned(), None);
    }
    // What could not be read would be missed again as missing keys.
    let read = match reader.faults.is_empty() {
        true => reader.file(table.get_ref()),
        false => (Vec::new(), TokenRules::default()),
    };
    match reader.faults.is_empty() {
        true => Ok(read),
        false => Err(PolicyError::new(reader.faults)),
    }
}

struct Reader<'t> {
    text: &'t str,
    faults: Vec<PolicyFault>,
}

impl Reader<'_> {
    fn fault(&mut self, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        if self.faults.len() < FAULTS_MAX {
            let fault = PolicyFault::new(self.text, span, message.into(), help);
            self.faults.push(fault);
        }
    }

    fn file(&mut self, table: &DeTable<'_>) -> (Vec<Rule>, TokenRules) {
        self.known_keys(table, TOP_KEYS, "a policy");
        match field(table, "version") {
            None => self.fault(
                0..0,
                "the policy does not say its version",
                Some(format!("begin with `version = {VERSION}`")),
            ),
            Some(value) => match value.get_ref().as_integer() {
                Some(number) if number.radix() == 10 && number.as_str() == VERSION => {}
                _ => self.fault(
                    value.span(),
                    format!("this version reads policies of `version = {VERSION}` only"),
                    None,
                ),
            },
        }
        let mut rules = Vec::new();
        for (key, effect) in [("allow", Effect::Allow), ("deny", Effect::Deny)] {
            let Some(value) = field(table, key) else { continue };
            let Some(array) = value.get_ref().as_array() else {
                self.fault(
                    value.span(),
                    format!("`{key}` is a list of rules"),
                    Some(format!("begin each rule with `[[{key}]]`")),
                );
                continue;
            };
            for rule in array {
                rules.extend(self.rule(rule, effect));
                if rules.len() > Policy::RULES_MAX {
                    let message = format!("a policy has at most {} rules", Policy::RULES_MAX);
                    self.fault(rule.span(), message, None);
                    break;
                }
            }
        }
        // By their place in the file: the first that allows decides, and a rule's number says where it stands.
        rules.sort_by_key(|rule: &Rule| rule.line);
        let tokens = field(table, "tokens").map_or_else(TokenRules::default, |value| self.tokens(value));
        (rules, tokens)
    }

    fn rule(&mut self, value: &Value<'_>, effect: Effect) -> Option<Rule> {
        let Some(table) = value.get_ref().as_table() else {
            self.fault(value.span(), "a rule is a table", None);
            return None;
        };
        let (keys, what) = match effect {
            Effect::Allow => (ALLOW_KEYS, "an [[allow]] rule"),
            Effect::Deny => (DENY_KEYS, "a [[deny]] rule"),
        };
        self.known_keys(table, keys, what);
        let peers = match (field(table, "peers"), effect) {
            (Some(list), _) => self.peers(list, effect),
            (None, Effect::Deny) => Peers::Everybody,
            (None, Effect::Allow) => {
                self.fault(
                    value.span(),
                    "the rule does not say whom it allows something",
                    Some("write `peers = [\"any\"]` for every peer that is authenticated".to_owned()),
                );
                return None;
            }
        };
        let mut calls = self.calls(table);
        let mut publish = self.patterns(table, "publish");
        let mut subscribe = self.patterns(table, "subscribe");
        let says_nothing = calls.is_empty() && publish.is_empty() && subscribe.is_empty();
        let names_calls = ["services", "methods", "calls"]
            .iter()
            .any(|key| field(table, key).is_some());
        match effect {
            Effect::Allow if says_nothing && !names_calls => {
                let help =
                    "name `services`, `calls`, `publish` or `subscribe`; `services = [\"*\"]` is every one";
                self.fault(value.span(), "the rule allows nothing", Some(help.to_owned()));
            }
            // A rule that denies and does not say what denies everything, in the classes it names.
            Effect::Deny if says_nothing && !names_calls => {
                calls = Calls::any();
                if field(table, "classes").is_none() {
                    (publish, subscribe) = (Box::new([Pattern::any()]), Box::new([Pattern::any()]));
                }
            }
            _ => {}
        }
        let default = match effect {
            Effect::Allow => Classes::ORDINARY,
            Effect::Deny => Classes::ALL,
        };
        Some(Rule {
            line: self.line_of(value.span().start),
            effect,
            peers,
            calls,
            classes: self.classes(table, default),
            rate: self.rate(table),
            publish,
            subscribe,
        })
    }

    fn peers(&mut self, value: &Value<'_>, effect: Effect) -> Peers {
        let mut selectors = Vec::new();
        let mut everybody = false;
        for (text, span) in self.texts(value, "peers") {
            match entry::peer(text) {
                // To deny something to "any" and to let strangers have it would help nobody.
                Ok(super::PeerSelector::Any) if effect == Effect::Deny => everybody = true,
                Ok(selector) => selectors.push(selector),
                Err(wrong) => self.fault(span, wrong.message, wrong.help),
            }
        }
        match everybody {
            true => Peers::Everybody,
            false => Peers::Some(selectors.into()),
        }
    }

    fn calls(&mut self, table: &DeTable<'_>) -> Calls {
        let services = self.patterns(table, "services");
        let mut methods = self.patterns(table, "methods");
        match (field(table, "services"), field(table, "methods")) {
            (None, Some(value)) => self.fault(
                value.span(),
                "`methods` without `services`",
                Some("name the services, or write `calls = [\"service/method\"]`".to_owned()),
            ),
            (Some(_), None) => methods = Box::new([Pattern::any()]),
            _ => {}
        }
        let mut single = Vec::new();
        if let Some(value) = field(table, "calls") {
            for (text, span) in self.texts(value, "calls") {
                match entry::call(text) {
                    Ok(call) => single.push(call),
                    Err(wrong) => self.fault(span, wrong.message, wrong.help),
                }
            }
        }
        Calls {
            services,
            methods,
            single: single.into(),
        }
    }

    fn patterns(&mut self, table: &DeTable<'_>, key: &'static str) -> Box<[Pattern]> {
        let Some(value) = field(table, key) else {
            return Box::default();
        };
        let mut patterns = Vec::new();
        for (text, span) in self.texts(value, key) {
            match entry::pattern(text) {
                Ok(pattern) => patterns.push(pattern),
                Err(wrong) => self.fault(span, wrong.message, wrong.help),
            }
        }
        patterns.into()
    }

    fn classes(&mut self, table: &DeTable<'_>, default: Classes) -> Classes {
        let Some(value) = field(table, "classes") else {
            return default;
        };
        let names = Class::ALL.map(Class::name);
        let mut classes = Classes::NONE;
        for (text, span) in self.texts(value, "classes") {
            match Class::from_name(text) {
                Some(class) => classes = classes.with(class),
                None => {
                    let help = entry::near(text, &names)
                        .unwrap_or_else(|| format!("the classes are {}", names.join(", ")));
                    self.fault(span, format!("there is no class `{text}`"), Some(help));
                }
            }
        }
        classes
    }

    fn rate(&mut self, table: &DeTable<'_>) -> Option<Rate> {
        let (rate, burst) = (field(table, "rate"), field(table, "burst"));
        let Some(value) = rate else {
            if let Some(burst) = burst {
                self.fault(burst.span(), "`burst` without `rate`", None);
            }
            return None;
        };
        let Some(rate) = value.get_ref().as_str().and_then(Rate::parse) else {
            let help = "write a number and a period, such as `rate = \"100/s\"`, \"30/m\" or \"5/h\"";
            self.fault(value.span(), "this is no rate", Some(help.to_owned()));
            return None;
        };
        let Some(value) = burst else { return Some(rate) };
        let number = value.get_ref().as_integer();
        let number = number.and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
        let with_burst = number.and_then(|number| rate.with_burst(number));
        if with_burst.is_none() {
            let help = "write how many may come at once, such as `burst = 20`";
            self.fault(value.span(), "this is no number of events", Some(help.to_owned()));
        }
        with_burst
    }

    fn tokens(&mut self, value: &Value<'_>) -> TokenRules {
        let Some(table) = value.get_ref().as_table() else {
            self.fault(
                value.span(),
                "`tokens` is a table",
                Some("write `[tokens]`".to_owned()),
            );
            return TokenRules::default();
        };
        self.known_keys(table, TOKEN_KEYS, "[tokens]");
        if field(table, "roots").is_none() {
            let help = "write `roots = [\"ed25519/…\"]`".to_owned();
            self.fault(
                value.span(),
                "[tokens] does not say whose tokens are taken",
                Some(help),
            );
        }
        let roots: Box<[TokenRoot]> = self.parsed(table, "roots");
        if let Some(list) = field(table, "roots").filter(|_| roots.len() > ROOTS_MAX) {
            self.fault(
                list.span(),
                format!("tokens of at most {ROOTS_MAX} roots are taken"),
                None,
            );
        }
        TokenRules {
            roots,
            revoked: self.parsed(table, "revoked"),
            ceiling: self.classes(table, Classes::ORDINARY),
        }
    }

    /// A list of what each text writes.
    fn parsed<T: FromStr<Err: Display>>(&mut self, table: &DeTable<'_>, key: &str) -> Box<[T]> {
        let Some(value) = field(table, key) else {
            return Box::default();
        };
        let mut parsed = Vec::new();
        for (text, span) in self.texts(value, key) {
            match text.parse() {
                Ok(item) => parsed.push(item),
                Err(error) => self.fault(span, T::Err::to_string(&error), None),
            }
        }
        parsed.into()
    }

    /// The texts of a list that is not empty, each with its place.
    fn texts<'v>(&mut self, value: &'v Value<'_>, key: &str) -> Vec<(&'v str, Range<usize>)> {
        let Some(array) = value.get_ref().as_array() else {
            let help = format!("write `{key} = [\"…\"]`");
            self.fault(value.span(), format!("`{key}` is a list of texts"), Some(help));
            return Vec::new();
        };
        self.list_length(array, value.span(), key);
        let mut texts = Vec::new();
        for item in array.iter().take(ENTRIES_MAX) {
            match item.get_ref().as_str() {
                Some(text) => texts.push((text, item.span())),
                None => self.fault(item.span(), format!("`{key}` is a list of texts"), None),
            }
        }
        texts
    }

    fn list_length(&mut self, array: &DeArray<'_>, span: Range<usize>, key: &str) {
        if array.is_empty() {
            self.fault(
                span,
                format!("`{key}` is empty, so the rule is about nothing"),
                None,
            );
        } else if array.len() > ENTRIES_MAX {
            self.fault(span, format!("`{key}` has more than {ENTRIES_MAX} entries"), None);
        }
    }

    fn known_keys(&mut self, table: &DeTable<'_>, known: &[&str], what: &str) {
        for key in table.keys() {
            let name: &DeString<'_> = key.get_ref();
            if !known.contains(&&**name) {
                let help = entry::near(name, known).unwrap_or_else(|| format!("it has {}", known.join(", ")));
                self.fault(key.span(), format!("{what} has no `{name}`"), Some(help));
            }
        }
    }

    fn line_of(&self, at: usize) -> u32 {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        let lines = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        u32::try_from(lines).unwrap_or(u32::MAX)
    }
}

fn field<'t, 'a>(table: &'t DeTable<'a>, key: &str) -> Option<&'t Value<'a>> {
    table
        .iter()
        .find(|(name, _)| &**name.get_ref() == key)
        .map(|(_, value)| value)
}
