//! Who is allowed what.

use std::time::Duration;

use super::*;
use crate::identity::Fingerprint;
use crate::verified::{PlainAllowed, Verified};

const EVERYBODY: [Standing; 4] = [
    Standing::Identity,
    Standing::PeerCredentials,
    Standing::Anonymous,
    Standing::Plain,
];

#[test]
fn nothing_is_allowed_that_no_rule_allows() {
    for standing in EVERYBODY {
        let subject = Subject::new(standing);
        for class in Class::ALL {
            assert!(!decide(&Policy::default(), &subject, "echo", "echo", class));
        }
        let grant = Policy::default().grant(&subject, Instant::now(), TIME);
        assert!(grant.classes().is_empty());
    }
}

#[test]
fn built_in_policies_give_what_they_say() {
    let (diagnostics, all) = (Policy::diagnostics(), Policy::allow_all());
    let authenticated = Policy::allow_authenticated();
    for standing in EVERYBODY {
        let subject = Subject::new(standing);
        let known = standing.is_authenticated();
        for (service, method) in [("echo", "echo"), ("health", "process"), ("describe", "services")] {
            assert_eq!(decide(&diagnostics, &subject, service, method, Class::Job), known);
        }
        assert!(!decide(&diagnostics, &subject, "rustci", "submit", Class::Job));
        assert!(!decide(&diagnostics, &subject, "echo", "echo", Class::Critical));
        assert_eq!(decide(&authenticated, &subject, "a", "b", Class::Bulk), known);
        assert!(!decide(&authenticated, &subject, "a", "b", Class::System));
        assert!(decide(&all, &subject, "a", "b", Class::Critical));
    }
}

#[test]
fn nobody_is_critical_or_system_unless_named() {
    let ordinary = policy("[[allow]]\npeers = ['any']\nservices = ['*']");
    let named_class = policy("[[allow]]\npeers = ['any']\nservices = ['*']\nclasses = ['critical', 'job']");
    let subject = named("ada");
    assert!(!decide(&ordinary, &subject, "a", "b", Class::Critical));
    assert!(!decide(&ordinary, &subject, "a", "b", Class::System));
    assert!(decide(&named_class, &subject, "a", "b", Class::Critical));
    assert!(!decide(&named_class, &subject, "a", "b", Class::Bulk));
}

#[test]
fn a_class_that_is_not_given_is_told_with_those_that_are() {
    let policy = policy("[[allow]]\npeers = ['any']\ncalls = ['a/b']\nclasses = ['bulk', 'data']");
    let (subject, now) = (named("ada"), Instant::now());
    let grant = policy.grant(&subject, now, TIME);
    let denied = grant.check("a", "b", Class::Job, now).unwrap_err();
    let given = [Class::Data, Class::Bulk].into_iter().collect();
    assert_eq!(denied.reason, DeniedReason::Class(given));
    assert_eq!(denied.code(), valkyrie_frame::ErrorCode::PERMISSION_DENIED);
    assert_eq!(
        denied.to_string(),
        "this call in class job is not allowed: the caller may do it only in data, bulk"
    );
    assert_eq!(grant.classes(), given);
}

#[test]
fn a_rule_that_denies_wins_wherever_it_stands() {
    let deny = "[[deny]]\npeers = ['name:eve']\nservices = ['a']\n";
    let allow = "[[allow]]\npeers = ['any']\nservices = ['*']\n";
    for rules in [format!("{deny}{allow}"), format!("{allow}{deny}")] {
        let policy = policy(&rules);
        assert!(!decide(&policy, &named("eve"), "a", "b", Class::Job));
        assert!(decide(&policy, &named("eve"), "c", "b", Class::Job));
        assert!(decide(&policy, &named("ada"), "a", "b", Class::Job));
    }
}

#[test]
fn a_rule_that_denies_any_denies_strangers_too() {
    let policy = policy(
        "[[allow]]\npeers = ['any', 'anonymous', 'plain']\nservices = ['*']\n\
         [[deny]]\npeers = ['any']\nservices = ['secret']\n",
    );
    for standing in EVERYBODY {
        assert!(decide(&policy, &Subject::new(standing), "open", "b", Class::Job));
        assert!(!decide(
            &policy,
            &Subject::new(standing),
            "secret",
            "b",
            Class::Job
        ));
    }
}

#[test]
fn a_rule_that_denies_and_says_nothing_more_denies_everything() {
    let policy = policy(
        "[[allow]]\npeers = ['any']\nservices = ['*']\nclasses = ['critical', 'bulk']\npublish = ['*']\n\
         [[deny]]\npeers = ['name:eve']\n",
    );
    assert!(!decide(&policy, &named("eve"), "a", "b", Class::Critical));
    let now = Instant::now();
    let publish = |name| {
        policy
            .grant(named(name), now, TIME)
            .topic(TopicUse::Publish, "t", now)
    };
    assert!(publish("eve").is_err());
    assert!(publish("ada").is_ok());
}

#[test]
fn a_rule_may_deny_a_class_alone() {
    let policy = policy(
        "[[allow]]\npeers = ['any']\nservices = ['*']\npublish = ['*']\n\
         [[deny]]\npeers = ['any']\nclasses = ['bulk']\n",
    );
    assert!(!decide(&policy, &named("ada"), "a", "b", Class::Bulk));
    assert!(decide(&policy, &named("ada"), "a", "b", Class::Data));
    let now = Instant::now();
    let grant = policy.grant(named("ada"), now, TIME);
    assert_eq!(grant.topic(TopicUse::Publish, "t", now), Ok(()));
}

#[test]
fn each_way_to_say_who_means_them_alone() {
    let fingerprint = Fingerprint::from_bytes([7; 32]);
    let who = |selector: &str| policy(&format!("[[allow]]\npeers = ['{selector}']\nservices = ['*']"));
    let identity = Subject::new(Standing::Identity);
    let ada = Subject {
        name: Some("ada"),
        fingerprint: Some(fingerprint),
        roles: vec!["admin", "runner"],
        labels: vec![("team", "core")],
        spiffe_id: Some("spiffe://example.org/ci/7"),
        uid: Some(1000),
        gid: Some(10),
        ..identity.clone()
    };
    let may = |selector: &str, subject: &Subject<'_>| decide(&who(selector), subject, "a", "b", Class::Job);
    for selector in [
        "any",
        "name:ada",
        "name:a*",
        &fingerprint.to_string(),
        "role:runner",
        "role:*",
        "label:team=core",
        "label:team=*",
        "spiffe://example.org/ci/*",
        "uid:1000",
        "gid:10",
    ] {
        assert!(may(selector, &ada), "{selector}");
        assert_eq!(may(selector, &identity), selector == "any", "{selector}");
    }
    let other = Fingerprint::from_bytes([8; 32]);
    for selector in [
        "name:ad",
        &other.to_string(),
        "role:run",
        "label:team=",
        "label:te=core",
        "spiffe://example.org",
        "spiffe://example.or/ci/*",
        "uid:1",
        "gid:1000",
        "anonymous",
        "plain",
    ] {
        if let Ok(policy) = Policy::parse(&format!(
            "version=1\n[[allow]]\npeers = ['{selector}']\nservices = ['*']"
        )) {
            assert!(!decide(&policy, &ada, "a", "b", Class::Job), "{selector}");
        }
    }
}

#[test]
fn a_peer_is_what_was_verified_of_it() {
    let plain = PlainAllowed::by_name();
    let (user, stranger) = (
        Verified::peer_credentials(1000, 10, Some(7), plain),
        Verified::plain(plain),
    );
    let policy = policy(
        "[[allow]]\npeers = ['uid:1000']\nservices = ['a']\n[[allow]]\npeers = ['plain']\nservices = ['b']",
    );
    let now = Instant::now();
    let may = |who: &Verified, service| {
        policy
            .grant(who, now, TIME)
            .check(service, "m", Class::Job, now)
            .is_ok()
    };
    assert_eq!((may(&user, "a"), may(&user, "b")), (true, false));
    assert_eq!((may(&stranger, "a"), may(&stranger, "b")), (false, true));
}

#[test]
fn a_rate_holds_across_the_connections_of_a_peer() {
    let policy = policy("[[allow]]\npeers = ['any']\nservices = ['a']\nrate = '10/s'\nburst = 2");
    let ada = Subject {
        fingerprint: Some(Fingerprint::from_bytes([1; 32])),
        ..Subject::new(Standing::Identity)
    };
    let eve = Subject {
        fingerprint: Some(Fingerprint::from_bytes([2; 32])),
        ..Subject::new(Standing::Identity)
    };
    let now = Instant::now();
    let (first, second) = (policy.grant(&ada, now, TIME), policy.grant(&ada, now, TIME));
    assert_eq!(first.check("a", "x", Class::Job, now), Ok(()));
    assert_eq!(second.check("a", "y", Class::Job, now), Ok(()));
    let denied = first.check("a", "x", Class::Job, now).unwrap_err();
    assert_eq!(denied.retry_after_ms(), 100);
    assert_eq!(denied.code(), valkyrie_frame::ErrorCode::RESOURCE_EXHAUSTED);
    assert!(!denied.is_violation());
    assert_eq!(
        first.permits("a", "x", Class::Job, now),
        Ok(()),
        "what runs may go on"
    );
    drop((first, second));
    let anew = policy.grant(&ada, now, TIME);
    assert!(
        anew.check("a", "x", Class::Job, now).is_err(),
        "connecting anew gains nothing"
    );
    assert_eq!(
        policy.grant(&eve, now, TIME).check("a", "x", Class::Job, now),
        Ok(())
    );
    assert_eq!(
        anew.check("a", "x", Class::Job, now + Duration::from_millis(100)),
        Ok(())
    );
}

#[test]
fn strangers_share_one_rate() {
    let policy = policy("[[allow]]\npeers = ['anonymous']\nservices = ['a']\nrate = '1/s'");
    let now = Instant::now();
    let check = || {
        let grant = policy.grant(Subject::new(Standing::Anonymous), now, TIME);
        grant.check("a", "x", Class::Job, now)
    };
    assert!(check().is_ok());
    assert!(check().is_err());
}

#[test]
fn the_first_rule_that_allows_decides_the_rate() {
    let policy = policy(
        "[[allow]]\npeers = ['name:ada']\nservices = ['a']\n\
         [[allow]]\npeers = ['any']\nservices = ['*']\nrate = '1/h'\n",
    );
    let now = Instant::now();
    let passed = |name, service| {
        let grant = policy.grant(named(name), now, TIME);
        (0..5)
            .filter(|_| grant.check(service, "x", Class::Job, now).is_ok())
            .count()
    };
    assert_eq!(passed("ada", "a"), 5);
    assert_eq!(passed("ada", "b"), 1);
}

#[test]
fn a_grant_ends_when_the_credentials_do() {
    let subject = Subject {
        not_after: Some(TIME.saturating_add(Duration::from_secs(60))),
        ..named("ada")
    };
    let now = Instant::now();
    let grant = Policy::allow_authenticated().grant(&subject, now, TIME);
    assert_eq!(grant.not_after(), subject.not_after);
    let almost = now + Duration::from_millis(59_999);
    assert_eq!(grant.check("a", "b", Class::Job, almost), Ok(()));
    let after = now + Duration::from_secs(60);
    let denied = grant.check("a", "b", Class::Job, after).unwrap_err();
    assert_eq!(denied.reason, DeniedReason::Expired);
    assert_eq!(denied.code(), valkyrie_frame::ErrorCode::CREDENTIALS_EXPIRED);
    assert_eq!(
        reason(grant.topic(TopicUse::Publish, "t", after)),
        Some(DeniedReason::Expired)
    );
    let long_ago = Subject {
        not_after: Some(UnixTime::EPOCH),
        ..named("ada")
    };
    let grant = Policy::allow_authenticated().grant(&long_ago, now, TIME);
    assert_eq!(
        reason(grant.check("a", "b", Class::Job, now)),
        Some(DeniedReason::Expired)
    );
}

#[test]
fn topics_have_their_own_lists() {
    let policy = policy(
        "[[allow]]\npeers = ['any']\npublish = ['logs.*']\nsubscribe = ['events.*']\n\
         [[deny]]\npublish = ['logs.audit']\n",
    );
    let now = Instant::now();
    let grant = policy.grant(named("ada"), now, TIME);
    for (topic_use, topic, may) in [
        (TopicUse::Publish, "logs.ci", true),
        (TopicUse::Publish, "logs.audit", false),
        (TopicUse::Publish, "events.x", false),
        (TopicUse::Subscribe, "events.x", true),
        (TopicUse::Subscribe, "logs.ci", false),
    ] {
        assert_eq!(
            grant.topic(topic_use, topic, now).is_ok(),
            may,
            "{topic_use} {topic}"
        );
    }
    assert!(grant.check("logs.ci", "x", Class::Job, now).is_err());
}

#[test]
fn names_beyond_the_table_are_looked_up_in_the_rules() {
    let calls: Vec<String> = (0..250).map(|number| format!("'s{number}'")).collect();
    let methods: Vec<String> = (0..20).map(|number| format!("'m{number}'")).collect();
    let rules = format!(
        "[[allow]]\npeers = ['any']\nservices = [{}]\nmethods = [{}]",
        calls.join(", "),
        methods.join(", ")
    );
    let policy = policy(&rules);
    for (service, method, may) in [
        ("s0", "m0", true),
        ("s249", "m19", true),
        ("s249", "m20", false),
        ("s250", "m0", false),
    ] {
        assert_eq!(
            decide(&policy, &named("ada"), service, method, Class::Job),
            may,
            "{service}/{method}"
        );
    }
}

#[test]
fn an_explanation_names_the_line_and_what_is_missing() {
    let policy = policy(
        "# people\n[[allow]]\npeers = ['role:admin']\nservices = ['rustci']\n\n\
         [[deny]]\npeers = ['name:eve']\ncalls = ['echo/fail']\n",
    );
    let admin = Subject {
        roles: vec!["admin"],
        ..named("ada")
    };
    let allowed = policy.explain(&admin, "rustci", "submit", Class::Job);
    assert_eq!((allowed.decision(), allowed.line()), (Decision::Allowed, Some(3)));
    assert_eq!(
        allowed.to_string(),
        "rustci/submit in class job is allowed by line 3: allow role:admin to call rustci/* in job, data, bulk"
    );
    let near = policy.explain(&admin, "rustci", "submit", Class::System);
    assert_eq!((near.decision(), near.line()), (Decision::Unruled, None));
    assert!(
        near.to_string().contains("\n  is not for this class: line 3:"),
        "{near}"
    );
    let stranger = policy.explain(named("bob"), "rustci", "submit", Class::Job);
    assert!(
        stranger.to_string().contains("is not for this peer: line 3:"),
        "{stranger}"
    );
    let denied = policy.explain(named("eve"), "echo", "fail", Class::Job);
    assert_eq!((denied.decision(), denied.line()), (Decision::Forbidden, Some(7)));
    let grant = policy.grant(named("eve"), Instant::now(), TIME);
    let told = reason(grant.check("echo", "fail", Class::Job, Instant::now()));
    assert_eq!(told, Some(DeniedReason::Forbidden { line: 7 }));
}

#[test]
fn what_a_refused_peer_is_told_gives_no_rule_away() {
    let policy = policy("[[deny]]\npeers = ['name:eve']\n");
    let now = Instant::now();
    let denied = policy
        .grant(named("eve"), now, TIME)
        .check("a", "b", Class::Job, now)
        .unwrap_err();
    assert_eq!(
        denied.to_string(),
        "this call in class job is not allowed: it is forbidden to this caller"
    );
}
