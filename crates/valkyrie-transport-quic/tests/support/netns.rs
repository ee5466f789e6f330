//! Two network namespaces with a cable between them, for tests that need a network that loses, limits or blocks.
//!
//! It needs root, `ip` and `tc` (Debian: iproute2) and, for loss and blocking, `iptables`. A test asks
//! [`Cable::lay`], and says what is missing and ends when it gets `Err`: not every machine can do this.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;

/// Two namespaces and the cable between them. They are removed when this is dropped.
///
/// The ends have the addresses 10.x.y.1 and 10.x.y.2, and fd56::x:y:1 and fd56::x:y:2, where x and y are particular to
/// this cable.
#[derive(Debug)]
pub(crate) struct Cable {
    names: [String; 2],
    /// Where the two halves of the cable meet, if it has halves.
    middle: Option<String>,
    number: u16,
}

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Near,
    Far,
}

/// What the machine lacks.
#[derive(Debug)]
pub(crate) struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this machine cannot make network namespaces: {}", self.0)
    }
}

impl Cable {
    /// Lays a cable whose interfaces have this MTU.
    pub(crate) fn lay(mtu: u16) -> Result<Self, Missing> {
        Self::lay_of(mtu, false)
    }

    /// Lays one of two halves with a switch between, where what is limited waits as it does before a bottleneck on the way. The queue of
    /// a machine's own interface is not the same: the kernel knows whose packets are in it, and lets no TCP connection have many there.
    pub(crate) fn lay_halves(mtu: u16) -> Result<Self, Missing> {
        Self::lay_of(mtu, true)
    }

    fn lay_of(mtu: u16, halves: bool) -> Result<Self, Missing> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Tests of one program run beside each other, and so may several programs.
        let number = (std::process::id().wrapping_mul(16) + NEXT.fetch_add(1, Ordering::Relaxed)) as u16;
        let name = |end: char| format!("valk{number}{end}");
        let cable = Self {
            names: [name('a'), name('b')],
            middle: halves.then(|| name('m')),
            number,
        };
        let [near, far] = [&cable.names[0], &cable.names[1]];
        for name in [near, far].into_iter().chain(&cable.middle) {
            run(&["ip", "netns", "add", name])?;
        }
        match &cable.middle {
            // A veth pair of which each end is made where it belongs.
            None => run(&[
                "ip", "-n", near, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns",
                far,
            ])?,
            Some(middle) => {
                run(&["ip", "-n", middle, "link", "add", "switch", "type", "bridge"])?;
                run(&["ip", "-n", middle, "link", "set", "switch", "up"])?;
                let mtu = mtu.to_string();
                for (port, name) in PORTS.into_iter().zip([near, far]) {
                    run(&[
                        "ip", "-n", name, "link", "add", "cable", "type", "veth", "peer", "name", port,
                        "netns", middle,
                    ])?;
                    run(&[
                        "ip", "-n", middle, "link", "set", port, "mtu", &mtu, "master", "switch", "up",
                    ])?;
                }
            }
        }
        for (end, name) in [(End::Near, near), (End::Far, far)] {
            run(&["ip", "-n", name, "link", "set", "lo", "up"])?;
            run(&[
                "ip",
                "-n",
                name,
                "link",
                "set",
                "cable",
                "mtu",
                &mtu.to_string(),
                "up",
            ])?;
            for (family, length) in [("-4", 30), ("-6", 112)] {
                let address = match family {
                    "-4" => cable.ipv4(end),
                    _ => cable.ipv6(end),
                };
                let address = format!("{address}/{length}");
                let mut arguments = vec![
                    "ip", family, "-n", name, "address", "add", &address, "dev", "cable",
                ];
                if family == "-6" {
                    // Otherwise an address may not be used until nobody has claimed it, which takes a second.
                    arguments.push("nodad");
                }
                run(&arguments)?;
            }
        }
        Ok(cable)
    }

    pub(crate) fn ipv4(&self, end: End) -> IpAddr {
        let [high, low] = self.number.to_be_bytes();
        // Of the four addresses of a /30, the two in the middle are for machines.
        IpAddr::from([10, high, low, 1 + end as u8])
    }

    pub(crate) fn ipv6(&self, end: End) -> IpAddr {
        IpAddr::from([0xfd56, 0, 0, 0, 0, 0, self.number, 1 + end as u16])
    }

    /// The name of the namespace of an end.
    pub(crate) fn name(&self, end: End) -> &str {
        &self.names[end as usize]
    }

    /// Limits what `end` sends to `kbit` a second, with a queue of `queue_bytes` in front.
    pub(crate) fn limit(&self, end: End, kbit: u32, queue_bytes: u32) -> Result<(), Missing> {
        let (rate, queue) = (format!("{kbit}kbit"), queue_bytes.to_string());
        self.tc(end, &["tbf", "rate", &rate, "burst", "16kb", "limit", &queue])
    }

    /// Has what TCP sends by IPv4 at `end`, on connections that begin from now on, be held back by this of the kernel's
    /// algorithms. It is an attribute of the way there: the default of a namespace cannot be every algorithm.
    pub(crate) fn congestion_control(&self, end: End, name: &str) -> Result<(), Missing> {
        let [high, low] = self.number.to_be_bytes();
        let (network, source) = (format!("10.{high}.{low}.0/30"), self.ipv4(end).to_string());
        let kind = ["proto", "kernel", "scope", "link", "src", &source];
        let namespace = self.name(end);
        let mut arguments = vec![
            "ip", "-n", namespace, "route", "replace", &network, "dev", "cable",
        ];
        arguments.extend(kind);
        arguments.extend(["congctl", name]);
        run(&arguments)
    }

    /// Drops `percent` of the packets that arrive at `end`, at random.
    pub(crate) fn lose(&self, end: End, percent: f64) -> Result<(), Missing> {
        let probability = format!("{}", percent / 100.0);
        self.iptables(
            end,
            "-A",
            &[
                "-m",
                "statistic",
                "--mode",
                "random",
                "--probability",
                &probability,
            ],
        )
    }

    /// Drops all of `protocol` (`udp`, `tcp`) that arrives at `end`, or no longer does.
    pub(crate) fn block(&self, end: End, protocol: &str, blocked: bool) -> Result<(), Missing> {
        let action = if blocked { "-A" } else { "-D" };
        self.iptables(end, action, &["-p", protocol])
    }

    fn tc(&self, end: End, discipline: &[&str]) -> Result<(), Missing> {
        // Where there is a switch, what an end sends waits before the half that leads to the other.
        let (name, device) = match (&self.middle, end) {
            (None, _) => (self.name(end), "cable"),
            (Some(middle), End::Near) => (&**middle, PORTS[1]),
            (Some(middle), End::Far) => (&**middle, PORTS[0]),
        };
        let mut arguments = vec!["tc", "-n", name, "qdisc", "replace", "dev", device, "root"];
        arguments.extend(discipline);
        run(&arguments)
    }

    fn iptables(&self, end: End, action: &str, rule: &[&str]) -> Result<(), Missing> {
        for program in ["iptables", "ip6tables"] {
            let mut arguments = vec!["ip", "netns", "exec", self.name(end), program];
            arguments.extend(["-w", action, "INPUT", "-i", "cable"]);
            arguments.extend(rule);
            arguments.extend(["-j", "DROP"]);
            run(&arguments)?;
        }
        Ok(())
    }

    /// Runs `work` at `end`, on a thread and a runtime of its own: sockets belong to the namespace of the thread that
    /// makes them.
    pub(crate) fn run_at<F>(&self, end: End, work: F) -> Running<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let path = format!("/var/run/netns/{}", self.name(end));
        let (done, result) = mpsc::channel();
        let (release, released) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let namespace = std::fs::File::open(&path).unwrap();
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let _ = done.send(runtime.block_on(work));
            let _ = runtime.block_on(released);
        });
        Running {
            result,
            _release: release,
        }
    }
}

/// What runs at an end. Its runtime, which may have something left to send when the work is done, lives as long as this.
#[derive(Debug)]
pub(crate) struct Running<T> {
    result: mpsc::Receiver<T>,
    _release: oneshot::Sender<()>,
}

impl<T> Running<T> {
    /// What came of it. Panics when it did, and when nothing comes of it.
    pub(crate) fn result(&self) -> T {
        match self.result.recv_timeout(RESULT_TIME_MAX) {
            Ok(result) => result,
            Err(error) => panic!("what ran at an end came to nothing: {error}"),
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in self.names.iter().chain(&self.middle) {
            let _ = run(&["ip", "netns", "delete", name]);
        }
    }
}

/// The ports of the switch, each named after the end that it leads to.
const PORTS: [&str; 2] = ["near", "far"];

fn run(arguments: &[&str]) -> Result<(), Missing> {
    let failed = |why: String| Missing(format!("`{}` {why}", arguments.join(" ")));
    let Output { status, stderr, .. } = Command::new(arguments[0])
        .args(&arguments[1..])
        .output()
        .map_err(|error| failed(format!("did not start ({error})")))?;
    if status.success() {
        return Ok(());
    }
    Err(failed(format!(
        "ended with {status} ({})",
        String::from_utf8_lossy(&stderr).trim()
    )))
}

/// How long a result is waited for. What runs at an end takes a second or two, on a machine that is not busy.
const RESULT_TIME_MAX: Duration = Duration::from_secs(60);
