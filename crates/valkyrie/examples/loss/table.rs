//! The figures as a table of Markdown.

use std::fmt::Write;
use std::time::Duration;

use crate::measure::{Figures, TIMED};

/// What one transport did at one loss.
pub(crate) struct Row {
    pub(crate) scheme: &'static str,
    pub(crate) loss_percent: f64,
    pub(crate) figures: Figures,
}

/// A line for each class, loss and transport.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| class | loss | over | p50 | p99 | p99.9 | longest | bulk that came before, p99 | bulk beside it |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for (place, class) in TIMED.iter().enumerate() {
        for row in rows {
            let delay = |permille| milliseconds(row.figures.delay(place, permille));
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {class} | {} % | {} | {} | {} | {} | {} | {} KiB | {:.1} Mbit/s |",
                row.loss_percent,
                row.scheme,
                delay(500),
                delay(990),
                delay(999),
                delay(1000),
                row.figures.bulk_before(place, 990) / 1024,
                row.figures.bulk_rate() / 1e6,
            );
        }
    }
    text
}

fn milliseconds(delay: Duration) -> String {
    format!("{:.1} ms", delay.as_secs_f64() * 1e3)
}
