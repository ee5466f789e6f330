//! One flood after another, each on a new server.

use std::error::Error;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use valkyrie::Locator;

use crate::Options;
use crate::attack::Made;
use crate::people::{Newcomers, Regulars, newcomers};
use crate::roles::{self, Counted, Server};
use crate::table;

/// A kind of flood.
pub(crate) struct Siege {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// How many addresses it comes from.
    sources: u32,
    /// What the attacker does: everything by turns, or one thing.
    attacks: &'static str,
    /// What the server may open, where that is not what this machine lets it.
    descriptors: Option<u32>,
}

pub(crate) const SIEGES: [Siege; 4] = [
    Siege {
        name: "many",
        about: "65,536 addresses",
        sources: 65_536,
        attacks: "all",
        descriptors: None,
    },
    Siege {
        name: "one",
        about: "one address",
        sources: 1,
        attacks: "all",
        descriptors: None,
    },
    Siege {
        name: "few-descriptors",
        about: "65,536 addresses, a server with 1,024 descriptors",
        sources: 65_536,
        attacks: "all",
        descriptors: Some(1024),
    },
    Siege {
        name: "cookie",
        about: "65,536 addresses, every connection with the cookie",
        sources: 65_536,
        attacks: "cookie",
        descriptors: None,
    },
];

/// What came of one flood.
pub(crate) struct Outcome {
    pub(crate) about: &'static str,
    pub(crate) made: Made,
    pub(crate) counted: Counted,
    /// At most, as far as was looked.
    pub(crate) half_open: u64,
    pub(crate) descriptors: usize,
    /// In KiB: before, at most, and when it was over.
    pub(crate) resident: [u64; 3],
    /// Connections that the kernel did not take because too many waited to be accepted.
    pub(crate) overflows: u64,
    pub(crate) newcomers: Newcomers,
    /// Those who share the one address of the attacker.
    pub(crate) neighbours: Option<Newcomers>,
    /// Calls of the regulars, before and meanwhile.
    pub(crate) calls: [Vec<Duration>; 2],
}

/// Measures and says what came of it.
pub(crate) fn all(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    let runtime = tokio::runtime::Runtime::new()?;
    let mut outcomes = Vec::new();
    let wanted = |siege: &&Siege| {
        options
            .only
            .as_ref()
            .is_none_or(|only| only.iter().any(|name| name == siege.name))
    };
    for siege in SIEGES.iter().filter(wanted) {
        writeln!(out, "{}", siege.about)?;
        outcomes.push(runtime.block_on(measure(siege, options))?);
    }
    writeln!(out, "\n{}", table::markdown(&outcomes))?;
    Ok(())
}

async fn measure(siege: &Siege, options: &Options) -> Result<Outcome, Box<dyn Error>> {
    let mut server = Server::start(SERVER, siege.descriptors)?;
    let place: Locator = server.place.parse()?;
    let target: SocketAddr = place.rest().parse()?;
    let regulars = Regulars::connect(&place, &addresses(REGULARS, 8)).await;
    let before_calls = regulars.call(EVERY_CALL, 200).await;
    let guests = addresses(NEWCOMERS, 200);
    newcomers(&place, &guests, EVERY_NEWCOMER, 20, PATIENCE).await;

    let (before, overflows) = (server.counted()?, overflowed()?);
    let [resident_before, _] = server.resident()?;
    let attempts = options.per_s * options.seconds;
    let attacker = roles::start_attacker(
        target,
        (ATTACKERS, siege.sources),
        siege.attacks,
        [options.per_s, attempts],
    )?;
    let over = AtomicBool::new(false);
    let every = |each: Duration| {
        (Duration::from_secs(options.seconds.into()).as_millis() / each.as_millis()) as usize
    };
    let good = async {
        let behind = [ATTACKERS];
        let neighbours = async {
            match siege.sources {
                1 => {
                    Some(newcomers(&place, &behind, EVERY_NEIGHBOUR, every(EVERY_NEIGHBOUR), PATIENCE).await)
                }
                _ => None,
            }
        };
        let all = tokio::join!(
            regulars.call(EVERY_CALL, every(EVERY_CALL)),
            newcomers(&place, &guests, EVERY_NEWCOMER, every(EVERY_NEWCOMER), PATIENCE),
            neighbours
        );
        over.store(true, Ordering::Relaxed);
        all
    };
    let (mut half_open, mut descriptors) = (0, 0);
    let looked = async {
        let mut ticks = tokio::time::interval(EVERY_LOOK);
        while !over.load(Ordering::Relaxed) {
            ticks.tick().await;
            half_open = half_open.max(server.counted()?.half_open);
            descriptors = descriptors.max(server.descriptors()?);
        }
        Ok::<_, Box<dyn Error>>(())
    };
    let ((calls, newcomers, neighbours), looked) = tokio::join!(good, looked);
    looked?;
    let after = server.counted()?;
    let made =
        tokio::task::spawn_blocking(|| roles::made(attacker).map_err(|error| error.to_string())).await??;
    let [_, resident_most] = server.resident()?;
    // The last handshakes have ended by then, in time or not.
    let mut waited = 0;
    while server.counted()?.half_open > 0 && waited < 100 {
        tokio::time::sleep(EVERY_LOOK).await;
        waited += 1;
    }
    let [resident_after, _] = server.resident()?;
    Ok(Outcome {
        about: siege.about,
        made,
        counted: after.since(&before),
        half_open,
        descriptors,
        resident: [resident_before, resident_most, resident_after],
        overflows: overflowed()? - overflows,
        newcomers,
        neighbours,
        calls: [before_calls, calls],
    })
}

fn addresses(first: Ipv4Addr, count: u32) -> Vec<Ipv4Addr> {
    (0..count)
        .map(|number| Ipv4Addr::from_bits(first.to_bits() + number))
        .collect()
}

/// How many connections this network namespace has not taken because a queue was full.
fn overflowed() -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/net/netstat")?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, numbers) = (lines.next().ok_or("no names")?, lines.next().ok_or("no numbers")?);
    let mut both = names.split_whitespace().zip(numbers.split_whitespace());
    let overflows = both.find_map(|(name, number)| (name == "ListenOverflows").then_some(number));
    Ok(overflows.ok_or("it is not counted")?.parse()?)
}

const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const REGULARS: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
const NEWCOMERS: Ipv4Addr = Ipv4Addr::new(198, 18, 2, 1);
/// And the 65,535 that follow.
const ATTACKERS: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 0);

const EVERY_CALL: Duration = Duration::from_millis(10);
const EVERY_NEWCOMER: Duration = Duration::from_millis(50);
const EVERY_NEIGHBOUR: Duration = Duration::from_millis(200);
const EVERY_LOOK: Duration = Duration::from_millis(100);

/// How long somebody goes on trying to come in.
const PATIENCE: Duration = Duration::from_secs(10);
