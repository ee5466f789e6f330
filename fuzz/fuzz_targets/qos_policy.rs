//! Any text as a policy of the quality of service: read or refused with a place for every mistake; what is read can be put
//! in force.

#![no_main]

use libfuzzer_sys::fuzz_target;
use valkyrie_router::QosPolicy;

fuzz_target!(|text: &str| {
    match QosPolicy::parse(text) {
        Ok(policy) => {
            let qos = policy.qos();
            if let Some(admission) = &qos.admission {
                assert!(admission.check().is_ok());
            }
            if let Some(shares) = qos.shares {
                assert!(
                    [shares.system, shares.job, shares.data]
                        .iter()
                        .all(|share| (1..=999).contains(share))
                );
            }
            for (name, service) in policy.services() {
                assert_eq!(policy.service(name), service);
                assert!(!service.hedge || service.idempotent != Default::default());
            }
        }
        Err(error) => {
            assert!(!error.faults().is_empty());
            for fault in error.faults() {
                assert!(fault.line >= 1 && fault.column >= 1);
                assert!(fault.line <= text.matches('\n').count() + 1);
            }
            let shown = error.render("qos.toml");
            assert!(
                shown
                    .chars()
                    .all(|character| character == '\n' || !character.is_control())
            );
        }
    }
});
