//! A flood is counted, not written down.

use super::*;

fn recorded(lines: &[String], event: &str) -> Vec<serde_json::Value> {
    let lines = lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["event"] == event).collect()
}

struct Scene {
    log: AuditLog,
    lines: Vec<String>,
    now: Instant,
}

impl Scene {
    fn new() -> Self {
        let (chain, first) = AuditChain::begin(TIME);
        Self {
            log: AuditLog::new(chain, AuditLimits::default()),
            lines: vec![first],
            now: Instant::now(),
        }
    }

    fn record(&mut self, event: &AuditEvent<'_>) {
        self.log.record(event, TIME, self.now, &mut self.lines);
    }

    fn turn(&mut self) {
        self.now += AuditLimits::default().window;
        self.log.turn(TIME, self.now, &mut self.lines);
    }
}

#[test]
fn a_flood_of_one_peer_is_summed_up_with_its_count() {
    let mut scene = Scene::new();
    for port in 0..10_000 {
        scene.record(&refused(&format!("tcp://192.0.2.1:{port}")));
    }
    scene.record(&refused("tcp://192.0.2.2:1"));
    scene.turn();
    scene.record(&refused("tcp://192.0.2.1:1"));
    assert_eq!(recorded(&scene.lines, "refused").len(), 22);
    let summed_up = recorded(&scene.lines, "summed_up");
    assert_eq!(summed_up.len(), 1);
    assert_eq!(summed_up[0]["about"], "tcp://192.0.2.1");
    assert_eq!(summed_up[0]["count"], 9_980);
    let summary = verify(&scene.lines, Some(scene.log.head())).unwrap();
    assert_eq!(summary.head, scene.log.head());
    assert_eq!(scene.log.stats().summed_up, 9_980);
}

#[test]
fn a_flood_of_many_peers_is_bounded_in_lines_and_memory() {
    let mut scene = Scene::new();
    for number in 0..50_000 {
        scene.record(&refused(&format!("tcp://host-{number}:1")));
    }
    scene.turn();
    let limits = AuditLimits::default();
    assert_eq!(recorded(&scene.lines, "refused").len(), limits.in_all as usize);
    assert!(scene.lines.len() <= limits.sources + limits.in_all as usize + 2);
    let counted: u64 = recorded(&scene.lines, "summed_up")
        .iter()
        .map(|line| line["count"].as_u64().unwrap())
        .sum();
    assert_eq!(
        counted,
        50_000 - u64::from(limits.in_all),
        "nothing is lost from the count"
    );
}

#[test]
fn nobody_hides_an_entry_behind_refusals() {
    let mut scene = Scene::new();
    let eve = somebody(666);
    for number in 0..5000 {
        scene.record(&refused(&format!("tcp://host-{number}:1")));
        scene.record(&AuditEvent::Broken {
            peer: &eve,
            code: ErrorCode::INTEGRITY,
            reason: "junk",
        });
    }
    scene.record(&AuditEvent::Accepted {
        peer: &eve,
        place: "uds://x",
    });
    scene.record(&AuditEvent::PolicyChanged { version: 2, rules: 0 });
    assert_eq!(recorded(&scene.lines, "accepted").len(), 1);
    assert_eq!(recorded(&scene.lines, "policy_changed").len(), 1);
}

#[test]
fn a_quiet_log_writes_no_counts() {
    let mut scene = Scene::new();
    scene.record(&refused("tcp://192.0.2.1:1"));
    scene.turn();
    scene.turn();
    assert_eq!(scene.lines.len(), 2);
}

#[test]
fn what_could_not_be_written_is_written_down() {
    let mut scene = Scene::new();
    scene.log.dropped(17, TIME, &mut scene.lines);
    assert_eq!(recorded(&scene.lines, "dropped")[0]["count"], 17);
    assert_eq!(scene.log.stats().dropped, 17);
    assert!(verify(&scene.lines, None).is_ok());
}
