//! The files that decide who is let in and what for, read again while a program runs.

use std::convert::Infallible;

use valkyrie::security::audit::AuditEvent;
use valkyrie::{Endpoint, PolicyHandle};

use crate::access::{Access, REFRESH_EVERY};
use crate::exit::CliError;
use crate::out::Notes;
use crate::rules::{PolicyFile, QosFile};
use crate::signals::Reload;
use crate::spiffe::AgentNews;
use crate::trail::Trail;

/// Identity, trust, policy and quality of service, with their files.
pub(crate) struct Watch {
    access: Access,
    policy: Option<PolicyFile>,
    handle: PolicyHandle,
    qos: Option<(QosFile, Endpoint)>,
    trail: Option<Trail>,
    agent: Option<AgentNews>,
    /// Somebody has been told that the identity is outside its times.
    told_of_time: bool,
    hangup: bool,
    notes: Notes,
}

impl Watch {
    pub(crate) fn new(
        access: Access,
        policy: Option<PolicyFile>,
        handle: PolicyHandle,
        notes: Notes,
    ) -> Self {
        Self {
            agent: access.agent_news(),
            told_of_time: access.not_of_this_time().is_some(),
            access,
            policy,
            handle,
            qos: None,
            trail: None,
            hangup: false,
            notes,
        }
    }

    /// Hands the quality of service of a file, if there is one, to this endpoint when it changes.
    pub(crate) fn dividing(mut self, file: Option<QosFile>, endpoint: Endpoint) -> Self {
        self.qos = file.map(|file| (file, endpoint));
        self
    }

    /// Records in this log what changes.
    pub(crate) fn recording(mut self, trail: Trail) -> Self {
        self.trail = Some(trail);
        self
    }

    /// Looks at the files on SIGHUP as well, which ends the program no more.
    pub(crate) fn on_hangup(mut self) -> Self {
        self.hangup = true;
        self
    }

    /// Looks at the files every second. Within a runtime.
    ///
    /// # Errors
    /// SIGHUP cannot be watched.
    pub(crate) async fn run(mut self) -> Result<Infallible, CliError> {
        let mut reload = match self.hangup {
            true => Some(Reload::install()?),
            false => None,
        };
        let mut ticks = tokio::time::interval(REFRESH_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let asked = async {
                match &mut reload {
                    Some(reload) => reload.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = ticks.tick() => self.look(false),
                () = asked => self.look(true),
            }
        }
    }

    fn look(&mut self, asked: bool) {
        let changes = self.access.refresh();
        if changes.identity {
            let identity = self.access.keystore().document().fingerprint();
            let what = "keys or document were read anew";
            self.record(&AuditEvent::KeyRotated { identity, what });
        }
        if changes.trust {
            let what = "pins, authorities, known peers or revocations were read anew";
            self.record(&AuditEvent::TrustChanged { what });
        }
        if self.agent.as_mut().is_some_and(|agent| agent.look(self.notes)) {
            let what = "the SPIFFE agent gave another certificate or other trust domains";
            self.record(&AuditEvent::TrustChanged { what });
        }
        self.look_at_time();
        self.look_at_policy(asked);
        self.look_at_qos(asked);
        if let Some(trail) = &self.trail {
            trail.turn();
        }
    }

    /// A program that runs for months outlives a document that its authority signed for weeks.
    fn look_at_time(&mut self) {
        // An agent's identity has its own times, of which the agent tells.
        let why = self.access.not_of_this_time().filter(|_| self.agent.is_none());
        match why {
            Some(why) if !self.told_of_time => {
                self.notes.warning(why);
                self.told_of_time = true;
            }
            Some(_) => {}
            None => self.told_of_time = false,
        }
    }

    fn look_at_policy(&mut self, asked: bool) {
        let Some(file) = &mut self.policy else { return };
        match file.refresh(asked) {
            Ok(None) => {}
            Ok(Some(policy)) => {
                let rules = policy.rule_count();
                let version = self.handle.store(policy);
                self.notes
                    .remark(format_args!("{} is in force", file.path().display()));
                self.record(&AuditEvent::PolicyChanged { version, rules });
            }
            Err(error) => {
                self.notes
                    .warning(format_args!("the policy that was in force still is: {error}"));
                self.record(&AuditEvent::PolicyRefused {
                    reason: &error.message,
                });
            }
        }
    }

    fn look_at_qos(&mut self, asked: bool) {
        let Some((file, endpoint)) = &mut self.qos else {
            return;
        };
        let qos = match file.refresh(asked) {
            Ok(None) => return,
            Ok(Some(policy)) => policy.qos().clone(),
            Err(error) => {
                let text = format_args!("the quality of service that was in force still is: {error}");
                return self.notes.warning(text);
            }
        };
        match endpoint.set_qos(qos) {
            Ok(_) => self
                .notes
                .remark(format_args!("{} is in force", file.path().display())),
            Err(error) => self.notes.warning(format_args!(
                "{} is not taken: {error}; the quality of service that was in force still is",
                file.path().display()
            )),
        }
    }

    fn record(&self, event: &AuditEvent<'_>) {
        if let Some(trail) = &self.trail {
            trail.record(event);
        }
    }
}
