//! What happens when: one fault after the other, never more than one etcd server at a time, and peace at the end.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::network::{Missing, Network, address};
use crate::plot::{self, Fault};
use crate::{Options, PEACE, Result, say};

const SERVERS: usize = 3;
const NODES: usize = 6;
/// Places: servers, nodes, the client.
const CLIENT: usize = SERVERS + NODES;

pub(crate) fn run(options: &Options) -> Result<()> {
    if let Err(error) = Command::new("etcd").arg("--version").output() {
        return Err(Missing(format!("etcd: {error} (Debian: etcd-server)")).into());
    }
    let folder = tempfile::tempdir()?;
    let network = Network::lay(CLIENT + 1)?;
    let mut house = House {
        network,
        folder: folder.path(),
        running: HashMap::new(),
    };
    for server in 0..SERVERS {
        house.start_server(server)?;
    }
    for node in SERVERS..CLIENT {
        house.start_node(node)?;
    }
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (ready, csv) = (file("ready"), file("seconds.csv"));
    let program = std::env::current_exe()?.display().to_string();
    let mut client = house.network.start(
        CLIENT,
        &[
            &program,
            "client",
            "--store",
            &servers(),
            "--seconds",
            &options.seconds.to_string(),
            "--nodes",
            &NODES.to_string(),
            "--ready",
            &ready,
            "--csv",
            &csv,
        ],
        true,
    )?;
    let waited = Instant::now();
    while !Path::new(&ready).exists() {
        if waited.elapsed() > BEGINS_WITHIN || client.try_wait()?.is_some() {
            return Err("the nodes were not all found in time".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    say(&format!(
        "three etcd servers, {NODES} nodes and a client; {} s",
        options.seconds
    ));

    let begun = Instant::now();
    let until = Duration::from_secs(options.seconds).saturating_sub(PEACE);
    let mut rng = Rng::with_seed(options.seed);
    let mut faults = Vec::new();
    while begun.elapsed() < until {
        std::thread::sleep(Duration::from_millis(rng.u64(1000..3000)));
        let lasts = Duration::from_millis(rng.u64(2000..6000)).min(until.saturating_sub(begun.elapsed()));
        if lasts < Duration::from_secs(1) {
            break;
        }
        let from = begun.elapsed();
        let what = house.fault(&mut rng, lasts)?;
        say(&format!(
            "{:>5.1} s  {what}, for {:.1} s",
            from.as_secs_f64(),
            lasts.as_secs_f64()
        ));
        faults.push(Fault {
            from: from.as_secs_f64(),
            to: begun.elapsed().as_secs_f64(),
            what,
        });
    }
    say("peace");
    let judged = client.wait()?;
    let twice = ran_twice(folder.path())?;
    say(&format!("calls that may run once and ran twice: {twice}"));
    if let Some(path) = &options.plot {
        let seconds = plot::read(&std::fs::read_to_string(&csv)?);
        std::fs::write(path, plot::svg(&seconds, &faults))?;
        say(&format!("wrote {}", path.display()));
    }
    if !judged.success() || twice > 0 {
        return Err("what was promised did not hold".into());
    }
    Ok(())
}

/// Everything that runs, but the client.
struct House<'a> {
    network: Network,
    folder: &'a Path,
    running: HashMap<usize, Child>,
}

impl House<'_> {
    fn start_server(&mut self, server: usize) -> Result<()> {
        let data = self.folder.join(format!("etcd{server}")).display().to_string();
        let at = address(server);
        let cluster: Vec<String> = (0..SERVERS)
            .map(|n| format!("e{n}=http://{}:2380", address(n)))
            .collect();
        let (peer, client) = (format!("http://{at}:2380"), format!("http://{at}:2379"));
        let (name, cluster) = (format!("e{server}"), cluster.join(","));
        let command = [
            "etcd",
            "--name",
            &name,
            "--data-dir",
            &data,
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
            "--initial-cluster",
            &cluster,
            "--initial-cluster-token",
            "chaos",
            "--logger",
            "zap",
            "--log-level",
            "fatal",
        ];
        let child = self.network.start(server, &command, false)?;
        self.running.insert(server, child);
        Ok(())
    }

    fn start_node(&mut self, node: usize) -> Result<()> {
        let program = std::env::current_exe()?.display().to_string();
        let log = self.folder.join(format!("calls{node}")).display().to_string();
        let command = [
            &program,
            "node",
            "--name",
            &format!("node-{node}"),
            "--seed",
            &node.to_string(),
            "--listen",
            &format!("tcp://{}:7000", address(node)),
            "--store",
            &servers(),
            "--log",
            &log,
        ];
        let child = self.network.start(node, &command, true)?;
        self.running.insert(node, child);
        Ok(())
    }

    fn signal(&self, place: usize, signal: &str) -> Result<()> {
        let Some(child) = self.running.get(&place) else {
            return Ok(());
        };
        // `ip netns exec` has become the program itself.
        Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()?;
        Ok(())
    }

    fn restart(&mut self, place: usize) -> Result<()> {
        match place < SERVERS {
            true => self.start_server(place),
            false => self.start_node(place),
        }
    }

    /// Lets something happen and makes it good again. What it was.
    fn fault(&mut self, rng: &mut Rng, lasts: Duration) -> Result<String> {
        let place = rng.usize(..CLIENT);
        let name = name(place);
        match rng.u32(..4) {
            0 => {
                self.signal(place, "-KILL")?;
                if let Some(mut child) = self.running.remove(&place) {
                    child.wait()?;
                }
                std::thread::sleep(lasts);
                self.restart(place)?;
                Ok(format!("{name} killed"))
            }
            1 => {
                self.signal(place, "-STOP")?;
                std::thread::sleep(lasts);
                self.signal(place, "-CONT")?;
                Ok(format!("{name} stopped"))
            }
            2 => {
                self.network.cut(&[place])?;
                std::thread::sleep(lasts);
                self.network.heal(&[place])?;
                Ok(format!("{name} cut off"))
            }
            _ => {
                // Some nodes and one server on one side, everybody else on the other.
                let mut part = vec![rng.usize(..SERVERS)];
                part.extend((SERVERS..CLIENT).filter(|_| rng.bool()));
                self.network.cut(&part)?;
                std::thread::sleep(lasts);
                self.network.heal(&part)?;
                let names: Vec<String> = part.iter().map(|&place| self::name(place)).collect();
                Ok(format!("{} cut off together", names.join(", ")))
            }
        }
    }
}

impl Drop for House<'_> {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn name(place: usize) -> String {
    match place < SERVERS {
        true => format!("etcd {place}"),
        false => format!("node {}", place - SERVERS),
    }
}

fn servers() -> String {
    let servers: Vec<String> = (0..SERVERS)
        .map(|n| format!("http://{}:2379", address(n)))
        .collect();
    servers.join(",")
}

/// Calls that are not idempotent and that more than one handler wrote down.
fn ran_twice(folder: &Path) -> Result<usize> {
    let mut runs: HashMap<String, u32> = HashMap::new();
    for node in SERVERS..CLIENT {
        let log = std::fs::read_to_string(folder.join(format!("calls{node}"))).unwrap_or_default();
        for line in log.lines().filter(|line| line.starts_with('n')) {
            *runs.entry(line.to_owned()).or_insert(0) += 1;
        }
    }
    Ok(runs.values().filter(|&&count| count > 1).count())
}

/// Within which every node is registered and found.
const BEGINS_WITHIN: Duration = Duration::from_secs(60);
