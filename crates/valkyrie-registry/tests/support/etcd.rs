//! An etcd of a test's own: one member or several, on ports of their own, with folders of their own.

#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use valkyrie_registry::etcd::EtcdOptions;
use valkyrie_registry::store::{Outcome, Revision, Store, Txn};
use valkyrie_registry::{EtcdStore, Key};

/// A running etcd. Its members are killed when this is dropped.
pub(crate) struct Etcd {
    members: Vec<Member>,
    _folder: TempDir,
}

struct Member {
    child: Child,
    arguments: Vec<String>,
    endpoint: String,
}

impl Etcd {
    /// Starts one of so many members, or says why it cannot.
    pub(crate) fn start(count: usize) -> Option<Self> {
        Self::start_with(count, "http", &[])
    }

    /// Starts one whose members are at a scheme, with more arguments.
    pub(crate) fn start_with(count: usize, scheme: &str, more: &[String]) -> Option<Self> {
        if !*INSTALLED {
            let why = "SKIPPED: there is no etcd on this machine; apt-get install etcd-server";
            let _ = writeln!(std::io::stderr(), "{why}");
            return None;
        }
        // Between finding ports free and using them somebody else may; then others are tried.
        for _ in 0..20 {
            if let Some(started) = Self::try_start(count, scheme, more) {
                return Some(started);
            }
        }
        panic!("no etcd starts");
    }

    fn try_start(count: usize, scheme: &str, more: &[String]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let ports = free_ports(2 * count);
        let peer = |index: usize| format!("http://127.0.0.1:{}", ports[count + index]);
        let peers: Vec<_> = (0..count)
            .map(|index| format!("m{index}={}", peer(index)))
            .collect();
        let mut members = Vec::new();
        let mut logs = Vec::new();
        for (index, port) in ports.iter().enumerate().take(count) {
            let endpoint = format!("{scheme}://127.0.0.1:{port}");
            let data: PathBuf = folder.path().join(format!("m{index}"));
            let mut arguments: Vec<String> = [
                ("--name", format!("m{index}")),
                ("--data-dir", data.display().to_string()),
                ("--listen-client-urls", endpoint.clone()),
                ("--advertise-client-urls", endpoint.clone()),
                ("--listen-peer-urls", peer(index)),
                ("--initial-advertise-peer-urls", peer(index)),
                ("--initial-cluster", peers.join(",")),
                ("--initial-cluster-token", folder.path().display().to_string()),
                ("--logger", "zap".to_owned()),
                ("--log-outputs", "stderr".to_owned()),
            ]
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect();
            arguments.extend_from_slice(more);
            let (child, log) = launch(&arguments);
            logs.push(log);
            members.push(Member {
                child,
                arguments,
                endpoint,
            });
        }
        // Made before anybody waits, so that those that run are killed if one does not.
        let started = Self {
            members,
            _folder: folder,
        };
        logs.into_iter().all(wait_until_ready).then_some(started)
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn endpoint(&self, index: usize) -> &str {
        &self.members[index].endpoint
    }

    /// Every member, the given one first, which is the one that is asked as long as it answers.
    pub(crate) fn options_from(&self, first: usize) -> EtcdOptions {
        let count = self.len();
        EtcdOptions::new((0..count).map(|index| self.endpoint((first + index) % count)))
    }

    pub(crate) fn options(&self) -> EtcdOptions {
        self.options_from(0)
    }

    /// A store that asks one member first and the others after it.
    pub(crate) async fn store_from(&self, first: usize) -> EtcdStore {
        EtcdStore::connect(self.options_from(first)).await.unwrap()
    }

    /// A store that knows one member alone.
    pub(crate) async fn store_at(&self, index: usize) -> EtcdStore {
        EtcdStore::connect(EtcdOptions::new([self.endpoint(index)]))
            .await
            .unwrap()
    }

    fn signal(&self, index: usize, signal: Signal) {
        let pid = Pid::from_child(&self.members[index].child);
        kill_process(pid, signal).unwrap();
    }

    /// Stops a member where it is: its connections stay open, and nothing is answered.
    pub(crate) fn freeze(&self, index: usize) {
        self.signal(index, Signal::STOP);
    }

    pub(crate) fn thaw(&self, index: usize) {
        self.signal(index, Signal::CONT);
    }

    /// Kills a member, without a farewell to anybody.
    pub(crate) fn kill(&mut self, index: usize) {
        self.members[index].child.kill().unwrap();
        self.members[index].child.wait().unwrap();
    }

    /// Starts a member that was killed, from what it kept.
    pub(crate) fn restart(&mut self, index: usize) {
        let (child, log) = launch(&self.members[index].arguments);
        self.members[index].child = child;
        assert!(wait_until_ready(log), "etcd does not start again");
    }

    /// A client of somebody else's.
    pub(crate) async fn client(&self, index: usize) -> Client {
        let options = ConnectOptions::new().with_timeout(DEADLINE);
        Client::connect([self.endpoint(index)], Some(options))
            .await
            .unwrap()
    }

    /// Which member leads, by the word of one of them.
    pub(crate) async fn leader_by(&self, asked: usize) -> usize {
        let led = self.client(asked).await.status().await.unwrap().leader();
        for index in 0..self.len() {
            let status = self.client(index).await.status().await.unwrap();
            if status.header().unwrap().member_id() == led {
                return index;
            }
        }
        panic!("nobody leads");
    }

    /// Forgets what was before a revision, on every member by the time that this is over.
    pub(crate) async fn compact(&self, asked: usize, revision: Revision) {
        let revision = i64::try_from(revision.number()).unwrap();
        let mut client = self.client(asked).await;
        client.compact(revision, None).await.unwrap();
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

/// Ports that nobody has at the moment, each another.
fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    held.iter()
        .map(|held| held.local_addr().unwrap().port())
        .collect()
}

type Log = std::io::Lines<BufReader<std::process::ChildStderr>>;

fn launch(arguments: &[String]) -> (Child, Log) {
    let mut child = Command::new(ETCD)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    (child, lines)
}

/// Waits until a member says that it serves clients, which it does when it has a leader; false where it ends instead.
fn wait_until_ready(mut log: Log) -> bool {
    loop {
        match log.next() {
            Some(Ok(line)) if line.contains("serving client traffic") => break,
            Some(Ok(_)) => {}
            _ => return false,
        }
    }
    // A server whose output nobody reads stops when the pipe is full.
    std::thread::spawn(move || log.for_each(drop));
    true
}

static INSTALLED: LazyLock<bool> = LazyLock::new(|| {
    Command::new(ETCD)
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
});

pub(crate) fn key(text: &str) -> Key {
    text.parse().unwrap()
}

/// Writes what must be written.
pub(crate) async fn put(store: &dyn Store, name: &str, value: &str) -> Revision {
    let txn = Txn::new().put(key(name), value.to_owned().into(), None);
    let answer = store.commit(txn).await.unwrap();
    assert_eq!(answer.value, Outcome::Committed);
    answer.revision
}

const ETCD: &str = "etcd";

/// How long anything may take before a test gives up.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
