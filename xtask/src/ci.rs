//! Runs steps one after another, says what each does and how long it took, and ends in a table.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::counts::{self, Counts};
use crate::failure::Failure;
use crate::steps::Step;

/// How a step ended, and what there is to say about it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// One line for the table: what was covered, or what could not be.
    pub(crate) note: String,
    /// Whether the step ran tests that count; then the report ends with what the runner said.
    pub(crate) runs_tests: bool,
    /// Summary lines of a test runner, repeated at the end.
    pub(crate) summaries: Vec<String>,
    /// Whether part of the check could not be made here; the note says which.
    pub(crate) partial: bool,
    /// What went wrong, if anything did.
    pub(crate) failure: Option<Failure>,
}

impl Outcome {
    /// A step that passed, with a note for the table.
    pub(crate) fn passed(note: impl Into<String>) -> Self {
        Self {
            note: note.into(),
            ..Self::default()
        }
    }

    /// A step that found nothing wrong but could not look everywhere.
    pub(crate) fn partly(note: impl Into<String>) -> Self {
        Self {
            partial: true,
            ..Self::passed(note)
        }
    }
}

impl From<Result<Self, Failure>> for Outcome {
    fn from(result: Result<Self, Failure>) -> Self {
        result.unwrap_or_else(|failure| Self {
            failure: Some(failure),
            ..Self::default()
        })
    }
}

/// Runs `steps` in order and reports; the exit code is 1 when one failed.
pub(crate) fn run(context: &Context, steps: &[&Step], fail_fast: bool) -> ExitCode {
    let started = Instant::now();
    let mut rows = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        println!(
            "\n== {} ({}/{}): {}",
            step.name,
            index + 1,
            steps.len(),
            step.about
        );
        let step_started = Instant::now();
        let outcome = (step.run)(context);
        let took = step_started.elapsed();
        match &outcome.failure {
            None => {
                let how = if outcome.partial { "partly " } else { "" };
                println!("== {}: {how}passed in {}", step.name, seconds(took));
            }
            Some(failure) => println!("== {}: FAILED in {}: {failure}", step.name, seconds(took)),
        }
        let failed = outcome.failure.is_some();
        rows.push((step.name, took, outcome));
        if failed && fail_fast {
            break;
        }
    }
    report(&rows, steps.len(), started.elapsed())
}

/// Prints the table, the test runners' own summaries and the counts in them.
fn report(rows: &[(&str, Duration, Outcome)], planned: usize, took: Duration) -> ExitCode {
    println!("\n{:<10} {:<7} {:>9}  note", "step", "result", "time");
    for (name, took, outcome) in rows {
        let (result, note) = match &outcome.failure {
            None if outcome.partial => ("partly", outcome.note.clone()),
            None => ("passed", outcome.note.clone()),
            Some(failure) => {
                let text = failure.to_string();
                let first = text.lines().next().unwrap_or_default().to_owned();
                ("FAILED", first)
            }
        };
        println!("{name:<10} {result:<7} {:>9}  {note}", seconds(*took));
    }
    let failed = rows.iter().filter(|row| row.2.failure.is_some()).count();
    println!(
        "{} of {planned} steps passed in {}",
        rows.len() - failed,
        seconds(took)
    );

    closing_lines(rows);
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Ends with what the test runners said themselves, then their counts added up, where tests were to run.
fn closing_lines(rows: &[(&str, Duration, Outcome)]) {
    let runs = || rows.iter().filter(|row| row.2.runs_tests);
    if runs().next().is_none() {
        return;
    }
    let mut total = Counts::default();
    println!("\nWhat the test runners said:");
    for (name, _, outcome) in runs() {
        for line in &outcome.summaries {
            println!("{line}");
            total.add(counts::parse(line).unwrap_or_default());
        }
        if outcome.summaries.is_empty() && outcome.failure.is_some() {
            println!("{name}: no test ran, so none is counted");
        }
    }
    println!("{} passed, {} failed", total.passed, total.failed);
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
