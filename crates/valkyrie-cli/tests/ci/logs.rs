//! Long logs: complete, in order, and not in memory.

use crate::programs::{Server, runner, submit};
use crate::support::{Place, Running, numbers};
use rustix::process::Signal;

/// What runner and server may have had in memory at once. The log is longer than that.
const RESIDENT_KIB_MAX: u64 = 64 * 1024;

/// Prints the numbers to `last`, then the most memory that runner and server ever had.
fn pipeline(last: u32) -> String {
    format!(
        "jobs:
  long:
    steps: [{{name: print, run: 'seq 1 {last}'}}]
  memory:
    needs: long
    steps:
      - run: |
          server=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$PPID/status)
          for runner in $(cat /proc/$server/task/*/children); do
            echo runner-kib $(sed -n 's/^VmHWM:[[:space:]]*\\([0-9]*\\).*/\\1/p' /proc/$runner/status)
          done
          echo server-kib $(sed -n 's/^VmHWM:[[:space:]]*\\([0-9]*\\).*/\\1/p' /proc/$server/status)
"
    )
}

fn a_long_log_arrives_whole(last: u32) {
    let place = Place::new();
    let file = place.pipeline(&pipeline(last));
    let mut command = place.valkyrie(["ci", "run", "--log-dir", "logs"]);
    let mut child = command
        .arg(file)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
    let same = std::process::Command::new("sh")
        .args(["-c", "seq 1 \"$0\" | cmp - \"$1\""])
        .args([
            last.to_string(),
            place.path("logs/long.log").display().to_string(),
        ])
        .output()
        .unwrap();
    assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
    let memory = std::fs::read_to_string(place.path("logs/memory.log")).unwrap();
    let figures: Vec<u64> = memory
        .lines()
        .map(|line| line.split(' ').nth(1).unwrap().parse().unwrap())
        .collect();
    assert_eq!(figures.len(), 3, "two runners and a server: {memory}");
    assert!(figures.iter().all(|kib| *kib < RESIDENT_KIB_MAX), "{memory}");
    place.assert_clean();
}

#[test]
fn a_hundred_megabytes_arrive_whole_and_in_order() {
    a_long_log_arrives_whole(12_000_000);
}

/// A gigabyte: run it by hand, it takes minutes without optimisation.
#[test]
#[ignore = "a gigabyte takes minutes"]
fn a_gigabyte_arrives_whole_and_in_order() {
    a_long_log_arrives_whole(120_000_000);
}

#[test]
fn lines_on_standard_output_are_whole_and_in_order() {
    let place = Place::new();
    let ended = place.ci_run("steps: [{run: 'seq 1 200000'}]\n").end();
    ended.assert_code(0);
    let lines = ended.out.lines().filter_map(|line| line.strip_prefix("main | "));
    assert!(
        lines.eq((1..=200_000).map(|number| number.to_string())),
        "lines are missing or out of order"
    );
}

#[test]
fn a_watcher_that_does_not_read_holds_up_nobody() {
    let place = Place::new();
    let mut server = Server::start(&place, &[]);
    let mut worker = runner(&place, &server.tcp, &[]);
    worker.wait_for("registered");
    let file = place.pipeline("steps: [{run: 'seq 1 3000000'}]\n");
    // Its output goes into a pipe that is read only after the run is over.
    let mut slow = place
        .valkyrie(["ci", "submit", "--server", &server.tcp])
        .arg(file)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    worker.wait_for("took main");
    let mut other = place.valkyrie(["ci", "watch", "--server", &server.uds, "--no-logs", "1"]);
    Running::start(&mut other).end().assert_code(0);
    worker.wait_for("main succeeded");
    let mut out = String::new();
    std::io::Read::read_to_string(&mut slow.stdout.take().unwrap(), &mut out).unwrap();
    assert!(slow.wait().unwrap().success());
    let lines = out.lines().filter(|line| line.starts_with("main | "));
    assert_eq!(lines.count(), 3_000_000);
    worker.signal(Signal::TERM);
    worker.end().assert_code(0);
    server.stop();
}

#[test]
fn bytes_that_are_no_text_reach_the_file_untouched() {
    let place = Place::new();
    let mut server = Server::start(&place, &[]);
    let mut worker = runner(&place, &server.uds, &[]);
    worker.wait_for("registered");
    let pipeline = "steps: [{run: 'printf \"\\000\\377\\033[31m\\015\\n\"; seq 1 1000'}]\n";
    submit(&place, &server.uds, pipeline, &["--log-dir", "logs"])
        .end()
        .assert_code(0);
    let mut wanted = b"\0\xff\x1b[31m\r\n".to_vec();
    wanted.extend(numbers(1000));
    assert_eq!(std::fs::read(place.path("logs/main.log")).unwrap(), wanted);
    worker.signal(Signal::TERM);
    worker.end().assert_code(0);
    server.stop();
}
