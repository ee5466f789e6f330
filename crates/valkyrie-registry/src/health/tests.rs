use super::*;
use proptest::prelude::*;
use valkyrie_security::Fingerprint;

fn agent(number: u8) -> AgentId {
    AgentId::new(Fingerprint::from_bytes([number; 32]), "main".parse().unwrap()).unwrap()
}

fn service(name: &str) -> Word {
    name.parse().unwrap()
}

const ONE: Incarnation = Incarnation::new(1);

fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

struct Fleet {
    health: Health,
    agents: u8,
}

impl Fleet {
    fn new(agents: u8, config: HealthConfig) -> Self {
        let mut health = Health::new(config);
        for number in 0..agents {
            assert!(health.handle_agent(at(0), &agent(number), ONE, &[service("orders")]));
        }
        Self { health, agents }
    }

    /// Everybody but those beats until then, every two seconds.
    fn beat(&mut self, from_ms: u64, to_ms: u64, but: &[u8]) {
        for now in (from_ms..=to_ms).step_by(2000) {
            for number in (0..self.agents).filter(|number| !but.contains(number)) {
                self.health
                    .handle_signal(at(now), &agent(number), ONE, Signal::Heartbeat);
            }
            self.health.invariants();
        }
    }

    fn events(&mut self) -> Vec<HealthEvent> {
        std::iter::from_fn(|| self.health.poll_event()).collect()
    }

    fn routable(&self) -> usize {
        let name = service("orders");
        (0..self.agents)
            .filter(|number| self.health.routable(&name, &agent(*number)))
            .count()
    }
}

#[test]
fn silence_makes_suspect_and_a_heartbeat_clears() {
    let mut fleet = Fleet::new(4, HealthConfig::DEFAULT);
    fleet.beat(2000, 40_000, &[]);
    assert!(fleet.events().is_empty());
    fleet.beat(42_000, 50_000, &[3]);
    assert_eq!(fleet.health.verdict(&agent(3)), Verdict::Suspect);
    assert_eq!(fleet.routable(), 3);
    let events = fleet.events();
    assert!(
        matches!(
            &events[..],
            [HealthEvent::Changed {
                after: Verdict::Suspect,
                ..
            }]
        ),
        "{events:?}"
    );
    fleet
        .health
        .handle_signal(at(51_000), &agent(3), ONE, Signal::Heartbeat);
    assert_eq!(fleet.routable(), 4);
}

#[test]
fn suspicion_comes_at_the_time_that_was_named() {
    let mut fleet = Fleet::new(1, HealthConfig::DEFAULT);
    let due = fleet.health.poll_timeout().unwrap();
    fleet.health.handle_timeout(at(due.millis() - 1));
    assert_eq!(fleet.health.verdict(&agent(0)), Verdict::Well);
    fleet.health.handle_timeout(due);
    assert_eq!(fleet.health.verdict(&agent(0)), Verdict::Suspect);
    fleet.health.invariants();
}

#[test]
fn failures_in_a_row_make_suspect_and_one_success_starts_over() {
    let mut fleet = Fleet::new(3, HealthConfig::DEFAULT);
    let signal = |fleet: &mut Fleet, signal| fleet.health.handle_signal(at(100), &agent(0), ONE, signal);
    for _ in 0..4 {
        signal(&mut fleet, Signal::Failure);
    }
    signal(&mut fleet, Signal::Success);
    signal(&mut fleet, Signal::ConnectionLost);
    assert_eq!(fleet.health.verdict(&agent(0)), Verdict::Well);
    signal(&mut fleet, Signal::Failure);
    assert_eq!(fleet.health.verdict(&agent(0)), Verdict::Suspect);
    // It is heard, but what it does fails.
    signal(&mut fleet, Signal::Heartbeat);
    assert_eq!(fleet.health.verdict(&agent(0)), Verdict::Suspect);
    signal(&mut fleet, Signal::Success);
    assert_eq!(fleet.health.verdict(&agent(0)), Verdict::Well);
}

#[test]
fn never_a_whole_service_at_once() {
    let config = HealthConfig {
        condemn_after: Some(Duration::from_secs(30)),
        ..HealthConfig::DEFAULT
    };
    let mut fleet = Fleet::new(4, config);
    fleet.beat(2000, 40_000, &[]);
    // Half of it is believable, and is removed after a while.
    fleet.beat(42_000, 60_000, &[0, 1]);
    assert_eq!(fleet.routable(), 2);
    // More is not: the observer is cut off. Everybody is used and nobody is condemned, however long it lasts.
    fleet.health.handle_timeout(at(64_000));
    fleet.health.handle_timeout(at(70_000));
    assert!(fleet.health.in_panic(&service("orders")));
    assert_eq!(fleet.routable(), 4);
    fleet.health.handle_timeout(at(1_000_000));
    fleet.health.invariants();
    let condemned = |events: &[HealthEvent]| {
        events
            .iter()
            .filter(|event| matches!(event, HealthEvent::Condemned { .. }))
            .count()
    };
    assert_eq!(condemned(&fleet.events()), 0);
    // The others are back; the two that are not are condemned, once each.
    fleet.beat(1_002_000, 1_100_000, &[0, 1]);
    let events = fleet.events();
    assert!(events.contains(&HealthEvent::Panic {
        service: service("orders"),
        begins: false
    }));
    assert_eq!(condemned(&events), 2);
    assert_eq!(fleet.health.verdict(&agent(2)), Verdict::Well);
}

#[test]
fn an_agent_that_comes_and_goes_is_held_back_for_a_while() {
    let mut fleet = Fleet::new(3, HealthConfig::DEFAULT);
    let mut now = 100;
    let mut flap = |fleet: &mut Fleet| {
        for _ in 0..5 {
            fleet
                .health
                .handle_signal(at(now), &agent(0), ONE, Signal::Failure);
        }
        fleet
            .health
            .handle_signal(at(now), &agent(0), ONE, Signal::Success);
        now += 10;
    };
    for _ in 0..3 {
        flap(&mut fleet);
        assert_eq!(fleet.health.verdict(&agent(0)), Verdict::Well);
    }
    flap(&mut fleet);
    assert_eq!(fleet.health.verdict(&agent(0)), Verdict::Flapping);
    assert_eq!(fleet.routable(), 2);
    // Two half-lives bring four recoveries down to one.
    fleet.beat(2000, 118_000, &[]);
    assert_eq!(fleet.health.verdict(&agent(0)), Verdict::Flapping);
    fleet.beat(120_000, 124_000, &[]);
    assert_eq!(fleet.health.verdict(&agent(0)), Verdict::Well);
}

#[test]
fn what_is_said_of_a_former_self_says_nothing() {
    let mut fleet = Fleet::new(1, HealthConfig::DEFAULT);
    let two = Incarnation::new(2);
    fleet
        .health
        .handle_agent(at(10), &agent(0), two, &[service("orders")]);
    for _ in 0..9 {
        fleet
            .health
            .handle_signal(at(20), &agent(0), ONE, Signal::Failure);
    }
    assert_eq!(fleet.health.verdict(&agent(0)), Verdict::Well);
    // Nor does a late word that the former self is here.
    fleet.health.handle_agent(at(30), &agent(0), ONE, &[]);
    for _ in 0..9 {
        fleet
            .health
            .handle_signal(at(40), &agent(0), two, Signal::Failure);
    }
    assert_eq!(fleet.health.verdict(&agent(0)), Verdict::Suspect);
}

#[test]
fn whoever_is_gone_leaves_nothing() {
    let mut fleet = Fleet::new(2, HealthConfig::DEFAULT);
    fleet.health.handle_timeout(at(60_000));
    for number in 0..2 {
        fleet.health.handle_gone(at(60_000), &agent(number));
        fleet.health.invariants();
    }
    assert_eq!(fleet.health.poll_timeout(), None);
    assert_eq!(fleet.health.verdict(&agent(0)), Verdict::Well);
}

proptest! {
    #[test]
    fn any_signals_keep_the_books(steps in prop::collection::vec((0u8..7, 0u8..4, 0u64..9000, 1u64..4), 0..200)) {
        let config = HealthConfig { condemn_after: Some(Duration::from_secs(5)), ..HealthConfig::DEFAULT };
        let mut health = Health::new(config);
        let mut now = 0;
        for (what, who, wait, incarnation) in steps {
            now += wait;
            let (who, incarnation) = (agent(who), Incarnation::new(incarnation));
            let signal = match what {
                0 => Signal::Heartbeat,
                1 => Signal::Success,
                2 => Signal::Failure,
                3 => Signal::ConnectionLost,
                4 => {
                    health.handle_gone(at(now), &who);
                    continue;
                }
                _ => {
                    let services = [service("a"), service(if what == 5 { "b" } else { "c" })];
                    health.handle_agent(at(now), &who, incarnation, &services);
                    health.invariants();
                    continue;
                }
            };
            health.handle_signal(at(now), &who, incarnation, signal);
            health.invariants();
            prop_assert!(health.poll_timeout().is_none_or(|due| due > at(now)));
        }
    }
}
