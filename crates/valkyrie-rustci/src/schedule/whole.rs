//! What concerns the run as a whole: how it ended, and what must always hold.

use super::machine::Schedule;
use super::{JobState, RunResult};

impl Schedule {
    /// The worst job decides.
    pub(super) fn conclude(&self) -> RunResult {
        let any = |wanted: fn(&JobState) -> bool| self.jobs.iter().any(|job| wanted(&job.state));
        let failed = |state: &JobState| {
            matches!(
                state,
                JobState::Failed { .. } | JobState::TimedOut { .. } | JobState::Lost { .. }
            )
        };
        if any(failed) {
            RunResult::Failed
        } else if any(|state| *state == JobState::Cancelled) {
            RunResult::Cancelled
        } else {
            RunResult::Succeeded
        }
    }

    /// What must hold between any two calls.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self) {
        for (id, runner) in &self.runners {
            let held = self
                .jobs
                .iter()
                .filter(|job| job.state.holder().is_some_and(|(holder, _)| holder == *id));
            assert_eq!(
                held.count(),
                runner.used as usize,
                "the slots of runner {} are miscounted",
                id.0
            );
            assert!(runner.used <= runner.slots, "runner {} is overfull", id.0);
        }
        for (at, job) in self.jobs.iter().enumerate() {
            if let Some((runner, attempt)) = job.state.holder() {
                assert!(
                    self.runners.contains_key(&runner),
                    "job {at} is held by a runner that is gone"
                );
                assert_eq!(attempt.0, job.attempts, "job {at} is held under an old number");
                assert!(self.needs_met(job), "job {at} was given away before its needs");
            }
            assert!(
                job.stopping.is_none() || job.state.holder().is_some(),
                "job {at} is stopping and held by none"
            );
        }
        let ended = self.jobs.iter().all(|job| job.state.is_terminal());
        assert_eq!(
            ended,
            self.done.is_some(),
            "the run ends exactly when its last job does"
        );
        assert!(
            ended || self.poll_timeout().is_some(),
            "a run that has not ended has nothing that will move it"
        );
    }
}
