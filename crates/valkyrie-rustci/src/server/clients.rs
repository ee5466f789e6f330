//! The calls of clients: `submit` and `cancel`.

use std::sync::Arc;

use bytes::Bytes;
use valkyrie_endpoint::{ErrorCode, Failure};

use super::{Plane, unreadable};
use crate::pipeline::Pipeline;
use crate::wire::{CancelRun, Refused, Submit, Submitted};

/// Takes a pipeline file.
pub(super) async fn submit(plane: Arc<Plane>, payload: Bytes) -> Result<Bytes, Failure> {
    let submit = Submit::decode(&payload).map_err(|error| unreadable(&error))?;
    let pipeline = match Pipeline::parse(&submit.source) {
        Ok(pipeline) => pipeline,
        Err(error) => {
            let refused = Refused::new(&error, &submit);
            return refused.encode().map_err(|error| unreadable(&error));
        }
    };
    let run = plane.change(|state, now| {
        let run = state.submit(&plane.config, pipeline, now)?;
        Some((run, state.run(run).and_then(|run| run.artifacts.clone())))
    });
    let Some((run, artifacts)) = run else {
        let text = "this server has as many open runs as it takes; submit again when one has ended";
        return Err(Failure::new(ErrorCode::RESOURCE_EXHAUSTED, text));
    };
    if let Some(artifacts) = artifacts {
        // Without the directory the first job that uses it fails and says so.
        let made = tokio::task::spawn_blocking(move || std::fs::create_dir_all(artifacts));
        let _ = made.await;
    }
    let submitted = Submitted {
        run,
        server: plane.life,
    };
    submitted.encode().map_err(|error| unreadable(&error))
}

/// Cancels a run or a job. The answer says that the wish is noted; the end is seen by watching.
pub(super) fn cancel(plane: &Plane, payload: &Bytes) -> Result<Bytes, Failure> {
    let cancel = CancelRun::decode(payload).map_err(|error| unreadable(&error))?;
    plane.same_life(cancel.server)?;
    let noted = plane.change(|state, now| {
        state.call(cancel.run, now, |schedule| match cancel.job {
            Some(job) => schedule.cancel(now, job),
            None => schedule.cancel_all(now),
        })
    });
    match noted {
        Some(()) => Ok(Bytes::from_static(b"{}")),
        None => Err(unknown_run(cancel.run)),
    }
}

pub(super) fn unknown_run(run: u64) -> Failure {
    Failure::new(ErrorCode::NOT_FOUND, format!("this server knows no run {run}"))
}
