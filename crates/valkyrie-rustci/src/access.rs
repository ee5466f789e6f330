//! Who one side of the CI layer is to the others, and what the others may do.
//!
//! Server, runners and clients know each other by the identities that their connections prove. What somebody may do on a
//! server follows from roles, which an authority or the server's operator gives: a *runner* takes jobs, a *client* has
//! pipelines run. Who is the server's own identity may do both.

use std::fmt;
use std::sync::Arc;

use valkyrie_endpoint::{AccessPolicy, Endpoint, EndpointBuilder, Expect, PlainRule, Security};
use valkyrie_security::Fingerprint;
use valkyrie_security::audit::AuditEvent;
use valkyrie_security::policy::PolicyError;
use valkyrie_security::trust::KnownPeer;
use valkyrie_transport_tcp::TcpTransport;
use valkyrie_transport_uds::UdsTransport;

/// The role of those that take jobs.
pub const ROLE_RUNNER: &str = "runner";
/// The role of those that submit, watch and cancel.
pub const ROLE_CLIENT: &str = "client";

/// How one side meets the others: with which identity, and whom it wants to meet.
#[derive(Clone)]
pub struct Access {
    security: Option<Security>,
    plain: PlainRule,
    expect: Expect,
    on_first_use: Option<Arc<OnFirstUse>>,
    audit: Option<Arc<OnEvent>>,
}

type OnFirstUse = dyn Fn(&KnownPeer) + Send + Sync;
type OnEvent = dyn Fn(&AuditEvent<'_>) + Send + Sync;

impl Access {
    /// With an identity, and whom it trusts.
    pub fn secure(security: Security) -> Self {
        Self {
            security: Some(security),
            plain: PlainRule::Never,
            expect: Expect::Anybody,
            on_first_use: None,
            audit: None,
        }
    }

    /// Without either: connections are plain, and the others have to be told so too.
    pub fn plain() -> Self {
        Self {
            security: None,
            plain: PlainRule::Always,
            expect: Expect::Anybody,
            on_first_use: None,
            audit: None,
        }
    }

    /// Makes and takes plain connections beside those with an identity, where this says so.
    #[must_use]
    pub fn with_plain(mut self, rule: PlainRule) -> Self {
        self.plain = rule;
        self
    }

    /// Dials nobody but this one.
    #[must_use]
    pub fn expecting(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }

    /// Called with whoever was trusted on first use.
    #[must_use]
    pub fn with_on_first_use(mut self, hook: impl Fn(&KnownPeer) + Send + Sync + 'static) -> Self {
        self.on_first_use = Some(Arc::new(hook));
        self
    }

    /// Called with whatever belongs into an audit log, see [`EndpointBuilder::audit`].
    #[must_use]
    pub fn with_audit(mut self, sink: impl Fn(&AuditEvent<'_>) + Send + Sync + 'static) -> Self {
        self.audit = Some(Arc::new(sink));
        self
    }

    /// Who has to answer.
    pub(crate) fn expected(&self) -> Expect {
        self.expect.clone()
    }

    /// An endpoint with the transports of the CI layer.
    pub(crate) fn endpoint(&self) -> EndpointBuilder {
        let builder = Endpoint::builder()
            .transport(TcpTransport::new())
            .transport(UdsTransport::new())
            .plain(self.plain);
        let builder = match &self.security {
            Some(security) => builder.security(security.clone()),
            None => builder,
        };
        let builder = match self.audit.clone() {
            Some(sink) => builder.audit(move |event: &AuditEvent<'_>| sink(event)),
            None => builder,
        };
        match self.on_first_use.clone() {
            Some(hook) => builder.on_first_use(move |peer| hook(peer)),
            None => builder,
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("plain", &self.plain)
            .field("expect", &self.expect)
            .finish_non_exhaustive()
    }
}

/// What roles mean on a server, unless its operator says otherwise; `own` is the server itself, which may do everything.
///
/// # Errors
/// Never: the text is this crate's own, and a fingerprint is a fingerprint.
pub fn policy_by_roles(own: Option<Fingerprint>) -> Result<AccessPolicy, PolicyError> {
    let own = own.map(|own| format!(", \"{own}\"")).unwrap_or_default();
    AccessPolicy::parse(&format!(
        r#"
version = 1
[[allow]]
peers = ["role:{ROLE_RUNNER}"{own}]
calls = ["rustci/register", "rustci/jobs", "rustci/log"]
[[allow]]
peers = ["role:{ROLE_CLIENT}"{own}]
calls = ["rustci/submit", "rustci/watch", "rustci/cancel"]
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
    use crate::wire::{
        METHOD_CANCEL, METHOD_JOBS, METHOD_LOG, METHOD_REGISTER, METHOD_SUBMIT, METHOD_WATCH, SERVICE,
    };

    const OWN: Fingerprint = Fingerprint::from_bytes([1; 32]);

    fn may(subject: &Subject<'_>, method: &str, class: Class) -> bool {
        let now = Instant::now();
        let policy = policy_by_roles(Some(OWN)).unwrap();
        let grant = policy.grant(subject, now, UnixTime::EPOCH);
        grant.check(SERVICE, method, class, now).is_ok()
    }

    fn with_role(role: &str) -> Subject<'_> {
        let mut subject = Subject::new(Standing::Identity);
        subject.roles = vec![role];
        subject
    }

    #[test]
    fn roles_open_their_own_calls_and_no_other() {
        let of_runners = [
            (METHOD_REGISTER, Class::Job),
            (METHOD_JOBS, Class::Job),
            (METHOD_LOG, Class::Data),
        ];
        let of_clients = [
            (METHOD_SUBMIT, Class::Job),
            (METHOD_WATCH, Class::Data),
            (METHOD_CANCEL, Class::Job),
        ];
        let mut own = Subject::new(Standing::Identity);
        own.fingerprint = Some(OWN);
        let mut stranger = Subject::new(Standing::Identity);
        stranger.fingerprint = Some(Fingerprint::from_bytes([2; 32]));
        for (calls, role, other) in [
            (of_runners, ROLE_RUNNER, ROLE_CLIENT),
            (of_clients, ROLE_CLIENT, ROLE_RUNNER),
        ] {
            for (method, class) in calls {
                assert!(may(&with_role(role), method, class), "{role} {method}");
                assert!(!may(&with_role(other), method, class), "{other} {method}");
                assert!(may(&own, method, class));
                for nobody in [
                    &stranger,
                    &Subject::new(Standing::Anonymous),
                    &Subject::new(Standing::Plain),
                ] {
                    assert!(!may(nobody, method, class), "{method}");
                }
                assert!(!may(&with_role(role), method, Class::Critical));
            }
        }
    }
}
