//! Namespaces around a bridge, which can be cut from each other.

use std::ffi::OsStr;
use std::fmt;
use std::process::{Child, Command, Stdio};

type Result<T> = std::result::Result<T, Missing>;

/// Places with an address each. Everything is removed when this is dropped.
pub(crate) struct Network {
    prefix: String,
    places: usize,
}

/// What the machine lacks.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

impl Network {
    pub(crate) fn lay(places: usize) -> Result<Self> {
        let prefix = format!("vkc{}", std::process::id() % 10_000);
        let network = Self { prefix, places };
        let hub = network.hub();
        try_run(&["ip", "netns", "add", &hub])?;
        try_run(&["ip", "-n", &hub, "link", "add", "bridge", "type", "bridge"])?;
        try_run(&["ip", "-n", &hub, "link", "set", "bridge", "up"])?;
        for place in 0..places {
            let (name, port) = (network.name(place), format!("port{place}"));
            let address = format!("{}/24", address(place));
            try_run(&["ip", "netns", "add", &name])?;
            try_run(&[
                "ip", "-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns",
                &name,
            ])?;
            try_run(&["ip", "-n", &hub, "link", "set", &port, "master", "bridge", "up"])?;
            try_run(&["ip", "-n", &name, "link", "set", "lo", "up"])?;
            try_run(&["ip", "-n", &name, "address", "add", &address, "dev", "eth0"])?;
            try_run(&["ip", "-n", &name, "link", "set", "eth0", "up"])?;
        }
        try_run(&["ip", "netns", "exec", &network.name(0), "iptables", "-L", "-n"])?;
        Ok(network)
    }

    fn hub(&self) -> String {
        format!("{}hub", self.prefix)
    }

    fn name(&self, place: usize) -> String {
        format!("{}p{place}", self.prefix)
    }

    /// Starts a program at a place. What it says goes to this program's own errors, or nowhere.
    pub(crate) fn start(&self, place: usize, command: &[&str], heard: bool) -> Result<Child> {
        let out = if heard { Stdio::inherit() } else { Stdio::null() };
        let error = if heard { Stdio::inherit() } else { Stdio::null() };
        let mut command = self.command(place, command);
        let child = command.stdin(Stdio::null()).stdout(out).stderr(error).spawn();
        child.map_err(|error| Missing(format!("ip: {error}")))
    }

    /// A program at a place, which is not started yet.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, place: usize, program: &[S]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(place)]).args(program);
        command
    }

    /// Nothing passes between these places and the others. Nobody is told: packets vanish.
    pub(crate) fn cut(&self, some: &[usize]) -> Result<()> {
        for &one in some {
            for other in (0..self.places).filter(|other| !some.contains(other)) {
                let address = address(other);
                for (chain, side) in [("INPUT", "-s"), ("OUTPUT", "-d")] {
                    self.iptables(one, &["-A", chain, side, &address, "-j", "DROP"])?;
                }
            }
        }
        Ok(())
    }

    /// Takes every cut of these places back.
    pub(crate) fn heal(&self, some: &[usize]) -> Result<()> {
        some.iter().try_for_each(|&one| self.iptables(one, &["-F"]))
    }

    fn iptables(&self, place: usize, arguments: &[&str]) -> Result<()> {
        let name = self.name(place);
        let mut command = vec!["ip", "netns", "exec", &name, "iptables", "-w"];
        command.extend(arguments);
        try_run(&command)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in (0..self.places).map(|place| self.name(place)).chain([self.hub()]) {
            let _ = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
}

/// Where a place is to be found by the others.
pub(crate) fn address(place: usize) -> String {
    format!("10.99.0.{}", 10 + place)
}

fn try_run(command: &[&str]) -> Result<()> {
    let output = Command::new(command[0]).args(&command[1..]).output();
    let output = output.map_err(|error| Missing(format!("{}: {error}", command[0])))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Missing(format!(
            "{}: {}",
            command.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}
