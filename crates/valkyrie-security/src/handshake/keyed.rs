//! What both machines share once there are keys: credentials in control records, and what the handshake leaves behind.

use std::time::Instant;

use bytes::BytesMut;
use valkyrie_frame::Kind;

use super::envelope::{self, Protection, Refusal, Success};
use super::{HandshakeError, Known, Ticket};
use crate::channel::{ChannelConfig, Control, Exports, KeySchedule, Opener, Sealer};
use crate::credentials::Credentials;
use crate::noise::Finished;
use crate::provider::PublicKey;
use crate::role::Role;
use crate::security::Security;
use crate::suite::Suite;
use crate::time::UnixTime;
use crate::trust::Place;
use crate::verified::Verified;

/// The Noise handshake is done: the peer's static key is proved, whose it is has not been said.
pub(crate) struct Keyed {
    pub(crate) role: Role,
    pub(crate) suite: &'static Suite,
    pub(crate) protection: Protection,
    pub(crate) peer: PublicKey,
    hash: [u8; 32],
    pub(crate) exports: Exports,
    sealer: Sealer,
    opener: Opener,
}

impl Keyed {
    pub(crate) fn new(
        finished: Finished,
        role: Role,
        protection: Protection,
        config: &ChannelConfig,
    ) -> Self {
        let (suite, peer, hash) = (finished.suite(), finished.peer(), *finished.hash());
        let (k1, k2) = finished.keys();
        let schedule = KeySchedule::new(&hash, k1, k2, suite.cipher, finished.role());
        let exports = schedule.exports();
        let (sealer, opener) = schedule.channel(*config);
        Self {
            role,
            suite,
            protection,
            peer,
            hash,
            exports,
            sealer,
            opener,
        }
    }

    /// Appends our credentials.
    pub(crate) fn introduce(
        &mut self,
        security: &Security,
        now: Instant,
        out: &mut BytesMut,
    ) -> Result<(), HandshakeError> {
        let credentials = security.credentials(self.role, &self.hash)?;
        self.control(
            Kind::AUTH_RESPONSE,
            |payload| credentials.encode(payload),
            now,
            out,
        )
    }

    /// Appends a control record with one frame.
    pub(crate) fn control(
        &mut self,
        kind: Kind,
        fill: impl FnOnce(&mut Vec<u8>),
        now: Instant,
        out: &mut BytesMut,
    ) -> Result<(), HandshakeError> {
        let frame = envelope::frame(kind, fill);
        Ok(self.sealer.seal_control(now, &frame, out)?)
    }

    /// The next control frame, or `None` while it has not wholly arrived.
    pub(crate) fn next_control(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
    ) -> Result<Option<Control>, HandshakeError> {
        if self.opener.begun_record_len(input) > CONTROL_RECORD_BYTES_MAX {
            return Err(HandshakeError::TooLong);
        }
        let mut plain = BytesMut::new();
        let control = self.opener.open(now, input, &mut plain)?;
        if !plain.is_empty() {
            return Err(HandshakeError::DataTooEarly);
        }
        Ok(control)
    }

    /// Reads the peer's credentials out of its control frame and decides whether to trust them.
    //= protocol/security.md#credentials
    pub(crate) fn verify(
        &self,
        security: &Security,
        unix: UnixTime,
        control: &Control,
        place: &Place,
    ) -> Result<Verified, HandshakeError> {
        let frame = envelope::sole(control.frame())?;
        match frame.header.kind {
            Kind::AUTH_RESPONSE => {}
            Kind::AUTH_FAILURE => return Err(refused(frame.payload)),
            kind => return Err(HandshakeError::Unexpected(kind)),
        }
        let credentials = Credentials::parse(frame.payload)?;
        let verified = security.verify(
            unix,
            &self.peer,
            self.role.peer(),
            &self.hash,
            &credentials,
            place,
        )?;
        Ok(verified.under(self.suite.id, self.suite.pattern == crate::suite::Pattern::IkPsk0))
    }

    /// Ends the handshake.
    pub(crate) fn establish(self, verified: Verified, known: Option<Known>) -> Established {
        let expects_ticket = self.role == Role::Dialler && self.protection == Protection::Sealed;
        let aftermath = Aftermath {
            ticket: expects_ticket.then(|| Box::new((self.peer, self.exports))),
        };
        let wire = match self.protection {
            Protection::Sealed => Wire::Sealed(Box::new(self.sealer), Box::new(self.opener)),
            Protection::Bound => Wire::Bound,
        };
        Established {
            verified,
            wire,
            known,
            aftermath,
        }
    }
}

/// What a handshake leaves behind.
#[derive(Debug)]
pub struct Established {
    /// Who the peer is.
    pub verified: Verified,
    /// How what follows travels.
    pub wire: Wire,
    /// What to dial this peer with the next time, so far as it is known yet; a ticket may follow, see [`Aftermath`].
    pub known: Option<Known>,
    /// What understands the control records that follow.
    pub aftermath: Aftermath,
}

impl Established {
    /// No handshake at all, because both sides asked for that by name.
    pub fn plain(verified: Verified) -> Self {
        Self {
            aftermath: Aftermath { ticket: None },
            verified,
            wire: Wire::Plain,
            known: None,
        }
    }
}

/// How the bytes of the session travel.
#[derive(Debug)]
pub enum Wire {
    /// In sealed records.
    Sealed(Box<Sealer>, Box<Opener>),
    /// As they are, on a link that is encrypted and bound to the handshake.
    Bound,
    /// As they are, because both sides asked for it by name.
    Plain,
}

/// Understands the control records that come once the session runs.
pub struct Aftermath {
    /// The acceptor, and what the keys of its tickets come from, until it has sent one. An acceptor expects none and
    /// has no room for it.
    ticket: Option<Box<(PublicKey, Exports)>>,
}

/// What a control record meant.
#[derive(Debug)]
#[non_exhaustive]
pub enum After {
    /// The acceptor took us, and this is what to dial it with the next time.
    Accepted(Known),
    /// The peer refuses us after all; it closes.
    Refused(Refusal),
}

impl Aftermath {
    /// Takes a control record that [`Opener::open`] has handed out.
    ///
    /// # Errors
    /// [`HandshakeError`]: the peer is at fault and the connection is to be closed.
    pub fn handle(&mut self, control: &Control) -> Result<After, HandshakeError> {
        let frame = envelope::sole(control.frame())?;
        match frame.header.kind {
            Kind::AUTH_SUCCESS => {
                // Taken, so that a second one finds nothing: it would let a peer make us remember without end.
                let expected = self.ticket.take();
                let expected = expected.ok_or(HandshakeError::Unexpected(Kind::AUTH_SUCCESS))?;
                let (peer, exports) = &*expected;
                Ok(After::Accepted(accepted(frame.payload, *peer, exports)?))
            }
            Kind::AUTH_FAILURE => match refused(frame.payload) {
                HandshakeError::Refused(refusal) => Ok(After::Refused(refusal)),
                error => Err(error),
            },
            kind => Err(HandshakeError::Unexpected(kind)),
        }
    }
}

impl std::fmt::Debug for Aftermath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aftermath")
            .field("expects_ticket", &self.ticket.is_some())
            .finish_non_exhaustive()
    }
}

/// What the acceptor gave us.
pub(crate) fn accepted(payload: &[u8], peer: PublicKey, exports: &Exports) -> Result<Known, HandshakeError> {
    let success = Success::decode(payload)?;
    let ticket = success.ticket.map(|id| Ticket {
        id,
        psk: exports.ticket_psk(&id),
        lifetime_s: success.lifetime_s,
    });
    Ok(Known {
        static_key: peer,
        ticket,
    })
}

/// What a sealed AUTH_FAILURE says.
pub(crate) fn refused(payload: &[u8]) -> HandshakeError {
    match Refusal::decode(payload) {
        Some(refusal) => HandshakeError::Refused(refusal),
        None => HandshakeError::Malformed("a refusal ends too early or is too long"),
    }
}

/// The largest control record before the peer is known: credentials of the greatest length, in a frame, sealed.
const CONTROL_RECORD_BYTES_MAX: usize = 5 + 20 + 16_384 + 256 + 16;
