//! What sessions of an endpoint are configured with: the same limits, but for what depends on the link they begin on
//! and on who began them.

use std::sync::Arc;
use std::time::Duration;

use valkyrie_proto::{Config, ConfigError, Side};

/// The configurations of an endpoint's sessions.
#[derive(Clone, Debug)]
pub(crate) struct Configs {
    dialled: Pair,
    accepted: Pair,
}

#[derive(Clone, Debug)]
struct Pair {
    ordinary: Arc<Config>,
    /// For links within the machine.
    local: Arc<Config>,
}

impl Configs {
    /// Checks `config` and derives the others from it.
    ///
    /// # Errors
    /// [`ConfigError`]: the caller is at fault.
    pub(crate) fn new(
        mut config: Config,
        local_max_frame: u32,
        dialled_for: Duration,
        accepted_for: Duration,
    ) -> Result<Self, ConfigError> {
        config.machine = config.machine.or_else(|| {
            let resumes = !dialled_for.is_zero() || !accepted_for.is_zero();
            resumes.then(crate::continuity::machine).flatten()
        });
        let mut pair = |resume_for| {
            config.limits.resume_for = resume_for;
            config.check()?;
            let mut local = config.clone();
            local.limits.max_frame = local.limits.max_frame.max(local_max_frame);
            local.limits.max_message = local.limits.max_message.max(local.limits.max_frame);
            // Windows that were made small for the ordinary frame stay what they are, and so does the frame.
            let local = if local.check().is_ok() {
                local
            } else {
                config.clone()
            };
            Ok::<_, ConfigError>(Pair {
                ordinary: Arc::new(config.clone()),
                local: Arc::new(local),
            })
        };
        Ok(Self {
            dialled: pair(dialled_for)?,
            accepted: pair(accepted_for)?,
        })
    }

    /// The one for a session of this side's.
    pub(crate) fn of(&self, side: Side, local: bool) -> &Arc<Config> {
        let pair = match side {
            Side::Dialer => &self.dialled,
            Side::Acceptor => &self.accepted,
        };
        if local { &pair.local } else { &pair.ordinary }
    }
}
