//! What a verified token grants.

use crate::policy::Classes;
use crate::time::UnixTime;

/// What a verified token grants to the peer that showed it. Without the feature `tokens` there is none.
#[derive(Clone, Debug)]
pub struct TokenRights {
    never: Never,
}

/// Has no value.
#[derive(Clone, Copy, Debug)]
enum Never {}

/// What a token says about one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// The classes in which it gives the call.
    pub(crate) classes: Classes,
    /// Until when the answer is good.
    pub(crate) until: UnixTime,
}

impl TokenRights {
    /// When the last right has expired, if there is such a moment.
    pub fn not_after(&self) -> Option<UnixTime> {
        match self.never {}
    }

    /// The classes that any of its rights is for.
    pub fn classes(&self) -> Classes {
        match self.never {}
    }

    /// What it gives for a call at a time.
    pub(crate) fn ask(&self, _service: &str, _method: &str, _time: UnixTime) -> Answer {
        match self.never {}
    }
}
