//! How much of each class a session may send, where somebody divides a capacity among sessions.
//!
//! Control, credit and critical frames go regardless and are counted. See [`Shaper`](crate::Shaper), which says how much.

use valkyrie_frame::Class;

use crate::ByClass;
use crate::scheduler::{LADDER, rung};

use super::Session;

/// What a session was allowed when it was last told.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    left: ByClass,
    used: ByClass,
    /// Somebody knows that the session wants more of the class and will tell it.
    awaited: [bool; Class::COUNT],
}

impl Session {
    /// Allows so many bytes of each class and no more, until it is called again; a frame may reach past them. Of classes that
    /// are `awaited` the session does not say that it wants to send while it may not: it will be told. That of critical
    /// is not looked at.
    pub fn set_allowance(&mut self, bytes: ByClass, awaited: [bool; Class::COUNT]) {
        // One without traffic has nothing to send, and is not woken for this. When it has, it wants to send and is told.
        if self.traffic.exists() {
            self.traffic.allowance = Some(Allowance {
                left: bytes,
                used: ByClass::default(),
                awaited,
            });
        }
    }

    /// Allows everything again.
    pub fn lift_allowance(&mut self) {
        if self.traffic.exists() {
            self.traffic.allowance = None;
        }
    }

    /// Bytes that have gone out since [`Session::set_allowance`], with control and credit among critical.
    pub fn allowance_used(&self) -> ByClass {
        let allowance = self.traffic.allowance.as_ref();
        allowance.map_or_else(ByClass::default, |allowance| allowance.used)
    }

    /// The classes of which frames would go if they were allowed.
    pub fn wants_by_class(&self) -> [bool; Class::COUNT] {
        let mut wants = [false; Class::COUNT];
        if self.traffic.exists() && self.may_send_messages() {
            let ready = self.traffic.scheduler.wants();
            for class in LADDER {
                wants[class.index()] =
                    ready[rung(class)] && self.is_ready(class) && self.is_free(self.lane_of(class));
            }
        }
        wants
    }

    /// What a class may still send.
    #[inline]
    pub(super) fn allowed(&self, class: Class) -> u64 {
        let allowance = self.traffic.allowance.as_ref();
        allowance.map_or(u64::MAX, |allowance| allowance.left[class.index()])
    }

    #[inline]
    pub(super) fn use_allowance(&mut self, class: Class, bytes: u64) {
        if let Some(allowance) = &mut self.traffic.allowance {
            let left = &mut allowance.left[class.index()];
            *left = left.saturating_sub(bytes);
            allowance.used[class.index()] += bytes;
        }
    }

    /// Whether it wants to send what it is not allowed, and nobody knows.
    #[inline]
    pub(super) fn wants_allowance(&self) -> bool {
        let Some(allowance) = &self.traffic.allowance else {
            return false;
        };
        let wants = self.wants_by_class();
        Class::ALL.into_iter().any(|class| {
            let place = class.index();
            wants[place] && allowance.left[place] == 0 && !allowance.awaited[place]
        })
    }
}
