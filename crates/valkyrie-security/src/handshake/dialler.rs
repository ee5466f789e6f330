//! The side that dialled: it offers, proves its key, and says who it is once it knows who answered.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use valkyrie_frame::Kind;

use super::envelope::{self, BINDING_LEN, COOKIE_LEN, Challenge, Offer, Protection, Refusal};
use super::keyed::{Keyed, accepted, refused};
use super::{Established, HandshakeError, HandshakeLimits, Known};
use crate::noise::Dialling;
use crate::role::Role;
use crate::security::Security;
use crate::suite::{Pattern, Suite, SuiteId};
use crate::time::UnixTime;
use crate::trust::Place;
use crate::verified::Verified;

/// What is dialled.
#[derive(Clone)]
pub struct Dial {
    /// Where the acceptor is.
    pub place: Place,
    /// What is known of it from before.
    pub known: Option<Known>,
    /// The secret that the link's own encryption gives both ends, if it has one.
    pub binding: Option<[u8; BINDING_LEN]>,
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The binding is the link's secret.
        f.debug_struct("Dial")
            .field("place", &self.place)
            .field("known", &self.known)
            .field("bound", &self.binding.is_some())
            .finish()
    }
}

/// The handshake of the side that dialled.
///
/// Feed it with [`handle_input`](Self::handle_input), drain [`poll_transmit`](Self::poll_transmit) after every call, an error included, and take
/// the result from [`established`](Self::established). A failure ends it: the link is to be closed.
pub struct DiallerHandshake {
    security: Arc<Security>,
    dial: Dial,
    offered: Vec<SuiteId>,
    challenged: bool,
    out: BytesMut,
    /// Bytes in clear that the peer may still send.
    left: usize,
    deadline: Instant,
    phase: Phase,
}

enum Phase {
    /// The first message is out.
    Second {
        noise: Dialling,
        suite: &'static Suite,
        protection: Protection,
    },
    /// The acceptor's credentials are to come.
    Credentials(Box<Keyed>),
    /// On a bound channel: the acceptor's word that we are accepted is to come.
    Success(Box<Keyed>, Verified),
    Done(Box<Established>),
    Over,
}

impl DiallerHandshake {
    /// Begins: the first message is ready to be sent.
    ///
    /// # Errors
    /// [`HandshakeError`]: this side cannot begin, because it permits no suite or its keys fail.
    pub fn new(
        security: Arc<Security>,
        dial: Dial,
        now: Instant,
        unix: UnixTime,
    ) -> Result<Self, HandshakeError> {
        let offered = security.suites().offer(dial.known.as_ref());
        let first = *offered
            .first()
            .ok_or_else(|| HandshakeError::NoCommonSuite(Vec::new()))?;
        let mut handshake = Self {
            security,
            dial,
            offered,
            challenged: false,
            out: BytesMut::new(),
            left: HandshakeLimits::CLEAR_BYTES_MAX,
            deadline: now + HandshakeLimits::TIMEOUT,
            phase: Phase::Over,
        };
        handshake.begin(first, None, unix)?;
        Ok(handshake)
    }

    /// Sends a first message.
    //= protocol/security.md#key-exchange
    fn begin(
        &mut self,
        id: SuiteId,
        cookie: Option<[u8; COOKIE_LEN]>,
        unix: UnixTime,
    ) -> Result<(), HandshakeError> {
        let suite = id.suite().filter(|_| self.offered.contains(&id));
        let suite = suite.ok_or(HandshakeError::Downgrade(id))?;
        let known = self.dial.known.as_ref();
        let ticket = known
            .and_then(|known| known.ticket.as_ref())
            .filter(|_| suite.pattern == Pattern::IkPsk0);
        let protection = match self.dial.binding {
            Some(_) if !self.security.seals_bound_links() => Protection::Bound,
            _ => Protection::Sealed,
        };
        let offer = Offer {
            protection,
            suite: id,
            offered: self.offered.clone(),
            cookie,
            ticket: ticket.map(|ticket| ticket.id),
        };
        let mut clear = Vec::with_capacity(OFFER_BYTES);
        offer.encode(&mut clear);
        let prologue = envelope::prologue(self.dial.binding.as_ref(), &clear);
        let clock = unix.millis().to_be_bytes();
        let peer = known
            .filter(|_| suite.pattern.needs_peer_key())
            .map(|known| &known.static_key);
        let mut message = clear;
        let noise = Dialling::start(
            suite,
            self.security.suites().providers(),
            &self.security.static_key(),
            peer,
            ticket.map(|ticket| &*ticket.psk),
            &prologue,
            if suite.pattern.needs_peer_key() {
                &clock
            } else {
                &[]
            },
            &mut message,
        )?;
        self.out
            .extend_from_slice(&envelope::frame(Kind::KEY_EXCHANGE, |payload| {
                payload.extend(&message)
            }));
        self.phase = Phase::Second {
            noise,
            suite,
            protection,
        };
        Ok(())
    }

    /// Takes bytes of the link, as many as this phase can use; what belongs to the session stays in `input`.
    ///
    /// # Errors
    /// [`HandshakeError`]; the handshake is over. What [`Self::poll_transmit`] has then should still be sent: the peer is told why.
    pub fn handle_input(
        &mut self,
        now: Instant,
        unix: UnixTime,
        input: &mut BytesMut,
    ) -> Result<(), HandshakeError> {
        loop {
            let before = input.len();
            let phase = std::mem::replace(&mut self.phase, Phase::Over);
            self.phase = match phase {
                Phase::Second {
                    noise,
                    suite,
                    protection,
                } => self.second(unix, input, noise, suite, protection)?,
                Phase::Credentials(keyed) => self.credentials(now, unix, input, keyed)?,
                Phase::Success(keyed, verified) => self.success(now, input, keyed, verified)?,
                Phase::Done(established) => {
                    self.phase = Phase::Done(established);
                    return Ok(());
                }
                Phase::Over => return Err(HandshakeError::Over),
            };
            if input.len() == before {
                return Ok(());
            }
        }
    }

    fn second(
        &mut self,
        unix: UnixTime,
        input: &mut BytesMut,
        noise: Dialling,
        suite: &'static Suite,
        protection: Protection,
    ) -> Result<Phase, HandshakeError> {
        let Some(frame) = envelope::peek(input, self.left)? else {
            return Ok(Phase::Second {
                noise,
                suite,
                protection,
            });
        };
        let len = frame.header.frame_len();
        self.left -= len;
        let phase = match frame.header.kind {
            Kind::KEY_EXCHANGE => {
                let [2, message @ ..] = frame.payload else {
                    return Err(HandshakeError::Malformed("the second message is not numbered 2"));
                };
                let mut third = vec![3];
                let finished = noise.second(message, &mut third)?;
                if suite.pattern == Pattern::Xx {
                    let frame = envelope::frame(Kind::KEY_EXCHANGE, |payload| payload.extend(&third));
                    self.out.extend_from_slice(&frame);
                }
                let channel = self.security.channel();
                Phase::Credentials(Box::new(Keyed::new(finished, Role::Dialler, protection, channel)))
            }
            Kind::AUTH_CHALLENGE if self.challenged => {
                return Err(HandshakeError::Unexpected(Kind::AUTH_CHALLENGE));
            }
            Kind::AUTH_CHALLENGE => {
                let challenge = Challenge::decode(frame.payload)?;
                self.challenged = true;
                self.begin(challenge.suite, challenge.cookie, unix)?;
                std::mem::replace(&mut self.phase, Phase::Over)
            }
            Kind::AUTH_FAILURE | Kind::ERROR => {
                return Err(match Refusal::decode(frame.payload) {
                    Some(refusal) => HandshakeError::RefusedInClear(refusal),
                    None => HandshakeError::Malformed("a refusal ends too early or is too long"),
                });
            }
            kind => return Err(HandshakeError::Unexpected(kind)),
        };
        envelope::consume(input, len);
        Ok(phase)
    }

    fn credentials(
        &mut self,
        now: Instant,
        unix: UnixTime,
        input: &mut BytesMut,
        mut keyed: Box<Keyed>,
    ) -> Result<Phase, HandshakeError> {
        let Some(control) = keyed.next_control(now, input)? else {
            return Ok(Phase::Credentials(keyed));
        };
        let verified = match keyed.verify(&self.security, unix, &control, &self.dial.place) {
            Ok(verified) => verified,
            Err(error) => {
                let refusal = error.refusal();
                keyed.control(
                    Kind::AUTH_FAILURE,
                    |payload| refusal.encode(payload),
                    now,
                    &mut self.out,
                )?;
                return Err(error);
            }
        };
        keyed.introduce(&self.security, now, &mut self.out)?;
        if keyed.protection == Protection::Bound {
            return Ok(Phase::Success(keyed, verified));
        }
        let known = Known::key(keyed.peer);
        Ok(Phase::Done(Box::new(keyed.establish(verified, Some(known)))))
    }

    fn success(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
        mut keyed: Box<Keyed>,
        verified: Verified,
    ) -> Result<Phase, HandshakeError> {
        let Some(control) = keyed.next_control(now, input)? else {
            return Ok(Phase::Success(keyed, verified));
        };
        let frame = envelope::sole(control.frame())?;
        match frame.header.kind {
            Kind::AUTH_SUCCESS => {
                let known = accepted(frame.payload, keyed.peer, &keyed.exports)?;
                Ok(Phase::Done(Box::new(keyed.establish(verified, Some(known)))))
            }
            Kind::AUTH_FAILURE => Err(refused(frame.payload)),
            kind => Err(HandshakeError::Unexpected(kind)),
        }
    }

    /// The link has ended.
    ///
    /// # Errors
    /// [`HandshakeError::LinkLost`] unless the handshake had been done.
    pub fn handle_eof(&mut self) -> Result<(), HandshakeError> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            done @ Phase::Done(_) => {
                self.phase = done;
                Ok(())
            }
            _ => Err(HandshakeError::LinkLost),
        }
    }

    /// When [`Self::handle_timeout`] is due, if the handshake is not done by then.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!matches!(self.phase, Phase::Done(_) | Phase::Over)).then_some(self.deadline)
    }

    /// Time has passed.
    ///
    /// # Errors
    /// [`HandshakeError::TimedOut`]: the handshake is over.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), HandshakeError> {
        match self.poll_timeout() {
            Some(deadline) if deadline <= now => {
                self.phase = Phase::Over;
                Err(HandshakeError::TimedOut)
            }
            _ => Ok(()),
        }
    }

    /// Moves what is to be sent to the end of `out`.
    pub fn poll_transmit(&mut self, out: &mut BytesMut) {
        out.unsplit(self.out.split());
    }

    /// The result, once: `None` before the handshake is done and after it was taken.
    pub fn established(&mut self) -> Option<Established> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Done(established) => Some(*established),
            other => {
                self.phase = other;
                None
            }
        }
    }
}

impl std::fmt::Debug for DiallerHandshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phase = match &self.phase {
            Phase::Second { .. } => "second message",
            Phase::Credentials(_) => "credentials",
            Phase::Success(..) => "success",
            Phase::Done(_) => "done",
            Phase::Over => "over",
        };
        f.debug_struct("DiallerHandshake")
            .field("waits_for", &phase)
            .field("offered", &self.offered)
            .finish_non_exhaustive()
    }
}

/// The longest offer.
const OFFER_BYTES: usize = 5 + envelope::OFFERED_MAX + 1 + COOKIE_LEN + 1 + envelope::TICKET_LEN;
