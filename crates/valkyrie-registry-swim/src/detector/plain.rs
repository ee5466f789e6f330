//! What foca writes its packets in. They never leave this process: they become packets of [`crate::wire`], and what comes from there is written
//! in it again.

use bytes::{Buf, BufMut};
use foca::{Header, Member, Message, State};
use valkyrie_registry::agent::{AgentId, Incarnation};
use valkyrie_security::Fingerprint;

use crate::Life;
use crate::wire::{Kind, Probe, Standing, Update};

/// foca's codec.
pub(super) struct Plain;

/// Bytes of foca's packets, and so of the updates that go with one: some eighty.
pub(super) const PLAIN_BYTES: usize = 8 * 1024;

/// foca's bytes were cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no room, or nothing left")]
pub(super) struct CutOff;

impl foca::Codec<Life> for Plain {
    type Error = CutOff;

    fn encode_header(&mut self, header: &Header<Life>, buf: impl BufMut) -> Result<(), CutOff> {
        let mut out = Vec::new();
        put_header(&mut out, header);
        put_all(buf, &out)
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Life>, CutOff> {
        header(&mut buf)
    }

    fn encode_member(&mut self, member: &Member<Life>, buf: impl BufMut) -> Result<(), CutOff> {
        let mut out = Vec::new();
        put_life(&mut out, member.id());
        out.put_u16(member.incarnation());
        out.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        put_all(buf, &out)
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<Life>, CutOff> {
        member(&mut buf)
    }
}

fn put_all(mut buf: impl BufMut, bytes: &[u8]) -> Result<(), CutOff> {
    match buf.remaining_mut() >= bytes.len() {
        true => {
            buf.put_slice(bytes);
            Ok(())
        }
        false => Err(CutOff),
    }
}

fn put_life(out: &mut Vec<u8>, life: &Life) {
    out.extend(life.id.owner().as_bytes());
    out.put_u8(u8::try_from(life.id.instance().as_str().len()).unwrap_or(u8::MAX));
    out.extend(life.id.instance().as_str().as_bytes());
    out.put_u64(life.incarnation.number());
}

pub(super) fn put_header(out: &mut Vec<u8>, header: &Header<Life>) {
    put_life(out, &header.src);
    out.put_u16(header.src_incarnation);
    put_life(out, &header.dst);
    let (kind, number, about) = match &header.message {
        Message::Ping(number) => (0, *number, None),
        Message::Ack(number) => (1, *number, None),
        Message::PingReq { target, probe_number } => (2, *probe_number, Some(target)),
        Message::IndirectPing { origin, probe_number } => (3, *probe_number, Some(origin)),
        Message::IndirectAck { target, probe_number } => (4, *probe_number, Some(target)),
        Message::ForwardedAck { origin, probe_number } => (5, *probe_number, Some(origin)),
        // Of the others only gossip is ever sent: nothing is announced or broadcast through foca, and nobody is down to it.
        Message::Gossip | Message::Announce | Message::Feed | Message::Broadcast | Message::TurnUndead => {
            (6, 0, None)
        }
    };
    out.put_u8(kind);
    out.put_u8(number);
    about.into_iter().for_each(|life| put_life(out, life));
}

fn life(buf: &mut impl Buf) -> Result<Life, CutOff> {
    let mut owner = [0; 32];
    buf.try_copy_to_slice(&mut owner).map_err(|_| CutOff)?;
    let mut instance = vec![0; usize::from(buf.try_get_u8().map_err(|_| CutOff)?)];
    buf.try_copy_to_slice(&mut instance).map_err(|_| CutOff)?;
    let instance = std::str::from_utf8(&instance)
        .ok()
        .and_then(|text| text.parse().ok());
    let id = AgentId::new(Fingerprint::from_bytes(owner), instance.ok_or(CutOff)?).map_err(|_| CutOff)?;
    let incarnation = Incarnation::new(buf.try_get_u64().map_err(|_| CutOff)?);
    Ok(Life { id, incarnation })
}

fn header(buf: &mut impl Buf) -> Result<Header<Life>, CutOff> {
    let src = life(buf)?;
    let src_incarnation = buf.try_get_u16().map_err(|_| CutOff)?;
    let dst = life(buf)?;
    let kind = buf.try_get_u8().map_err(|_| CutOff)?;
    let probe_number = buf.try_get_u8().map_err(|_| CutOff)?;
    let message = match kind {
        0 => Message::Ping(probe_number),
        1 => Message::Ack(probe_number),
        2 => Message::PingReq {
            target: life(buf)?,
            probe_number,
        },
        3 => Message::IndirectPing {
            origin: life(buf)?,
            probe_number,
        },
        4 => Message::IndirectAck {
            target: life(buf)?,
            probe_number,
        },
        5 => Message::ForwardedAck {
            origin: life(buf)?,
            probe_number,
        },
        _ => Message::Gossip,
    };
    Ok(Header {
        src,
        src_incarnation,
        dst,
        message,
    })
}

fn member(buf: &mut impl Buf) -> Result<Member<Life>, CutOff> {
    let life = life(buf)?;
    let number = buf.try_get_u16().map_err(|_| CutOff)?;
    let state = match buf.try_get_u8().map_err(|_| CutOff)? {
        0 => State::Alive,
        1 => State::Suspect,
        _ => State::Down,
    };
    Ok(Member::new(life, number, state))
}

/// What foca has written for a member, as what is sent.
pub(super) fn read_sent(to: &Life, mut data: &[u8]) -> Option<(Kind, Vec<Update>)> {
    let buf = &mut data;
    let header = header(buf).ok()?;
    let (probe, number) = match header.message {
        Message::Ping(number) => (Probe::Ping, number),
        Message::Ack(number) => (Probe::Ack, number),
        Message::PingReq { target, probe_number } => (Probe::Ask { target }, probe_number),
        Message::IndirectPing { origin, probe_number } => (Probe::PingFor { origin }, probe_number),
        Message::IndirectAck { target, probe_number } => (Probe::AckFor { target }, probe_number),
        Message::ForwardedAck { origin, probe_number } => (Probe::AckOf { origin }, probe_number),
        _ => return Some((Kind::News, updates(buf, &header.src))),
    };
    let kind = Kind::Probe {
        to: to.clone(),
        probe,
        number,
    };
    Some((kind, updates(buf, &header.src)))
}

fn updates(buf: &mut &[u8], own: &Life) -> Vec<Update> {
    let count = buf.try_get_u16().unwrap_or(0);
    let members = (0..count).map_while(|_| member(buf).ok());
    members
        // Of a former life of its own; the present one says each packet.
        .filter(|member| member.id().id != own.id)
        .map(|member| Update {
            sequence: u64::from(member.incarnation()),
            standing: match member.state() {
                State::Alive => Standing::Here,
                State::Suspect | State::Down => Standing::Accused,
            },
            life: member.id().clone(),
        })
        .collect()
}
