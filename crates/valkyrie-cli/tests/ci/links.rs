//! Links that break in the middle.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;

use crate::programs::{Server, runner, submit};
use crate::support::{Place, numbers};

/// A proxy that cuts its first `cuts` connections after some bytes, and then lets everything through.
struct Cutter {
    locator: String,
    cut: Arc<AtomicUsize>,
}

/// Bytes of one direction after which a connection is cut: in the middle of a log, and of a frame.
const CUT_AFTER: usize = 1_234_567;

impl Cutter {
    fn start(server: &str, cuts: usize) -> Self {
        let server = server.strip_prefix("tcp://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let locator = format!("tcp://{}", listener.local_addr().unwrap());
        let cut = Arc::new(AtomicUsize::new(0));
        let done = Arc::clone(&cut);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&server)) else {
                    return;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let done = Arc::clone(&done);
                    std::thread::spawn(move || pass(from, to, cuts, &done));
                }
            }
        });
        Self { locator, cut }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, cuts: usize, done: &AtomicUsize) {
    let mut buffer = vec![0; 16 << 10];
    let mut passed = 0;
    while let Ok(length) = from.read(&mut buffer) {
        if length == 0 || to.write_all(&buffer[..length]).is_err() {
            break;
        }
        passed += length;
        if passed > CUT_AFTER
            && done
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| {
                    (n < cuts).then_some(n + 1)
                })
                .is_ok()
        {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Twenty megabytes, so every cut falls into the log.
const LAST: u32 = 2_700_000;

#[test]
fn a_runner_whose_link_is_cut_loses_no_byte_and_keeps_its_job() {
    let place = Place::new();
    let mut server = Server::start(&place, &[]);
    let cutter = Cutter::start(&server.tcp, 4);
    let mut worker = runner(&place, &cutter.locator, &[]);
    worker.wait_for("registered");
    let pipeline = format!("steps: [{{run: 'seq 1 {LAST}; echo attempt $VALKYRIE_ATTEMPT'}}]\n");
    let ended = submit(&place, &server.uds, &pipeline, &["--log-dir", "logs"]).end();
    ended.assert_code(0);
    let mut wanted = numbers(LAST);
    wanted.extend_from_slice(b"attempt 1\n");
    assert!(
        std::fs::read(place.path("logs/main.log")).unwrap() == wanted,
        "the log differs"
    );
    assert_eq!(
        cutter.cut.load(Ordering::SeqCst),
        4,
        "the link was not cut as often as it should"
    );
    worker.signal(Signal::TERM);
    worker.end().assert_code(0).assert_out("connection lost");
    server.stop();
    place.assert_clean();
}

#[test]
fn a_watcher_whose_link_is_cut_goes_on_where_it_was() {
    let place = Place::new();
    let mut server = Server::start(&place, &[]);
    let mut worker = runner(&place, &server.uds, &[]);
    worker.wait_for("registered");
    let cutter = Cutter::start(&server.tcp, 3);
    let pipeline = format!("steps: [{{run: 'seq 1 {LAST}'}}]\n");
    let ended = submit(&place, &cutter.locator, &pipeline, &["--log-dir", "logs"]).end();
    ended.assert_code(0);
    assert!(
        std::fs::read(place.path("logs/main.log")).unwrap() == numbers(LAST),
        "the log differs"
    );
    assert_eq!(
        cutter.cut.load(Ordering::SeqCst),
        3,
        "the link was not cut as often as it should"
    );
    worker.signal(Signal::TERM);
    worker.end().assert_code(0);
    server.stop();
    place.assert_clean();
}
