//! One attempt: workspace, steps, report.

use std::path::Path;
use std::sync::Arc;

use super::log_out::{LogOut, LogSink};
use super::{RunnerNews, hub::Hub};
use crate::execute::{Cancelled, JobPlan, StepEvent, Workspace, execute, inherited};
use crate::log::LogWriter;
use crate::process::KILL_GRACE_DEFAULT;
use crate::schedule::{FailReason, Verdict};
use crate::wire::{JobRef, Progress, Request, Start, StepPhase, TEXT_BYTES_MAX};

/// Runs an attempt that was accepted and reports how it ended.
pub(super) async fn run(hub: Arc<Hub>, request: Request, log: Arc<LogOut>, cancelled: Cancelled) {
    let at = request.at;
    let mut writer = LogWriter::new(at.job, LogSink(Arc::clone(&log)));
    let verdict = match workspace(&hub, &request).await {
        Ok(workspace) => {
            hub.say(Start { at });
            let verdict = steps(&hub, &request, workspace.path(), &mut writer, &cancelled).await;
            clean_up(&hub, workspace).await;
            verdict
        }
        Err(error) => Verdict::Failed {
            step: None,
            reason: FailReason::Runner {
                error: short(format!("no workspace could be made: {error}")),
            },
        },
    };
    log.end();
    hub.ended(at, shortened(verdict), writer.offset());
}

async fn workspace(hub: &Hub, request: &Request) -> std::io::Result<Workspace> {
    let (base, job) = (hub.config.workspaces.clone(), request.spec.id.clone());
    let keep = hub.config.keep_workspaces;
    tokio::task::spawn_blocking(move || Workspace::create(&base, &job, keep)).await?
}

async fn clean_up(hub: &Hub, workspace: Workspace) {
    let place = workspace.path().display().to_string();
    let text = match tokio::task::spawn_blocking(move || workspace.close()).await {
        Ok(Ok(None)) => return,
        Ok(Ok(Some(kept))) => format!("kept {}", kept.display()),
        Ok(Err(error)) => format!("{place} could not be removed: {error}"),
        Err(error) => format!("{place} could not be removed: {error}"),
    };
    hub.news(RunnerNews::Workspace { text });
}

async fn steps(
    hub: &Hub,
    request: &Request,
    workspace: &Path,
    writer: &mut LogWriter<LogSink>,
    cancelled: &Cancelled,
) -> Verdict {
    let base_env = inherited();
    let plan = JobPlan {
        spec: &request.spec,
        pipeline: &request.pipeline,
        attempt: request.at.attempt.0,
        workspace,
        artifacts: request.artifacts.as_ref().map(Path::new),
        base_env: &base_env,
        grace: KILL_GRACE_DEFAULT,
    };
    execute(plan, writer, cancelled, |event| {
        hub.progress(progress(request.at, event))
    })
    .await
}

fn progress(at: JobRef, event: StepEvent<'_>) -> Progress {
    let (step, phase) = match event {
        StepEvent::Started { step } => (step, StepPhase::Started),
        StepEvent::Ended { step, report } => {
            let ended = StepPhase::Ended {
                duration_ms: u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX),
                ok: report.outcome.is_success(),
                detail: short(report.outcome.to_string()),
            };
            (step, ended)
        }
    };
    Progress {
        at,
        step: u32::from(step),
        phase,
    }
}

/// Texts of the system have no bound of their own, and messages have.
fn shortened(mut verdict: Verdict) -> Verdict {
    if let Verdict::Failed {
        reason: FailReason::CouldNotStart { error } | FailReason::Runner { error },
        ..
    } = &mut verdict
    {
        *error = short(std::mem::take(error));
    }
    verdict
}

fn short(mut text: String) -> String {
    let mut cut = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    text.truncate(cut);
    text
}
