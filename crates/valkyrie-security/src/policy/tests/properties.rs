//! Random policies against the rules read one by one, and random text against the reader.

use proptest::prelude::*;

use super::*;

/// A rule as it is generated, and as the definition below reads it.
#[derive(Clone, Debug)]
struct Plan {
    deny: bool,
    peers: Vec<&'static str>,
    services: Vec<&'static str>,
    methods: Vec<&'static str>,
    classes: Vec<Class>,
}

const NAMES: &[&str] = &["a", "ab", "b", "*", "a*", "*b"];

fn names() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(NAMES), 1..3)
}

fn plan() -> impl Strategy<Value = Plan> {
    let peers = prop::sample::select(&["any", "anonymous", "plain", "name:ada", "name:*", "role:r"][..]);
    let classes = prop::sample::subsequence(Class::ALL.to_vec(), 1..=5);
    (
        prop::bool::weighted(0.3),
        prop::collection::vec(peers, 1..3),
        names(),
        names(),
        classes,
    )
        .prop_map(|(deny, peers, services, methods, classes)| Plan {
            deny,
            peers,
            services,
            methods,
            classes,
        })
}

fn write(plans: &[Plan]) -> String {
    let quoted = |items: &[&str]| {
        let items: Vec<String> = items.iter().map(|item| format!("'{item}'")).collect();
        items.join(", ")
    };
    let mut text = "version = 1\n".to_owned();
    for plan in plans {
        let classes: Vec<&str> = plan.classes.iter().map(|class| class.name()).collect();
        text += &format!(
            "[[{}]]\npeers = [{}]\nservices = [{}]\nmethods = [{}]\nclasses = [{}]\n",
            if plan.deny { "deny" } else { "allow" },
            quoted(&plan.peers),
            quoted(&plan.services),
            quoted(&plan.methods),
            quoted(&classes),
        );
    }
    text
}

fn by_definition(plans: &[Plan], subject: &Subject<'_>, service: &str, method: &str, class: Class) -> bool {
    let name_matches =
        |pattern: &str, name: &str| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            (Some(end), _) => name.ends_with(end),
            (None, Some(begin)) => name.starts_with(begin),
            (None, None) => name == pattern,
        };
    let who = |plan: &Plan| {
        plan.peers.iter().any(|peer| match *peer {
            "any" => plan.deny || subject.standing.is_authenticated(),
            "anonymous" => subject.standing == Standing::Anonymous,
            "plain" => subject.standing == Standing::Plain,
            "name:ada" => subject.name == Some("ada"),
            "name:*" => subject.name.is_some(),
            _ => subject.roles.contains(&"r"),
        })
    };
    let covers = |plan: &&Plan| {
        who(plan)
            && plan.classes.contains(&class)
            && plan.services.iter().any(|pattern| name_matches(pattern, service))
            && plan.methods.iter().any(|pattern| name_matches(pattern, method))
    };
    let covering: Vec<&Plan> = plans.iter().filter(covers).collect();
    !covering.is_empty() && covering.iter().all(|plan| !plan.deny)
}

proptest! {
    #[test]
    fn a_grant_says_what_the_rules_say(
        plans in prop::collection::vec(plan(), 0..8),
        calls in prop::collection::vec(("[abc]{1,3}", "[abc]{1,3}"), 1..12),
        who in 0..5_usize,
    ) {
        let policy = Policy::parse(&write(&plans)).unwrap();
        let subject = match who {
            0 => named("ada"),
            1 => named("bob"),
            2 => Subject { roles: vec!["r"], ..Subject::new(Standing::PeerCredentials) },
            3 => Subject::new(Standing::Anonymous),
            _ => Subject::new(Standing::Plain),
        };
        let now = Instant::now();
        let grant = policy.grant(&subject, now, TIME);
        for (service, method) in &calls {
            for class in Class::ALL {
                let expected = by_definition(&plans, &subject, service, method, class);
                prop_assert_eq!(grant.check(service, method, class, now).is_ok(), expected);
                prop_assert_eq!(grant.check(service, method, class, now).is_ok(), expected);
                let explained = policy.explain(&subject, service, method, class);
                prop_assert_eq!(explained.decision() == Decision::Allowed, expected);
                prop_assert!(!expected || grant.classes().contains(class));
                let _ = explained.to_string();
            }
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,200}") {
        let _ = Policy::parse(&text);
    }

    #[test]
    fn a_file_with_a_byte_changed_is_read_or_refused_with_a_place(at in 0_usize..400, byte: u8) {
        let mut text = EXAMPLE.as_bytes().to_vec();
        let at = at % text.len();
        text[at] = byte;
        let text = String::from_utf8_lossy(&text);
        if let Err(error) = Policy::parse(&text) {
            prop_assert!(!error.faults().is_empty());
            for fault in error.faults() {
                prop_assert!(fault.line <= text.lines().count() + 1);
            }
            prop_assert!(!error.render("policy.toml").is_empty());
        }
    }
}

const EXAMPLE: &str = r#"version = 1
[[allow]]
peers = ["name:ada", "role:runner", "spiffe://example.org/ci/*", "uid:1000"]
services = ["echo", "rustci.*"]
methods = ["*"]
classes = ["job", "data", "bulk"]
rate = "100/s"
burst = 200
publish = ["logs.*"]
[[deny]]
peers = ["any"]
calls = ["echo/fail"]
[tokens]
roots = ["ed25519/d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"]
"#;
