//! What a file of the quality of service says, and what wrong ones are told.

use std::num::NonZeroU64;
use std::time::Duration;

use proptest::prelude::*;
use valkyrie_endpoint::{AdmissionLimits, CriticalRate, DelayTarget, LimitChanges, Shares};

use super::*;
use crate::Balance;

fn policy(text: &str) -> QosPolicy {
    QosPolicy::parse(&format!("version = 1\n{text}")).unwrap_or_else(|error| panic!("{error}"))
}

/// Line, column and message of every mistake.
fn faults(text: &str) -> Vec<(usize, usize, String)> {
    match QosPolicy::parse(&format!("version = 1\n{text}")) {
        Ok(policy) => panic!("this was read: {policy:?}"),
        Err(error) => error
            .faults()
            .iter()
            .map(|fault| (fault.line, fault.column, fault.message.clone()))
            .collect(),
    }
}

#[test]
fn a_file_that_says_nothing_changes_nothing() {
    let policy = policy("");
    assert_eq!(policy, QosPolicy::default());
    assert_eq!(*policy.qos(), Qos::default());
    assert_eq!(*policy.service("any"), ServicePolicy::default());
}

#[test]
fn everything_is_read_as_it_is_written() {
    let policy = policy(EXAMPLE.trim_start_matches("version = 1"));
    let wanted = Qos {
        // 30 of 50, 15 of 20.
        shares: Some(Shares {
            system: 500,
            job: 600,
            data: 750,
        }),
        critical: Some(CriticalRate {
            bytes_per_second: 2 << 20,
            burst: 128 << 10,
        }),
        data_delay_target: Some(DelayTarget(Duration::from_micros(12_500))),
        limits: LimitChanges {
            max_message: Some(8 << 20),
            max_exchanges: Some(1000),
            reassembly_max: Some(16 << 20),
            ..LimitChanges::default()
        },
        admission: Some(AdmissionLimits {
            calls: 5000,
            system: 1000,
            job: 900,
            data: 700,
            bulk: 255,
        }),
        capacity: NonZeroU64::new(12_500_000),
    };
    assert_eq!(*policy.qos(), wanted);
    let store = policy.service("store");
    assert_eq!(store.balance, Balance::ByKey);
    assert_eq!(store.subset, Some(20));
    assert_eq!(store.retries, 3);
    assert!(store.hedges("get") && !store.hedges("put"));
    assert_eq!(store.connection_age, Some(Duration::from_secs(600)));
    assert_eq!(policy.service("elsewhere").idempotent, Idempotent::All);
    assert_eq!(
        policy.services().map(|(name, _)| name).collect::<Vec<_>>(),
        ["store"]
    );
}

#[test]
fn shares_of_the_whole_become_shares_of_what_is_left() {
    let shares = |text: &str| policy(&format!("[shares]\n{text}")).qos().shares.unwrap();
    // The default, as it would be written.
    let default = shares("system = '80%'\njob = '12%'\ndata = '3.2%'\nbulk = '4.8%'");
    assert_eq!(default, Shares::default());
    for (system, job, data, bulk) in [
        (1, 1, 1, 997),
        (997, 1, 1, 1),
        (1, 997, 1, 1),
        (250, 250, 250, 250),
        (333, 333, 333, 1),
    ] {
        let text = format!("system = {system}\njob = {job}\ndata = {data}\nbulk = {bulk}");
        let found = shares(&text);
        let nested = Shares {
            system,
            job: found.job,
            data: found.data,
        };
        assert_eq!(found, nested);
        // What the ladder makes of it is the share that was asked for, to a thousandth.
        let rest = 1000.0 - f64::from(system);
        let job_part = rest * f64::from(found.job) / 1000.0;
        let data_part = (rest - job_part) * f64::from(found.data) / 1000.0;
        assert!((job_part - f64::from(job)).abs() <= 1.0, "{text}: {job_part}");
        assert!((data_part - f64::from(data)).abs() <= 1.0, "{text}: {data_part}");
    }
}

#[test]
fn a_mistake_is_shown_with_its_line_and_a_mark_below_it() {
    let text = "version = 1\n[shares]\nsystem = \"80%\"\njob = \"12%\"\ndata = \"3%\"\nbulks = \"5%\"\n[critical]\nrate = \"2 MB/s\"\n";
    let error = QosPolicy::parse(text).unwrap_err();
    assert_eq!(
        error.render("qos.toml"),
        "qos.toml:2:1: [shares] does not say what bulk gets\n\
         2 | [shares]\n  \
           | ^^^^^^^^\n  \
           = help: it names system, job, data and bulk, which are 100% together\n\
         qos.toml:6:1: [shares] has no `bulks`\n\
         6 | bulks = \"5%\"\n  \
           | ^^^^^\n  \
           = help: did you mean `bulk`?\n\
         qos.toml:8:8: `rate` cannot be read\n\
         8 | rate = \"2 MB/s\"\n  \
           |        ^^^^^^^^\n  \
           = help: write a number and a unit, as in `rate = \"1 MiB/s\"`\n"
    );
}

#[test]
fn each_wrong_value_is_found_where_it_stands_and_told_its_bounds() {
    for (text, line, column, message) in [
        (
            "[shares]\nsystem = '50%'\njob = '30%'\ndata = '10%'\nbulk = '5%'",
            2,
            1,
            "the shares are 95.0% together, not 100%",
        ),
        (
            "[shares]\nsystem = '100%'\njob = 1\ndata = 1\nbulk = 1",
            3,
            10,
            "`system` is not between 0.1% and 99.7%",
        ),
        (
            "[shares]\nsystem = 0\njob = 1\ndata = 2\nbulk = 997",
            3,
            10,
            "`system` is not between 0.1% and 99.7%",
        ),
        (
            "[shares]\nsystem = 'half'\njob = 1\ndata = 2\nbulk = 997",
            3,
            10,
            "`system` is no part of a whole",
        ),
        (
            "[critical]\nburst = '1 KiB'",
            3,
            9,
            "`burst` is not between 8 KiB and 64 MiB",
        ),
        ("[critical]\nburst = 5", 3, 9, "`burst` cannot be read"),
        (
            "[data]\ndelay_target = '11s'",
            3,
            16,
            "`delay_target` is not between 1ms and 10s",
        ),
        (
            "[limits]\nmax_exchanges = 70000",
            3,
            17,
            "`max_exchanges` is no number between 1 and 65535",
        ),
        (
            "[limits]\nmax_message = '65 MiB'",
            3,
            15,
            "`max_message` is not between 1 MiB and 64 MiB",
        ),
        (
            "[limits]\nreassembly_max = '100 MiB'",
            3,
            18,
            "`reassembly_max` is less than two of the largest messages",
        ),
        (
            "[admission]\nsystem = 5",
            2,
            1,
            "[admission] does not say how many calls may be in progress",
        ),
        (
            "[admission]\ncalls = 0",
            3,
            9,
            "`calls` is no number between 1 and 1000000000",
        ),
        (
            "[admission]\ncalls = 9\njob = '50%'\ndata = '60%'",
            5,
            8,
            "`data` may fill more than `job`, which is above it",
        ),
        (
            "[admission]\ncalls = 9\ncritical = '50%'",
            4,
            1,
            "[admission] has no `critical`",
        ),
        (
            "[services.a]\nbalance = 'by-kez'",
            3,
            11,
            "there is no balance `by-kez`",
        ),
        (
            "[services.a]\nretries = 6",
            3,
            11,
            "`retries` is no number between 0 and 5",
        ),
        (
            "[services.a]\nhedge = true",
            3,
            9,
            "`hedge` without anything `idempotent`",
        ),
        (
            "[services.a]\nidempotent = ['get', 7]",
            3,
            22,
            "a method is a text of 1 to 255 bytes",
        ),
        (
            "[services.a]\nconnection_age = '1s'",
            3,
            18,
            "`connection_age` is not between 10s and 2592000s",
        ),
        ("[services.'a*']\n", 2, 11, "the name of a service has no star"),
        ("services = 1", 2, 12, "`services` is a table of services"),
        ("limits = 1", 2, 10, "`limits` is a table"),
        (
            "[lnik]\ncolour = 1",
            2,
            2,
            "a policy of the quality of service has no `lnik`",
        ),
    ] {
        assert_eq!(faults(text), [(line, column, message.to_owned())], "{text}");
    }
}

#[test]
fn the_version_is_asked_for_and_sizes_are_bounded() {
    for text in ["", "version = 2", "version = '1'", "version = 0x1"] {
        assert_eq!(QosPolicy::parse(text).unwrap_err().faults()[0].line, 1, "{text}");
    }
    let long = format!("version = 1\n#{}", "x".repeat(QosPolicy::FILE_BYTES_MAX));
    assert!(
        QosPolicy::parse(&long)
            .unwrap_err()
            .to_string()
            .contains("longer than")
    );
    let many: String = (0..=QosPolicy::SERVICES_MAX)
        .map(|n| format!("[services.s{n}]\n"))
        .collect();
    assert_eq!(faults(&many).len(), 1);
    assert_eq!(faults(&"[[limits]]\n".repeat(100)).len(), 1);
    let wrong: String = (0..100).map(|n| format!("x{n} = 1\n")).collect();
    assert_eq!(faults(&wrong).len(), 20);
}

#[test]
fn a_handle_shows_what_was_put_in_force_last_with_its_version() {
    let handle = QosHandle::default();
    let reader = handle.clone();
    assert_eq!(reader.load(), (QosPolicy::default(), 1));
    let next = policy("[services.'*']\nretries = 0");
    assert_eq!(handle.store(next.clone()), 2);
    assert_eq!(reader.version(), 2);
    assert_eq!(reader.load(), (next, 2));
}

#[test]
fn the_example_of_the_book_is_read() {
    let page = format!("{}/../../docs/book/qos.md", env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(page).unwrap();
    let examples: Vec<_> = page.split("```toml\n").skip(1).collect();
    assert!(!examples.is_empty());
    for example in examples {
        let text = example.split("```").next().unwrap();
        QosPolicy::parse(text).unwrap_or_else(|error| panic!("{error}"));
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,200}") {
        let _ = QosPolicy::parse(&text);
    }

    #[test]
    fn a_file_with_a_byte_changed_is_read_or_refused_with_a_place(at in 0_usize..800, byte: u8) {
        let mut text = EXAMPLE.as_bytes().to_vec();
        let at = at % text.len();
        text[at] = byte;
        let text = String::from_utf8_lossy(&text);
        match QosPolicy::parse(&text) {
            Ok(policy) => {
                if let Some(admission) = &policy.qos().admission {
                    prop_assert!(admission.check().is_ok());
                }
            }
            Err(error) => {
                prop_assert!(!error.faults().is_empty());
                for fault in error.faults() {
                    prop_assert!(fault.line <= text.lines().count() + 1);
                }
            }
        }
    }

    #[test]
    fn shares_that_are_whole_are_read_and_starve_nobody(system in 1_u16..=997, a: u16, b: u16) {
        let job = 1 + a % (998 - system);
        let data = 1 + b % (999 - system - job);
        let bulk = 1000 - system - job - data;
        let text = format!("version = 1\n[shares]\nsystem = {system}\njob = {job}\ndata = {data}\nbulk = {bulk}\n");
        let shares = QosPolicy::parse(&text).unwrap().qos().shares.unwrap();
        for share in [shares.system, shares.job, shares.data] {
            prop_assert!((1..=999).contains(&share));
        }
    }
}

const EXAMPLE: &str = r#"version = 1
[shares]
system = "50%"
job = 300
data = "15.0 %"
bulk = "5%"
[critical]
rate = "2 MiB/s"
burst = "128 KiB"
[data]
delay_target = "12.5ms"
[link]
capacity = "100 Mbit/s"
[limits]
max_message = "8 MiB"
max_exchanges = 1000
reassembly_max = "16 MiB"
[admission]
calls = 5000
data = "70%"
bulk = "25.5%"
[services.store]
balance = "by-key"
subset = 20
retries = 3
hedge = true
idempotent = ["get", "list"]
connection_age = "10m"
[services."*"]
idempotent = true
"#;
