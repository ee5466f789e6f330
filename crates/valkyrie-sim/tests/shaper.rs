//! One link below ten sessions, and a shaper that knows what it carries, in virtual time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use valkyrie_proto::{
    Batch, Class, Config, DelayTarget, Event, Extensions, Inbox, LaneSet, Limits, MemberKey, Message, Policy,
    Session, Shaper, Shares, Side, StreamKey,
};

/// Bytes per second: 10 Mbit/s, of which a frame takes 13 ms.
const RATE: u64 = 1_250_000;

const SESSIONS: usize = 10;

/// What a packet on the link carries.
const PACKET: usize = 1448;

/// The link: what was written first arrives first, whoever wrote it.
struct Wire {
    free_at: Instant,
    under_way: VecDeque<(Instant, usize, u8, Bytes)>,
    carried: u64,
}

impl Wire {
    fn write(&mut self, now: Instant, node: usize, lane: u8, batch: &mut Batch) {
        while batch.has_remaining() {
            let packet = batch.copy_to_bytes(batch.remaining().min(PACKET));
            let time = Duration::from_nanos(packet.len() as u64 * 1_000_000_000 / RATE);
            self.free_at = self.free_at.max(now) + time;
            self.carried += packet.len() as u64;
            self.under_way.push_back((self.free_at, node, lane, packet));
        }
    }
}

struct Node {
    here: Session,
    there: Session,
    member: MemberKey,
    streams: Vec<(Class, StreamKey)>,
    far: Vec<StreamKey>,
    /// What has arrived of a frame, by lane.
    input: [BytesMut; Class::COUNT],
    /// When critical messages arrived.
    heard: Vec<Instant>,
}

impl Node {
    /// Everything that the two have to say before there is traffic, on a link of its own.
    fn settle(&mut self, now: Instant) {
        for _ in 0..10 {
            for forth in [true, false] {
                let (from, to) = if forth {
                    (&mut self.here, &mut self.there)
                } else {
                    (&mut self.there, &mut self.here)
                };
                hand_over(now, from, to);
            }
        }
        self.hear(now);
    }

    fn hear(&mut self, now: Instant) {
        while let Some(event) = self.there.poll_event() {
            match event {
                Event::Opened(opened) => self.far.push(opened.key),
                Event::Incoming(incoming) => {
                    self.heard.push(now);
                    self.there.release_notify(incoming.lane, incoming.cost);
                }
                _ => {}
            }
        }
        let mut inbox = Inbox::new();
        for key in &self.far {
            let _ = self.there.recv(*key, &mut inbox);
            while inbox.pop_front().is_some() {}
        }
        while self.here.poll_event().is_some() {}
    }

    fn arrive(&mut self, now: Instant, lane: u8, packet: &[u8]) {
        let input = &mut self.input[usize::from(lane)];
        input.extend_from_slice(packet);
        self.there
            .handle_lane_input(now, lane, input)
            .expect("a session of ours");
        self.hear(now);
        // What comes back has a way of its own.
        hand_over(now, &mut self.there, &mut self.here);
    }

    fn fill(&mut self) {
        for (class, key) in &self.streams {
            let message = || Message::data(Bytes::from(vec![0; 4000]));
            if *class == Class::Bulk {
                for _ in 0..8 {
                    let _ = self.here.send(*key, message());
                }
            } else {
                while self.here.send(*key, message()).is_ok() {}
            }
        }
    }
}

/// Takes over all that one has to say to the other.
fn hand_over(now: Instant, from: &mut Session, to: &mut Session) {
    let mut batch = Batch::default();
    while let Some(lane) = from.poll_transmit_lane(now, &mut batch, usize::MAX, LaneSet::ALL) {
        let mut bytes = BytesMut::new();
        while batch.has_remaining() {
            let chunk = batch.copy_to_bytes(batch.remaining());
            bytes.extend_from_slice(&chunk);
        }
        to.handle_lane_input(now, lane, &mut bytes)
            .expect("a session of ours");
    }
}

struct Fleet {
    begun: Instant,
    now: Instant,
    nodes: Vec<Node>,
    shaper: Shaper,
    wire: Wire,
}

impl Fleet {
    fn new(shares: Shares, classes: &[Class], lanes: u8) -> Self {
        let now = Instant::now();
        let limits = Limits {
            window_system: 8 << 20,
            window_job: 8 << 20,
            window_job_max: 8 << 20,
            window_data: 8 << 20,
            window_connection: 64 << 20,
            ..Limits::default()
        };
        let policy = Policy {
            shares,
            data_delay_target: DelayTarget(Duration::from_secs(10)),
            ..Policy::default()
        };
        let config = Arc::new(Config {
            limits,
            policy,
            ..Config::default()
        });
        let mut shaper = Shaper::new(RATE, shares, now);
        let nodes = (0..SESSIONS).map(|_| {
            let mut node = Node {
                here: Session::new(Side::Dialer, Arc::clone(&config), now),
                there: Session::new(Side::Acceptor, Arc::clone(&config), now),
                member: shaper.join(),
                streams: Vec::new(),
                far: Vec::new(),
                input: Default::default(),
                heard: Vec::new(),
            };
            node.here.set_lanes(lanes);
            node.there.set_lanes(lanes);
            node.settle(now);
            for class in classes {
                let opened = node
                    .here
                    .open(now, *class, None, Extensions::EMPTY, Bytes::new(), None);
                node.streams.push((*class, opened.expect("a stream is free")));
            }
            node.settle(now);
            node
        });
        let nodes = nodes.collect();
        Self {
            begun: now,
            now,
            nodes,
            shaper,
            wire: Wire {
                free_at: now,
                under_way: VecDeque::new(),
                carried: 0,
            },
        }
    }

    /// What an endpoint does when it may write for a session.
    fn transmit(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        for _ in 0..16 {
            let waits = Class::ALL.map(|class| self.shaper.waits(node.member, class));
            node.here.set_allowance(self.shaper.grants(node.member), waits);
            if !node.here.wants_transmit() {
                return;
            }
            let mut batch = Batch::default();
            let lane = node
                .here
                .poll_transmit_lane(self.now, &mut batch, 128 * 1024, LaneSet::ALL);
            let (sent, wants) = (node.here.allowance_used(), node.here.wants_by_class());
            self.shaper.settle(self.now, node.member, &sent, &wants);
            while self.shaper.poll_grant(self.now).is_some() {}
            self.wire
                .write(self.now, place, lane.unwrap_or_default(), &mut batch);
            while node.here.poll_event().is_some() {}
        }
        panic!("a session wants to send and does not");
    }

    /// Runs for a while. Timers go off at whole milliseconds, as those of the runtime do.
    fn run_for(&mut self, time: Duration, fill: bool, mut critical: Option<(Duration, &mut Vec<Duration>)>) {
        let until = self.now + time;
        let (begun, mut told_at) = (self.now, self.now);
        while self.now < until {
            for place in 0..self.nodes.len() {
                // One without a grant has what it had when it last asked.
                let granted = self
                    .shaper
                    .grants(self.nodes[place].member)
                    .iter()
                    .any(|bytes| *bytes > 0);
                if fill && (granted || self.now == begun) {
                    self.nodes[place].fill();
                }
                self.transmit(place);
            }
            let mut next = until;
            if let Some(at) = self.shaper.poll_timeout() {
                let ms = (at.max(self.now) - self.begun).as_nanos().div_ceil(1_000_000) as u64;
                next = next.min(self.begun + Duration::from_millis(ms));
            }
            if let Some((arrives, ..)) = self.wire.under_way.front() {
                next = next.min(*arrives);
            }
            if let Some((every, _)) = &critical {
                next = next.min(told_at + *every);
            }
            // What waits for a timer that is due already gets its turn at the next tick.
            self.now = next.max(self.now + Duration::from_micros(1));
            while let Some((_, place, lane, packet)) =
                self.wire.under_way.pop_front_if(|(at, ..)| *at <= self.now)
            {
                self.nodes[place].arrive(self.now, lane, &packet);
            }
            if let Some((every, delays)) = &mut critical {
                for heard in self.nodes[0].heard.drain(..) {
                    delays.push(heard - told_at);
                }
                if self.now >= told_at + *every {
                    told_at = self.now;
                    let message = Message::data(Bytes::from(vec![0; 64]));
                    let sent = self.nodes[0]
                        .here
                        .notify(self.now, Class::Critical, None, message);
                    sent.expect("room");
                }
            }
            while self.shaper.poll_grant(self.now).is_some() {}
        }
    }

    /// Bytes of a class that each session has sent.
    fn sent(&self, class: Class) -> Vec<u64> {
        let nodes = self.nodes.iter();
        nodes
            .map(|node| node.here.stats().class(class).bytes_sent)
            .collect()
    }
}

/// Each class's part of what all sessions sent, in thousandths. Of each class every session has sent as much as the others.
fn parts(shares: Shares, classes: &[Class]) -> Vec<f64> {
    let mut fleet = Fleet::new(shares, classes, 1);
    measured(&mut fleet, classes, None)
}

/// [`parts`] of a fleet whose first session says something critical every so often.
fn measured(fleet: &mut Fleet, classes: &[Class], critical: Option<Duration>) -> Vec<f64> {
    fleet.run_for(Duration::from_millis(500), true, None);
    let before: Vec<_> = classes.iter().map(|class| fleet.sent(*class)).collect();
    let carried = fleet.wire.carried;
    let time = Duration::from_secs(5);
    let mut delays = Vec::new();
    fleet.run_for(time, true, critical.map(|every| (every, &mut delays)));
    let rate = (fleet.wire.carried - carried) as f64 / time.as_secs_f64();
    assert!(
        (0.97..1.01).contains(&(rate / RATE as f64)),
        "the link is full and not more than full: {rate}"
    );
    let mut sums = Vec::new();
    for (class, before) in classes.iter().zip(before) {
        let each: Vec<_> = fleet
            .sent(*class)
            .iter()
            .zip(before)
            .map(|(after, before)| after - before)
            .collect();
        let (least, most) = (each.iter().min().copied(), each.iter().max().copied());
        let (least, most) = (least.unwrap_or(0), most.unwrap_or(0));
        // Two frames of 16 KiB more or less is what turns come to.
        assert!(most - least <= 40_000, "{class}: {each:?}");
        sums.push(each.iter().sum::<u64>() as f64);
    }
    let total: f64 = sums.iter().sum();
    sums.iter().map(|sum| sum / total * 1000.0).collect()
}

fn assert_near(found: &[f64], wanted: &[f64]) {
    for (part, wanted_part) in found.iter().zip(wanted) {
        assert!((part - wanted_part).abs() < 30.0, "{found:?}, wanted {wanted:?}");
    }
}

const LADDER: [Class; 4] = [Class::System, Class::Job, Class::Data, Class::Bulk];

#[test]
fn classes_have_their_shares_over_all_sessions_and_sessions_equal_parts_of_a_class() {
    let shares = Shares {
        system: 500,
        job: 600,
        data: 750,
    };
    assert_near(&parts(shares, &LADDER), &[500.0, 300.0, 150.0, 50.0]);
    assert_near(&parts(Shares::default(), &LADDER), &[800.0, 120.0, 32.0, 48.0]);
}

#[test]
fn what_a_class_leaves_flows_down() {
    let shares = Shares::default();
    assert_near(&parts(shares, &[Class::Data, Class::Bulk]), &[400.0, 600.0]);
    assert_near(&parts(shares, &[Class::System, Class::Bulk]), &[800.0, 200.0]);
    assert_near(&parts(shares, &[Class::Bulk]), &[1000.0]);
}

#[test]
fn one_that_has_something_critical_to_say_keeps_its_turn() {
    let now = Instant::now();
    let mut shaper = Shaper::new(RATE, Shares::default(), now);
    let members = [shaper.join(), shaper.join()];
    let (nothing, [mut critical, mut system]) = ([0; Class::COUNT], [[0; Class::COUNT]; 2]);
    let mut wants = [false; Class::COUNT];
    critical[Class::Critical.index()] = 64;
    system[Class::System.index()] = 16 * 1024;
    wants[Class::System.index()] = true;
    for member in members {
        shaper.settle(now, member, &nothing, &wants);
    }
    let mut turns = Vec::new();
    for _ in 0..10 {
        let at = shaper.poll_timeout().expect("both want to send");
        let (member, _) = shaper.poll_grant(at).expect("it is time");
        turns.push(member);
        if member == members[0] {
            // On a lane of its own, and so before what was granted.
            shaper.settle(at, member, &critical, &wants);
        }
        shaper.settle(at, member, &system, &wants);
    }
    let in_turn: Vec<_> = members.into_iter().cycle().take(10).collect();
    assert_eq!(turns, in_turn);
}

/// A batch is for one lane. What was granted for another while it was put together is not lost with it.
#[test]
fn what_goes_on_another_lane_costs_no_turn() {
    for lanes in [1, 5] {
        let mut fleet = Fleet::new(Shares::default(), &LADDER, lanes);
        let found = measured(&mut fleet, &LADDER, Some(Duration::from_millis(3)));
        assert_near(&found, &[800.0, 120.0, 32.0, 48.0]);
    }
}

#[test]
fn a_critical_message_waits_for_two_frames_of_all_the_others_at_most() {
    let mut fleet = Fleet::new(Shares::default(), &[Class::Bulk, Class::Data], 1);
    let mut delays = Vec::new();
    fleet.run_for(
        Duration::from_secs(20),
        true,
        Some((Duration::from_millis(97), &mut delays)),
    );
    assert!(delays.len() > 150, "{}", delays.len());
    delays.sort_unstable();
    let (median, p99) = (delays[delays.len() / 2], delays[delays.len() * 99 / 100]);
    let fragment = Duration::from_nanos((16 * 1024 + 20) * 1_000_000_000 / RATE);
    assert!(p99 <= 2 * fragment, "{p99:?}, a frame takes {fragment:?}");
    assert!(median > Duration::from_millis(1), "the link was never busy");
}

#[test]
fn one_that_leaves_gives_its_turn_to_the_others() {
    let mut fleet = Fleet::new(Shares::default(), &[Class::Bulk], 1);
    fleet.run_for(Duration::from_millis(100), true, None);
    for node in &mut fleet.nodes[1..] {
        fleet.shaper.leave(fleet.now, node.member);
        node.streams.clear();
        node.here.lift_allowance();
    }
    fleet.nodes.truncate(1);
    fleet.wire.under_way.retain(|(_, place, ..)| *place == 0);
    assert_eq!(fleet.shaper.members(), 1);
    let before = fleet.sent(Class::Bulk)[0];
    fleet.run_for(Duration::from_secs(1), true, None);
    let sent = fleet.sent(Class::Bulk)[0] - before;
    assert!(sent as f64 > RATE as f64 * 0.95, "{sent}");
}
