//! A packet and its parts.

use bytes::Bytes;
use valkyrie_registry::agent::{AgentId, Incarnation, Word};
use valkyrie_registry::record::RECORD_BYTES_MAX;
use valkyrie_registry::wire::{Reader, Writer};

use super::{PACKET_BYTES_MAX, STATEMENTS_MAX, UPDATES_MAX, WANTED_MAX, WireError};
use crate::Life;
use crate::life::Numbers;

/// All that members ever send each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Which of the agents of the identity at the other end of the connection says this, and how far it is.
    pub source: Source,
    /// What it is for.
    pub kind: Kind,
    /// What the sender has heard of agents. None of it is proof of anything.
    pub updates: Vec<Update>,
    /// What agents say of themselves, signed.
    pub statements: Vec<Statement>,
}

/// Who sends a packet; whose agent it is says the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Which of the identity's agents.
    pub instance: Word,
    /// In which life.
    pub incarnation: Incarnation,
    /// Its last statement of that life.
    pub sequence: u64,
}

/// What a packet is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its updates and statements. No answer.
    News,
    /// Whether somebody is there.
    Probe {
        /// For whom it is: a later life of the same agent does not take it.
        to: Life,
        /// What is asked or answered.
        probe: Probe,
        /// Which round of whoever began it, so that late answers are known for such.
        number: u8,
    },
    /// The updates are all that the sender knows. What the receiver knows better it sends, and what it lacks it asks for.
    Digest,
    /// The newest statements of these agents are wanted.
    Want(Vec<AgentId>),
}

/// A step of a probe, in the order of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Are you there?
    Ping,
    /// Yes.
    Ack,
    /// Ask this one for me, whom I do not reach.
    Ask {
        /// Whom.
        target: Life,
    },
    /// Are you there? Somebody else wants to know.
    PingFor {
        /// Who.
        origin: Life,
    },
    /// Yes, tell them.
    AckFor {
        /// Whom.
        target: Life,
    },
    /// The one that you asked about is there.
    AckOf {
        /// Who.
        origin: Life,
    },
}

/// What is said of an agent by others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Of whom, in which life.
    pub life: Life,
    /// After which statement of that life: a later one answers whatever this says.
    pub sequence: u64,
    /// What.
    pub standing: Standing,
}

/// How an agent stands with whoever says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It is here.
    Here,
    /// It does not answer, or is gone.
    Accused,
}

/// What an agent says of itself: a record, and which it is, so that it need not be opened to know that it is old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Whose.
    pub life: Life,
    /// Which of that life's.
    pub sequence: u64,
    /// The record.
    pub record: Bytes,
}

impl Update {
    /// After which statement.
    pub fn numbers(&self) -> Numbers {
        (self.life.incarnation, self.sequence)
    }
}

impl Statement {
    /// Which it is.
    pub fn numbers(&self) -> Numbers {
        (self.life.incarnation, self.sequence)
    }
}

impl Packet {
    /// The bytes of it.
    ///
    /// # Errors
    /// [`WireError`]: the caller has put more into it than it may have.
    //= protocol/membership.md#packets
    pub fn encode(&self) -> Result<Bytes, WireError> {
        let mut out = Writer::default();
        out.word(&self.source.instance);
        out.u64(self.source.incarnation.number());
        out.u64(self.source.sequence);
        match &self.kind {
            Kind::News => out.u8(NEWS),
            Kind::Probe { to, probe, number } => {
                let (kind, about) = match probe {
                    Probe::Ping => (PING, None),
                    Probe::Ack => (ACK, None),
                    Probe::Ask { target } => (ASK, Some(target)),
                    Probe::PingFor { origin } => (PING_FOR, Some(origin)),
                    Probe::AckFor { target } => (ACK_FOR, Some(target)),
                    Probe::AckOf { origin } => (ACK_OF, Some(origin)),
                };
                out.u8(kind);
                put_life(&mut out, to);
                out.u8(*number);
                about.into_iter().for_each(|life| put_life(&mut out, life));
            }
            Kind::Digest => out.u8(DIGEST),
            Kind::Want(agents) => {
                out.u8(WANT);
                out.count("agents that are asked about", agents.len(), WANTED_MAX);
                agents.iter().for_each(|id| out.agent(id));
            }
        }
        out.count("updates", self.updates.len(), UPDATES_MAX);
        for update in &self.updates {
            put_life(&mut out, &update.life);
            out.u64(update.sequence);
            out.u8(match update.standing {
                Standing::Here => HERE,
                Standing::Accused => ACCUSED,
            });
        }
        out.count("statements", self.statements.len(), STATEMENTS_MAX);
        for statement in &self.statements {
            put_life(&mut out, &statement.life);
            out.u64(statement.sequence);
            out.long("record", &statement.record, RECORD_BYTES_MAX);
        }
        out.finish("packet", PACKET_BYTES_MAX)
    }

    /// Reads a packet.
    ///
    /// # Errors
    /// [`WireError`]: the peer wrote what is no packet.
    //= protocol/membership.md#packets
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("packet", bytes, PACKET_BYTES_MAX)?;
        let source = Source {
            instance: reader.word("instance of the sender")?,
            incarnation: Incarnation::new(reader.u64()?),
            sequence: reader.u64()?,
        };
        let kind = kind(&mut reader)?;
        let mut updates = Vec::new();
        for _ in 0..reader.count("updates", UPDATES_MAX)? {
            updates.push(Update {
                life: life(&mut reader)?,
                sequence: reader.u64()?,
                standing: match reader.u8()? {
                    HERE => Standing::Here,
                    ACCUSED => Standing::Accused,
                    _ => return Err(WireError::Field("standing")),
                },
            });
        }
        let mut statements = Vec::new();
        for _ in 0..reader.count("statements", STATEMENTS_MAX)? {
            statements.push(Statement {
                life: life(&mut reader)?,
                sequence: reader.u64()?,
                record: Bytes::copy_from_slice(reader.long("record", RECORD_BYTES_MAX)?),
            });
        }
        reader.end()?;
        Ok(Self {
            source,
            kind,
            updates,
            statements,
        })
    }
}

fn kind(reader: &mut Reader<'_>) -> Result<Kind, WireError> {
    Ok(match reader.u8()? {
        NEWS => Kind::News,
        kind @ PING..=ACK_OF => {
            let (to, number) = (life(reader)?, reader.u8()?);
            let probe = match kind {
                PING => Probe::Ping,
                ACK => Probe::Ack,
                ASK => Probe::Ask {
                    target: life(reader)?,
                },
                PING_FOR => Probe::PingFor {
                    origin: life(reader)?,
                },
                ACK_FOR => Probe::AckFor {
                    target: life(reader)?,
                },
                _ => Probe::AckOf {
                    origin: life(reader)?,
                },
            };
            Kind::Probe { to, probe, number }
        }
        DIGEST => Kind::Digest,
        WANT => {
            let count = reader.count("agents that are asked about", WANTED_MAX)?;
            Kind::Want((0..count).map(|_| reader.agent()).collect::<Result<_, _>>()?)
        }
        _ => return Err(WireError::Field("kind")),
    })
}

fn put_life(out: &mut Writer, life: &Life) {
    out.agent(&life.id);
    out.u64(life.incarnation.number());
}

fn life(reader: &mut Reader<'_>) -> Result<Life, WireError> {
    Ok(Life {
        id: reader.agent()?,
        incarnation: Incarnation::new(reader.u64()?),
    })
}

const NEWS: u8 = 1;
const PING: u8 = 2;
const ACK: u8 = 3;
const ASK: u8 = 4;
const PING_FOR: u8 = 5;
const ACK_FOR: u8 = 6;
const ACK_OF: u8 = 7;
const DIGEST: u8 = 8;
const WANT: u8 = 9;

const HERE: u8 = 1;
const ACCUSED: u8 = 2;
