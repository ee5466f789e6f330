//! A session that outlives its link: what it counts and retains, how it is detached, and how it goes on.
//!
//! Read `docs/protocol/resume.md` first. The owner finds the other link, makes tokens and checks them, and looks at who
//! the peer is; here is what is left when all that is settled: counts, and frames that are sent again.

use std::time::{Duration, Instant};

use bytes::Bytes;
use thiserror::Error;
use valkyrie_frame::{Batch, BatchMark, Class, Flags, Header, Kind, StreamId};

use crate::control::encode_failure;
use crate::resume::{Counts, Ledger, Resume};
use crate::settings::ResumeKey;
use crate::{CloseReason, Event, Failure, PeerMisbehaved, Settings};

use super::lanes::Outlet;
use super::{Phase, Session};

/// What an acceptor says of how its session may be continued.
//= protocol/resume.md#offer
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Offer {
    /// The session's id and secret; without them it cannot be resumed.
    pub key: Option<ResumeKey>,
    /// Where else this node listens, each locator ended by a line feed; at most
    /// [`PLACES_BYTES_MAX`](crate::PLACES_BYTES_MAX) bytes.
    pub places: Bytes,
}

impl Offer {
    /// An offer to continue the session of `key`, here or at `places`.
    pub fn new(key: ResumeKey, places: Bytes) -> Self {
        Self {
            key: Some(key),
            places,
        }
    }
}

/// Why a session does not go on over the link that was offered to it. The session is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// It was not agreed on.
    #[error("the two sides have not agreed that this session may go on over another link")]
    NotOffered,
    /// It is over, or has not begun.
    #[error("the session is not open")]
    NotOpen,
    /// The peer says that it received what was not sent. The peer is at fault.
    #[error("the peer's counts of what it received cannot be")]
    Counts,
}

/// What a session that may be resumed has more than others.
#[derive(Debug)]
pub(super) struct Continuity {
    pub(super) ledger: Ledger,
    attachment: Attachment,
    /// The link that it had worked when this attempt began.
    moves: bool,
    key: Option<ResumeKey>,
    keep_for: Duration,
    /// Bytes that may be retained here.
    retain_max: u64,
    /// Bytes received at which the peer is told.
    tell_at: u64,
    /// When the peer is to be told in any case.
    tell_due: Option<Instant>,
    /// It is due.
    tell_now: bool,
    /// RESUME or RESUME_ACK, which goes before everything else on a new link.
    greeting: Option<(Kind, Bytes)>,
    /// The next frame of each class that is to be sent again.
    replay: Option<Box<[u64; Class::COUNT]>>,
    resumes: u32,
}

/// Whether there is a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attachment {
    Attached,
    /// There is none, and the session is given up at this time.
    Detached(Instant),
    /// RESUME was sent, or is about to be. The times: when this attempt is given up, and when the session is.
    Resuming(Instant, Instant),
}

impl Session {
    /// Says, at an acceptor and before the opening, how this session may be continued.
    pub fn offer(&mut self, offer: Offer) {
        if self.phase == Phase::Opening {
            self.offer = Some(Box::new(offer));
        }
    }

    /// Whether the two sides have agreed that this session outlives its link.
    pub fn is_resumable(&self) -> bool {
        self.continuity.is_some()
    }

    /// Whether the session is kept without a link, or has one that does not carry it yet.
    pub fn is_detached(&self) -> bool {
        self.continuity
            .as_ref()
            .is_some_and(|continuity| continuity.attachment != Attachment::Attached)
    }

    /// Whether RESUME is under way.
    pub fn is_resuming(&self) -> bool {
        self.continuity
            .as_ref()
            .is_some_and(|continuity| matches!(continuity.attachment, Attachment::Resuming(..)))
    }

    /// What makes the tokens of this session.
    pub fn resume_key(&self) -> Option<&ResumeKey> {
        self.continuity.as_ref()?.key.as_ref()
    }

    /// Whether a refusal is only one place's: the session was well where it was, and may go back there.
    pub(super) fn moves(&self) -> bool {
        self.is_resuming()
            && self
                .continuity
                .as_ref()
                .is_some_and(|continuity| continuity.moves)
    }

    /// How often it went on over another link.
    pub fn resumes(&self) -> u32 {
        self.continuity
            .as_ref()
            .map_or(0, |continuity| continuity.resumes)
    }

    /// Frames received and sent that count, by class; for tests and for people.
    pub fn counts(&self) -> Option<(Counts, Counts)> {
        let ledger = &self.continuity.as_ref()?.ledger;
        Some((ledger.received(), ledger.sent()))
    }

    /// What both sides have said makes it so, or not.
    pub(super) fn agree_on_resume(&mut self, settings: &Settings, key: Option<ResumeKey>) {
        // As the peer was told it, in whole milliseconds.
        let ours = Duration::from_millis(u64::from(Settings::of(&self.config).resume_ms));
        let theirs = Duration::from_millis(u64::from(settings.resume_ms));
        let Some(key) = key.filter(|_| !ours.is_zero() && !theirs.is_zero()) else {
            return;
        };
        self.continuity = Some(Box::new(Continuity {
            ledger: Ledger::default(),
            attachment: Attachment::Attached,
            moves: false,
            key: Some(key),
            keep_for: ours.min(theirs),
            retain_max: u64::from(self.config.limits.resume_bytes),
            tell_at: u64::from(settings.resume_bytes / 4).min(TELL_BYTES_MAX),
            tell_due: None,
            tell_now: false,
            greeting: None,
            replay: None,
            resumes: 0,
        }));
    }

    /// The link has broken: it ended without CLOSE, or is not to be believed any more. A session that can be resumed is
    /// detached and [`Event::Detached`] says so; any other is over.
    //= protocol/resume.md#breaking
    pub fn handle_link_lost(&mut self, now: Instant) {
        if !self.detach(now) {
            self.clear_control();
            self.end(CloseReason::LinkLost);
        }
        self.debug_check();
    }

    /// `false` when there is nothing to go on with.
    pub(super) fn detach(&mut self, now: Instant) -> bool {
        // Where CLOSE has come on some lane, the peer keeps nothing that could go on.
        if self.phase != Phase::Open || self.closed_lanes != 0 {
            return false;
        }
        let Some(continuity) = &mut self.continuity else {
            return false;
        };
        let give_up = match continuity.attachment {
            Attachment::Attached => now + continuity.keep_for,
            Attachment::Detached(_) => return true,
            Attachment::Resuming(_, give_up) => give_up,
        };
        continuity.attachment = Attachment::Detached(give_up);
        continuity.greeting = None;
        continuity.replay = None;
        continuity.tell_due = None;
        continuity.tell_now = false;
        self.forget_pings();
        self.awaits_opening = false;
        self.events.push_back(Event::Detached);
        true
    }

    /// At the dialler: continues on a new link, whose first frame is `resume` with what has arrived so far. Nothing
    /// else is sent until the answer has come. When the attempt comes to nothing, call
    /// [`Session::handle_link_lost`]; an attempt that takes longer than an opening may ends so by itself.
    ///
    /// # Errors
    /// [`ResumeError`]; the session is as it was.
    //= protocol/resume.md#resuming
    pub fn begin_resume(&mut self, now: Instant, mut resume: Resume, lanes: u8) -> Result<(), ResumeError> {
        if self.phase != Phase::Open {
            return Err(ResumeError::NotOpen);
        }
        self.forget_pings();
        let Some(continuity) = &mut self.continuity else {
            return Err(ResumeError::NotOffered);
        };
        resume.received = continuity.ledger.tell();
        let give_up = match continuity.attachment {
            Attachment::Attached => now + continuity.keep_for,
            Attachment::Detached(give_up) | Attachment::Resuming(_, give_up) => give_up,
        };
        continuity.moves = continuity.attachment == Attachment::Attached;
        let attempt = now + self.config.limits.handshake_timeout;
        continuity.attachment = Attachment::Resuming(attempt, give_up);
        continuity.greeting = Some((Kind::RESUME, resume.encode()));
        continuity.replay = None;
        self.begin_link(now, lanes);
        self.awaits_opening = true;
        self.debug_check();
        Ok(())
    }

    /// At the acceptor: continues on a new link, for a peer whose RESUME is proved to be right. A former link that is
    /// still there is to be dropped.
    ///
    /// # Errors
    /// [`ResumeError`]; the session is as it was.
    //= protocol/resume.md#resuming
    pub fn accept_resume(&mut self, now: Instant, received: Counts, lanes: u8) -> Result<(), ResumeError> {
        if self.phase != Phase::Open {
            return Err(ResumeError::NotOpen);
        }
        let continuity = self.continuity.as_mut().ok_or(ResumeError::NotOffered)?;
        if !continuity.ledger.acknowledge(received) {
            return Err(ResumeError::Counts);
        }
        let counts = continuity.ledger.tell();
        continuity.greeting = Some((Kind::RESUME_ACK, counts.to_bytes()));
        self.begin_link(now, lanes);
        self.attach(now, received);
        self.debug_check();
        Ok(())
    }

    /// At an acceptor whose session only asked for another one to be continued: tells the peer that it is not.
    pub fn refuse_resume(&mut self, failure: Failure) {
        if self.phase == Phase::Yielded {
            let payload = encode_failure(&failure);
            self.push_control(Kind::ERROR, StreamId::CONTROL, Flags::NONE, 0, payload);
            self.end(CloseReason::Local(failure));
        }
    }

    fn begin_link(&mut self, now: Instant, lanes: u8) {
        self.set_lanes(lanes);
        self.closed_lanes = 0;
        self.last_input = now;
        if let Some(continuity) = &mut self.continuity {
            continuity.tell_due = None;
            continuity.tell_now = false;
        }
    }

    /// The new link carries the session: what has not arrived goes again, and PINGs that somebody waits for.
    fn attach(&mut self, now: Instant, received: Counts) {
        let Some(continuity) = &mut self.continuity else {
            return;
        };
        continuity.attachment = Attachment::Attached;
        self.awaits_opening = false;
        self.guard.resumed(now);
        continuity.resumes = continuity.resumes.saturating_add(1);
        let all = continuity.ledger.sent();
        continuity.replay = (received != all).then(|| Box::new(received.0));
        self.forget_pings();
        self.traffic.forget_path();
        // Its time may have come while there was no link, and nobody looked.
        self.critical_tick(now);
        self.ping_again(now);
        self.events.push_back(Event::Resumed);
    }

    /// RESUME_ACK: an answer to RESUME, or what the peer has received meanwhile.
    pub(super) fn handle_resume_ack(&mut self, now: Instant, payload: &[u8]) -> Result<(), PeerMisbehaved> {
        self.guard.credit(&self.config.budgets)?;
        let Some(continuity) = &mut self.continuity else {
            return Err(PeerMisbehaved::UnexpectedFrame(Kind::RESUME_ACK));
        };
        let counts = Counts::decode(payload).ok_or(PeerMisbehaved::Malformed(Kind::RESUME_ACK))?;
        // What has not been sent again yet cannot have come.
        if let Some(replay) = &continuity.replay
            && replay.iter().zip(&counts.0).any(|(next, count)| count > next)
        {
            return Err(PeerMisbehaved::Counts);
        }
        if !continuity.ledger.acknowledge(counts) {
            return Err(PeerMisbehaved::Counts);
        }
        if !self.traffic.exists() {
            continuity.ledger.shrink();
        }
        if matches!(continuity.attachment, Attachment::Resuming(..)) {
            self.attach(now, counts);
        }
        Ok(())
    }

    /// At the acceptor, before the opening.
    pub(super) fn handle_resume(&mut self, payload: &[u8]) -> Result<(), PeerMisbehaved> {
        let resume = Resume::decode(payload).ok_or(PeerMisbehaved::Malformed(Kind::RESUME))?;
        self.phase = Phase::Yielded;
        self.events.push_back(Event::ResumeAsked(Box::new(resume)));
        Ok(())
    }

    /// Counts frames that have arrived.
    #[inline]
    pub(super) fn note_received(&mut self, now: Instant, class: Option<Class>, frames: u64, bytes: usize) {
        if let (Some(continuity), Some(class)) = (&mut self.continuity, class) {
            continuity.ledger.note_received(class, frames, bytes as u64);
            if continuity.tell_due.is_none() {
                continuity.tell_due = Some(now + TELL_DELAY);
            }
        }
    }

    /// Counts and retains frames of one class that were appended to `batch` since `mark`.
    #[inline]
    pub(super) fn note_sent(&mut self, class: Class, frames: u64, batch: &Batch, mark: BatchMark) {
        if let Some(continuity) = &mut self.continuity {
            continuity.ledger.retain(class, frames as u32, batch, mark);
        }
    }

    /// Appends what goes before everything else: the first frame of a new link, what has arrived, and what goes again.
    /// `None` when there is nothing of it; `Some(false)` when there is nothing and nothing else may go either.
    pub(super) fn transmit_continuity(
        &mut self,
        batch: &mut Batch,
        max_bytes: usize,
        outlet: &mut Outlet,
    ) -> Option<bool> {
        let continuity = self.continuity.as_mut()?;
        if outlet.would_take(0) {
            if let Some((kind, payload)) = continuity.greeting.take() {
                let _ = outlet.take(0);
                push(batch, kind, payload);
                return Some(true);
            }
            if continuity.attachment == Attachment::Attached
                && (continuity.tell_now || continuity.ledger.untold_bytes() >= continuity.tell_at)
            {
                let _ = outlet.take(0);
                continuity.tell_now = false;
                continuity.tell_due = None;
                let counts = continuity.ledger.tell();
                push(batch, Kind::RESUME_ACK, counts.to_bytes());
                return Some(true);
            }
        }
        if continuity.attachment != Attachment::Attached || continuity.greeting.is_some() {
            return Some(false);
        }
        if let Some(replay) = &mut continuity.replay {
            let sent = continuity.ledger.sent();
            for class in Class::ALL {
                let next = &mut replay[class.index()];
                let lane = outlet.lane_of(class);
                if *next == sent.0[class.index()] || !outlet.would_take(lane) {
                    continue;
                }
                let _ = outlet.take(lane);
                *next = continuity.ledger.replay(class, *next, batch, max_bytes);
                if **replay == sent.0 {
                    continuity.replay = None;
                }
                return Some(true);
            }
            // The lanes that have something to repeat are blocked; what is new waits behind it.
            return Some(false);
        }
        None
    }

    /// Whether everything that was sent has at least been handed to the link that there is now.
    pub(super) fn is_caught_up(&self) -> bool {
        self.continuity.as_ref().is_none_or(|continuity| {
            continuity.attachment == Attachment::Attached
                && continuity.greeting.is_none()
                && continuity.replay.is_none()
        })
    }

    /// Whether something was sent that the peer has not said to have received.
    pub(super) fn is_stalling(&self) -> bool {
        self.continuity
            .as_ref()
            .is_some_and(|continuity| continuity.ledger.retained_bytes() > 0)
    }

    /// Whether as much is under way as may be retained: only what is not counted goes now.
    #[inline]
    pub(super) fn retains_all_it_may(&self) -> bool {
        self.continuity
            .as_ref()
            .is_some_and(|continuity| continuity.ledger.retained_bytes() >= continuity.retain_max)
    }

    /// What [`Session::transmit_continuity`] would find. `None` when the rest of the session decides.
    #[inline]
    pub(super) fn continuity_wants_transmit(&self) -> Option<bool> {
        let continuity = self.continuity.as_ref()?;
        if continuity.greeting.is_some() {
            return Some(self.is_free(0));
        }
        if continuity.attachment != Attachment::Attached {
            return Some(false);
        }
        let tells = continuity.tell_now || continuity.ledger.untold_bytes() >= continuity.tell_at;
        if tells && self.is_free(0) {
            return Some(true);
        }
        if let Some(replay) = &continuity.replay {
            let sent = continuity.ledger.sent();
            let left = |class: &Class| replay[class.index()] != sent.0[class.index()];
            let mut left = Class::ALL.into_iter().filter(left).peekable();
            // When the last frame filled its batch there is nothing left to say that it was the last.
            if left.peek().is_some() {
                return Some(left.any(|class| self.is_free(self.lane_of(class))));
            }
        }
        None
    }

    pub(super) fn continuity_timeout(&self) -> Option<Instant> {
        let continuity = self.continuity.as_ref()?;
        match continuity.attachment {
            Attachment::Attached if continuity.tell_now => None,
            Attachment::Attached => continuity.tell_due,
            Attachment::Detached(give_up) => Some(give_up),
            Attachment::Resuming(attempt, give_up) => Some(attempt.min(give_up)),
        }
    }

    /// Does what time asks for. `true` when there is no link for anything else that time would do.
    pub(super) fn continuity_tick(&mut self, now: Instant) -> bool {
        let Some(continuity) = &mut self.continuity else {
            return false;
        };
        match continuity.attachment {
            Attachment::Attached => {
                if continuity.tell_due.is_some_and(|at| at <= now) {
                    continuity.tell_due = None;
                    continuity.tell_now = continuity.ledger.owes();
                }
                return false;
            }
            Attachment::Detached(give_up) | Attachment::Resuming(_, give_up) if give_up <= now => {
                self.clear_control();
                self.end(CloseReason::LinkLost);
            }
            Attachment::Resuming(attempt, _) if attempt <= now => {
                self.detach(now);
            }
            _ => {}
        }
        true
    }

    /// # Errors
    /// Words for people.
    pub(super) fn continuity_invariants(&self) -> Result<(), String> {
        let Some(continuity) = &self.continuity else {
            return Ok(());
        };
        continuity.ledger.invariants()?;
        // One batch may go past it, which holds a message more than it should at most.
        let bound = continuity.retain_max + RETAIN_SLACK_BYTES;
        if continuity.ledger.retained_bytes() > bound {
            return Err(format!(
                "{} bytes are retained and {bound} may be",
                continuity.ledger.retained_bytes()
            ));
        }
        Ok(())
    }
}

fn push(batch: &mut Batch, kind: Kind, payload: Bytes) {
    let mut header = Header::new(kind, StreamId::CONTROL);
    if kind == Kind::RESUME_ACK {
        header.flags = Flags::ACK;
    }
    let pushed = batch.push(header, &[], payload);
    debug_assert!(pushed.is_ok(), "of fixed length: {pushed:?}");
}

/// Bytes received at which the peer is told at the latest: often enough that it retains little, seldom enough that
/// nobody notices.
const TELL_BYTES_MAX: u64 = 256 * 1024;

/// How long after something has come the peer is told in any case.
const TELL_DELAY: Duration = Duration::from_millis(500);

/// How far the frames of one batch may go past what is retained at most: a batch and the frame that it ends with, of the
/// largest size there is.
const RETAIN_SLACK_BYTES: u64 = 4 * 1024 * 1024;
