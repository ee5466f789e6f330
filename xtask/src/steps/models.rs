//! The symbolic models of the handshake, under `docs/protocol/models`: every query answers as its file says it does.
//!
//! An attack that the checker finds is no error to it, and some queries are expected to fail; so each answer is read
//! and compared, both ways. A model's first lines say with how many sessions it is checked.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ci::Outcome;
use crate::context::Context;
use crate::failure::Failure;
use crate::shell::Shell;
use crate::tools::{self, CargoTool};

/// The checker. It is a program that this step runs; nothing of the workspace is linked with it.
const VERIFPAL: CargoTool = CargoTool {
    package: "verifpal",
    version: "1.6.7",
    // It says that it needs a later compiler than it does.
    arguments: &["--ignore-rust-version"],
    optimised: true,
};

/// The slowest model takes a quarter of this on two cores.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Checks every model with all the sessions that it asks for, which takes a while.
pub(crate) fn whole(context: &Context) -> Result<Outcome, Failure> {
    let program = tools::ensure(context, &VERIFPAL)?;
    check(context, &program, |model| model.sessions)
}

/// Checks the models that are quick, where the checker has been built.
pub(crate) fn quick(context: &Context) -> Result<Outcome, Failure> {
    let Some(program) = tools::present(context, &VERIFPAL)? else {
        println!(
            "The checker is not here, so no model was checked; `cargo xtask models` builds it, in minutes."
        );
        return Ok(Outcome::partly(
            "SKIPPED, no verifpal; `cargo xtask models` builds it",
        ));
    };
    check(context, &program, |model| model.sessions_in_ci)
}

fn check(
    context: &Context,
    program: &Path,
    sessions: impl Fn(&Model) -> u32 + Sync,
) -> Result<Outcome, Failure> {
    let folder = context.root.join("docs/protocol/models");
    let models = read_all(&folder)?;
    let mut faults = different_protocols(&models);
    let (here, left_out): (Vec<_>, Vec<_>) = models.iter().partition(|(_, model)| sessions(model) > 0);
    for (name, _) in &left_out {
        println!("{name:<32} not here; `cargo xtask models` checks it");
    }

    // The checker is busy with one thing at a time for most of a model.
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(here.len()));
    let next = Mutex::new(here.iter());
    let verdicts = std::thread::scope(|scope| {
        let work = || {
            let mut verdicts = Vec::new();
            loop {
                let taken = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((name, model)) = taken else {
                    return Ok(verdicts);
                };
                verdicts.push(verify(program, &folder, name, model, sessions(model))?);
            }
        };
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let ended = running
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
        ended.collect::<Result<Vec<Vec<Verdict>>, Failure>>()
    })?;

    let verdicts: Vec<Verdict> = verdicts.into_iter().flatten().collect();
    let queries: usize = verdicts.iter().map(|verdict| verdict.queries).sum();
    faults.extend(verdicts.into_iter().flat_map(|verdict| verdict.faults));
    Failure::unless_empty("answers that the files of the models do not expect", faults)?;
    let note = format!(
        "{} of {} models, {queries} queries as expected",
        here.len(),
        models.len()
    );
    let less = models.values().any(|model| sessions(model) < model.sessions);
    Ok(if less {
        Outcome::partly(format!(
            "{note}; the rest and more sessions with `cargo xtask models`"
        ))
    } else {
        Outcome::passed(note)
    })
}

/// What came of one model.
struct Verdict {
    queries: usize,
    faults: Vec<String>,
}

/// Checks one model and says what came of it.
fn verify(
    program: &Path,
    folder: &Path,
    name: &str,
    model: &Model,
    sessions: u32,
) -> Result<Verdict, Failure> {
    let started = Instant::now();
    let (lines, ended) = Shell::new(&program.to_string_lossy(), folder)
        .args(["verify", name, "--sessions", &sessions.to_string()])
        .args(["--quiet", "--color", "never"])
        .limit(LIMIT)
        .gather();
    ended?;
    let answers = answers(&lines);
    let wrong = differences(model, &answers);
    if !wrong.is_empty() {
        // The attack is in what the checker said.
        lines.iter().for_each(|line| println!("{line}"));
    }
    let held = answers.iter().filter(|answer| answer.holds).count();
    println!(
        "{name:<32} {sessions} sessions  {held:>2} hold  {:>2} fail  {:>2} unexpected  {:>7.1} s",
        answers.len() - held,
        wrong.len(),
        started.elapsed().as_secs_f64()
    );
    Ok(Verdict {
        queries: answers.len(),
        faults: wrong
            .into_iter()
            .map(|fault| format!("{name}: {fault}"))
            .collect(),
    })
}

/// A model as far as this step reads it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Model {
    /// How many sessions of each side run at once.
    sessions: u32,
    /// The same in `ci`; 0 leaves it out there.
    sessions_in_ci: u32,
    /// The queries in order, with the reason why each fails that is expected to.
    queries: Vec<(String, Option<String>)>,
    /// What the two sides do, without comments and without what the attacker can.
    protocol: String,
}

/// An answer of the checker.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    query: String,
    holds: bool,
}

fn read_all(folder: &Path) -> Result<BTreeMap<String, Model>, Failure> {
    let file = |path: &Path, source| Failure::File {
        path: path.to_owned(),
        source,
    };
    let mut models = BTreeMap::new();
    let mut faults = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|source| file(folder, source))? {
        let path = entry.map_err(|source| file(folder, source))?.path();
        if path.extension().is_none_or(|extension| extension != "vp") {
            continue;
        }
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(&path).map_err(|source| file(&path, source))?;
        match parse(&text) {
            Ok(model) => drop(models.insert(name, model)),
            Err(fault) => faults.push(format!("{name}: {fault}")),
        }
    }
    Failure::unless_empty("models that this step cannot read", faults)?;
    Ok(models)
}

/// Reads what `docs/protocol/models/README.md` says that a file holds.
fn parse(text: &str) -> Result<Model, String> {
    let mut model = Model::default();
    let sessions = text.lines().find_map(|line| line.strip_prefix("// Sessions: "));
    let sessions = sessions.ok_or("no line `// Sessions: N, in ci M`")?;
    let numbers = sessions.split_once(", in ci ");
    let numbers = numbers.and_then(|(all, ci)| Some((all.parse().ok()?, ci.parse().ok()?)));
    (model.sessions, model.sessions_in_ci) = numbers.ok_or("the sessions are no numbers")?;
    if model.sessions == 0 {
        return Err("it is never checked".to_owned());
    }

    let mut reason = None;
    for line in text.lines().map(str::trim) {
        if let Some(why) = line.strip_prefix("// Fails: ") {
            reason = Some(why.to_owned());
        } else if line.contains("? ") && !line.starts_with("//") {
            model.queries.push((line.to_owned(), reason.take()));
        } else if reason.is_some() {
            return Err("a line `// Fails:` with no query below".to_owned());
        }
    }
    if model.queries.is_empty() {
        return Err("it asks nothing".to_owned());
    }
    model.protocol = protocol(text);
    Ok(model)
}

/// The protocol alone. What the attacker can is said by a line of its own, by capabilities in brackets, and by what
/// follows a phase.
fn protocol(text: &str) -> String {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//") && !line.starts_with("attacker["));
    let code = code.take_while(|line| !line.starts_with("phase[") && !line.starts_with("queries["));
    let code: Vec<&str> = code.filter(|line| !line.trim().is_empty()).collect();
    let mut out = String::new();
    let mut rest = code.join("\n");
    while let Some(at) = rest.find("[weak") {
        let end = rest[at..].find(']').map_or(rest.len(), |end| at + end + 1);
        out.push_str(&rest[..at]);
        rest = rest.split_off(end);
    }
    out + &rest
}

/// Files whose names begin alike, up to the first dot, are about one protocol and differ in the attacker alone.
fn different_protocols(models: &BTreeMap<String, Model>) -> Vec<String> {
    let mut first: BTreeMap<&str, (&str, &Model)> = BTreeMap::new();
    let mut faults = Vec::new();
    for (name, model) in models {
        let about = name.split('.').next().unwrap_or_default();
        let (other, same) = first.entry(about).or_insert((name, model));
        if same.protocol != model.protocol {
            faults.push(format!("{name}: the protocol is another than in {other}"));
        }
    }
    faults
}

/// Reads the answers out of what the checker prints with `--quiet`.
fn answers(lines: &[String]) -> Vec<Answer> {
    let read = |line: &String| {
        let line = line.trim();
        let (holds, rest) = match (line.strip_prefix("PASS + "), line.strip_prefix("FAIL x ")) {
            (Some(rest), _) => (true, rest),
            (_, rest) => (false, rest?),
        };
        // The last line counts, and asks nothing.
        let query = rest.split("  [").next().unwrap_or(rest).trim();
        query.contains("? ").then(|| Answer {
            query: query.to_owned(),
            holds,
        })
    };
    lines.iter().filter_map(read).collect()
}

/// Every way in which the answers are not those that the file expects.
fn differences(model: &Model, answers: &[Answer]) -> Vec<String> {
    let mut faults = Vec::new();
    for (query, reason) in &model.queries {
        let mut of_query = answers.iter().filter(|answer| answer.query == *query);
        match (of_query.next(), reason) {
            (None, _) => faults.push(format!("no answer to `{query}`")),
            (Some(answer), None) if !answer.holds => faults.push(format!("`{query}` fails")),
            (Some(answer), Some(_)) if answer.holds => {
                faults.push(format!("`{query}` holds, although the file says why it cannot"));
            }
            (Some(_), _) => {}
        }
    }
    let asked = |answer: &&Answer| !model.queries.iter().any(|(query, _)| *query == answer.query);
    faults.extend(
        answers
            .iter()
            .filter(asked)
            .map(|answer| format!("an answer to `{}`, which was not asked", answer.query)),
    );
    faults
}
