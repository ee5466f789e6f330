//! A process that adopts orphans reaps what steps leave behind. Alone in its binary, because
//! adoption is a property of the whole process.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::time::Duration;

use valkyrie_rustci::log::{LogRecord, LogWriter};
use valkyrie_rustci::pipeline::{Env, JobIndex};
use valkyrie_rustci::process::{Outcome, StepCommand, adopt_orphans, run_step};

#[tokio::test]
async fn steps_leave_no_zombies_with_an_adopting_runner() {
    adopt_orphans().unwrap();
    let env = Env::from([(String::from("PATH"), String::from("/usr/bin:/bin"))]);
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<LogRecord>(4);
    let collect = tokio::spawn(async move { while receiver.recv().await.is_some() {} });
    let mut log = LogWriter::new(JobIndex(0), sender);
    // Children of the group, children of children, and a daemon with a session of its own.
    let script = "for i in 1 2 3 4 5; do (sleep 1000 & sleep 1000) >/dev/null 2>&1 & done
        (setsid sh -c 'sleep 1000 & sleep 1000' >/dev/null 2>&1 &)";
    for number in 0..3 {
        let token = format!("adopted-{}-{number}", std::process::id());
        let command = StepCommand {
            run: script,
            env: &env,
            directory: Path::new("/"),
            timeout: Duration::from_secs(600),
            grace: Duration::from_secs(10),
            token: &token,
        };
        let report = run_step(command, &mut log, std::future::pending()).await;
        assert_eq!(report.outcome, Outcome::Exited { code: 0 });
        assert!(report.left_behind > 0);
    }
    drop(log);
    collect.await.unwrap();
    assert_eq!(
        children(),
        Vec::<String>::new(),
        "children are left, dead or alive"
    );
}

fn children() -> Vec<String> {
    let own = std::process::id().to_string();
    let stats = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    stats
        .filter(|stat| {
            let after = stat.rsplit(')').next().unwrap_or("");
            after.split_whitespace().nth(1) == Some(&own)
        })
        .collect()
}
