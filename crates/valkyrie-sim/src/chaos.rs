//! An application on both sides that does anything at any time, and knows what must come of it.
//!
//! Every request, stream and message is numbered. The model checks while it goes that answers
//! belong to their questions, that messages of reliable classes come in order and once, and that
//! nothing ends twice. At the end [`Chaos::reconcile`] lets everything run out and has the two
//! sessions compare their books.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use valkyrie_proto::{
    CallError, Class, Config, CriticalRate, DelayTarget, ErrorCode, Event, ExchangeKey, Extensions, Failure,
    Inbox, Incoming, Limits, Message, Policy, RecvError, RequestId, Shares, Side, StreamId, StreamKey,
};

use crate::{Pair, Path, Roaming, Sign, World};

const CLASSES: [Class; 5] = [
    Class::Critical,
    Class::System,
    Class::Job,
    Class::Data,
    Class::Bulk,
];

/// Two applications without manners.
#[derive(Debug)]
pub struct Chaos<W = Pair> {
    pair: W,
    apps: [App; 2],
    next_tag: u64,
    counts: Counts,
}

/// What happened, so that a test can tell that it happened at all.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Calls that were made.
    pub calls: u64,
    /// Calls that ended with an answer.
    pub answered: u64,
    /// Calls that ended in any other way.
    pub failed: u64,
    /// Streams that were opened.
    pub streams: u64,
    /// Messages that were read.
    pub messages: u64,
    /// Streams that ended with a reset.
    pub resets: u64,
    /// Commands that were refused for now.
    pub refused: u64,
}

#[derive(Debug, Default)]
struct App {
    /// Calls of this side that have not ended, by their key, with their numbers.
    calls: HashMap<ExchangeKey, u64>,
    requests: Vec<(RequestId, u64)>,
    /// Notifications of each class that were sent, and that have come.
    told: [u64; 5],
    heard: [u64; 5],
    notified: Vec<(StreamId, u32)>,
    streams: Vec<Open>,
}

/// A stream as one side sees it.
#[derive(Debug)]
struct Open {
    key: StreamKey,
    tag: u64,
    bulk: bool,
    sent: u64,
    received: u64,
    finished: bool,
    over: bool,
}

impl Chaos {
    /// Two sessions that are open to each other, with narrow limits so that every bound is met.
    pub fn new(path: Path, seed: u64) -> Self {
        Self {
            pair: Pair::open(narrow(), path, seed),
            apps: [App::default(), App::default()],
            next_tag: 1,
            counts: Counts::default(),
        }
    }
}

impl Chaos<Roaming> {
    /// Two sessions whose links break all the time. `sign` is HMAC-SHA-256.
    pub fn roaming(sign: Sign, seed: u64) -> Self {
        let mut config = narrow();
        config.limits.resume_for = Duration::from_secs(3600);
        config.limits.resume_bytes = Limits::MIN_RESUME_BYTES;
        config.keepalive.interval = Some(Duration::from_millis(50));
        config.keepalive.timeout = Duration::from_millis(20);
        config.keepalive.min_interval = Duration::from_millis(1);
        Self {
            pair: Roaming::open(config, sign, seed),
            apps: [App::default(), App::default()],
            next_tag: 1,
            counts: Counts::default(),
        }
    }
}

impl<W: World> Chaos<W> {
    /// What happened so far.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// The sessions and their links.
    pub fn pair(&mut self) -> &mut W {
        &mut self.pair
    }

    /// Does one thing. `choose(n)` picks a number below `n`.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn step(&mut self, choose: &mut dyn FnMut(u64) -> u64) {
        let side = if choose(2) == 0 {
            Side::Dialer
        } else {
            Side::Acceptor
        };
        match choose(24) {
            0..=3 => self.call(side, choose),
            4..=7 => self.respond(side, choose),
            8 => self.cancel(side, choose),
            9 => self.notify(side, choose),
            10 => self.open(side, choose),
            11..=15 => self.send(side, choose),
            16 => self.finish(side, choose),
            17 if choose(3) == 0 => self.reset(side, choose),
            17 => self.release(side, choose),
            18 if choose(4) == 0 => self.abandon(side, choose),
            18 | 19 => self.read(side, choose),
            20 => self.release_notified(side),
            21 if choose(4) == 0 => self.set_policy(side, choose),
            21 => {
                let (now, token) = (self.pair.now(), choose(1000));
                let _ = self.pair.session(side).ping(now, token);
            }
            22 => self.pair.run_for(Duration::from_micros(choose(3000))),
            _ => {
                self.pair.step();
            }
        }
        self.take_events();
    }

    /// Divides the wire in another way, in the middle of whatever is under way.
    fn set_policy(&mut self, side: Side, choose: &mut dyn FnMut(u64) -> u64) {
        let mut share = || 1 + choose(999) as u16;
        let shares = Shares {
            system: share(),
            job: share(),
            data: share(),
        };
        let critical = CriticalRate {
            bytes_per_second: 100_000 + choose(1 << 20) as u32,
            burst: choose(100_000) as u32,
        };
        let data_delay_target = DelayTarget(Duration::from_micros(choose(50_000)));
        let policy = Policy {
            shares,
            critical,
            data_delay_target,
        };
        let now = self.pair.now();
        self.pair
            .session(side)
            .set_policy(now, Arc::new(policy))
            .expect("a share of 1 to 999");
    }

    fn message(&self, tag: u64, sequence: u64, choose: &mut dyn FnMut(u64) -> u64) -> Message {
        let len = match choose(32) {
            0 => choose(60_000),
            1..=4 => choose(6000),
            5 => 0,
            _ => choose(200),
        };
        let mut payload = BytesMut::with_capacity(16 + len as usize);
        payload.put_u64(tag);
        payload.put_u64(sequence);
        payload.put_bytes(sequence as u8, len as usize);
        Message::data(payload.freeze())
    }

    fn call(&mut self, side: Side, choose: &mut dyn FnMut(u64) -> u64) {
        let class = CLASSES[choose(5) as usize];
        let tag = self.next_tag;
        self.next_tag += 1;
        let mut message = self.message(tag, 0, choose);
        if class == Class::Critical {
            message.payload.truncate(1000);
        }
        let deadline = (choose(4) == 0).then(|| Duration::from_micros(choose(20_000)));
        let now = self.pair.now();
        match self.pair.session(side).call(now, class, None, message, deadline) {
            Ok(key) => {
                self.counts.calls += 1;
                let old = self.app(side).calls.insert(key, tag);
                assert_eq!(old, None, "a live key is given once");
            }
            Err(_) => self.counts.refused += 1,
        }
    }

    fn respond(&mut self, side: Side, choose: &mut dyn FnMut(u64) -> u64) {
        let len = self.app(side).requests.len();
        if len == 0 {
            return;
        }
        let place = choose(len as u64) as usize;
        let (id, tag) = self.app(side).requests.swap_remove(place);
        let answer = if choose(4) == 0 {
            Err(Failure::new(ErrorCode::NOT_FOUND, tag.to_string()))
        } else {
            let mut message = self.message(tag, 1, choose);
            if id.class() == Class::Critical {
                message.payload.truncate(1000);
            }
            Ok(message)
        };
        let now = self.pair.now();
        let answered = self.pair.session(side).respond(now, id, answer);
        let closed = self.pair.session(side).is_closed();
        assert!(answered.is_ok() || closed, "an owed answer is taken");
        let again = self
            .pair
            .session(side)
            .respond(now, id, Err(Failure::new(ErrorCode::INTERNAL, "")));
        assert!(again.is_err(), "no exchange is answered twice");
    }

    fn cancel(&mut self, side: Side, choose: &mut dyn FnMut(u64) -> u64) {
        let len = self.app(side).calls.len();
        if len == 0 {
            return;
        }
        let place = choose(len as u64) as usize;
        // The order of a map is not the seed's; the least key after a chosen one is.
        let mut keys: Vec<_> = self
            .app(side)
            .calls
            .iter()
            .map(|(key, tag)| (*tag, *key))
            .collect();
        keys.sort_unstable_by_key(|(tag, _)| *tag);
        let (_, key) = keys[place];
        let now = self.pair.now();
        self.pair.session(side).cancel(now, key);
        self.app(side).calls.remove(&key);
        self.counts.failed += 1;
    }

    fn notify(&mut self, side: Side, choose: &mut dyn FnMut(u64) -> u64) {
        let class = CLASSES[choose(5) as usize];
        let number = self.app(side).told[class.index()];
        let mut message = self.message(0, number, choose);
        if class == Class::Critical {
            message.payload.truncate(1000);
        }
        let now = self.pair.now();
        match self.pair.session(side).notify(now, class, None, message) {
            Ok(()) => self.app(side).told[class.index()] += 1,
            Err(_) => self.counts.refused += 1,
        }
    }

    fn open(&mut self, side: Side, choose: &mut dyn FnMut(u64) -> u64) {
        let class = CLASSES[1 + choose(4) as usize];
        let tag = self.next_tag;
        self.next_tag += 1;
        let payload = Bytes::copy_from_slice(&tag.to_be_bytes());
        let deadline = (choose(8) == 0).then(|| Duration::from_micros(choose(50_000)));
        let now = self.pair.now();
        match self
            .pair
            .session(side)
            .open(now, class, None, Extensions::EMPTY, payload, deadline)
        {
            Ok(key) => {
                self.counts.streams += 1;
                self.app(side).streams.push(Open::new(key, tag, class));
            }
            Err(_) => self.counts.refused += 1,
        }
    }

    fn pick(&mut self, side: Side, choose: &mut dyn FnMut(u64) -> u64) -> Option<usize> {
        let len = self.app(side).streams.len();
        (len > 0).then(|| choose(len as u64) as usize)
    }

    fn send(&mut self, side: Side, choose: &mut dyn FnMut(u64) -> u64) {
        let Some(place) = self.pick(side, choose) else {
            return;
        };
        let burst = 1 + choose(6);
        for _ in 0..burst {
            let open = &self.app(side).streams[place];
            let (key, tag, sequence) = (open.key, open.tag, open.sent);
            let message = self.message(tag, sequence, choose);
            match self.pair.session(side).send(key, message) {
                Ok(()) => self.app(side).streams[place].sent += 1,
                Err(error) => {
                    assert_eq!(
                        error.message.payload.first_chunk(),
                        Some(&tag.to_be_bytes()),
                        "a refused message comes back"
                    );
                    self.counts.refused += 1;
                }
            }
        }
    }

    fn finish(&mut self, side: Side, choose: &mut dyn FnMut(u64) -> u64) {
        let Some(place) = self.pick(side, choose) else {
            return;
        };
        let key = self.app(side).streams[place].key;
        self.pair.session(side).finish(key).expect("a held key is good");
        self.app(side).streams[place].finished = true;
    }

    fn reset(&mut self, side: Side, choose: &mut dyn FnMut(u64) -> u64) {
        let Some(place) = self.pick(side, choose) else {
            return;
        };
        let key = self.app(side).streams[place].key;
        let now = self.pair.now();
        self.pair
            .session(side)
            .reset(now, key, Failure::new(ErrorCode::CANCELLED, "chaos"));
    }

    fn release(&mut self, side: Side, choose: &mut dyn FnMut(u64) -> u64) {
        let Some(place) = self.pick(side, choose) else {
            return;
        };
        let open = self.app(side).streams.swap_remove(place);
        let now = self.pair.now();
        self.pair.session(side).release(now, open.key);
    }

    fn abandon(&mut self, side: Side, choose: &mut dyn FnMut(u64) -> u64) {
        let Some(place) = self.pick(side, choose) else {
            return;
        };
        let open = &mut self.app(side).streams[place];
        // What comes later is nobody's: the count of what came ends here.
        open.over = true;
        let key = open.key;
        let now = self.pair.now();
        self.pair.session(side).abandon_recv(now, key);
    }

    fn read(&mut self, side: Side, choose: &mut dyn FnMut(u64) -> u64) {
        if let Some(place) = self.pick(side, choose) {
            self.read_one(side, place);
        }
    }

    /// Reads a stream; whether it has ended.
    fn read_one(&mut self, side: Side, place: usize) -> bool {
        let key = self.app(side).streams[place].key;
        let mut inbox = Inbox::new();
        let result = self.pair.session(side).recv(key, &mut inbox);
        let open = &mut self.apps[place_of(side)].streams[place];
        while let Some(message) = inbox.pop_front() {
            let mut payload = message.payload;
            assert_eq!(payload.get_u64(), open.tag, "a message of this stream");
            let sequence = payload.get_u64();
            if open.bulk {
                assert!(sequence >= open.received, "best effort keeps the order");
            } else {
                assert_eq!(sequence, open.received, "in order, once, none left out");
            }
            assert!(payload.iter().all(|&byte| byte == sequence as u8), "unchanged");
            open.received = sequence + 1;
            self.counts.messages += 1;
        }
        match result {
            Ok(ended) => ended,
            Err(RecvError::Reset(_)) => {
                self.counts.resets += u64::from(!open.over);
                open.over = true;
                true
            }
            Err(RecvError::Closed(_)) => {
                open.over = true;
                true
            }
            Err(other) => panic!("a held key is good: {other}"),
        }
    }

    fn release_notified(&mut self, side: Side) {
        for (lane, cost) in std::mem::take(&mut self.app(side).notified) {
            self.pair.session(side).release_notify(lane, cost);
        }
    }

    fn app(&mut self, side: Side) -> &mut App {
        &mut self.apps[place_of(side)]
    }

    fn take_events(&mut self) {
        for side in [Side::Dialer, Side::Acceptor] {
            while let Some(event) = self.pair.event(side) {
                self.take_event(side, event);
            }
        }
    }

    fn take_event(&mut self, side: Side, event: Event) {
        let app = &mut self.apps[place_of(side)];
        match event {
            Event::Incoming(mut incoming) => match incoming.id {
                Some(id) => app.requests.push((id, incoming.payload.get_u64())),
                None => app.hear(&mut incoming),
            },
            Event::Completed(key) => {
                let Some(&tag) = app.calls.get(&key) else {
                    // It was said before the cancel and heard after it.
                    let stale = self.pair.session(side).take_response(key);
                    assert!(stale.is_none(), "a cancelled call has no outcome");
                    return;
                };
                let outcome = self.pair.session(side).take_response(key);
                let outcome = outcome.expect("a completed exchange has an outcome");
                app.calls.remove(&key);
                match outcome {
                    Ok(mut message) => {
                        assert_eq!(message.payload.get_u64(), tag, "the answer to this question");
                        self.counts.answered += 1;
                    }
                    Err(CallError::Failed(failure)) if failure.code == ErrorCode::NOT_FOUND => {
                        assert_eq!(failure.text, tag.to_string(), "the failure of this question");
                        self.counts.answered += 1;
                    }
                    Err(_) => self.counts.failed += 1,
                }
                let again = self.pair.session(side).take_response(key);
                assert!(again.is_none(), "an outcome is taken once");
            }
            Event::Opened(opened) => {
                let tag = (&opened.payload[..]).get_u64();
                app.streams.push(Open::new(opened.key, tag, opened.id.class()));
            }
            _ => {}
        }
    }

    /// Ends everything in order and has the sessions compare their books.
    ///
    /// # Panics
    /// When anything is left: credit, an exchange, a stream, a queued byte.
    pub fn reconcile(&mut self) {
        self.wind_down();
        self.take_events();
        for side in [Side::Dialer, Side::Acceptor] {
            let told = self.app(side).told;
            let heard = self.app(side.peer()).heard;
            for class in CLASSES.into_iter().filter(|class| *class != Class::Bulk) {
                let place = class.index();
                assert_eq!(
                    told[place], heard[place],
                    "every notification of class {class} has come"
                );
            }
        }
        self.release_notified(Side::Dialer);
        self.release_notified(Side::Acceptor);
        self.pair.run_for(Duration::from_millis(500));
        self.pair.compare_books();
    }

    /// Answers what is asked, reads and ends every stream, and waits until nothing is open.
    ///
    /// # Panics
    /// When something never ends.
    pub fn wind_down(&mut self) {
        self.pair.calm();
        let mut round = 0;
        while round < 20 || !self.apps.iter().all(App::is_idle) {
            assert!(round < 10_000, "everything ends");
            round += 1;
            for side in [Side::Dialer, Side::Acceptor] {
                while !self.app(side).requests.is_empty() {
                    self.respond(side, &mut |_| 0);
                }
                self.release_notified(side);
                self.end_streams(side);
            }
            self.pair.run_for(Duration::from_millis(20));
            self.take_events();
        }
        self.release_notified(Side::Dialer);
        self.release_notified(Side::Acceptor);
        self.pair.run_for(Duration::from_millis(500));
    }

    fn end_streams(&mut self, side: Side) {
        let mut place = 0;
        while place < self.app(side).streams.len() {
            let open = &mut self.app(side).streams[place];
            if !open.finished {
                open.finished = true;
                let key = open.key;
                self.pair.session(side).finish(key).expect("a held key is good");
            }
            if self.read_one(side, place) {
                let open = self.app(side).streams.swap_remove(place);
                self.check_whole(side, &open);
                let now = self.pair.now();
                self.pair.session(side).release(now, open.key);
            } else {
                place += 1;
            }
        }
    }

    /// A reliable stream that ended in order has carried everything.
    fn check_whole(&mut self, side: Side, open: &Open) {
        if open.over || open.bulk {
            return;
        }
        let far = &self.apps[place_of(side.peer())].streams;
        if let Some(far) = far.iter().find(|far| far.tag == open.tag) {
            assert_eq!(open.received, far.sent, "all that was sent has come");
        }
    }
}

impl App {
    fn hear(&mut self, incoming: &mut Incoming) {
        let class = incoming.lane.class();
        assert_eq!(incoming.payload.get_u64(), 0, "a notification");
        let number = incoming.payload.get_u64();
        let heard = &mut self.heard[class.index()];
        if class == Class::Bulk {
            assert!(number >= *heard, "best effort keeps the order");
        } else {
            assert_eq!(number, *heard, "in order, once, none left out");
        }
        *heard = number + 1;
        self.notified.push((incoming.lane, incoming.cost));
    }

    fn is_idle(&self) -> bool {
        self.streams.is_empty() && self.calls.is_empty() && self.requests.is_empty()
    }
}

impl Open {
    fn new(key: StreamKey, tag: u64, class: Class) -> Self {
        Self {
            key,
            tag,
            bulk: class == Class::Bulk,
            sent: 0,
            received: 0,
            finished: false,
            over: false,
        }
    }
}

const fn place_of(side: Side) -> usize {
    match side {
        Side::Dialer => 0,
        Side::Acceptor => 1,
    }
}

/// Limits that are met all the time, and budgets for a peer that is never idle.
fn narrow() -> Config {
    let mut config = Config {
        limits: Limits {
            max_frame: 4096,
            max_message: 1 << 20,
            max_exchanges: 32,
            max_streams: 16,
            window_system: 12 * 1024,
            window_job: 12 * 1024,
            window_job_max: 48 * 1024,
            window_data: 16 * 1024,
            window_connection: 64 * 1024,
            send_queue_max: 32 * 1024,
            best_effort_queue_max: 24 * 1024,
            pending_request_bytes_max: 256 * 1024,
            ..Limits::default()
        },
        ..Config::default()
    };
    config.budgets.cancels = u32::MAX;
    config.budgets.pings = u32::MAX;
    config.budgets.controls = u32::MAX;
    config.budgets.credits = u32::MAX;
    config.budgets.critical_bytes = u32::MAX;
    config
}
