//! A stream of replies between processes, over sockets: those that serve it are killed in the middle of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use valkyrie_endpoint::Services;
use valkyrie_router::{StreamRouter, Target};
use valkyrie_transport::Locator;
use valkyrie_transport_tcp::TcpTransport;

use crate::fleet::{Behaviour, HISTORY, endpoint, history, identity, word, word_at};

/// A node in a process of its own: this program once more, told to be [`serves`].
struct Process {
    child: Child,
    place: Locator,
}

impl Process {
    fn spawn() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "real::serves", "--ignored", "--nocapture"])
            // Its own end: it ends with whoever started it.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut places = lines.map(Result::unwrap).filter_map(|line| {
            let (_, place) = line.split_once(SERVES_AT)?;
            place.parse().ok()
        });
        let place = places.next().expect("it says where it serves");
        Self { child, place }
    }

    /// SIGKILL, where there are signals.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SERVES_AT: &str = "serves at ";

#[test]
#[ignore = "a process of the test below"]
fn serves() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let serving = runtime.block_on(async {
        let services = Services::builder().stream("orders", "history", |context, send, recv| {
            let behaviour = Arc::new(Mutex::new(Behaviour::Answers));
            history(context, send, recv, Arc::default(), behaviour)
        });
        let endpoint = endpoint(TcpTransport::new(), identity("node").0)
            .services(services.build().unwrap())
            .build()
            .unwrap();
        let place = endpoint.listen("tcp://127.0.0.1:0").await.unwrap();
        #[allow(clippy::print_stdout, reason = "it is how it is found")]
        {
            println!("{SERVES_AT}{place}");
        }
        endpoint
    });
    // Until whoever started it ends.
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    drop(serving);
}

#[tokio::test]
async fn a_stream_outlives_the_processes_that_serve_it() {
    let mut processes: Vec<Process> = (0..3).map(|_| Process::spawn()).collect();
    let places: Vec<Locator> = processes.iter().map(|process| process.place.clone()).collect();
    let dialler = endpoint(TcpTransport::new(), identity("router").0);
    let router = StreamRouter::builder(dialler.build().unwrap())
        .fixed(word("orders"), places)
        .build();
    let route = router.route(Target::service(word("orders"))).unwrap();
    // So large that no buffer holds what is left.
    let after = |received: u64| Bytes::from([received.to_be_bytes(), 2048_u64.to_be_bytes()].concat());
    let reading = async {
        let mut replies = route.replies(("orders", "history"), after).await.unwrap();
        let mut kills = [HISTORY / 10, HISTORY / 2].into_iter().peekable();
        while let Some(reply) = replies.recv().await.unwrap() {
            let number = word_at(&reply.payload, 0).unwrap();
            assert_eq!(number, replies.received(), "each once and in order");
            if kills.next_if_eq(&number).is_some() {
                let place = replies.locator().unwrap();
                let serving = processes.iter_mut().find(|process| process.place == place);
                serving.unwrap().kill();
            }
        }
        replies
    };
    let replies = tokio::time::timeout(Duration::from_secs(60), reading)
        .await
        .unwrap();
    assert_eq!(replies.received(), HISTORY);
    assert_eq!(replies.moves(), 2);
}
