//! What peers of a registry may do where its operator has said nothing.

use valkyrie_endpoint::AccessPolicy;
use valkyrie_security::Fingerprint;
use valkyrie_security::policy::PolicyError;

use crate::wire::{OPERATOR_SERVICE, SERVICE};

/// Any peer that proves an identity may use the registry, and so write what is its own; whoever shows the registry's own identity may
/// write everything.
///
/// # Errors
/// Never: the text is this crate's own, and a fingerprint is a fingerprint.
pub fn default_policy(own: Fingerprint) -> Result<AccessPolicy, PolicyError> {
    AccessPolicy::parse(&format!(
        r#"
version = 1
[[allow]]
peers = ["any"]
services = ["{SERVICE}"]
[[allow]]
peers = ["{own}"]
services = ["{OPERATOR_SERVICE}"]
"#
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use valkyrie_endpoint::Class;
    use valkyrie_security::UnixTime;
    use valkyrie_security::policy::{Standing, Subject};

    use super::*;

    #[test]
    fn whoever_proves_an_identity_may_register_and_the_registry_itself_may_do_everything() {
        let own = Fingerprint::from_bytes([1; 32]);
        let policy = default_policy(own).unwrap();
        let may = |subject: &Subject<'_>, service| {
            let now = Instant::now();
            let grant = policy.grant(subject, now, UnixTime::EPOCH);
            grant.check(service, "commit", Class::Data, now).is_ok()
        };
        let somebody = |byte| {
            let mut subject = Subject::new(Standing::Identity);
            subject.fingerprint = Some(Fingerprint::from_bytes([byte; 32]));
            subject
        };
        assert!(may(&somebody(1), SERVICE) && may(&somebody(2), SERVICE));
        assert!(may(&somebody(1), OPERATOR_SERVICE) && !may(&somebody(2), OPERATOR_SERVICE));
        for nobody in [Standing::Anonymous, Standing::Plain] {
            assert!(!may(&Subject::new(nobody), SERVICE));
        }
    }
}
