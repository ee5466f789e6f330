//! From the tree of values to a [`Pipeline`], collecting every mistake on the way.

use std::time::Duration;

use super::diagnostic::{Diagnostic, PipelineError};
use super::node::{self, Key, Node, Span, Value};
use super::{Env, Job, JobIndex, Pipeline, Step, graph, limits::*, parse_duration};

const TOP_KEYS: &[&str] = &["name", "env", "jobs", "steps"];
const JOB_KEYS: &[&str] = &["needs", "runs_on", "env", "timeout", "steps"];
const STEP_KEYS: &[&str] = &["name", "run", "env", "timeout", "continue_on_error"];

/// Similarity from which another key is offered as what was meant (1 is equal).
const NEAR_MISS: f64 = 0.6;

pub(super) fn read(source: &str) -> Result<Pipeline, PipelineError> {
    let root = node::parse(source).map_err(|error| PipelineError::new(vec![error]))?;
    let mut reader = Reader { errors: Vec::new() };
    let pipeline = reader.pipeline(&root);
    match reader.errors.is_empty() {
        true => Ok(pipeline),
        false => Err(PipelineError::new(reader.errors)),
    }
}

/// Every method returns a usable value and notes what was wrong, so that one pass finds all.
struct Reader {
    errors: Vec<Diagnostic>,
}

/// A need as written: resolved once all job ids are known.
struct Need {
    id: String,
    span: Span,
}

impl Reader {
    fn error(&mut self, span: Span, message: impl Into<String>) {
        self.push(span.error(message));
    }

    fn error_with_help(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        let mut error = span.error(message);
        error.help = Some(help.into());
        self.push(error);
    }

    fn push(&mut self, error: Diagnostic) {
        if self.errors.len() < DIAGNOSTICS_MAX {
            self.errors.push(error);
        }
    }

    fn pipeline(&mut self, root: &Node) -> Pipeline {
        let mut pipeline = Pipeline {
            name: String::new(),
            env: Env::new(),
            jobs: Vec::new(),
        };
        let entries = self.mapping(root, "a pipeline", TOP_KEYS);
        let find = |name: &str| entries.iter().find(|(key, _)| key.text == name);
        if let Some((_, value)) = find("name") {
            pipeline.name = self.name(value, "name");
        }
        if let Some((_, value)) = find("env") {
            pipeline.env = self.env(value);
        }
        match (find("jobs"), find("steps")) {
            (Some((_, jobs)), None) => pipeline.jobs = self.jobs(jobs),
            (None, Some((key, steps))) => pipeline.jobs.push(Job {
                id: String::from(SINGLE_JOB_ID),
                needs: Vec::new(),
                runs_on: Vec::new(),
                env: Env::new(),
                timeout: JOB_TIMEOUT_DEFAULT,
                steps: self.steps(steps, key.span),
            }),
            (Some((jobs, _)), Some((steps, _))) => self.error_with_help(
                if steps.span.line > jobs.span.line {
                    steps.span
                } else {
                    jobs.span
                },
                "both `jobs` and `steps` are given",
                "move the top-level steps into a job",
            ),
            (None, None) => {
                // An unknown key may be a misspelt `jobs`, and is reported already.
                if self.errors.is_empty() {
                    self.error_with_help(
                        root.span,
                        "the pipeline has neither `jobs` nor `steps`",
                        "give `jobs:` a map of jobs, or `steps:` a list of steps",
                    );
                }
            }
        }
        pipeline
    }

    fn jobs(&mut self, node: &Node) -> Vec<Job> {
        let Value::Mapping(entries) = &node.value else {
            self.wrong_type(node, "jobs", "a map from job id to job");
            return Vec::new();
        };
        if entries.is_empty() {
            self.error(node.span, "`jobs` is empty: a pipeline needs at least one job");
        }
        if entries.len() > JOBS_MAX {
            self.error(entries[JOBS_MAX].0.span, format!("more than {JOBS_MAX} jobs"));
            return Vec::new();
        }
        let mut jobs = Vec::with_capacity(entries.len());
        let mut wanted: Vec<Vec<Need>> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            self.job_id(key);
            let (job, needs) = self.job(key, value);
            jobs.push(job);
            wanted.push(needs);
        }
        self.resolve_needs(&mut jobs, &wanted);
        jobs
    }

    fn resolve_needs(&mut self, jobs: &mut [Job], wanted: &[Vec<Need>]) {
        let ids: Vec<String> = jobs.iter().map(|job| job.id.clone()).collect();
        for (job, needs) in jobs.iter_mut().zip(wanted) {
            for need in needs {
                let found = ids.iter().position(|id| *id == need.id);
                match found.and_then(|at| u32::try_from(at).ok()) {
                    None => {
                        let message = format!("job `{}` needs `{}`, which does not exist", job.id, need.id);
                        match nearest(&need.id, ids.iter().map(String::as_str)) {
                            Some(near) => {
                                self.error_with_help(need.span, message, format!("did you mean `{near}`?"));
                            }
                            None => self.error(need.span, message),
                        }
                    }
                    Some(at) if job.needs.contains(&JobIndex(at)) => {
                        self.error(need.span, format!("job `{}` needs `{}` twice", job.id, need.id));
                    }
                    Some(at) => job.needs.push(JobIndex(at)),
                }
            }
        }
        let graph: Vec<Vec<JobIndex>> = jobs.iter().map(|job| job.needs.clone()).collect();
        if let Some(cycle) = graph::cycle(&graph) {
            let mut names: Vec<&str> = cycle.iter().map(|job| ids[*job].as_str()).collect();
            names.push(names[0]);
            // The need that closes the cycle is the one to point at.
            let (last, first) = (cycle[cycle.len() - 1], cycle[0]);
            let span = wanted[last]
                .iter()
                .find(|need| need.id == ids[first])
                .map_or(Span::START, |n| n.span);
            self.error(
                span,
                format!("jobs need each other in a cycle: {}", names.join(" → ")),
            );
        }
    }

    fn job_id(&mut self, key: &Key) {
        let first = key
            .text
            .chars()
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        let rest = key
            .text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !first || !rest || key.text.len() > JOB_ID_BYTES_MAX {
            self.error_with_help(
                key.span,
                format!("`{}` is not a job id", key.text),
                format!(
                    "an id is a letter or `_`, then letters, digits, `_` and `-`, at most {JOB_ID_BYTES_MAX}"
                ),
            );
        }
    }

    fn job(&mut self, key: &Key, node: &Node) -> (Job, Vec<Need>) {
        let mut job = Job {
            id: key.text.clone(),
            needs: Vec::new(),
            runs_on: Vec::new(),
            env: Env::new(),
            timeout: JOB_TIMEOUT_DEFAULT,
            steps: Vec::new(),
        };
        let mut needs = Vec::new();
        let before = self.errors.len();
        let mut has_steps = false;
        let what = format!("job `{}`", key.text);
        for (name, value) in self.mapping(node, &what, JOB_KEYS) {
            match name.text.as_str() {
                "needs" => {
                    needs = self
                        .list(value, "needs")
                        .into_iter()
                        .map(|(id, span)| Need { id, span })
                        .collect();
                }
                "runs_on" => {
                    job.runs_on = self
                        .list(value, "runs_on")
                        .into_iter()
                        .map(|(label, _)| label)
                        .collect();
                }
                "env" => job.env = self.env(value),
                "timeout" => job.timeout = self.timeout(value).unwrap_or(job.timeout),
                "steps" => {
                    has_steps = true;
                    job.steps = self.steps(value, name.span);
                }
                _ => {}
            }
        }
        if !has_steps && self.errors.len() == before {
            self.error(key.span, format!("{what} has no `steps`"));
        }
        (job, needs)
    }

    fn steps(&mut self, node: &Node, at: Span) -> Vec<Step> {
        let Value::Sequence(items) = &node.value else {
            self.wrong_type(node, "steps", "a list of steps");
            return Vec::new();
        };
        if items.is_empty() {
            self.error(at, "`steps` is empty: a job needs at least one step");
        }
        if items.len() > STEPS_MAX {
            self.error(
                items[STEPS_MAX].span,
                format!("more than {STEPS_MAX} steps in one job"),
            );
            return Vec::new();
        }
        items.iter().map(|item| self.step(item)).collect()
    }

    fn step(&mut self, node: &Node) -> Step {
        let mut step = Step {
            name: String::new(),
            run: String::new(),
            env: Env::new(),
            timeout: None,
            continue_on_error: false,
        };
        let before = self.errors.len();
        let mut has_run = false;
        for (key, value) in self.mapping(node, "a step", STEP_KEYS) {
            match key.text.as_str() {
                "name" => step.name = self.name(value, "name"),
                "run" => {
                    has_run = true;
                    step.run = self.text(value, "run", RUN_BYTES_MAX);
                    if step.run.trim().is_empty() && self.errors.len() == before {
                        self.error(value.span, "`run` is empty: a step needs a command");
                    }
                }
                "env" => step.env = self.env(value),
                "timeout" => step.timeout = self.timeout(value),
                "continue_on_error" => step.continue_on_error = self.boolean(value, "continue_on_error"),
                _ => {}
            }
        }
        if !has_run && self.errors.len() == before {
            self.error(node.span, "a step has no `run`");
        }
        if step.name.is_empty() {
            step.name = first_line(&step.run);
        }
        step
    }

    /// The entries of a map; unknown keys are reported here, once for all maps.
    fn mapping<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> &'n [(Key, Node)] {
        let Value::Mapping(entries) = &node.value else {
            let expected = format!("a map with the keys {}", quoted(known));
            self.wrong_type(node, what, &expected);
            return &[];
        };
        for (key, _) in entries {
            if !known.contains(&key.text.as_str()) {
                let help = match nearest(&key.text, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("{what} has the keys {}", quoted(known)),
                };
                self.error_with_help(key.span, format!("unknown key `{}`", key.text), help);
            }
        }
        entries
    }

    fn wrong_type(&mut self, node: &Node, what: &str, expected: &str) {
        let what = if what.contains(' ') {
            String::from(what)
        } else {
            format!("`{what}`")
        };
        self.error(
            node.span,
            format!("{what} must be {expected}, and this is {}", type_of(node)),
        );
    }

    fn text(&mut self, node: &Node, what: &str, bytes_max: usize) -> String {
        let Value::Scalar { text, plain } = &node.value else {
            self.wrong_type(node, what, "text");
            return String::new();
        };
        if *plain && !matches!(plain_type(text), Plain::Text) {
            let message = format!("`{what}` must be text, and this is {}", type_of(node));
            self.error_with_help(node.span, message, format!("quote it: \"{text}\""));
        } else if text.len() > bytes_max {
            self.error(
                node.span,
                format!("`{what}` has {} bytes, and at most {bytes_max} fit", text.len()),
            );
        } else if text.contains('\0') {
            self.error(
                node.span,
                format!("`{what}` contains a zero byte, which no program can be given"),
            );
        }
        text.clone()
    }

    fn name(&mut self, node: &Node, what: &str) -> String {
        let text = self.text(node, what, NAME_BYTES_MAX);
        if text.chars().any(char::is_control) {
            self.error(node.span, format!("`{what}` contains a control character"));
        }
        text
    }

    fn boolean(&mut self, node: &Node, what: &str) -> bool {
        match &node.value {
            Value::Scalar { text, plain: true } if text == "true" => true,
            Value::Scalar { text, plain: true } if text == "false" => false,
            _ => {
                self.wrong_type(node, what, "`true` or `false`");
                false
            }
        }
    }

    fn timeout(&mut self, node: &Node) -> Option<Duration> {
        let Value::Scalar { text, .. } = &node.value else {
            self.wrong_type(node, "timeout", "a duration");
            return None;
        };
        match parse_duration(text) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.error(node.span, format!("`timeout` is `{text}`: {error}"));
                None
            }
        }
    }

    /// One name, or a list of names.
    fn list(&mut self, node: &Node, what: &str) -> Vec<(String, Span)> {
        match &node.value {
            Value::Scalar { .. } => vec![(self.name(node, what), node.span)],
            Value::Sequence(items) if items.len() > LIST_MAX => {
                self.error(
                    items[LIST_MAX].span,
                    format!("more than {LIST_MAX} entries in `{what}`"),
                );
                Vec::new()
            }
            Value::Sequence(items) => items
                .iter()
                .map(|item| (self.name(item, what), item.span))
                .collect(),
            Value::Mapping(_) => {
                self.wrong_type(node, what, "a name or a list of names");
                Vec::new()
            }
        }
    }

    fn env(&mut self, node: &Node) -> Env {
        let Value::Mapping(entries) = &node.value else {
            self.wrong_type(node, "env", "a map from variable to value");
            return Env::new();
        };
        if entries.len() > ENV_ENTRIES_MAX {
            self.error(
                entries[ENV_ENTRIES_MAX].0.span,
                format!("more than {ENV_ENTRIES_MAX} variables"),
            );
            return Env::new();
        }
        let mut env = Env::new();
        for (key, value) in entries {
            let first = key
                .text
                .chars()
                .next()
                .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
            let rest = key.text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !first || !rest || key.text.len() > NAME_BYTES_MAX {
                self.error_with_help(
                    key.span,
                    format!("`{}` is not a variable name", key.text),
                    "a name is a letter or `_`, then letters, digits and `_`",
                );
            } else if key.text.starts_with(RESERVED_ENV_PREFIX) {
                self.error(
                    key.span,
                    format!(
                        "`{}`: variables in {RESERVED_ENV_PREFIX}… are the runner's",
                        key.text
                    ),
                );
            }
            match &value.value {
                Value::Scalar { text, plain: true } if matches!(plain_type(text), Plain::Null) => {
                    self.error_with_help(
                        key.span,
                        format!("variable `{}` has no value", key.text),
                        "write \"\" for an empty one",
                    );
                }
                // A number or a truth value is taken as it is spelled: variables are text anyway.
                Value::Scalar { text, .. } if text.len() > ENV_VALUE_BYTES_MAX => {
                    self.error(
                        value.span,
                        format!("variable `{}` exceeds {ENV_VALUE_BYTES_MAX} bytes", key.text),
                    );
                }
                Value::Scalar { text, .. } if text.contains('\0') => {
                    self.error(
                        value.span,
                        format!("variable `{}` contains a zero byte", key.text),
                    );
                }
                Value::Scalar { text, .. } => {
                    env.insert(key.text.clone(), text.clone());
                }
                Value::Sequence(_) | Value::Mapping(_) => {
                    self.wrong_type(value, &format!("variable `{}`", key.text), "text");
                }
            }
        }
        env
    }
}

enum Plain {
    Null,
    Boolean,
    Number,
    Text,
}

/// What unquoted text is in the core schema of YAML 1.2.
fn plain_type(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Plain::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Plain::Boolean,
        _ => {
            let digits = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
            match digits && (text.parse::<f64>().is_ok() || text.starts_with("0x") || text.starts_with("0o"))
            {
                true => Plain::Number,
                false => Plain::Text,
            }
        }
    }
}

fn type_of(node: &Node) -> &'static str {
    match &node.value {
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a map",
        Value::Scalar { text, plain: true } => match plain_type(text) {
            Plain::Null => "empty",
            Plain::Boolean => "a truth value",
            Plain::Number => "a number",
            Plain::Text => "text",
        },
        Value::Scalar { .. } => "text",
    }
}

fn quoted(keys: &[&str]) -> String {
    keys.iter()
        .map(|key| format!("`{key}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The candidate most like `text`, when one is like it at all.
fn nearest<'c>(text: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let text = text.to_lowercase().replace('-', "_");
    candidates
        .map(|candidate| {
            (
                strsim::normalized_damerau_levenshtein(&text, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(likeness, _)| *likeness >= NEAR_MISS)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// A name for a step that was given none.
fn first_line(run: &str) -> String {
    let line = run
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("");
    let mut name = String::new();
    for character in line.chars() {
        if name.len() + character.len_utf8() > NAME_BYTES_MAX {
            break;
        }
        name.push(if character.is_control() { ' ' } else { character });
    }
    name
}
