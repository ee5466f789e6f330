//! What an acceptor knows of a session that may be continued, and the token rule.

use valkyrie_proto::{Resume, ResumeKey};

use super::Sign;

/// The session's key and what has been used of it.
#[derive(Debug)]
pub(super) struct Owner {
    key: ResumeKey,
    sign: Sign,
    /// The highest epoch whose token was right.
    epoch: u64,
}

impl Owner {
    pub(super) const fn new(key: ResumeKey, sign: Sign) -> Self {
        Self { key, sign, epoch: 0 }
    }

    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    //= protocol/resume.md#resuming
    fn token(&self, session: &[u8; 16], epoch: u64) -> [u8; 32] {
        let mut said = b"valkyrie resume".to_vec();
        said.extend_from_slice(session);
        said.extend_from_slice(&epoch.to_be_bytes());
        (self.sign)(&self.key.secret, &said)
    }

    /// What the dialler says, who knows the key too.
    pub(super) fn resume(&self, epoch: u64) -> Resume {
        let session = self.key.session;
        Resume::new(session, epoch, self.token(&session, epoch))
    }

    /// The first two rules. Its time tells nobody anything here, so that it compares as it likes.
    pub(super) fn admits(&mut self, resume: &Resume) -> bool {
        let known = resume.session == self.key.session;
        let right = known && self.token(&resume.session, resume.epoch) == resume.token;
        if !right || resume.epoch <= self.epoch {
            return false;
        }
        self.epoch = resume.epoch;
        true
    }
}
