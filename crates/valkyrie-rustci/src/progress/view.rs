//! What is known of a run, as text.

use std::fmt::Write as _;
use std::time::Duration;

use crate::schedule::RunResult;
use crate::wire::{JobPhase, JobStatus, StatusUpdate};

const RESET: &str = "\x1b[0m";

/// Follows one run.
#[derive(Clone, Debug, Default)]
pub struct RunView {
    name: String,
    jobs: Vec<JobStatus>,
    result: Option<RunResult>,
}

/// An update as one line of JSON, without the newline.
pub fn json_line(update: &StatusUpdate) -> String {
    // Maps with string keys and numbers are all there is, and those cannot fail.
    serde_json::to_string(update).unwrap_or_default()
}

impl RunView {
    /// The pipeline's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every job as last heard.
    pub fn jobs(&self) -> &[JobStatus] {
        &self.jobs
    }

    /// How the run ended, once it has.
    pub fn result(&self) -> Option<RunResult> {
        self.result
    }

    /// Takes in an update and returns lines that say what changed, for where nothing is redrawn.
    pub fn apply(&mut self, update: &StatusUpdate, colour: bool) -> String {
        let mut lines = String::new();
        match update {
            StatusUpdate::Run(run) => {
                self.name = clean(&run.name);
                for job in &run.jobs {
                    self.replace(job, colour, &mut lines);
                }
            }
            StatusUpdate::Job(job) => self.replace(job, colour, &mut lines),
            StatusUpdate::End { result, .. } => self.result = Some(*result),
            StatusUpdate::Unknown => {}
        }
        lines
    }

    fn replace(&mut self, job: &JobStatus, colour: bool, lines: &mut String) {
        let at = job.job.as_usize();
        let mut job = job.clone();
        job.id = clean(&job.id);
        job.runner = job.runner.as_deref().map(clean);
        job.detail = job.detail.as_deref().map(clean);
        let before = self.jobs.get(at);
        let same = before.is_some_and(|before| (before.state, before.attempt) == (job.state, job.attempt));
        // Waiting is where every job begins, and offers are the scheduler's business: neither is news.
        let quiet = matches!(job.state, JobPhase::Offered | JobPhase::Accepted)
            || (job.state == JobPhase::Queued
                && before.is_none_or(|before| before.state == JobPhase::Offered));
        if !same && !quiet {
            let (on, off) = paint_of(job.state, colour);
            let _ = write!(lines, "{on}{:>9}{off} {}", word(job.state), job.id);
            if let (true, Some(runner)) = (job.state == JobPhase::Running, &job.runner) {
                let _ = write!(lines, " on {runner}");
            }
            if let Some(taken) = taken(&job, None) {
                let _ = write!(lines, " in {}", duration(taken));
            }
            if let Some(detail) = &job.detail {
                let _ = write!(lines, ": {detail}");
            }
            lines.push('\n');
        }
        // A job beyond the end of the list is ignored rather than trusted.
        if at < self.jobs.len() {
            self.jobs[at] = job;
        } else if at == self.jobs.len() {
            self.jobs.push(job);
        }
    }

    /// Lines about every job now, for a block that is redrawn. `now_ms` is the time since the run
    /// began; lines are cut to `columns`.
    pub fn live(&self, now_ms: u64, columns: usize, rows: usize, colour: bool) -> Vec<String> {
        let ended = self.jobs.iter().filter(|job| job.state.is_terminal()).count();
        let head = format!(
            "{} {ended}/{} jobs {}",
            if self.name.is_empty() {
                "pipeline"
            } else {
                &self.name
            },
            self.jobs.len(),
            duration(Duration::from_millis(now_ms))
        );
        let width = self.width();
        let mut lines = vec![cut(&head, columns)];
        // What runs is what a person wants to see; the rest is in the count above.
        for job in self
            .jobs
            .iter()
            .filter(|job| matches!(job.state, JobPhase::Running | JobPhase::Accepted))
        {
            let step = job
                .step
                .map_or(String::new(), |step| format!(" step {}/{}", step + 1, job.steps));
            let taken = taken(job, Some(now_ms)).unwrap_or_default();
            let runner = job
                .runner
                .as_ref()
                .map_or(String::new(), |runner| format!(" on {runner}"));
            let text = format!(
                "{:>9} {}{} {:>8}{step}{runner}",
                word(job.state),
                job.id,
                " ".repeat(width.saturating_sub(job.id.chars().count())),
                duration(taken)
            );
            let (on, off) = paint_of(job.state, colour);
            lines.push(format!("{on}{}{off}", cut(&text, columns)));
        }
        lines.truncate(rows.max(1));
        lines
    }

    /// The table for the end: job, state, duration, reason.
    pub fn table(&self, colour: bool) -> String {
        let width = self.width().max(3);
        let mut out = format!("{:width$}  {:9}  {:>8}  reason\n", "job", "state", "duration");
        for job in &self.jobs {
            let (on, off) = paint_of(job.state, colour);
            let taken = taken(job, None).map_or(String::from("-"), duration);
            let line = format!(
                "{}{}  {on}{:9}{off}  {taken:>8}  {}",
                job.id,
                " ".repeat(width.saturating_sub(job.id.chars().count())),
                word(job.state),
                job.detail.as_deref().unwrap_or("")
            );
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    fn width(&self) -> usize {
        self.jobs
            .iter()
            .map(|job| job.id.chars().count())
            .max()
            .unwrap_or(0)
    }
}

fn word(state: JobPhase) -> &'static str {
    match state {
        JobPhase::Queued => "queued",
        JobPhase::Offered => "offered",
        JobPhase::Accepted => "accepted",
        JobPhase::Running => "running",
        JobPhase::Succeeded => "succeeded",
        JobPhase::Failed => "failed",
        JobPhase::TimedOut => "timed out",
        JobPhase::Cancelled => "cancelled",
        JobPhase::Skipped => "skipped",
        JobPhase::Lost => "lost",
        JobPhase::Unknown => "?",
    }
}

fn paint_of(state: JobPhase, colour: bool) -> (&'static str, &'static str) {
    let on = match state {
        _ if !colour => return ("", ""),
        JobPhase::Succeeded => "\x1b[32m",
        JobPhase::Failed | JobPhase::TimedOut | JobPhase::Lost => "\x1b[31m",
        JobPhase::Cancelled | JobPhase::Skipped => "\x1b[33m",
        JobPhase::Running | JobPhase::Accepted => "\x1b[36m",
        JobPhase::Queued | JobPhase::Offered | JobPhase::Unknown => "\x1b[2m",
    };
    (on, RESET)
}

fn taken(job: &JobStatus, now_ms: Option<u64>) -> Option<Duration> {
    let end = job.ended_ms.or(now_ms)?;
    Some(Duration::from_millis(end.saturating_sub(job.started_ms?)))
}

/// Tenths below a minute, seconds above.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{}.{}s", seconds, duration.subsec_millis() / 100),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// Text that came over a wire must not drive the terminal.
fn clean(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}

fn cut(text: &str, columns: usize) -> String {
    match text.chars().count() > columns {
        true => text
            .chars()
            .take(columns.saturating_sub(1))
            .chain(['…'])
            .collect(),
        false => text.to_owned(),
    }
}
