//! Random runs: runners come, go, lie, repeat themselves and fall silent; the rules hold throughout.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::pipeline::{JobIndex, Pipeline};

#[derive(Clone, Debug)]
enum Step {
    Join {
        runner: u64,
        slots: u32,
        gpu: bool,
    },
    Leave {
        runner: u64,
    },
    Drain {
        runner: u64,
        draining: bool,
    },
    Move {
        from: u64,
        to: u64,
    },
    /// The newest offer of this job is answered by the runner it went to.
    Accept {
        job: u32,
    },
    Reject {
        job: u32,
    },
    Start {
        job: u32,
    },
    Finish {
        job: u32,
        verdict: u8,
    },
    /// Anything at all is reported by anyone.
    Noise {
        runner: u64,
        job: u32,
        attempt: u32,
        what: u8,
    },
    Renew {
        runner: u64,
        forget: bool,
    },
    Cancel {
        job: u32,
    },
    CancelAll,
    Wait {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (runner, job) = (0..4_u64, 0..6_u32);
    prop_oneof![
        3 => (runner.clone(), 0..3_u32, any::<bool>()).prop_map(|(runner, slots, gpu)| Step::Join { runner, slots, gpu }),
        1 => runner.clone().prop_map(|runner| Step::Leave { runner }),
        1 => (runner.clone(), any::<bool>()).prop_map(|(runner, draining)| Step::Drain { runner, draining }),
        1 => (runner.clone(), runner.clone()).prop_map(|(from, to)| Step::Move { from, to }),
        6 => job.clone().prop_map(|job| Step::Accept { job }),
        1 => job.clone().prop_map(|job| Step::Reject { job }),
        4 => job.clone().prop_map(|job| Step::Start { job }),
        4 => (job.clone(), 0..8_u8).prop_map(|(job, verdict)| Step::Finish { job, verdict }),
        3 => (runner.clone(), job.clone(), 0..5_u32, 0..4_u8)
            .prop_map(|(runner, job, attempt, what)| Step::Noise { runner, job, attempt, what }),
        3 => (runner, any::<bool>()).prop_map(|(runner, forget)| Step::Renew { runner, forget }),
        1 => job.prop_map(|job| Step::Cancel { job }),
        1 => Just(Step::CancelAll),
        3 => (0..20_000_u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// Needs only point to earlier jobs of the list, so there is never a cycle.
fn pipeline() -> impl Strategy<Value = Pipeline> {
    prop::collection::vec(
        (
            prop::collection::vec(any::<prop::sample::Index>(), 0..3),
            any::<bool>(),
        ),
        1..6,
    )
    .prop_map(|jobs| {
        let mut source = String::from("jobs:\n");
        for (at, (needs, gpu)) in jobs.iter().enumerate() {
            let mut needs: Vec<_> = needs
                .iter()
                .filter(|_| at > 0)
                .map(|need| need.index(at.max(1)))
                .collect();
            needs.sort_unstable();
            needs.dedup();
            let needs: Vec<_> = needs.iter().map(|need| format!("j{need}")).collect();
            let label = if *gpu { "gpu" } else { "any" };
            source.push_str(&format!(
                "  j{at}: {{needs: [{}], runs_on: {label}, timeout: 30s, steps: [{{run: x}}]}}\n",
                needs.join(", ")
            ));
        }
        Pipeline::parse(&source).unwrap()
    })
}

fn verdict(kind: u8) -> Verdict {
    match kind {
        0 => Verdict::Failed {
            step: Some(0),
            reason: FailReason::Exited { code: 1 },
        },
        1 => Verdict::TimedOut { step: Some(1) },
        2 => Verdict::Cancelled,
        _ => Verdict::Succeeded,
    }
}

/// Follows the events and checks what a watcher may rely on.
#[derive(Default)]
struct Watcher {
    states: BTreeMap<JobIndex, JobState>,
    attempts: BTreeMap<JobIndex, Attempt>,
    done: bool,
}

impl Watcher {
    fn drain(&mut self, schedule: &mut Schedule, pipeline: &Pipeline) {
        while let Some(event) = schedule.poll_event() {
            assert!(!self.done, "{event:?} after the end");
            match event {
                Event::Changed { job, state } => {
                    let before = self.states.insert(job, state.clone());
                    assert!(
                        !before.as_ref().is_some_and(JobState::is_terminal),
                        "{before:?} became {state:?}"
                    );
                    if let Some((_, attempt)) = state.holder() {
                        let last = self.attempts.entry(job).or_insert(attempt);
                        assert!(attempt >= *last, "an attempt number went back");
                        *last = attempt;
                        for need in &pipeline.jobs[job.as_usize()].needs {
                            assert_eq!(
                                self.states.get(need),
                                Some(&JobState::Succeeded),
                                "ran before its need"
                            );
                        }
                    }
                    let held_before = before.as_ref().and_then(JobState::holder);
                    if let (Some(old), Some(new)) = (held_before, state.holder()) {
                        assert_eq!(old.1, new.1, "an attempt was replaced while it was held");
                    }
                }
                Event::Offer { job, attempt, .. } => {
                    assert_eq!(
                        self.attempts.get(&job),
                        Some(&attempt),
                        "an offer was not announced as the newest"
                    );
                }
                Event::Done(_) => self.done = true,
                Event::Cancel { .. } | Event::RunnerLost { .. } => {}
            }
        }
    }
}

proptest! {
    #[test]
    fn every_job_ends_once_and_is_never_in_two_hands(
        pipeline in pipeline(),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(&pipeline, Limits::default(), now);
        let mut watcher = Watcher::default();
        for step in steps {
            let holder = |schedule: &Schedule, job: u32| schedule.job(JobIndex(job)).and_then(JobState::holder);
            match step {
                Step::Join { runner, slots, gpu } => {
                    let labels = ["any", "gpu"].iter().take(1 + usize::from(gpu)).map(ToString::to_string);
                    schedule.runner_joined(now, RunnerId(runner), labels, slots);
                }
                Step::Leave { runner } => schedule.runner_left(now, RunnerId(runner)),
                Step::Drain { runner, draining } => schedule.runner_draining(now, RunnerId(runner), draining),
                Step::Move { from, to } => {
                    let held = |schedule: &Schedule| schedule.jobs().filter(|(_, state)| state.holder().is_some_and(|(id, _)| id == RunnerId(from))).count();
                    if schedule.runner_moved(now, RunnerId(from), RunnerId(to)) {
                        prop_assert_eq!(held(&schedule), 0);
                    }
                }
                Step::Accept { job } => {
                    if let Some((runner, attempt)) = holder(&schedule, job) {
                        prop_assert!(schedule.accepted(now, runner, JobIndex(job), attempt).is_ok());
                    }
                }
                Step::Reject { job } => {
                    if let Some((runner, attempt)) = holder(&schedule, job) {
                        let _ = schedule.rejected(now, runner, JobIndex(job), attempt);
                    }
                }
                Step::Start { job } => {
                    if let Some((runner, attempt)) = holder(&schedule, job) {
                        let _ = schedule.started(now, runner, JobIndex(job), attempt);
                    }
                }
                Step::Finish { job, verdict: kind } => {
                    if let Some((runner, attempt)) = holder(&schedule, job) {
                        let _ = schedule.finished(now, runner, JobIndex(job), attempt, verdict(kind));
                    }
                }
                Step::Noise { runner, job, attempt, what } => {
                    let before = holder(&schedule, job);
                    let (id, index, attempt) = (RunnerId(runner), JobIndex(job), Attempt(attempt));
                    let answer = match what {
                        0 => schedule.accepted(now, id, index, attempt),
                        1 => schedule.rejected(now, id, index, attempt),
                        2 => schedule.started(now, id, index, attempt),
                        _ => schedule.finished(now, id, index, attempt, Verdict::Succeeded),
                    };
                    if before != Some((id, attempt)) {
                        prop_assert!(answer.is_err(), "a report by one who does not hold the job was taken");
                        prop_assert_eq!(holder(&schedule, job), before);
                    }
                }
                Step::Renew { runner, forget } => {
                    let held: Vec<_> = schedule.jobs().filter_map(|(job, state)| match state.holder() {
                        Some((id, attempt)) if id == RunnerId(runner) && !forget => Some((job, attempt)),
                        _ => None,
                    }).collect();
                    schedule.lease_renewed(now, RunnerId(runner), &held);
                }
                Step::Cancel { job } => schedule.cancel(now, JobIndex(job)),
                Step::CancelAll => schedule.cancel_all(now),
                Step::Wait { ms } => {
                    now += Duration::from_millis(ms);
                    schedule.handle_timeout(now);
                }
            }
            schedule.check_invariants();
            watcher.drain(&mut schedule, &pipeline);
        }
        // Everybody falls silent. The timers alone must bring the run to its end.
        for _ in 0..1000 {
            let Some(next) = schedule.poll_timeout() else { break };
            now = now.max(next);
            schedule.handle_timeout(now);
            watcher.drain(&mut schedule, &pipeline);
        }
        prop_assert!(schedule.result().is_some(), "the run hangs: {schedule:?}");
        prop_assert!(watcher.done);
        prop_assert!(schedule.jobs().all(|(_, state)| state.is_terminal()));
    }
}
