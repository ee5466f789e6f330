//! Fleets without a store: members as processes of their own, of which some are killed, stopped, cut off and told to leave.
//!
//! Their times are three times the default's, so that a machine that is busy with other tests keeps up. Nothing here is timed.

mod fleet;

use std::collections::BTreeSet;
use std::io::BufRead;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use self::fleet::{Fleet, MEMBERS};
use crate::program::Program;
use crate::support::{
    Server, assert_code, home, json_lines, other_home, run, run_as, stderr, tell, valkyrie,
};

#[test]
fn eight_members_see_who_is_stopped_who_leaves_and_who_is_killed_and_lose_nobody_else() {
    let mut fleet = Fleet::on_this_machine();
    let mut watch = fleet.watch(0);

    let stopped = 3;
    let before = fleet.listed(0, stopped);
    fleet.signal(stopped, Signal::STOP);
    fleet.each_but(&[stopped], |said| said.wait_for("failed", stopped));
    assert_eq!(watch.wait_for("gone")["cause"], "expired");
    fleet.signal(stopped, Signal::CONT);
    fleet.each_but(&[stopped], |said| {
        let back = said.wait_for("joined", stopped);
        // It is the same life, which has answered what was said against it.
        assert_eq!(back["incarnation"], before["incarnation"]);
        assert!(back["sequence"].as_u64() > before["sequence"].as_u64());
    });
    assert_eq!(watch.wait_for("registered")["id"], before["id"]);
    fleet.all_list(&(0..MEMBERS).collect());

    let leaving = 5;
    assert_eq!(fleet.end(leaving, Signal::INT), Some(0));
    fleet.each_but(&[leaving], |said| said.wait_for("left", leaving));
    assert_eq!(watch.wait_for("gone")["cause"], "deleted");

    let killed = 6;
    assert_eq!(fleet.end(killed, Signal::KILL), None);
    fleet.each_but(&[leaving, killed], |said| said.wait_for("failed", killed));
    assert_eq!(watch.wait_for("gone")["cause"], "expired");
    let rest: BTreeSet<usize> = (0..MEMBERS)
        .filter(|at| *at != leaving && *at != killed)
        .collect();
    fleet.all_list(&rest);

    for at in &rest {
        let lost = fleet.lost_by(*at);
        let expected: &[usize] = match *at == stopped {
            true => &[leaving, killed],
            false => &[stopped, leaving, killed],
        };
        assert_eq!(lost, expected, "lost by member {at}");
    }
}

#[test]
fn a_member_that_was_cut_off_and_the_others_find_each_other_again() {
    let mut fleet = match Fleet::in_namespaces() {
        Ok(fleet) => fleet,
        Err(missing) => return tell(&format!("NOT TESTED: {missing}")),
    };
    let cut = MEMBERS - 1;
    fleet.cut(cut);
    fleet.each_but(&[cut], |said| said.wait_for("failed", cut));
    for other in 0..cut {
        fleet.said(cut).wait_for("failed", other);
    }
    fleet.heal(cut);
    fleet.each_but(&[cut], |said| said.wait_for("joined", cut));
    for other in 0..cut {
        fleet.said(cut).wait_for("joined", other);
    }
    fleet.all_list(&(0..MEMBERS).collect());
    for at in 0..cut {
        assert_eq!(fleet.lost_by(at), [cut], "lost by member {at}");
    }
}

fn ask(locator: &str, args: &[&str]) -> std::process::Output {
    let mut all = vec!["registry"];
    all.extend_from_slice(args);
    all.extend(["--registry", locator]);
    run(all)
}

#[test]
fn a_node_that_serves_is_found_by_what_it_offers_and_written_by_nobody() {
    let server = [
        "--listen",
        "tcp://127.0.0.1:0",
        "--swim",
        "--name",
        "web-1",
        "--zone",
        "eu-1",
    ];
    let server = Server::start_as(&other_home("web"), &server);
    let join = [
        "serve",
        "--listen",
        "tcp://127.0.0.1:0",
        "--swim",
        "--join",
        server.locator(),
    ];
    let mut other = Program::start(&other_home("other"), &join);
    let place = other.event()["locator"].as_str().expect("a locator").to_owned();
    assert_eq!(other.wait_for("joined")["agent"]["name"], "web-1");

    let found = ask(&place, &["ls", "--service", "echo", "--zone", "eu-1", "--json"]);
    assert_code(&found, 0);
    let agents = &json_lines(&found)[0]["agents"];
    assert_eq!((&agents[0]["name"], &agents[1]), (&"web-1".into(), &Value::Null));
    let at = agents[0]["locators"][0].as_str().expect("a locator");
    assert_code(&run(["call", at, "echo", "echo", "--data", "hello"]), 0);
    assert_code(&ask(&place, &["health"]), 0);

    for refused in [
        &["put", "web-2", "tcp://10.0.0.1:7000"][..],
        &["put", "web-2", "tcp://10.0.0.1:7000", "--once"],
        &["rm", "web-1"],
    ] {
        let refused = ask(&place, refused);
        assert_code(&refused, 1);
        let text = stderr(&refused);
        assert!(
            text.contains("can only be read") && text.contains("--swim"),
            "{text}"
        );
    }
    // Not even by who has the identity of the entry.
    let own = run_as(
        &other_home("web"),
        ["registry", "rm", "web-1", "--registry", &place],
    );
    assert_code(&own, 1);
    assert!(stderr(&own).contains("can only be read"), "{}", stderr(&own));
}

#[test]
fn two_processes_that_are_one_member_are_told_so() {
    let serve = ["serve", "--listen", "tcp://127.0.0.1:0", "--swim"];
    let mut first = Program::start(&home(), &serve);
    let place = first.event()["locator"].as_str().expect("a locator").to_owned();
    let start = |instance: &[&str]| {
        let mut command = valkyrie(["registry", "--json"]);
        command.args(serve).args(["--join", &place]).args(instance);
        command.stderr(Stdio::piped());
        Program::spawn(command)
    };
    let mut second = start(&[]);
    let told = second.errors().lines().map_while(Result::ok);
    assert!(
        told.into_iter()
            .any(|line| line.contains("two processes have one identity and instance")),
        "it says nothing"
    );
    // With another instance it is another member.
    start(&["--instance", "second"]).wait_for("joined");
    first.wait_for("joined");
}

#[test]
fn what_no_member_can_be_is_told_before_anything_begins() {
    let serve = |args: &[&str]| {
        let mut all = vec!["registry", "serve", "--listen"];
        all.extend_from_slice(args);
        run(all)
    };
    let anywhere = serve(&["tcp://0.0.0.0:0", "--swim"]);
    assert_code(&anywhere, 2);
    assert!(stderr(&anywhere).contains("--advertise"), "{}", stderr(&anywhere));
    let nobody = "SHA256:u2sYnw2sVxfrYLcTLz5TIT/OgGZToDc2C5gBg4Y9V3E";
    let place = "tcp://127.0.0.1:1";
    for bad in [
        &["tcp://127.0.0.1:0", "--memory", "--join", place][..],
        &["tcp://127.0.0.1:0", "--swim", "--data", "somewhere"],
        &["tcp://127.0.0.1:0", "--swim", "--trust", nobody],
        &[
            "tcp://127.0.0.1:0",
            "--swim",
            "--join",
            place,
            "--round-trip",
            "0s",
        ],
        &["tcp://127.0.0.1:0", "--swim", "--spiffe"],
        &[
            "tcp://127.0.0.1:0",
            "--swim",
            "--join",
            place,
            "--join",
            place,
            "--join",
            place,
            "--trust",
            nobody,
            "--trust",
            nobody,
        ],
    ] {
        assert_code(&serve(bad), 2);
    }
    let server = Server::start_as(&other_home("web"), &["--listen", "tcp://127.0.0.1:0", "--swim"]);
    let distrusted = serve(&[
        "tcp://127.0.0.1:0",
        "--swim",
        "--join",
        server.locator(),
        "--trust",
        nobody,
    ]);
    assert_code(&distrusted, 7);
    assert!(stderr(&distrusted).contains("--trust"), "{}", stderr(&distrusted));
}

/// How long it takes until every other member has declared one that was killed, at the default's times. It measures, and asserts nothing:
/// `cargo test -p valkyrie-cli --test it -- --ignored --nocapture until_a_crash_is_declared`
#[test]
#[ignore = "it measures, and wants a machine to itself"]
fn until_a_crash_is_declared_among_eight() {
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for run in 0..20 {
        let mut fleet = Fleet::at_the_default_times();
        let killed = 1 + run % (MEMBERS - 1);
        let since = std::time::Instant::now();
        fleet.end(killed, Signal::KILL);
        let mut noticed = fleet.when_lost(killed, since);
        noticed.sort();
        first.push(noticed[0]);
        last.push(noticed[noticed.len() - 1]);
    }
    for (what, mut times) in [("the first", first), ("the last", last)] {
        times.sort();
        let secs = |at: usize| times[at].as_secs_f64();
        tell(&format!(
            "{what} of seven declares it after {:.2} to {:.2} s, {:.2} s in the middle of {} runs",
            secs(0),
            secs(times.len() - 1),
            secs(times.len() / 2),
            times.len()
        ));
    }
}
