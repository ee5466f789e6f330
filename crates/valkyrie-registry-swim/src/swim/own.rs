//! What a member says of itself: its record, sealed anew with every statement.

use std::sync::Arc;

use valkyrie_registry::agent::{AgentId, Description, Incarnation, Word};
use valkyrie_registry::directory::RECORD_LIFETIME_MAX;
use valkyrie_registry::record::{Record, SealError};
use valkyrie_security::UnixTime;
use valkyrie_security::identity::SigningKey;

use crate::detector::SEQUENCE_MAX;
use crate::roll::Known;

pub(crate) struct Own {
    cluster: Word,
    key: Arc<SigningKey>,
    description: Description,
    known: Known,
}

impl Own {
    /// The first statement of a new life.
    pub(crate) fn begin(
        now: UnixTime,
        cluster: Word,
        instance: Word,
        key: Arc<SigningKey>,
        description: Description,
    ) -> Result<Self, SealError> {
        let id = AgentId::new(key.fingerprint(), instance)?;
        let numbers = (Incarnation::new(now.millis()), 0);
        let not_after = now.saturating_add(RECORD_LIFETIME_MAX);
        let record = Record::seal(&cluster, id.instance(), numbers, not_after, &description, &key)?;
        Ok(Self {
            cluster,
            key,
            description,
            known: Known::of(record),
        })
    }

    pub(crate) fn id(&self) -> &AgentId {
        &self.known.life.id
    }

    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    pub(crate) fn cluster(&self) -> &Word {
        &self.cluster
    }

    pub(crate) fn description(&self) -> &Description {
        &self.description
    }

    /// Whether its record should be sealed anew, though nothing has changed: half of its life before it ends.
    pub(crate) fn is_due(&self, now: UnixTime) -> bool {
        now >= self
            .known
            .record
            .not_after()
            .saturating_sub(RECORD_LIFETIME_MAX / 2)
    }

    /// Makes the next statement of this life, or the first of the next where the numbers of this one are used up. Whether it is another life.
    pub(crate) fn say(&mut self, now: UnixTime, description: Description) -> Result<bool, SealError> {
        let (incarnation, sequence) = self.known.numbers();
        let another = sequence >= SEQUENCE_MAX;
        let numbers = match another {
            false => (incarnation, sequence + 1),
            true => (after(incarnation, now), 0),
        };
        self.seal(now, numbers, description)?;
        Ok(another)
    }

    /// Begins another life, later than `than`.
    pub(crate) fn begin_anew(&mut self, now: UnixTime, than: Incarnation) -> Result<(), SealError> {
        let than = than.max(self.known.life.incarnation);
        self.seal(now, (after(than, now), 0), self.description.clone())
    }

    /// The last statement of this life: a record that has ended before it began.
    //= protocol/membership.md#leaving
    pub(crate) fn farewell(&self) -> Result<Record, SealError> {
        let (incarnation, sequence) = self.known.numbers();
        let numbers = (incarnation, sequence + 1);
        Record::seal(
            &self.cluster,
            self.id().instance(),
            numbers,
            UnixTime::EPOCH,
            &self.description,
            &self.key,
        )
    }

    fn seal(
        &mut self,
        now: UnixTime,
        numbers: (Incarnation, u64),
        description: Description,
    ) -> Result<(), SealError> {
        let record = Record::seal(
            &self.cluster,
            self.id().instance(),
            numbers,
            now.saturating_add(RECORD_LIFETIME_MAX),
            &description,
            &self.key,
        )?;
        self.description = description;
        self.known = Known::of(record);
        Ok(())
    }
}

fn after(incarnation: Incarnation, now: UnixTime) -> Incarnation {
    Incarnation::new(incarnation.number().saturating_add(1).max(now.millis()))
}
