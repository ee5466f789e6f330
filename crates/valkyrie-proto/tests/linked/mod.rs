//! Two sessions that can be resumed, and the link between them in the hands of a test.
#![allow(dead_code, reason = "each test file uses what it needs")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use valkyrie_proto::{
    Batch, Config, Event, LaneSet, Message, Offer, Resume, ResumeError, ResumeKey, Session, SessionError,
    Side,
};

pub(crate) const KEY: ResumeKey = ResumeKey {
    session: [7; 16],
    secret: [9; 32],
};

const LANES: usize = 5;

/// A header, and the number of the ping.
const PING_BYTES: usize = 28;

/// One session, what it has said, and what it has written that has not arrived.
pub(crate) struct End {
    pub(crate) session: Session,
    pub(crate) events: Vec<Event>,
    pub(crate) wire: [BytesMut; LANES],
    input: [BytesMut; LANES],
}

impl End {
    fn hear(&mut self) {
        assert_eq!(self.session.invariants(), Ok(()));
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
    }

    pub(crate) fn count(&mut self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.hear();
        self.events.iter().filter(|event| wanted(event)).count()
    }

    /// Payloads of notifications, in the order in which they came.
    pub(crate) fn heard(&mut self) -> Vec<Bytes> {
        self.hear();
        let notices = self.events.iter().filter_map(|event| match event {
            Event::Incoming(incoming) if incoming.id.is_none() => Some(incoming.payload.clone()),
            _ => None,
        });
        notices.collect()
    }
}

pub(crate) struct Linked {
    pub(crate) now: Instant,
    pub(crate) dialer: End,
    pub(crate) acceptor: End,
    pub(crate) lanes: u8,
    pub(crate) epoch: u64,
    /// What was written, if a test wants to know.
    pub(crate) said: Vec<Said>,
    /// The token of the next RESUME; nobody here checks it.
    pub(crate) token: [u8; 32],
}

/// Frames that were written together.
pub(crate) struct Said {
    /// 0 is the link of the opening.
    pub(crate) link: u64,
    pub(crate) lane: u8,
    pub(crate) from: Side,
    pub(crate) bytes: Bytes,
}

pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.limits.resume_for = Duration::from_secs(60);
    config
}

pub(crate) fn note(number: u64) -> Message {
    Message::data(Bytes::copy_from_slice(&number.to_be_bytes()))
}

impl Linked {
    /// Open, with nothing on the way.
    pub(crate) fn open(dialer: Config, acceptor: Config, lanes: u8) -> Self {
        let now = Instant::now();
        let end = |side, config: Config| End {
            session: Session::new(side, Arc::new(config), now),
            events: Vec::new(),
            wire: Default::default(),
            input: Default::default(),
        };
        let mut linked = Self {
            now,
            dialer: end(Side::Dialer, dialer),
            acceptor: end(Side::Acceptor, acceptor),
            lanes,
            epoch: 0,
            said: Vec::new(),
            token: [0; 32],
        };
        linked.acceptor.session.offer(Offer::new(KEY, Bytes::new()));
        linked.dialer.session.set_lanes(lanes);
        linked.acceptor.session.set_lanes(lanes);
        linked.talk();
        assert!(linked.dialer.session.is_open() && linked.acceptor.session.is_open());
        linked.dialer.events.clear();
        linked.acceptor.events.clear();
        linked
    }

    pub(crate) fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Dialer => &mut self.dialer,
            Side::Acceptor => &mut self.acceptor,
        }
    }

    /// A session writes all that it may; whether that was something.
    pub(crate) fn write(&mut self, side: Side) -> bool {
        let (now, link) = (self.now, self.epoch);
        let mut said = std::mem::take(&mut self.said);
        let end = self.end(side);
        let mut any = false;
        loop {
            let wants = end.session.wants_transmit();
            let mut batch = Batch::default();
            let lane = end
                .session
                .poll_transmit_lane(now, &mut batch, 16 * 1024, LaneSet::ALL);
            end.hear();
            // A probe may go when there is an occasion, and is none by itself.
            let probes = batch.remaining() == PING_BYTES;
            assert!(
                wants == lane.is_some() || probes,
                "what is wanted is what is sent"
            );
            let Some(lane) = lane else {
                self.said = said;
                return any;
            };
            any = true;
            let bytes = batch.copy_to_bytes(batch.remaining());
            end.wire[usize::from(lane)].extend_from_slice(&bytes);
            let from = side;
            said.push(Said {
                link,
                lane,
                from,
                bytes,
            });
        }
    }

    /// Up to so many bytes of one lane arrive at a side.
    pub(crate) fn arrive(&mut self, side: Side, lane: u8, most: usize) -> Result<(), SessionError> {
        let place = usize::from(lane);
        let wire = &mut self.end(side.peer()).wire[place];
        let bytes = wire.split_to(most.min(wire.len()));
        let now = self.now;
        let end = self.end(side);
        end.input[place].extend_from_slice(&bytes);
        let result = end.session.handle_lane_input(now, lane, &mut end.input[place]);
        end.hear();
        result
    }

    /// Both write and read until nothing moves.
    pub(crate) fn talk(&mut self) {
        while self.write(Side::Dialer) | self.write(Side::Acceptor) {
            for side in [Side::Dialer, Side::Acceptor] {
                for lane in 0..self.lanes {
                    if !self.end(side).session.is_closed() {
                        self.arrive(side, lane, usize::MAX)
                            .expect("our own frames are good");
                    }
                }
            }
        }
    }

    /// What travels is lost, and one side notices.
    pub(crate) fn lose(&mut self, side: Side) {
        let now = self.now;
        for end in [Side::Dialer, Side::Acceptor] {
            let end = self.end(end);
            end.wire = Default::default();
            end.input = Default::default();
        }
        let end = self.end(side);
        end.session.handle_link_lost(now);
        end.hear();
    }

    /// The dialler makes another link and says RESUME.
    pub(crate) fn dial(&mut self, lanes: u8) {
        let now = self.now;
        self.lanes = lanes;
        self.dialer.wire = Default::default();
        self.dialer.input = Default::default();
        self.acceptor.wire = Default::default();
        self.epoch += 1;
        let resume = Resume::new(KEY.session, self.epoch, self.token);
        let begun = self.dialer.session.begin_resume(now, resume, lanes);
        begun.expect("an open session may go on");
        self.write(Side::Dialer);
    }

    /// A link without a session at the acceptor reads what came on it.
    pub(crate) fn receive_resume(&mut self) -> Resume {
        let mut stray = Session::new(Side::Acceptor, Arc::new(config()), self.now);
        let mut input = self.dialer.wire[0].split();
        stray.handle_input(self.now, &mut input).expect("it is RESUME");
        assert!(input.is_empty(), "nothing follows before the answer");
        match stray.poll_event() {
            Some(Event::ResumeAsked(resume)) => *resume,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn accept(&mut self, resume: &Resume) -> Result<(), ResumeError> {
        self.acceptor.input = Default::default();
        let accepted = self
            .acceptor
            .session
            .accept_resume(self.now, resume.received, self.lanes);
        self.acceptor.hear();
        accepted
    }

    /// On another link, from RESUME until nothing moves.
    pub(crate) fn resume(&mut self, lanes: u8) {
        self.dial(lanes);
        let resume = self.receive_resume();
        self.accept(&resume).expect("the counts are right");
        self.talk();
        assert!(!self.dialer.session.is_detached() && !self.acceptor.session.is_detached());
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        let now = self.now;
        for side in [Side::Dialer, Side::Acceptor] {
            let end = self.end(side);
            end.session.handle_timeout(now);
            end.hear();
        }
    }
}
