//! What a step finds in its environment.
//!
//! From weak to strong: what the runner passes on, `CI=true`, the pipeline's and the job's variables
//! (merged by the server), the step's, and the `VALKYRIE_…` ones, which a file cannot set.

use std::path::Path;

use super::JobPlan;
use crate::pipeline::Env;
use crate::process::STEP_TOKEN;
use crate::wire::StepSpec;

/// Variables of the runner that steps inherit. Everything else stays with the runner: its secrets
/// are not the job's.
pub const INHERITED: [&str; 9] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
];

/// The search path where the runner has none.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// What steps inherit from this process.
pub fn inherited() -> Env {
    let mut env = Env::from([(String::from("PATH"), String::from(PATH_DEFAULT))]);
    env.extend(
        INHERITED
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))),
    );
    env
}

pub(super) fn of_step(plan: &JobPlan<'_>, number: u16, step: &StepSpec) -> Env {
    let mut env = plan.base_env.clone();
    env.insert(String::from("CI"), String::from("true"));
    env.extend(plan.spec.env.clone());
    env.extend(step.env.clone());
    let mut set = |name: &str, value: String| env.insert(name.to_owned(), value);
    set("VALKYRIE_PIPELINE", plan.pipeline.to_owned());
    set("VALKYRIE_JOB", plan.spec.id.clone());
    set("VALKYRIE_ATTEMPT", plan.attempt.to_string());
    set("VALKYRIE_STEP", number.to_string());
    set("VALKYRIE_WORKSPACE", plan.workspace.display().to_string());
    if let Some(artifacts) = plan.artifacts {
        set("VALKYRIE_ARTIFACTS", artifacts.display().to_string());
    }
    env
}

/// A mark that no other step on this machine has. A runner that is itself part of a step continues
/// that step's mark, so that ending the outer step finds the inner processes too.
pub(super) fn token(workspace: &Path, number: u16) -> String {
    let place = workspace
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let own = format!("{}-{place}-{number}", std::process::id());
    match std::env::var(STEP_TOKEN) {
        Ok(outer) => format!("{outer}/{own}"),
        Err(_) => own,
    }
}
