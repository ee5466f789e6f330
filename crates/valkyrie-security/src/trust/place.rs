//! Where a peer is met, and who is expected there.

use crate::identity::Fingerprint;

/// Where a peer is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    locator: Option<String>,
    local: bool,
    expect: Expect,
}

/// Who is to be met at a place. Whom an authority vouches for may still not be whom one wants to talk to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expect {
    /// Anybody who is trusted.
    #[default]
    Anybody,
    /// This identity.
    Fingerprint(Fingerprint),
    /// Somebody whom an authority or a pin gives this name.
    Name(String),
    /// Somebody whom an authority or a pin gives this role.
    Role(String),
    /// The holder of this SPIFFE ID.
    SpiffeId(String),
}

impl Place {
    /// A place that this side dialled, by the locator it used. `local` says that it cannot be outside this machine:
    /// loopback, or a socket in the file system.
    pub fn dialled(locator: &str, local: bool) -> Self {
        Self {
            locator: Some(locator.to_owned()),
            local,
            expect: Expect::Anybody,
        }
    }

    /// Wherever a peer came from that dialled this side.
    pub fn arrived(local: bool) -> Self {
        Self {
            locator: None,
            local,
            expect: Expect::Anybody,
        }
    }

    /// The same place, where only this peer will do.
    #[must_use]
    pub fn expecting(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }

    /// The locator, where this side dialled.
    pub fn locator(&self) -> Option<&str> {
        self.locator.as_deref()
    }

    /// It cannot be outside this machine.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Who is to be met there.
    pub fn expected(&self) -> &Expect {
        &self.expect
    }
}
