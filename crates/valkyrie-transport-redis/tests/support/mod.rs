//! A redis-server of a test's own, on a port of its own and with a folder of its own.

#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running redis-server, killed when this is dropped.
pub(crate) struct Redis {
    child: Child,
    pub(crate) port: u16,
    arguments: Vec<String>,
    folder: TempDir,
}

impl Redis {
    /// Starts one that anybody on this machine may use, or says why it cannot.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(|_| Vec::new())
    }

    /// Starts one with more arguments, made from its folder. They are those of the command line of redis-server.
    pub(crate) fn start_with(arguments: impl FnOnce(&Path) -> Vec<String>) -> Option<Self> {
        if !*INSTALLED {
            let why = "SKIPPED: there is no redis-server on this machine; apt-get install redis-server";
            let _ = writeln!(std::io::stderr(), "{why}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let arguments = arguments(folder.path());
        // Between finding a port free and using it somebody else may; then the next is tried.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            if let Some(child) = launch(port, &arguments, folder.path()) {
                return Some(Self {
                    child,
                    port,
                    arguments,
                    folder,
                });
            }
        }
        panic!("no redis-server starts: {:?}", arguments);
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A locator here: `redis://127.0.0.1:port/name`.
    pub(crate) fn at(&self, name: &str) -> valkyrie_transport::Locator {
        format!("redis://127.0.0.1:{}/{name}", self.port).parse().unwrap()
    }

    /// Kills it at once, without a farewell to anybody.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again at the same port.
    pub(crate) fn restart(&mut self) {
        let give_up = Instant::now() + DEADLINE;
        loop {
            if let Some(child) = launch(self.port, &self.arguments, self.folder.path()) {
                self.child = child;
                return;
            }
            assert!(Instant::now() < give_up, "redis-server does not start again");
        }
    }

    /// Says something to it, in plain text, and gives the first line that it answers.
    pub(crate) fn say(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        writeln!(stream, "{command}\r").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// A section of what it says about itself.
    pub(crate) fn info(&self, section: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "INFO {section}\r\nQUIT\r\n").unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        answer
    }

    /// Sends what it is given and waits for nothing but that the server has taken it.
    pub(crate) fn send(&self, bytes: &[u8]) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(bytes).unwrap();
        stream.write_all(b"ECHO done\r\n").unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert!(lines.any(|line| line.unwrap() == "done"));
    }

    /// Publishes bytes on a channel as any client may, and gives how many were told.
    pub(crate) fn publish(&self, channel: &str, payload: &[u8]) -> i64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = format!(
            "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n${}\r\n",
            channel.len(),
            payload.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(payload).unwrap();
        stream.write_all(b"\r\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.trim_end().trim_start_matches(':').parse().unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server and waits until it says that it takes connections; `None` where it ends instead.
fn launch(port: u16, arguments: &[String], folder: &Path) -> Option<Child> {
    let mut command = Command::new("redis-server");
    // A later `--port` in the arguments goes before this one: with TLS there is none in plain.
    command.args([
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
    ]);
    command.arg("--dir").arg(folder);
    command.args(
        arguments
            .iter()
            .map(|argument| argument.replace("{port}", &port.to_string())),
    );
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    loop {
        match lines.next() {
            Some(Ok(line)) if line.contains("Ready to accept connections") => break,
            Some(Ok(_)) => {}
            _ => {
                let _ = child.wait();
                return None;
            }
        }
    }
    // A server whose output nobody reads stops when the pipe is full.
    std::thread::spawn(move || lines.for_each(drop));
    Some(child)
}

static INSTALLED: LazyLock<bool> = LazyLock::new(|| {
    Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
});

/// How long anything may take before a test gives up.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A client of the broker that is none of ours: it subscribes and reads what comes.
pub(crate) struct Raw(BufReader<TcpStream>);

impl Raw {
    pub(crate) fn subscribe(redis: &Redis, channel: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", redis.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "SUBSCRIBE {channel}\r\n").unwrap();
        let mut raw = Self(BufReader::new(stream));
        assert_eq!(raw.line(), "*3");
        assert_eq!(raw.bulk(), b"subscribe");
        assert_eq!(raw.bulk(), channel.as_bytes());
        assert_eq!(raw.line(), ":1");
        raw
    }

    /// The payload of the next message.
    pub(crate) fn message(&mut self) -> Vec<u8> {
        assert_eq!(self.line(), "*3");
        assert_eq!(self.bulk(), b"message");
        self.bulk();
        self.bulk()
    }

    fn bulk(&mut self) -> Vec<u8> {
        let line = self.line();
        let length: usize = line.strip_prefix('$').unwrap().parse().unwrap();
        let mut bytes = vec![0; length + 2];
        std::io::Read::read_exact(&mut self.0, &mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

/// Whether something holds soon enough.
pub(crate) async fn eventually(mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < give_up, "it does not come to hold");
        tokio::task::yield_now().await;
    }
}
