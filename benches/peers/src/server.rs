//! The second process: one contender's server, and the thread that the driver talks to.
//!
//! The driver writes a word on a line to standard input and reads a line from standard output: `cpu` answers the
//! processor time used, `memory` the memory held. The end of the input ends the process.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::address::{Address, Site};
use crate::contender::Contender;
use crate::cpu;
use crate::failure::Failure;

/// Serves until the driver goes away.
pub(crate) fn serve(contender: Contender, site: Site, pinned: bool) -> Result<(), Failure> {
    if pinned {
        cpu::pin(cpu::SERVER_PROCESSOR)?;
    }
    raise_descriptor_limit()?;
    std::thread::spawn(|| {
        let status = i32::from(answer_driver().is_err());
        std::process::exit(status);
    });
    runtime()?.block_on(contender.serve(site, Box::new(|address| println!("ready {address}"))))
}

/// One thread: what is compared is what one processor does on each side.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::io("start a runtime"))
}

/// Thousands of idle connections need as many descriptors.
pub(crate) fn raise_descriptor_limit() -> Result<(), Failure> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)
        .map_err(|errno| Failure::io("raise the number of open files")(errno.into()))
}

fn answer_driver() -> Result<(), Failure> {
    for line in io::stdin().lock().lines() {
        match line.map_err(Failure::io("read from the driver"))?.as_str() {
            "cpu" => println!("cpu {}", cpu::used().as_nanos()),
            "memory" => {
                let held = Memory::of_this_process()?;
                println!("memory {} {}", held.anonymous_kib, held.resident_kib);
            }
            other => {
                return Err(Failure::Control(format!(
                    "asked for `{other}`, which is nothing it knows"
                )));
            }
        }
    }
    Ok(())
}

/// What a process holds, in KiB.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Memory {
    /// Heap and stacks: what the program has asked for and touched.
    pub(crate) anonymous_kib: u64,
    /// All of its pages in memory, the program's text included.
    pub(crate) resident_kib: u64,
}

impl Memory {
    fn of_this_process() -> Result<Self, Failure> {
        let text = fs::read_to_string("/proc/self/smaps_rollup").map_err(Failure::io("read smaps_rollup"))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
                .ok_or_else(|| Failure::Control(format!("smaps_rollup has no `{name}`")))
        };
        Ok(Self {
            anonymous_kib: field("Anonymous:")?,
            resident_kib: field("Rss:")?,
        })
    }
}

/// The driver's handle of a server process; dropping it ends the process.
pub(crate) struct ServerProcess {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub(crate) address: Address,
}

impl ServerProcess {
    /// Starts this program again as a server and waits until it listens.
    pub(crate) fn start(contender: Contender, site: Site, pinned: bool) -> Result<Self, Failure> {
        let refused = Failure::io("start a server process");
        let program = std::env::current_exe().map_err(&refused)?;
        let mut command = Command::new(program);
        command.args(["--serve", contender.name(), "--socket", site.socket.name()]);
        if let Some(broker) = site.broker {
            command.args(["--broker", &broker.to_string()]);
        }
        if pinned {
            command.arg("--pin");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(&refused)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::Control("was started without pipes".to_owned()));
        };
        let unknown = Address::Uds(Default::default());
        let mut server = Self {
            child,
            input: Some(input),
            output: BufReader::new(output),
            address: unknown,
        };
        server.address = server.read("ready")?.parse()?;
        Ok(server)
    }

    /// The processor time it has used until now.
    pub(crate) fn cpu(&mut self) -> Result<Duration, Failure> {
        self.ask("cpu").map(|[nanos]| Duration::from_nanos(nanos))
    }

    /// The memory it holds now.
    pub(crate) fn memory(&mut self) -> Result<Memory, Failure> {
        self.ask("memory").map(|[anonymous_kib, resident_kib]| Memory {
            anonymous_kib,
            resident_kib,
        })
    }

    fn ask<const N: usize>(&mut self, word: &str) -> Result<[u64; N], Failure> {
        if let Some(input) = &mut self.input {
            writeln!(input, "{word}").map_err(Failure::io("ask a server process"))?;
        }
        let answer = self.read(word)?;
        let numbers: Vec<u64> = answer
            .split(' ')
            .filter_map(|number| number.parse().ok())
            .collect();
        numbers
            .try_into()
            .map_err(|_| Failure::Control(format!("answered `{answer}` to `{word}`")))
    }

    fn read(&mut self, word: &str) -> Result<String, Failure> {
        let mut line = String::new();
        let length = self
            .output
            .read_line(&mut line)
            .map_err(Failure::io("read from a server process"))?;
        match line.trim_end().strip_prefix(word) {
            Some(rest) => Ok(rest.trim_start().to_owned()),
            None if length == 0 => Err(Failure::Control("ended by itself".to_owned())),
            None => Err(Failure::Control(format!(
                "said `{}` instead of `{word}`",
                line.trim_end()
            ))),
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // The end of its input ends it. It is killed if that takes long; what is gone already is fine.
        self.input = None;
        let asked = Instant::now();
        while asked.elapsed() < FAREWELL && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(FAREWELL / 1000);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Address::Uds(path) = &self.address {
            let _ = fs::remove_file(path);
        }
    }
}

/// A server process has nothing to do at its end but to go. One that is run under a profiler writes its findings.
const FAREWELL: Duration = Duration::from_secs(10);
