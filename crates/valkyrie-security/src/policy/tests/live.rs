//! Policies that are replaced while connections live.

use std::time::Duration;

use super::*;

#[test]
fn a_connection_sees_a_new_policy_in_mid_stream() {
    let handle = PolicyHandle::new(Policy::allow_authenticated());
    let (ada, now) = (named("ada"), Instant::now());
    let grant = handle.grant(&ada, now, TIME);
    assert!(!handle.is_stale(&grant));
    assert_eq!(grant.check("a", "b", Class::Job, now), Ok(()));

    let elsewhere = handle.clone();
    let version = elsewhere.store(policy("[[deny]]\npeers = ['name:ada']"));
    assert!(handle.is_stale(&grant));
    assert_eq!(handle.version(), version);

    let later = now + Duration::from_secs(1);
    let grant = handle.grant(&ada, later, TIME);
    assert!(!handle.is_stale(&grant));
    assert!(
        grant.permits("a", "b", Class::Job, later).is_err(),
        "the open stream is to be reset"
    );
}

#[test]
fn a_file_with_a_mistake_leaves_the_policy_in_force() {
    let handle = PolicyHandle::new(Policy::allow_authenticated());
    let version = handle.version();
    if let Ok(policy) = Policy::parse("version = 1\n[[alow]]\n") {
        handle.store(policy);
    }
    assert_eq!(handle.version(), version);
    assert!(decide(&handle.load(), &named("ada"), "a", "b", Class::Job));
}

#[test]
fn no_grant_is_newer_than_its_rules() {
    let handle = PolicyHandle::new(policy("[[deny]]"));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..2000 {
                // Odd versions deny, even ones allow.
                handle.store(match round % 2 {
                    0 => Policy::allow_authenticated(),
                    _ => Policy::default(),
                });
            }
        });
        scope.spawn(|| {
            for _ in 0..2000 {
                let grant = handle.grant(named("ada"), begin, TIME);
                let allowed = grant.check("a", "b", Class::Job, begin).is_ok();
                assert_eq!(allowed, grant.version().is_multiple_of(2));
            }
        });
    });
}

#[test]
fn a_grant_may_be_asked_from_several_threads() {
    let policy = policy("[[allow]]\npeers = ['any']\nservices = ['s*']\nrate = '1000/h'\nburst = 1000");
    let now = Instant::now();
    let grant = policy.grant(named("ada"), now, TIME);
    let passed: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let grant = &grant;
                scope.spawn(move || {
                    (0..500)
                        .filter(|call| {
                            let service = format!("s{}", (worker + call) % 100);
                            grant.check(&service, "m", Class::Job, now).is_ok()
                        })
                        .count()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(passed, 1000, "not one more and not one less than the burst");
}
