//! What the tests of this folder share.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod load;

use bytes::Bytes;
use valkyrie_proto::{Event, Incoming, Message, Opened, RequestId, Side, StreamKey};
use valkyrie_sim::Pair;

pub(crate) fn message(len: usize) -> Message {
    Message::data(Bytes::from(vec![0x5A; len]))
}

/// Takes the oldest event that `wanted` takes; the others stay.
pub(crate) fn take<T>(pair: &mut Pair, side: Side, mut wanted: impl FnMut(&Event) -> Option<T>) -> Option<T> {
    let events = &mut pair.node(side).events;
    let place = events.iter().position(|event| wanted(event).is_some())?;
    wanted(&events.remove(place)?)
}

pub(crate) fn request(pair: &mut Pair, side: Side) -> Option<RequestId> {
    take(pair, side, |event| match event {
        Event::Incoming(Incoming { id, .. }) => *id,
        _ => None,
    })
}

pub(crate) fn opened(pair: &mut Pair, side: Side) -> Option<StreamKey> {
    take(pair, side, |event| match event {
        Event::Opened(opened) => {
            let Opened { key, .. } = **opened;
            Some(key)
        }
        _ => None,
    })
}

pub(crate) fn count(pair: &mut Pair, side: Side, wanted: impl Fn(&Event) -> bool) -> usize {
    pair.node(side)
        .events
        .iter()
        .filter(|event| wanted(event))
        .count()
}

/// Answers everything that was asked on a side, with nothing.
pub(crate) fn answer_all(pair: &mut Pair, side: Side) -> usize {
    let mut answered = 0;
    while let Some(id) = request(pair, side) {
        let now = pair.now();
        if pair
            .session(side)
            .respond(now, id, Ok(Message::data(Bytes::new())))
            .is_ok()
        {
            answered += 1;
        }
    }
    answered
}
