//! Any text as a policy file: read or refused with a place for every mistake; what is read decides about calls, and a
//! grant, the same grant asked again and the explanation say the same.

#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use valkyrie_frame::Class;
use valkyrie_security::UnixTime;
use valkyrie_security::policy::{Decision, DeniedReason, Policy, Standing, Subject, TopicUse};

const CALLS: [(&str, &str); 6] = [
    ("echo", "echo"),
    ("echo", "fail"),
    ("rustci", "submit"),
    ("rustci.logs", "follow"),
    ("", ""),
    ("*", "*"),
];

fuzz_target!(|text: &str| {
    let policy = match Policy::parse(text) {
        Ok(policy) => policy,
        Err(error) => {
            assert!(!error.faults().is_empty());
            for fault in error.faults() {
                assert!(fault.line >= 1 && fault.column >= 1);
                assert!(fault.line <= text.matches('\n').count() + 1);
            }
            let shown = error.render("policy.toml");
            assert!(
                shown
                    .chars()
                    .all(|character| character == '\n' || !character.is_control())
            );
            return;
        }
    };
    let now = Instant::now();
    for standing in [
        Standing::Identity,
        Standing::PeerCredentials,
        Standing::Anonymous,
        Standing::Plain,
    ] {
        let mut subject = Subject::new(standing);
        subject.name = Some("ada");
        subject.roles = vec!["admin", "runner"];
        subject.labels = vec![("team", "core")];
        subject.uid = Some(1000);
        subject.spiffe_id = Some("spiffe://example.org/ci/7");
        let grant = policy.grant(&subject, now, UnixTime::EPOCH);
        for (service, method) in CALLS {
            for class in Class::ALL {
                let explained = policy.explain(&subject, service, method, class);
                let allowed = explained.decision() == Decision::Allowed;
                assert_eq!(
                    grant.permits(service, method, class, now).is_ok(),
                    allowed,
                    "{explained}"
                );
                match grant.check(service, method, class, now) {
                    Ok(()) => assert!(allowed && grant.classes().contains(class)),
                    Err(denied) => assert!(!allowed || matches!(denied.reason, DeniedReason::Rate { .. })),
                }
            }
        }
        for topic_use in [TopicUse::Publish, TopicUse::Subscribe] {
            let _ = grant.topic(topic_use, "logs.ci", now);
        }
    }
});
