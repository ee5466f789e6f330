//! The figures as a table of Markdown, a column for each flood.

use std::fmt::Write;
use std::time::Duration;

use crate::measure::Outcome;
use crate::people::Newcomers;

/// What a row says of an outcome.
type Cell = fn(&Outcome) -> String;

pub(crate) fn markdown(outcomes: &[Outcome]) -> String {
    let mut text = String::from("| |");
    outcomes
        .iter()
        .for_each(|outcome| text += &format!(" {} |", outcome.about));
    text += "\n|---|";
    outcomes.iter().for_each(|_| text += "---|");
    text += "\n";
    for (name, cell) in ROWS {
        text += &format!("| {name} |");
        for outcome in outcomes {
            // Writing to a string does not fail.
            let _ = write!(text, " {} |", cell(outcome));
        }
        text += "\n";
    }
    text
}

const ROWS: [(&str, Cell); 21] = [
    ("attempts a second", |of| {
        let all = of.made.connected + of.made.unconnected;
        format!("{:.0}", f64::from(all) / of.made.time.as_secs_f64())
    }),
    ("connections that TCP made, and did not", |of| {
        format!("{}, {}", of.made.connected, of.made.unconnected)
    }),
    ("`opened`: let in", |of| of.counted.opened.to_string()),
    ("`refused_by_address`", |of| {
        of.counted.refused_by_address.to_string()
    }),
    ("`evicted`: made way for newer ones", |of| {
        of.counted.evicted.to_string()
    }),
    ("`shortages`: times that descriptors were short", |of| {
        of.counted.shortages.to_string()
    }),
    ("`challenged`: asked for a cookie", |of| {
        of.counted.challenged.to_string()
    }),
    ("`computed`: handshakes begun", |of| {
        of.counted.computed.to_string()
    }),
    ("`refused_in_total`", |of| of.counted.refused_in_total.to_string()),
    ("`handshakes_failed`", |of| {
        of.counted.handshakes_failed.to_string()
    }),
    ("half-open at most", |of| of.half_open.to_string()),
    ("addresses remembered", |of| of.counted.addresses.to_string()),
    ("descriptors at most", |of| of.descriptors.to_string()),
    ("not taken by the kernel, its queue being full", |of| {
        of.overflows.to_string()
    }),
    ("server's processor time", |of| {
        let seconds = of.counted.cpu_us as f64 / 1e6;
        format!(
            "{:.1} s, {:.0} µs an attempt",
            seconds,
            of.counted.cpu_us as f64 / f64::from(of.made.connected)
        )
    }),
    ("server's memory before, at most, after", |of| {
        let [before, most, after] = of.resident.map(|kib| kib / 1024);
        format!("{before}, {most}, {after} MiB")
    }),
    ("newcomers who got in, of how many; at the first try", |of| {
        got_in(&of.newcomers)
    }),
    ("time to the first answer: p50, p99, longest", |of| {
        times(&of.newcomers.times)
    }),
    ("those of the flooding address", |of| match &of.neighbours {
        Some(neighbours) => format!("{}; {}", got_in(neighbours), times(&neighbours.times)),
        None => String::new(),
    }),
    ("regulars' calls before: p50, p99, longest", |of| {
        times(&of.calls[0])
    }),
    ("meanwhile; how many, all answered", |of| {
        format!("{}; {}", times(&of.calls[1]), of.calls[1].len())
    }),
];

fn got_in(of: &Newcomers) -> String {
    let mut text = format!("{} of {}; {}", of.times.len(), of.tried, of.at_once);
    for (count, why) in [
        (of.busy, "busy"),
        (of.hung_up, "hung up"),
        (of.timed_out, "timed out"),
    ] {
        if count > 0 {
            text += &format!(", {count} times {why}");
        }
    }
    if let Some(first) = of.otherwise.first() {
        text += &format!(", {} times otherwise, as {first}", of.otherwise.len());
    }
    text
}

fn times(sorted: &[Duration]) -> String {
    let at = |permille: usize| {
        let place = (sorted.len() * permille).div_ceil(1000).saturating_sub(1);
        sorted
            .get(place)
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    format!("{:.1}, {:.1}, {:.1} ms", at(500), at(990), at(1000))
}
