//! Members as processes, on this machine or each in a network namespace of its own, and what each of them has said.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use self::network::{Missing, Network, address};
use crate::program::Program;
use crate::support::{assert_code, home, json_lines, other_home, until, valkyrie};

#[allow(
    dead_code,
    reason = "shared with the program that puts nodes in trouble for ten minutes"
)]
#[path = "../../../../valkyrie-router/examples/chaos/network.rs"]
mod network;

/// Members of each fleet.
pub(crate) const MEMBERS: usize = 8;
/// Times at which a busy machine is not taken for a dead one.
const PATIENT: &[&str] = &["--round-trip", "150ms"];

pub(crate) struct Fleet {
    members: Vec<Said>,
    // After the members, which are in it.
    network: Option<Network>,
}

/// A member, and what it has said.
pub(crate) struct Said {
    program: Program,
    place: String,
    fingerprint: String,
    /// What nobody has waited for yet.
    unread: VecDeque<Value>,
    /// Whom it has lost, in order.
    lost: Vec<usize>,
}

impl Fleet {
    pub(crate) fn on_this_machine() -> Self {
        Self::start(PATIENT, None)
    }

    pub(crate) fn at_the_default_times() -> Self {
        Self::start(&[], None)
    }

    /// Every member in a namespace of its own, which can be cut off.
    pub(crate) fn in_namespaces() -> Result<Self, Missing> {
        Network::lay(MEMBERS).map(|network| Self::start(PATIENT, Some(network)))
    }

    /// Starts all, and waits until each knows every other.
    fn start(times: &[&str], network: Option<Network>) -> Self {
        let mut fleet = Self {
            members: Vec::new(),
            network,
        };
        for at in 0..MEMBERS {
            let name = name(at);
            let listen = match &fleet.network {
                Some(_) => format!("tcp://{}:7400", address(at)),
                None => "tcp://127.0.0.1:0".to_owned(),
            };
            let mut args = vec![
                "registry", "serve", "--json", "--swim", "--listen", &listen, "--name", &name,
            ];
            args.extend(times);
            let first = fleet.members.first();
            if let Some(first) = first {
                args.extend(["--join", &first.place, "--trust", &first.fingerprint]);
            }
            let said = Said::start(fleet.command(at, other_home(&name), &args));
            fleet.members.push(said);
        }
        for at in 0..MEMBERS {
            for other in (0..MEMBERS).filter(|other| *other != at) {
                fleet.members[at].wait_for("joined", other);
            }
        }
        fleet
    }

    fn command(&self, at: usize, home: PathBuf, args: &[&str]) -> Command {
        let mut command = match &self.network {
            None => valkyrie(args),
            Some(network) => {
                let program = [&[env!("CARGO_BIN_EXE_valkyrie")], args].concat();
                network.command(at, &program)
            }
        };
        command.env("VALKYRIE_HOME", home);
        command
    }

    /// Nothing passes between this member and the others any more.
    pub(crate) fn cut(&self, at: usize) {
        let network = self.network.as_ref().expect("they are in namespaces");
        network.cut(&[at]).expect("iptables was tried before");
    }

    pub(crate) fn heal(&self, at: usize) {
        let network = self.network.as_ref().expect("they are in namespaces");
        network.heal(&[at]).expect("iptables was tried before");
    }

    pub(crate) fn said(&mut self, at: usize) -> &mut Said {
        &mut self.members[at]
    }

    pub(crate) fn each_but<T>(&mut self, but: &[usize], mut look: impl FnMut(&mut Said) -> T) {
        let members = self.members.iter_mut().enumerate();
        for (_, said) in members.filter(|(at, _)| !but.contains(at)) {
            look(said);
        }
    }

    pub(crate) fn signal(&self, at: usize, signal: Signal) {
        self.members[at].program.signal(signal);
    }

    /// Ends a member, and gives its exit code, if it has one.
    pub(crate) fn end(&mut self, at: usize, signal: Signal) -> Option<i32> {
        self.members[at].program.end(signal)
    }

    /// Whom a member has lost so far, in order.
    pub(crate) fn lost_by(&self, at: usize) -> &[usize] {
        &self.members[at].lost
    }

    /// `valkyrie registry watch` at a member.
    pub(crate) fn watch(&self, at: usize) -> Program {
        let watch = [
            "registry",
            "watch",
            "--json",
            "--registry",
            &self.members[at].place,
        ];
        let mut watch = Program::spawn(self.command(at, home(), &watch));
        watch.wait_for("watching");
        watch
    }

    /// Who is there, as `valkyrie registry ls` at a member says.
    fn list(&self, at: usize) -> Vec<Value> {
        let Said {
            place, fingerprint, ..
        } = &self.members[at];
        let list = [
            "registry",
            "ls",
            "--json",
            "--registry",
            place,
            "--trust",
            fingerprint,
        ];
        let output = self
            .command(at, home(), &list)
            .output()
            .expect("the program starts");
        assert_code(&output, 0);
        let document = json_lines(&output).remove(0);
        document["agents"].as_array().expect("a list").clone()
    }

    /// One member as another lists it.
    pub(crate) fn listed(&self, at: usize, who: usize) -> Value {
        let who = name(who);
        let agents = self.list(at).into_iter();
        agents
            .into_iter()
            .find(|agent| agent["name"] == *who)
            .expect("it is there")
    }

    /// Waits until each of these members lists these and no others.
    pub(crate) fn all_list(&self, members: &BTreeSet<usize>) {
        let names: BTreeSet<String> = members.iter().map(|at| name(*at)).collect();
        for at in members {
            until(|| {
                let agents = self.list(*at);
                let listed = agents.iter().filter_map(|agent| agent["name"].as_str());
                listed.map(str::to_owned).collect::<BTreeSet<_>>() == names
            });
        }
    }

    /// After how long each of the others has lost a member.
    pub(crate) fn when_lost(&mut self, who: usize, since: Instant) -> Vec<Duration> {
        std::thread::scope(|scope| {
            let others = self.members.iter_mut().enumerate().filter(|(at, _)| *at != who);
            let waiting: Vec<_> = others
                .map(|(_, said)| {
                    scope.spawn(move || {
                        said.wait_for("failed", who);
                        since.elapsed()
                    })
                })
                .collect();
            let noticed = waiting
                .into_iter()
                .map(|waiting| waiting.join().expect("it is told"));
            noticed.collect()
        })
    }
}

impl Said {
    fn start(command: Command) -> Self {
        let mut program = Program::spawn(command);
        let listening = program.event();
        let text = |field: &str| listening[field].as_str().expect("text").to_owned();
        Self {
            place: text("locator"),
            fingerprint: text("fingerprint"),
            program,
            unread: VecDeque::new(),
            lost: Vec::new(),
        }
    }

    /// Waits until it has said this of another member, whatever else it says.
    pub(crate) fn wait_for(&mut self, what: &str, who: usize) -> Value {
        let who = name(who);
        let wanted = |event: &Value| event["event"] == *what && event["agent"]["name"] == *who;
        if let Some(at) = self.unread.iter().position(wanted) {
            return self.unread.remove(at).expect("it is there");
        }
        loop {
            let event = self.program.event();
            if matches!(event["event"].as_str(), Some("failed" | "left")) {
                let name = event["agent"]["name"].as_str().expect("a name");
                self.lost.push(number(name));
            }
            if wanted(&event) {
                return event;
            }
            self.unread.push_back(event);
        }
    }
}

fn name(at: usize) -> String {
    format!("member-{at}")
}

fn number(name: &str) -> usize {
    let number = name
        .strip_prefix("member-")
        .and_then(|number| number.parse().ok());
    number.expect("the name of a member")
}
