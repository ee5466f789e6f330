//! What policies allow and deny, and what wrong files are told.

mod decisions;
mod files;
mod live;
mod properties;

use std::time::Instant;

use valkyrie_frame::Class;

use super::*;

/// 2027, a quiet moment.
const TIME: UnixTime = UnixTime::from_secs(1_800_000_000);

fn policy(rules: &str) -> Policy {
    let text = format!("version = 1\n{rules}");
    Policy::parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

fn named(name: &str) -> Subject<'_> {
    Subject {
        name: Some(name),
        ..Subject::new(Standing::Identity)
    }
}

fn reason(result: Result<(), Denied>) -> Option<DeniedReason> {
    result.err().map(|denied| denied.reason)
}

/// What a policy says about a job call of somebody, asked in every way there is.
fn decide(policy: &Policy, subject: &Subject<'_>, service: &str, method: &str, class: Class) -> bool {
    let now = Instant::now();
    let grant = policy.grant(subject, now, TIME);
    let first = grant.check(service, method, class, now).is_ok();
    assert_eq!(
        grant.check(service, method, class, now).is_ok(),
        first,
        "asked again"
    );
    assert_eq!(grant.permits(service, method, class, now).is_ok(), first);
    let explained = policy.explain(subject, service, method, class).decision();
    assert_eq!(explained == Decision::Allowed, first, "explained");
    first
}
