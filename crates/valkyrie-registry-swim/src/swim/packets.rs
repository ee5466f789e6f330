//! What a member does with a packet, and how it makes one.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use valkyrie_registry::Moment;
use valkyrie_registry::agent::AgentId;
use valkyrie_security::{Fingerprint, UnixTime};

use super::{ASK_AGAIN, ASKED_MAX, Now, PUSHED_MAX, PacketError, Recipient, Swim, Transmit};
use crate::Life;
use crate::life::Numbers;
use crate::roll::Known;
use crate::wire::{
    Kind, PACKET_BYTES_AIM, Packet, STATEMENTS_MAX, Source, Standing, Statement, Update, WANTED_MAX,
    WireError,
};

/// What a packet makes necessary towards its sender, sent together at its end.
#[derive(Debug, Default)]
struct Reply {
    /// Agents of whom the sender has said more than is held.
    wanted: Vec<AgentId>,
    /// Agents of whom it has said less.
    pushed: BTreeSet<AgentId>,
    /// Agents that it takes for present and this side does not.
    accused: Vec<Update>,
}

impl Swim {
    /// Takes a packet from a peer that has proved to own this fingerprint. It gives which of that identity's agents sent it.
    ///
    /// # Errors
    /// [`PacketError`]: the peer is at fault, and the rest of the packet was not used. Nobody is worth talking to who passes on what an
    /// agent has not said.
    //= protocol/membership.md#receiving
    pub fn handle_packet(
        &mut self,
        now: Now,
        from: Fingerprint,
        bytes: &[u8],
    ) -> Result<AgentId, PacketError> {
        let at = self.adopt(now.at);
        let packet = Packet::decode(bytes)?;
        let id = AgentId::new(from, packet.source.instance.clone());
        let id = id.map_err(|_| WireError::Field("instance of the sender"))?;
        if id == *self.own.id() {
            // One of its seeds is its own place, as where all nodes are given the same list; otherwise somebody else has its key.
            return match packet.source.incarnation == self.life().incarnation {
                true => Ok(id),
                false => Err(PacketError::Ourselves),
            };
        }
        if self.left {
            return Ok(id);
        }
        let source = Life {
            id: id.clone(),
            incarnation: packet.source.incarnation,
        };
        let (mut reply, mut news) = (Reply::default(), false);
        let taken = self.take(at, now.unix, source, packet, &mut reply, &mut news);
        self.answer(&id, reply);
        if news {
            self.detector.spread(at);
        }
        self.follow_detector(at);
        taken.map(|()| id)
    }

    fn take(
        &mut self,
        at: Moment,
        unix: UnixTime,
        source: Life,
        packet: Packet,
        reply: &mut Reply,
        news: &mut bool,
    ) -> Result<(), PacketError> {
        for statement in &packet.statements {
            *news |= self.take_statement(at, unix, statement)?;
        }
        let numbers = (source.incarnation, packet.source.sequence);
        if !self.place(&source, numbers, at, reply) {
            self.stats.strangers += 1;
            // A stranger is heard about this member alone, which can answer for itself: two halves of a fleet are strangers to each other.
            let own = self.own.id().clone();
            for update in packet.updates.iter().filter(|update| update.life.id == own) {
                self.take_update_of_own(at, unix, update, reply);
            }
            if let Kind::Want(agents) = packet.kind {
                reply.pushed.extend(agents);
            }
            return Ok(());
        }
        for update in &packet.updates {
            *news |= self.take_update(at, unix, update, &packet.kind, reply);
        }
        match packet.kind {
            Kind::News => {}
            Kind::Probe { to, probe, number } => {
                let sequence = self.roll.here(&source.id).map_or(0, |known| known.sequence);
                let handled = self
                    .detector
                    .handle_probe(at, (source, sequence), to, probe, number);
                handled.map_err(|_| PacketError::Probe)?;
            }
            Kind::Digest => {
                let listed: BTreeSet<&AgentId> =
                    packet.updates.iter().map(|update| &update.life.id).collect();
                let missing = self.roll.all_here().map(|known| &known.life.id);
                let missing = missing.filter(|id| **id != source.id && !listed.contains(id));
                reply.pushed.extend(missing.cloned());
            }
            Kind::Want(agents) => reply.pushed.extend(agents),
        }
        Ok(())
    }

    /// Where the sender of a packet stands: whether it is here, and what it has to be told or asked where it is not, or not as it says.
    fn place(&mut self, source: &Life, numbers: Numbers, at: Moment, reply: &mut Reply) -> bool {
        let here = self.roll.here(&source.id);
        if let Some(held) = here {
            let (held_life, held_numbers) = (held.life.incarnation, held.numbers());
            if numbers > held_numbers {
                self.want(at, &source.id, numbers, reply);
            } else if source.incarnation < held_life {
                // A former self, or one that was started with its clock put back and has to know where to go on.
                reply.pushed.insert(source.id.clone());
            }
            return source.incarnation == held_life;
        }
        match self.roll.gone(&source.id) {
            Some(gone) if numbers <= gone.known.numbers() => {
                if gone.known.life == *source && !gone.over {
                    reply.accused.push(gone.known.update(Standing::Accused));
                } else {
                    reply.pushed.insert(source.id.clone());
                }
            }
            _ => self.want(at, &source.id, numbers, reply),
        }
        false
    }

    /// What a member says of another agent. Whether it is news.
    fn take_update(
        &mut self,
        at: Moment,
        unix: UnixTime,
        update: &Update,
        kind: &Kind,
        reply: &mut Reply,
    ) -> bool {
        let id = &update.life.id;
        if id == self.own.id() {
            self.take_update_of_own(at, unix, update, reply);
            return false;
        }
        if let Some(held) = self.roll.here(id) {
            match (update.numbers().cmp(&held.numbers()), update.standing) {
                (Ordering::Equal, Standing::Accused) => {
                    let news = self.suspect(at, id);
                    self.stats.accusations += u64::from(news);
                    return news;
                }
                (Ordering::Equal, Standing::Here) => {}
                (Ordering::Greater, _) => self.want(at, id, update.numbers(), reply),
                // Who accuses by what has been answered has not heard the answer; who lists lacks it.
                (Ordering::Less, standing) => {
                    if standing == Standing::Accused || *kind == Kind::Digest {
                        reply.pushed.insert(id.clone());
                    }
                }
            }
            return false;
        }
        if update.standing == Standing::Here {
            match self.roll.gone(id) {
                Some(gone) if update.numbers() <= gone.known.numbers() => match gone.over {
                    true => drop(reply.pushed.insert(id.clone())),
                    false => reply.accused.push(gone.known.update(Standing::Accused)),
                },
                _ => self.want(at, id, update.numbers(), reply),
            }
        }
        false
    }

    fn take_update_of_own(&mut self, at: Moment, unix: UnixTime, update: &Update, reply: &mut Reply) {
        match update.numbers().cmp(&self.own.known().numbers()) {
            Ordering::Equal if update.standing == Standing::Accused => {
                self.refute(at, unix);
                reply.pushed.insert(self.own.id().clone());
            }
            Ordering::Equal => {}
            Ordering::Less => drop(reply.pushed.insert(self.own.id().clone())),
            // Only its own statement would prove that, and brings it where there is one: a former self with a clock that was ahead.
            Ordering::Greater => {
                self.stats.invented += 1;
                let (id, numbers) = (update.life.id.clone(), update.numbers());
                self.want(at, &id, numbers, reply);
            }
        }
    }

    /// Asks for a statement, unless it was asked for a moment ago.
    fn want(&mut self, at: Moment, id: &AgentId, numbers: Numbers, reply: &mut Reply) {
        if let Some((asked, when)) = self.asked.get(id)
            && *asked >= numbers
            && at.since(*when) < ASK_AGAIN
        {
            return;
        }
        if self.asked.len() >= ASKED_MAX && !self.asked.contains_key(id) {
            self.asked.retain(|_, (_, when)| at.since(*when) < ASK_AGAIN);
            if self.asked.len() >= ASKED_MAX {
                return;
            }
        }
        self.asked.insert(id.clone(), (numbers, at));
        reply.wanted.push(id.clone());
    }

    fn answer(&mut self, to: &AgentId, reply: Reply) {
        if !reply.accused.is_empty() {
            self.send(to, Kind::News, reply.accused, Vec::new());
        }
        for agents in reply.wanted.chunks(WANTED_MAX) {
            self.send(to, Kind::Want(agents.to_vec()), Vec::new(), Vec::new());
        }
        let own = self.own.known();
        let known = reply.pushed.iter().filter_map(|id| match id == self.own.id() {
            true => Some(own),
            false => self.roll.known(id),
        });
        let statements: Vec<Statement> = known.take(PUSHED_MAX).map(Known::statement).collect();
        self.send_statements(to, statements);
    }

    /// All that is known to one member, or to whoever is at the seeds.
    pub(super) fn send_digest_to(&mut self, id: Option<&AgentId>) {
        let here = self.roll.all_here().map(|known| known.update(Standing::Here));
        let gone = self.roll.all_gone();
        let gone = gone.map(|gone| gone.known.update(Standing::Accused));
        let updates: Vec<Update> = here.chain(gone).collect();
        let own = vec![self.own.known().statement()];
        match id {
            Some(id) => self.send(id, Kind::Digest, updates, own),
            None => self.send_to(Recipient::Seeds, Kind::Digest, updates, own),
        }
    }

    /// Statements in as few packets as do not get too long.
    pub(super) fn send_statements(&mut self, to: &AgentId, statements: Vec<Statement>) {
        let mut packet = Vec::new();
        let mut bytes = 0;
        for statement in statements {
            bytes += statement.record.len();
            packet.push(statement);
            if bytes >= PACKET_BYTES_AIM || packet.len() == STATEMENTS_MAX {
                self.send(to, Kind::News, Vec::new(), std::mem::take(&mut packet));
                bytes = 0;
            }
        }
        if !packet.is_empty() {
            self.send(to, Kind::News, Vec::new(), packet);
        }
    }

    /// A packet to an agent, with what it should hear in any case: that it is accused, and who has left a moment ago.
    pub(super) fn send(
        &mut self,
        to: &AgentId,
        kind: Kind,
        mut updates: Vec<Update>,
        statements: Vec<Statement>,
    ) {
        if kind != Kind::Digest {
            // What one may have missed that was cut off while it was accused.
            let accused = self.roll.here(to).filter(|_| self.roll.is_suspected(to));
            updates.extend(accused.map(|held| held.update(Standing::Accused)));
            let parted = self.parted.iter().filter_map(|(id, _)| self.roll.gone(id));
            updates.extend(parted.map(|gone| gone.known.update(Standing::Accused)));
        }
        let places = self.roll.known(to).map_or(&[][..], Known::places).to_vec();
        let to = Recipient::Agent {
            id: to.clone(),
            places,
        };
        self.send_to(to, kind, updates, statements);
    }

    fn send_to(&mut self, to: Recipient, kind: Kind, updates: Vec<Update>, statements: Vec<Statement>) {
        let own = self.own.known();
        let packet = Packet {
            source: Source {
                instance: own.life.id.instance().clone(),
                incarnation: own.life.incarnation,
                sequence: own.sequence,
            },
            kind,
            updates,
            statements,
        };
        // All parts are bounded by how they are put together, and the bounds add up at compile time.
        if let Ok(packet) = packet.encode() {
            self.outbox.push_back(Transmit { to, packet });
        }
    }
}
