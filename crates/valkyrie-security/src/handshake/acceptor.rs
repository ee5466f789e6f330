//! The side that was dialled: it lets nothing cost it much before the peer has shown that it means it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use valkyrie_frame::Kind;

use super::envelope::{self, BINDING_LEN, Challenge, Offer, Protection, Success};
use super::gate::{Freshness, Verdict};
use super::keyed::Keyed;
use super::{Established, Gate, HandshakeError, HandshakeLimits};
use crate::noise::{Accepted, Accepting, NoiseError, Opened};
use crate::role::Role;
use crate::security::Security;
use crate::suite::{Pattern, Suite};
use crate::time::UnixTime;
use crate::trust::Place;
use crate::verified::Verified;

/// A link that was accepted.
#[derive(Clone)]
pub struct Arrival {
    /// Where it came from.
    pub place: Place,
    /// The peer's address, where there is such a thing.
    pub address: Option<IpAddr>,
    /// The secret that the link's own encryption gives both ends, if it has one.
    pub binding: Option<[u8; BINDING_LEN]>,
    /// Who the peer is taken for when it asks for a plain connection; `None` refuses those.
    pub plain: Option<Verified>,
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The binding is the link's secret.
        f.debug_struct("Arrival")
            .field("place", &self.place)
            .field("address", &self.address)
            .field("bound", &self.binding.is_some())
            .field("plain", &self.plain)
            .finish()
    }
}

/// The handshake of the side that was dialled. Driven like [`DiallerHandshake`](super::DiallerHandshake).
pub struct AcceptorHandshake {
    security: Arc<Security>,
    gate: Arc<Gate>,
    arrival: Arrival,
    /// What a challenge has asked for.
    asked: Option<Asked>,
    out: BytesMut,
    /// Bytes in clear that the peer may still send.
    left: usize,
    deadline: Instant,
    phase: Phase,
}

/// What a challenge asks for, and so what the first message that answers it has to carry.
///
/// It is looked up again in the offer that answers. The suite that was named would not do: an offer that was challenged is
/// part of no prologue, so whoever edits its order chooses what is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// The first suite that can be run.
    Best,
    /// The first of pattern XX.
    Xx,
}

enum Phase {
    First,
    /// XX: the dialler's key is to come.
    Third {
        noise: Accepting,
        protection: Protection,
    },
    /// The dialler's credentials are to come.
    Credentials(Box<Keyed>),
    Done(Box<Established>),
    Over,
}

impl AcceptorHandshake {
    /// Waits for the first message. Nothing has been spent on this peer.
    pub fn new(security: Arc<Security>, gate: Arc<Gate>, arrival: Arrival, now: Instant) -> Self {
        Self {
            security,
            gate,
            arrival,
            asked: None,
            out: BytesMut::new(),
            left: HandshakeLimits::CLEAR_BYTES_MAX,
            deadline: now + HandshakeLimits::TIMEOUT,
            phase: Phase::First,
        }
    }

    /// Takes bytes of the link, as many as this phase can use; what belongs to the session stays in `input`.
    ///
    /// # Errors
    /// [`HandshakeError`]; the handshake is over. What [`Self::poll_transmit`] has then should still be sent: the peer is
    /// told why.
    pub fn handle_input(
        &mut self,
        now: Instant,
        unix: UnixTime,
        input: &mut BytesMut,
    ) -> Result<(), HandshakeError> {
        loop {
            let before = input.len();
            let phase = std::mem::replace(&mut self.phase, Phase::Over);
            let next = match phase {
                Phase::First => self.first(now, unix, input),
                Phase::Third { noise, protection } => self.third(now, input, noise, protection),
                Phase::Credentials(mut keyed) => match self.credentials(now, unix, input, &mut keyed) {
                    Ok(None) => Ok(Phase::Credentials(keyed)),
                    Ok(Some(verified)) => Ok(Phase::Done(Box::new(keyed.establish(verified, None)))),
                    Err(error) => {
                        self.gate.failed(&error);
                        self.refuse_sealed(&mut keyed, &error, now)?;
                        return Err(error);
                    }
                },
                Phase::Done(established) => {
                    self.phase = Phase::Done(established);
                    return Ok(());
                }
                Phase::Over => return Err(HandshakeError::Over),
            };
            self.phase = next.inspect_err(|error| self.refuse(error))?;
            if input.len() == before {
                return Ok(());
            }
        }
    }

    /// Says no under the keys, so that the dialler can believe it. It may take the handshake for done already, and then
    /// reads nothing else.
    fn refuse_sealed(
        &mut self,
        keyed: &mut Keyed,
        error: &HandshakeError,
        now: Instant,
    ) -> Result<(), HandshakeError> {
        let refusal = error.refusal();
        keyed.control(
            Kind::AUTH_FAILURE,
            |payload| refusal.encode(payload),
            now,
            &mut self.out,
        )
    }

    /// Says no in clear.
    fn refuse(&mut self, error: &HandshakeError) {
        self.gate.failed(error);
        let refusal = error.refusal();
        let kind = match error {
            // That peer knows nothing of handshakes.
            HandshakeError::PlainRefused => Kind::ERROR,
            _ => Kind::AUTH_FAILURE,
        };
        let frame = envelope::frame(kind, |payload| refusal.encode(payload));
        self.out.extend_from_slice(&frame);
    }

    fn first(&mut self, now: Instant, unix: UnixTime, input: &mut BytesMut) -> Result<Phase, HandshakeError> {
        let Some(frame) = envelope::peek(input, self.left)? else {
            return Ok(Phase::First);
        };
        let len = frame.header.frame_len();
        match frame.header.kind {
            Kind::KEY_EXCHANGE => {}
            Kind::HELLO => {
                let Some(verified) = self.arrival.plain.clone().filter(|_| self.asked.is_none()) else {
                    return Err(HandshakeError::PlainRefused);
                };
                return Ok(Phase::Done(Box::new(Established::plain(verified))));
            }
            kind => return Err(HandshakeError::Unexpected(kind)),
        }
        self.left -= len;
        let (offer, clear, message) = Offer::decode(frame.payload)?;
        if offer.protection == Protection::Bound
            && (self.arrival.binding.is_none() || self.security.seals_bound_links())
        {
            return Err(HandshakeError::NotBound);
        }
        let phase = self.offered(now, unix, &offer, clear, message)?;
        envelope::consume(input, len);
        Ok(phase)
    }

    /// Decides on a whole first message: go on, ask for another, or refuse.
    //= protocol/security.md#which-suite
    fn offered(
        &mut self,
        now: Instant,
        unix: UnixTime,
        offer: &Offer,
        clear: &[u8],
        message: &[u8],
    ) -> Result<Phase, HandshakeError> {
        let address = self.arrival.address;
        let psk = offer.ticket.and_then(|ticket| self.gate.psk(now, &ticket));
        let suites = self.security.suites();
        let chosen = suites.choose(&offer.offered, |suite| match self.asked {
            Some(Asked::Xx) => suite.pattern == Pattern::Xx,
            Some(Asked::Best) | None => suite.pattern != Pattern::IkPsk0 || psk.is_some(),
        });
        let chosen = chosen.ok_or_else(|| HandshakeError::NoCommonSuite(offer.offered.clone()))?;
        if self.asked.is_some() && chosen.id != offer.suite {
            return Err(HandshakeError::Downgrade(offer.suite));
        }
        let cookie_is_good = address.is_none_or(|address| {
            offer
                .cookie
                .is_some_and(|cookie| self.gate.cookie_is_good(now, address, &cookie))
        });
        match self.gate.first_message(now, cookie_is_good) {
            Verdict::Go => {}
            Verdict::Challenge if self.asked.is_none() => {
                let cookie = address.map(|address| self.gate.cookie(now, address));
                let suite = chosen.id;
                return Ok(self.challenge(Asked::Best, Challenge { suite, cookie }));
            }
            Verdict::Challenge => {
                return Err(HandshakeError::Busy {
                    retry_after_ms: BUSY_MS,
                });
            }
            Verdict::Refuse { retry_after } => {
                let retry_after_ms = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX).max(1);
                return Err(HandshakeError::Busy { retry_after_ms });
            }
        }
        if chosen.id != offer.suite {
            let suite = chosen.id;
            return Ok(self.challenge(Asked::Best, Challenge { suite, cookie: None }));
        }
        let prologue = envelope::prologue(self.arrival.binding.as_ref(), clear);
        let opened = self.open(chosen, &prologue, psk.as_deref(), message);
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) if chosen.pattern == Pattern::Xx => return Err(error.into()),
            Err(_) => return self.ask_for_xx(offer),
        };
        if chosen.pattern.needs_peer_key() {
            let payload = opened.payload();
            let Ok(clock) = <[u8; 8]>::try_from(payload) else {
                return Err(HandshakeError::Malformed(
                    "the first message does not carry a clock",
                ));
            };
            let apart = u64::from_be_bytes(clock).abs_diff(unix.millis());
            match self.gate.freshness(now, &opened.ephemeral()) {
                Freshness::Seen => return Err(HandshakeError::Replay),
                Freshness::Full => return self.ask_for_xx(offer),
                Freshness::Fresh if apart > CLOCK_SKEW_MS => return self.ask_for_xx(offer),
                Freshness::Fresh => {}
            }
        }
        if let (Pattern::IkPsk0, Some(ticket)) = (chosen.pattern, offer.ticket) {
            let peer = opened.peer().ok_or(HandshakeError::NotForUs)?;
            if !self.gate.redeem(now, &ticket, &peer) {
                return self.ask_for_xx(offer);
            }
        }
        self.answer(now, opened, offer.protection)
    }

    /// Opens the first message with the newest of our static keys that does.
    fn open(
        &self,
        suite: &'static Suite,
        prologue: &[u8],
        psk: Option<&[u8; 32]>,
        message: &[u8],
    ) -> Result<Opened, NoiseError> {
        let psk = psk.filter(|_| suite.pattern == Pattern::IkPsk0);
        let providers = self.security.suites().providers();
        let keys = self.security.static_keys();
        let mut last = None;
        for key in keys.iter().take(if suite.pattern.needs_peer_key() {
            KEYS_TRIED_MAX
        } else {
            1
        }) {
            match Accepting::read(suite, providers, key, psk, prologue, message) {
                Ok(opened) => return Ok(opened),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(NoiseError::Internal))
    }

    /// Sends the second message.
    fn answer(
        &mut self,
        now: Instant,
        opened: Opened,
        protection: Protection,
    ) -> Result<Phase, HandshakeError> {
        let mut message = vec![2];
        let accepted = opened.answer(&mut message)?;
        let frame = envelope::frame(Kind::KEY_EXCHANGE, |payload| payload.extend(&message));
        self.out.extend_from_slice(&frame);
        match accepted {
            Accepted::Waiting(noise) => Ok(Phase::Third { noise, protection }),
            Accepted::Finished(finished) => {
                let channel = self.security.channel();
                let mut keyed = Keyed::new(finished, Role::Acceptor, protection, channel);
                keyed.introduce(&self.security, now, &mut self.out)?;
                Ok(Phase::Credentials(Box::new(keyed)))
            }
        }
    }

    fn challenge(&mut self, asked: Asked, challenge: Challenge) -> Phase {
        self.asked = Some(asked);
        let frame = envelope::frame(Kind::AUTH_CHALLENGE, |payload| challenge.encode(payload));
        self.out.extend_from_slice(&frame);
        Phase::First
    }

    /// The dialler knows too little or too much that is old: it is to begin as if it knew nothing.
    fn ask_for_xx(&mut self, offer: &Offer) -> Result<Phase, HandshakeError> {
        let suites = self.security.suites();
        let xx = suites.choose(&offer.offered, |suite| suite.pattern == Pattern::Xx);
        match xx {
            Some(suite) if self.asked.is_none() => {
                let suite = suite.id;
                Ok(self.challenge(Asked::Xx, Challenge { suite, cookie: None }))
            }
            _ => Err(HandshakeError::NotForUs),
        }
    }

    fn third(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
        noise: Accepting,
        protection: Protection,
    ) -> Result<Phase, HandshakeError> {
        let Some(frame) = envelope::peek(input, self.left)? else {
            return Ok(Phase::Third { noise, protection });
        };
        let len = frame.header.frame_len();
        self.left -= len;
        if frame.header.kind != Kind::KEY_EXCHANGE {
            return Err(HandshakeError::Unexpected(frame.header.kind));
        }
        let [3, message @ ..] = frame.payload else {
            return Err(HandshakeError::Malformed("the third message is not numbered 3"));
        };
        let finished = noise.third(message)?;
        let channel = self.security.channel();
        let mut keyed = Keyed::new(finished, Role::Acceptor, protection, channel);
        keyed.introduce(&self.security, now, &mut self.out)?;
        envelope::consume(input, len);
        Ok(Phase::Credentials(Box::new(keyed)))
    }

    fn credentials(
        &mut self,
        now: Instant,
        unix: UnixTime,
        input: &mut BytesMut,
        keyed: &mut Keyed,
    ) -> Result<Option<Verified>, HandshakeError> {
        let Some(control) = keyed.next_control(now, input)? else {
            return Ok(None);
        };
        let verified = keyed.verify(&self.security, unix, &control, &self.arrival.place)?;
        let success = if self.security.issues_tickets() {
            let (ticket, lifetime_s) = self.gate.issue(now, keyed.peer, &keyed.exports);
            Success {
                lifetime_s,
                ticket: Some(ticket),
            }
        } else {
            Success {
                lifetime_s: 0,
                ticket: None,
            }
        };
        keyed.control(
            Kind::AUTH_SUCCESS,
            |payload| success.encode(payload),
            now,
            &mut self.out,
        )?;
        Ok(Some(verified))
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
    /// [`HandshakeError::TimedOut`]: the handshake is over, and the peer is told.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), HandshakeError> {
        match self.poll_timeout() {
            Some(deadline) if deadline <= now => {
                match std::mem::replace(&mut self.phase, Phase::Over) {
                    Phase::Credentials(mut keyed) => {
                        self.gate.failed(&HandshakeError::TimedOut);
                        self.refuse_sealed(&mut keyed, &HandshakeError::TimedOut, now)?;
                    }
                    _ => self.refuse(&HandshakeError::TimedOut),
                }
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

    /// The peer has shown that it holds a key; what remains is whose.
    pub fn has_keys(&self) -> bool {
        matches!(self.phase, Phase::Credentials(_) | Phase::Done(_))
    }
}

impl std::fmt::Debug for AcceptorHandshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phase = match &self.phase {
            Phase::First => "first message",
            Phase::Third { .. } => "third message",
            Phase::Credentials(_) => "credentials",
            Phase::Done(_) => "done",
            Phase::Over => "over",
        };
        f.debug_struct("AcceptorHandshake")
            .field("waits_for", &phase)
            .field("place", &self.arrival.place)
            .finish_non_exhaustive()
    }
}

/// How far the clocks of two sides may be apart for a first message that a known key is enough for.
//= protocol/security.md#which-suite
const CLOCK_SKEW_MS: u64 = 90_000;

/// When a peer that was challenged and is still one too many may come back.
const BUSY_MS: u32 = 1_000;

/// How many of our own static keys are tried on a first message: the newest and the one before it. Every one costs a
/// junk message's sender nothing and us a multiplication.
const KEYS_TRIED_MAX: usize = 2;
