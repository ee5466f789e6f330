//! What agents say of themselves, this one included, and what becomes of those who say nothing.

use valkyrie_registry::Moment;
use valkyrie_registry::agent::{AgentId, Description};
use valkyrie_registry::directory::RECORD_LIFETIME_MAX;
use valkyrie_registry::record::{Record, SealError};
use valkyrie_security::UnixTime;

use super::{
    CLOCK_SKEW, GoneWhy, PARTED_FOR, PARTED_MAX, PacketError, REFUSED_PAUSE, Swim, SwimEvent, TELL_FOR,
};
use crate::Life;
use crate::detector::SEQUENCE_MAX;
use crate::roll::Known;
use crate::wire::Statement;

impl Swim {
    /// Takes what an agent says of itself, whoever passed it on. Whether it is news.
    //= protocol/membership.md#statements
    pub(super) fn take_statement(
        &mut self,
        at: Moment,
        unix: UnixTime,
        statement: &Statement,
    ) -> Result<bool, PacketError> {
        let id = &statement.life.id;
        let own = id == self.own.id();
        let held = match own {
            true => Some(self.own.known()),
            false => self.roll.known(id),
        };
        // Said before: there is nothing to verify.
        if held.is_some_and(|held| statement.numbers() <= held.numbers()) {
            return Ok(false);
        }
        let record = Record::open(self.own.cluster(), &id.key(), &statement.record).map_err(|fault| {
            PacketError::Statement {
                id: id.clone(),
                fault,
            }
        })?;
        if (record.incarnation(), record.sequence()) != statement.numbers() {
            return Err(PacketError::Numbers(id.clone()));
        }
        if record.sequence() > SEQUENCE_MAX + 1 {
            return Err(PacketError::Sequence(id.clone()));
        }
        if own {
            return Ok(self.outdo(at, unix, &record));
        }
        if record.not_after() == UnixTime::EPOCH {
            self.asked.remove(id);
            return Ok(self.take_farewell(at, record));
        }
        let latest = unix
            .saturating_add(RECORD_LIFETIME_MAX)
            .saturating_add(CLOCK_SKEW);
        let vetting = self.vetting.as_ref();
        let admitted = vetting.is_none_or(|vetting| vetting.admits(id, record.description()));
        if record.not_after() <= unix
            || record.not_after() > latest
            || record.sequence() > SEQUENCE_MAX
            || !admitted
        {
            self.stats.refused += 1;
            self.ask_later(at, statement);
            return Ok(false);
        }
        if self.roll.here(id).is_none() && self.roll.is_full() {
            self.stats.full += 1;
            self.ask_later(at, statement);
            return Ok(false);
        }
        self.asked.remove(id);
        self.stats.taken += 1;
        self.stats.returned += u64::from(self.roll.gone(id).is_some_and(|gone| !gone.over));
        let answered = self.roll.is_suspected(id);
        let known = Known::of(record);
        let life = known.life.clone();
        self.events.push_back(SwimEvent::Here {
            life: life.clone(),
            record: known.bytes().clone(),
        });
        if answered {
            self.events.push_back(SwimEvent::Answered(life.clone()));
        }
        let sequence = known.sequence;
        self.roll.put(known);
        self.detector.here(at, life, sequence);
        Ok(true)
    }

    /// Does not ask for a while for what was not taken: everybody mentions it all the time.
    fn ask_later(&mut self, at: Moment, statement: &Statement) {
        if let Some(asked) = self.asked.get_mut(&statement.life.id) {
            *asked = (statement.numbers(), at.saturating_add(REFUSED_PAUSE));
        }
    }

    /// Somebody has left, and others are told.
    fn take_farewell(&mut self, at: Moment, record: Record) -> bool {
        let known = Known::of(record);
        let id = known.life.id.clone();
        self.lose(at, known, GoneWhy::Left);
        // Those who hear of it ask whoever told them for the statement that proves it.
        self.parted.push_back((id, at.saturating_add(PARTED_FOR)));
        if self.parted.len() > PARTED_MAX {
            self.parted.pop_front();
        }
        false
    }

    /// Somebody with this member's key and instance has said more than it has: itself, before its clock was put back. It begins a life after that one.
    ///
    /// Two processes that have one key and instance outdo each other for ever, and are slowed down to one life in the time that is between two answers.
    fn outdo(&mut self, at: Moment, unix: UnixTime, record: &Record) -> bool {
        if at < self.refute_after {
            return false;
        }
        self.refute_after = at.saturating_add(self.config.refute_every());
        if self.own.begin_anew(unix, record.incarnation()).is_ok() {
            self.said(at, None);
        }
        false
    }

    /// Answers an accusation by saying the same again, or will as soon as it may.
    pub(super) fn refute(&mut self, at: Moment, unix: UnixTime) {
        if at < self.refute_after {
            self.refute_due = true;
            return;
        }
        self.refute_due = false;
        self.refute_after = at.saturating_add(self.config.refute_every());
        self.stats.refuted += 1;
        // Where it cannot be signed, the next accusation finds it unanswered and it is tried again.
        let _ = self.say(at, unix, self.own.description().clone());
    }

    /// Makes a statement and tells others.
    pub(super) fn say(
        &mut self,
        at: Moment,
        unix: UnixTime,
        description: Description,
    ) -> Result<(), SealError> {
        let before = self.own.known().sequence;
        let another_life = self.own.say(unix, description)?;
        self.said(at, (!another_life).then_some(before));
        Ok(())
    }

    /// Has others told of a statement: the one after `before`, or the first of a life.
    fn said(&mut self, at: Moment, before: Option<u64>) {
        let known = self.own.known();
        let (life, record) = (known.life.clone(), known.bytes().clone());
        self.tell_until = at.saturating_add(TELL_FOR);
        self.events.push_back(SwimEvent::Here {
            life: life.clone(),
            record,
        });
        match before {
            Some(before) => self.detector.said_more(at, before),
            None => self.detector.begun_anew(at, life),
        }
        self.follow_detector(at);
    }

    /// Gives somebody who is here time to answer. Whether that had not begun.
    pub(super) fn suspect(&mut self, at: Moment, id: &AgentId) -> bool {
        if self.roll.is_suspected(id) {
            return false;
        }
        let Some(held) = self.roll.here(id) else {
            return false;
        };
        let (life, sequence) = (held.life.clone(), held.sequence);
        self.roll.accuse(id, at.saturating_add(self.config.suspect_for));
        self.events.push_back(SwimEvent::Suspected(life.clone()));
        self.detector.accused(at, life, sequence);
        true
    }

    /// Takes somebody out, with the last statement there is of it.
    pub(super) fn lose(&mut self, at: Moment, known: Known, why: GoneWhy) {
        let id = known.life.id.clone();
        if let Some(held) = self.roll.here(&id) {
            let (life, sequence): (Life, u64) = (held.life.clone(), held.sequence);
            self.detector.gone(at, life.clone(), sequence);
            self.events.push_back(SwimEvent::Gone { life, why });
        }
        self.roll.lose(at, known, why != GoneWhy::Silent);
    }
}
