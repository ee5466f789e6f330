//! The files that decide who is let in and what for, read again while a program runs.

use std::convert::Infallible;

use valkyrie::PolicyHandle;

use crate::access::{Access, REFRESH_EVERY};
use crate::exit::CliError;
use crate::out::Notes;
use crate::policy::PolicyFile;
use crate::signals::Reload;

/// Identity, trust and policy, with their files.
pub(crate) struct Watch {
    access: Access,
    policy: Option<PolicyFile>,
    handle: PolicyHandle,
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
            access,
            policy,
            handle,
            hangup: false,
            notes,
        }
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
        self.access.refresh();
        let Some(file) = &mut self.policy else { return };
        match file.refresh(asked) {
            Ok(None) => {}
            Ok(Some(policy)) => {
                self.handle.store(policy);
                self.notes
                    .remark(format_args!("{} is in force", file.path().display()));
            }
            Err(error) => self
                .notes
                .warning(format_args!("{error}; the policy that was in force still is")),
        }
    }
}
