//! A watched run on standard output: lines as they come, and on a terminal what runs now below them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::printer::{NoReader, Printer};
use super::{CiExit, IoOptions, ShowArgs};
use crate::client::Update;
use crate::log::{LineRenderer, LogRecord, RenderOptions, Stream};
use crate::pipeline::JobIndex;
use crate::progress::{LiveBlock, RunView, json_line};
use crate::schedule::{Attempt, RunResult};
use crate::wire::StatusUpdate;

/// Updates between the connection and the screen: enough to render several at once, and a megabyte of the
/// longest.
pub(super) const UPDATES_MAX: usize = 16;
/// How often the clock in the live block moves.
const TICK: Duration = Duration::from_millis(200);
/// Lines of the live block: the rest of the screen is for logs.
const LIVE_ROWS_MAX: usize = 12;
/// What a terminal that does not say has.
const COLUMNS_DEFAULT: usize = 80;

/// What is shown, and how.
pub(super) struct Screen {
    io: IoOptions,
    colour: bool,
    live: bool,
    begun: Instant,
    view: RunView,
    renderer: Option<LineRenderer>,
    attempts: BTreeMap<JobIndex, Attempt>,
    /// Bytes of a character whose end has not come yet, for JSON.
    torn: BTreeMap<(JobIndex, Stream), Vec<u8>>,
    block: LiveBlock,
    log_dir: Option<PathBuf>,
    files: BTreeMap<JobIndex, std::fs::File>,
}

/// What a screen is told beside the updates of the run.
pub(super) type Notice = String;

impl Screen {
    pub(super) fn new(io: IoOptions, show: &ShowArgs) -> Self {
        let io = if show.no_color {
            IoOptions {
                colour: Some(false),
                ..io
            }
        } else {
            io
        };
        let colour = io.out_colour();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            io,
            colour,
            live: !io.json && std::io::stdout().is_terminal() && !dumb,
            begun: Instant::now(),
            view: RunView::default(),
            renderer: None,
            attempts: BTreeMap::new(),
            torn: BTreeMap::new(),
            block: LiveBlock::default(),
            log_dir: show.log_dir.clone(),
            files: BTreeMap::new(),
        }
    }

    /// Shows updates and notices until there are no more updates.
    ///
    /// # Errors
    /// How the command ends that cannot show what it should.
    pub(super) async fn show(
        mut self,
        mut updates: mpsc::Receiver<Update>,
        mut notices: mpsc::Receiver<Notice>,
    ) -> Result<Self, CiExit> {
        let local = |io: IoOptions, text: String| io.fail(CiExit::Local, text);
        let printer =
            Printer::start().map_err(|error| local(self.io, format!("output cannot be written: {error}")))?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut arrived = Vec::new();
        loop {
            let mut above = String::new();
            tokio::select! {
                count = updates.recv_many(&mut arrived, UPDATES_MAX) => {
                    if count == 0 {
                        break;
                    }
                    for update in arrived.drain(..) {
                        self.take(update, &mut above).map_err(|error| {
                            local(self.io, format!("a log cannot be written: {error}"))
                        })?;
                    }
                }
                Some(notice) = notices.recv() => self.notice(&notice, &mut above),
                _ = tick.tick(), if self.live => {}
            }
            let text = self.draw(&above);
            printer.print(text).await.map_err(|NoReader| CiExit::BrokenPipe)?;
        }
        let mut last = String::new();
        while let Ok(notice) = notices.try_recv() {
            self.notice(&notice, &mut last);
        }
        let mut text = self.block.clear();
        text.push_str(&last);
        text.push_str(&self.conclusion());
        printer.print(text).await.map_err(|NoReader| CiExit::BrokenPipe)?;
        printer.finish().await;
        Ok(self)
    }

    /// How the run ended, if its end was seen.
    pub(super) fn result(&self) -> Option<RunResult> {
        self.view.result()
    }

    fn take(&mut self, update: Update, above: &mut String) -> std::io::Result<()> {
        match update {
            Update::Status(status) => self.status(&status, above),
            Update::Log(attempt, record) => {
                let fresh = self.attempts.insert(record.job, attempt) != Some(attempt);
                self.file(&record, fresh)?;
                if fresh && let Some(renderer) = &mut self.renderer {
                    // What a lost attempt left of a line is not continued by the next.
                    renderer.finish(record.job, above);
                }
                if self.io.json {
                    self.log_json(attempt, &record, above);
                } else if let Some(renderer) = &mut self.renderer {
                    renderer.push(&record, above);
                }
            }
        }
        Ok(())
    }

    fn status(&mut self, status: &StatusUpdate, above: &mut String) {
        if let (StatusUpdate::Run(run), None) = (status, &self.renderer) {
            let options = RenderOptions {
                colour: self.colour,
                prefix: true,
            };
            self.renderer = Some(LineRenderer::new(
                run.jobs.iter().map(|job| job.id.clone()),
                options,
            ));
        }
        if self.io.json {
            above.push_str(&json_line(status));
            above.push('\n');
            self.view.apply(status, false);
            return;
        }
        if let (StatusUpdate::Job(job), Some(renderer)) = (status, &mut self.renderer)
            && job.state.is_terminal()
        {
            // The rest of its last line comes before the news that it has ended.
            renderer.finish(job.job, above);
        }
        above.push_str(&self.view.apply(status, self.colour));
    }

    fn notice(&self, notice: &str, above: &mut String) {
        if self.io.json {
            let _ = writeln!(above, "{}", serde_json::json!({"notice": notice}));
            return;
        }
        let (on, off) = if self.colour {
            ("\x1b[33m", "\x1b[0m")
        } else {
            ("", "")
        };
        let _ = writeln!(above, "{on}{:>9}{off} {notice}", "note");
    }

    fn draw(&mut self, above: &str) -> String {
        if !self.live {
            return above.to_owned();
        }
        let (columns, rows) = terminal_size();
        let now_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let lines = match self.view.jobs().is_empty() {
            true => Vec::new(),
            false => self.view.live(
                now_ms,
                columns,
                rows.saturating_sub(1).clamp(1, LIVE_ROWS_MAX),
                self.colour,
            ),
        };
        self.block.redraw(above, &lines)
    }

    fn conclusion(&self) -> String {
        let Some(result) = self.result().filter(|_| !self.io.json) else {
            return String::new();
        };
        let (word, on) = match result {
            RunResult::Succeeded => ("succeeded", "\x1b[1;32m"),
            RunResult::Cancelled => ("was cancelled", "\x1b[1;33m"),
            RunResult::Failed => ("failed", "\x1b[1;31m"),
        };
        let (on, off) = if self.colour { (on, "\x1b[0m") } else { ("", "") };
        let name = match self.view.name() {
            "" => "the pipeline",
            name => name,
        };
        format!(
            "\n{}\n{on}{name} {word}{off} in {}\n",
            self.view.table(self.colour),
            seconds(self.begun.elapsed())
        )
    }

    fn file(&mut self, record: &LogRecord, fresh: bool) -> std::io::Result<()> {
        let Some(folder) = &self.log_dir else {
            return Ok(());
        };
        if fresh {
            let name = self
                .view
                .jobs()
                .get(record.job.as_usize())
                .map_or("job", |job| job.id.as_str());
            // Ids are letters, digits, `_` and `-` by the rules of the file; a server may still say otherwise.
            let name: String = name
                .chars()
                .map(|c| if c == '/' || c == '\0' { '_' } else { c })
                .collect();
            std::fs::create_dir_all(folder)?;
            let file = std::fs::File::create(folder.join(format!("{name}.log")))?;
            self.files.insert(record.job, file);
        }
        match self.files.get_mut(&record.job) {
            Some(file) => file.write_all(&record.bytes),
            None => Ok(()),
        }
    }

    fn log_json(&mut self, attempt: Attempt, record: &LogRecord, above: &mut String) {
        let torn = self.torn.entry((record.job, record.stream)).or_default();
        torn.extend_from_slice(&record.bytes);
        // A character may be cut in two by the end of a record; its first bytes wait for the rest.
        let whole = match std::str::from_utf8(torn) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => torn.len(),
        };
        let rest = torn.split_off(whole);
        let text = String::from_utf8_lossy(torn).into_owned();
        *torn = rest;
        let stream = match record.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
            Stream::Notice => "notice",
        };
        let job = self
            .view
            .jobs()
            .get(record.job.as_usize())
            .map_or("", |job| job.id.as_str());
        let value = serde_json::json!({"log": {
            "job": job, "attempt": attempt, "step": record.step, "stream": stream,
            "offset": record.offset, "text": text,
        }});
        let _ = writeln!(above, "{value}");
    }
}

fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1}s", time.as_secs_f64()),
        minutes => format!("{}m{:02}s", minutes / 60, minutes % 60),
    }
}

fn terminal_size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (COLUMNS_DEFAULT, 24),
    }
}
