//! The processes: this program again, under other arguments. They talk in lines.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use valkyrie::SecurityStats;

use crate::attack::{Attack, Flood, Made};
use crate::people;

/// Runs this program again in a network that it has for itself.
pub(crate) fn inside(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let set_up = format!("ip link set lo up && ip address add {NETWORK} dev lo && exec \"$0\" inside \"$@\"");
    let status = Command::new("unshare")
        .args(["--net", "sh", "-c", &set_up])
        .arg(std::env::current_exe()?)
        .args(arguments)
        .status()?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| "it did not work; it needs root and `ip`".into())
}

/// A server, until its standard input ends. It says where it is, and for each line that it reads what it has counted.
pub(crate) fn serve<'a>(mut arguments: impl Iterator<Item = &'a str>) -> Result<(), Box<dyn Error>> {
    let place = arguments.next().ok_or("where")?;
    if let Some(descriptors) = arguments.next() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let current = Some(descriptors.parse()?);
        setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let server = runtime.block_on(async {
        let server = people::server().build()?;
        let place = server.listen(place).await?;
        writeln!(io::stdout(), "{place}")?;
        Ok::<_, Box<dyn Error>>(server)
    })?;
    for line in io::stdin().lines() {
        line?;
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32);
        writeln!(
            io::stdout(),
            "{}",
            Counted::new(&server.security_stats(), cpu).line()
        )?;
    }
    Ok(())
}

/// A flood; it says what came of it.
pub(crate) fn attack<'a>(arguments: impl Iterator<Item = &'a str>) -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = arguments.collect();
    let [target, source, sources, attacks, per_s, attempts] = arguments[..] else {
        return Err("target, source, sources, attacks, rate and attempts".into());
    };
    let flood = Flood {
        target: target.parse()?,
        source: source.parse()?,
        sources: sources.parse()?,
        attacks: if attacks == "cookie" {
            &[Attack::Cookie]
        } else {
            &Attack::ALL
        },
        per_s: per_s.parse()?,
        attempts: attempts.parse()?,
        held_max: HELD_MAX,
        // Longer than a handshake may take.
        hold: Duration::from_secs(6),
    };
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let made = runtime.block_on(flood.run());
    let mut line = String::new();
    for number in [
        made.connected,
        made.unconnected,
        made.ended,
        made.challenged,
        made.answered,
    ] {
        write!(line, "{number} ")?;
    }
    writeln!(io::stdout(), "{line}{}", made.time.as_micros())?;
    Ok(())
}

/// What a server has counted, and the processor time it has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) opened: u64,
    pub(crate) refused_by_address: u64,
    pub(crate) evicted: u64,
    pub(crate) shortages: u64,
    pub(crate) computed: u64,
    pub(crate) challenged: u64,
    pub(crate) refused_in_total: u64,
    pub(crate) addresses_forgotten: u64,
    pub(crate) half_open: u64,
    pub(crate) addresses: u64,
    pub(crate) handshakes_failed: u64,
    pub(crate) cpu_us: u64,
}

impl Counted {
    fn new(stats: &SecurityStats, cpu: Duration) -> Self {
        let admission = stats.admission;
        Self {
            opened: admission.opened,
            refused_by_address: admission.refused_by_address,
            evicted: admission.evicted,
            shortages: admission.shortages,
            computed: admission.computed,
            challenged: admission.challenged,
            refused_in_total: admission.refused_in_total,
            addresses_forgotten: admission.addresses_forgotten,
            half_open: admission.half_open as u64,
            addresses: admission.addresses as u64,
            handshakes_failed: stats.handshakes_failed,
            cpu_us: cpu.as_micros() as u64,
        }
    }

    fn fields(&mut self) -> [&mut u64; 12] {
        [
            &mut self.opened,
            &mut self.refused_by_address,
            &mut self.evicted,
            &mut self.shortages,
            &mut self.computed,
            &mut self.challenged,
            &mut self.refused_in_total,
            &mut self.addresses_forgotten,
            &mut self.half_open,
            &mut self.addresses,
            &mut self.handshakes_failed,
            &mut self.cpu_us,
        ]
    }

    /// What was counted since `before`; what is not a count stays.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        let (half_open, addresses, mut before) = (self.half_open, self.addresses, *before);
        for (field, before) in self.fields().into_iter().zip(before.fields()) {
            *field = field.saturating_sub(*before);
        }
        Self {
            half_open,
            addresses,
            ..self
        }
    }

    fn line(mut self) -> String {
        self.fields().map(|field| field.to_string()).join(" ")
    }

    fn parse(line: &str) -> Option<Self> {
        let mut counted = Self::default();
        let mut numbers = line.split_whitespace();
        for field in counted.fields() {
            *field = numbers.next()?.parse().ok()?;
        }
        Some(counted)
    }
}

/// A server's process.
pub(crate) struct Server {
    child: Child,
    asks: ChildStdin,
    says: BufReader<ChildStdout>,
    pub(crate) place: String,
}

impl Server {
    pub(crate) fn start(address: Ipv4Addr, descriptors: Option<u32>) -> Result<Self, Box<dyn Error>> {
        let mut child = again("server")?
            .arg(format!("tcp://{address}:7000"))
            .args(descriptors.map(|descriptors| descriptors.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let asks = child.stdin.take().ok_or("a pipe")?;
        let mut says = BufReader::new(child.stdout.take().ok_or("a pipe")?);
        let mut place = String::new();
        says.read_line(&mut place)?;
        Ok(Self {
            child,
            asks,
            says,
            place: place.trim().to_owned(),
        })
    }

    pub(crate) fn counted(&mut self) -> Result<Counted, Box<dyn Error>> {
        writeln!(self.asks)?;
        let mut line = String::new();
        self.says.read_line(&mut line)?;
        Counted::parse(&line).ok_or_else(|| "the server has ended".into())
    }

    /// In KiB: what it has now, and the most that it ever had.
    pub(crate) fn resident(&self) -> Result<[u64; 2], Box<dyn Error>> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
            number.ok_or(name)
        };
        Ok([field("VmRSS:")?, field("VmHWM:")?])
    }

    pub(crate) fn descriptors(&self) -> Result<usize, Box<dyn Error>> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Begins a flood in a process of its own, that ends by itself.
pub(crate) fn start_attacker(
    target: SocketAddr,
    sources: (Ipv4Addr, u32),
    attacks: &str,
    [per_s, attempts]: [u32; 2],
) -> Result<Child, Box<dyn Error>> {
    let numbers = [sources.0.to_string(), sources.1.to_string(), attacks.to_owned()];
    Ok(again("attacker")?
        .arg(target.to_string())
        .args(numbers)
        .args([per_s, attempts].map(|number| number.to_string()))
        .stdout(Stdio::piped())
        .spawn()?)
}

/// What an attacker says in the end.
pub(crate) fn made(attacker: Child) -> Result<Made, Box<dyn Error>> {
    let output = attacker.wait_with_output()?;
    let line = String::from_utf8(output.stdout)?;
    let numbers: Vec<u64> = line
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let [connected, unconnected, ended, challenged, answered, micros] = numbers[..] else {
        return Err("the attacker has failed".into());
    };
    Ok(Made {
        connected: connected as u32,
        unconnected: unconnected as u32,
        ended: ended as u32,
        challenged: challenged as u32,
        answered: answered as u32,
        time: Duration::from_micros(micros),
    })
}

fn again(role: &str) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(role);
    Ok(command)
}

/// Kept for measuring networks by RFC 2544. Every address of it is this machine's.
const NETWORK: &str = "198.18.0.1/15";

/// What an attacker holds at once: more than any bound of the server's lets it.
const HELD_MAX: usize = 15_000;
