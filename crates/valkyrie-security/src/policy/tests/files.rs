//! Wrong files: each mistake is found where it is.

use super::*;

/// Line, column and message of every mistake.
fn faults(text: &str) -> Vec<(usize, usize, String)> {
    match Policy::parse(text) {
        Ok(policy) => panic!("this was read: {policy:?}"),
        Err(error) => error
            .faults()
            .iter()
            .map(|fault| (fault.line, fault.column, fault.message.clone()))
            .collect(),
    }
}

fn help(text: &str) -> Option<String> {
    Policy::parse(text).unwrap_err().faults()[0].help.clone()
}

#[test]
fn a_mistake_is_shown_with_its_line_and_a_mark_below_it() {
    let text = "version = 1\n\n[[allow]]\npeers = [\"role:runner\"]\nservcies = [\"rustci\"]\nclasses = [\"jobs\"]\n";
    let error = Policy::parse(text).unwrap_err();
    assert_eq!(
        error.render("policy.toml"),
        "policy.toml:3:1: the rule allows nothing\n\
         3 | [[allow]]\n  \
           | ^^^^^^^^^\n  \
           = help: name `services`, `calls`, `publish` or `subscribe`; `services = [\"*\"]` is every one\n\
         policy.toml:5:1: an [[allow]] rule has no `servcies`\n\
         5 | servcies = [\"rustci\"]\n  \
           | ^^^^^^^^\n  \
           = help: did you mean `services`?\n\
         policy.toml:6:12: there is no class `jobs`\n\
         6 | classes = [\"jobs\"]\n  \
           |            ^^^^^^\n  \
           = help: did you mean `job`?\n"
    );
}

#[test]
fn text_that_is_no_toml_is_shown_where_it_stops_to_be() {
    let found = faults("version = 1\n[[allow]\npeers = [\"any\"]\n");
    assert_eq!(found[0].0, 2, "{found:?}");
    let found = faults("version = 1\nversion = 1\n");
    assert_eq!((found[0].0, found[0].1), (2, 1), "{found:?}");
    assert!(!faults("\u{0}").is_empty());
}

#[test]
fn the_version_is_asked_for() {
    assert_eq!(
        faults("")[0],
        (1, 1, "the policy does not say its version".to_owned())
    );
    for version in ["2", "0", "\"1\"", "1.0", "0x1", "true", "99999999999999999999999"] {
        assert_eq!(faults(&format!("version = {version}"))[0].0, 1, "{version}");
    }
    assert!(Policy::parse("version = 1").is_ok());
}

#[test]
fn each_wrong_entry_is_found_where_it_stands() {
    let rule = "version = 1\n[[allow]]\npeers = [\"any\"]\nservices = [\"*\"]\n";
    for (line, column) in [
        ("rate = \"often\"", 8),
        ("rate = 100", 8),
        ("burst = 5", 9),
        ("classes = [\"job\", \"fast\"]", 19),
        ("classes = \"job\"", 11),
        ("classes = []", 11),
        ("publish = [\"a\", 7]", 17),
        ("calls = [\"echo\"]", 10),
        ("calls = [\"/x\"]", 10),
        ("subscribe = [\"\"]", 14),
        ("subscribe = [\"*a*b*c*d*\"]", 14),
        ("colour = 1", 1),
    ] {
        let found = faults(&format!("{rule}{line}\n"));
        assert_eq!(
            (found.len(), found[0].0, found[0].1),
            (1, 5, column),
            "{line}: {found:?}"
        );
    }
    let burst = faults(&format!("{rule}rate = \"1/s\"\nburst = 0\n"));
    assert_eq!((burst[0].0, burst[0].1), (6, 9));
}

#[test]
fn rules_that_say_too_little_are_refused() {
    for (text, message) in [
        (
            "[[allow]]\nservices = ['a']",
            "the rule does not say whom it allows something",
        ),
        ("[[allow]]\npeers = ['any']", "the rule allows nothing"),
        (
            "[[allow]]\npeers = []\nservices = ['a']",
            "`peers` is empty, so the rule is about nothing",
        ),
        (
            "[[allow]]\npeers = ['any']\nmethods = ['a']",
            "`methods` without `services`",
        ),
        (
            "[[deny]]\npeers = ['any']\nrate = '1/s'",
            "a [[deny]] rule has no `rate`",
        ),
        ("[allow]\npeers = ['any']", "`allow` is a list of rules"),
        ("allow = [1]", "a rule is a table"),
        ("tokens = 1", "`tokens` is a table"),
        ("[tokens]", "[tokens] does not say whose tokens are taken"),
        (
            "[tokens]\nroots = ['ed25519/00']",
            "a root key of tokens is written `ed25519/` and 64 hexadecimal digits",
        ),
    ] {
        let found = faults(&format!("version = 1\n{text}\n"));
        assert!(
            found.iter().any(|(.., said)| said == message),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn a_name_without_a_kind_is_helped_along() {
    let text = "version = 1\n[[allow]]\nservices = ['a']\npeers = ['ada']\n";
    assert_eq!(
        help(text).as_deref(),
        Some("for a peer of that name write `name:ada`, for a role `role:ada`")
    );
    assert_eq!(
        help(&text.replace("ada", "anny")).as_deref(),
        Some("did you mean `any`?")
    );
    assert_eq!(
        help(&text.replace("ada", "rol:ci")).as_deref(),
        Some("did you mean `role`?")
    );
}

#[test]
fn sizes_are_bounded() {
    let long = format!("version = 1\n#{}", "x".repeat(Policy::FILE_BYTES_MAX));
    assert!(faults(&long)[0].2.contains("longer than"));
    let rule = "[[deny]]\npeers = ['any']\n";
    let full = format!("version = 1\n{}", rule.repeat(Policy::RULES_MAX));
    assert_eq!(Policy::parse(&full).unwrap().rule_count(), Policy::RULES_MAX);
    assert_eq!(faults(&format!("{full}{rule}")).len(), 1);
    let list = vec!["'a'"; 257].join(", ");
    assert!(
        faults(&format!("version = 1\n[[deny]]\nservices = [{list}]"))[0]
            .2
            .contains("more than 256")
    );
    let wrong = "[[allow]]\n".repeat(100);
    assert_eq!(faults(&format!("version = 1\n{wrong}")).len(), 20);
    let deep = format!("version = 1\nx = {}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(!faults(&deep).is_empty());
}

#[test]
fn what_is_shown_of_a_file_cannot_drive_a_terminal() {
    let error = Policy::parse("version = 1\n\"\\u001b[31m\" = 1\n\u{9b}").unwrap_err();
    let shown = error.render("p");
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
    let long = format!("version = 1 {} x", " ".repeat(500));
    let error = Policy::parse(&long).unwrap_err();
    assert!(error.faults()[0].excerpt().len() <= 160);
}

#[test]
fn token_roots_are_read() {
    let root = format!("ed25519/{}", "ab".repeat(32));
    let policy = policy(&format!("[tokens]\nroots = ['{root}']\n"));
    assert_eq!(policy.token_roots(), [root.parse().unwrap()]);
    assert!(Policy::default().token_roots().is_empty());
}

#[test]
fn the_examples_of_the_book_are_policies_and_say_what_the_book_says() {
    let page = format!("{}/../../docs/book/policy.md", env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(page).unwrap();
    let examples: Vec<Policy> = page
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .map(|text| Policy::parse(text).unwrap_or_else(|error| panic!("{error}")))
        .collect();
    let [example, with_tokens] = examples.as_slice() else {
        panic!("the page has {} examples", examples.len());
    };
    let runner = Subject {
        roles: vec!["runner"],
        ..Subject::new(Standing::Identity)
    };
    let monitoring = Subject {
        spiffe_id: Some("spiffe://example.org/monitoring/7"),
        ..Subject::new(Standing::Identity)
    };
    for (subject, service, method, class, may) in [
        (&runner, "rustci", "register", Class::Job, true),
        (&runner, "rustci", "submit", Class::Job, false),
        (&named("ada"), "rustci", "submit", Class::Job, true),
        (&monitoring, "health", "check", Class::System, true),
        (&monitoring, "health", "check", Class::Job, false),
        (&named("bob"), "echo", "echo", Class::Job, true),
        (&named("bob"), "health", "check", Class::Job, false),
        (&named("intern-2024"), "echo", "echo", Class::Job, false),
        (&Subject::new(Standing::Plain), "echo", "echo", Class::Job, false),
    ] {
        assert_eq!(
            decide(example, subject, service, method, class),
            may,
            "{service}/{method}"
        );
    }
    assert_eq!(with_tokens.token_roots().len(), 1);
}
