use std::time::{Duration, Instant};

use super::*;
use crate::pipeline::{JobIndex, Pipeline};

const A: RunnerId = RunnerId(1);
const B: RunnerId = RunnerId(2);
const FIRST: Attempt = Attempt(1);

struct Run {
    schedule: Schedule,
    now: Instant,
    limits: Limits,
}

impl Run {
    fn new(source: &str) -> Self {
        let (now, limits) = (Instant::now(), Limits::default());
        let pipeline = Pipeline::parse(source).unwrap();
        Self {
            schedule: Schedule::new(&pipeline, limits, now),
            now,
            limits,
        }
    }

    fn join(&mut self, id: RunnerId, labels: &[&str], slots: u32) {
        self.schedule
            .runner_joined(self.now, id, labels.iter().map(ToString::to_string), slots);
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.schedule.poll_event()).collect()
    }

    fn offers(&mut self) -> Vec<(u32, RunnerId, Attempt)> {
        let offer = |event| match event {
            Event::Offer {
                job, runner, attempt, ..
            } => Some((job.0, runner, attempt)),
            _ => None,
        };
        self.events().into_iter().filter_map(offer).collect()
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.schedule.handle_timeout(self.now);
    }

    fn start(&mut self, job: u32, runner: RunnerId, attempt: Attempt) {
        self.schedule
            .accepted(self.now, runner, JobIndex(job), attempt)
            .unwrap();
        self.schedule
            .started(self.now, runner, JobIndex(job), attempt)
            .unwrap();
    }

    fn finish(&mut self, job: u32, runner: RunnerId, attempt: Attempt, verdict: Verdict) {
        self.schedule
            .finished(self.now, runner, JobIndex(job), attempt, verdict)
            .unwrap();
    }

    fn state(&self, job: u32) -> &JobState {
        self.schedule.job(JobIndex(job)).unwrap()
    }
}

fn failed(code: i32) -> Verdict {
    Verdict::Failed {
        step: Some(0),
        reason: FailReason::Exited { code },
    }
}

const DIAMOND: &str = "\
jobs:
  last: {needs: [left, right], steps: [{run: x}]}
  left: {needs: first, steps: [{run: x}]}
  right: {needs: first, steps: [{run: x}]}
  first: {steps: [{run: x}]}
";

#[test]
fn needs_are_done_first_and_siblings_run_together() {
    let mut run = Run::new(DIAMOND);
    run.join(A, &[], 1);
    run.join(B, &[], 1);
    assert_eq!(run.offers(), [(3, A, FIRST)]);
    run.start(3, A, FIRST);
    assert!(run.offers().is_empty());
    run.finish(3, A, FIRST, Verdict::Succeeded);
    assert_eq!(run.offers(), [(1, A, FIRST), (2, B, FIRST)]);
    run.start(1, A, FIRST);
    run.start(2, B, FIRST);
    run.finish(1, A, FIRST, Verdict::Succeeded);
    assert!(run.offers().is_empty());
    run.finish(2, B, FIRST, Verdict::Succeeded);
    assert_eq!(run.offers(), [(0, A, FIRST)]);
    run.start(0, A, FIRST);
    run.finish(0, A, FIRST, Verdict::Succeeded);
    assert_eq!(run.events().last(), Some(&Event::Done(RunResult::Succeeded)));
    assert_eq!(run.schedule.poll_timeout(), None);
}

#[test]
fn a_failed_need_skips_all_that_depend_on_it() {
    let mut run = Run::new(DIAMOND);
    run.join(A, &[], 4);
    run.start(3, A, FIRST);
    run.finish(3, A, FIRST, Verdict::Succeeded);
    run.start(1, A, FIRST);
    run.start(2, A, FIRST);
    run.finish(1, A, FIRST, failed(1));
    assert_eq!(run.state(0), &JobState::Skipped { need: JobIndex(1) });
    assert_eq!(run.state(2).word(), "running", "a sibling is left alone");
    run.finish(2, A, FIRST, Verdict::Succeeded);
    assert_eq!(run.schedule.result(), Some(RunResult::Failed));
}

#[test]
fn labels_decide_who_is_offered() {
    let mut run = Run::new("jobs:\n  a: {runs_on: [linux, gpu], steps: [{run: x}]}\n");
    run.join(A, &["linux"], 4);
    assert!(run.offers().is_empty());
    assert!(
        run.schedule
            .explain(JobIndex(0), run.now)
            .unwrap()
            .contains("[linux, gpu]")
    );
    run.join(B, &["gpu", "linux", "big"], 1);
    assert_eq!(run.offers(), [(0, B, FIRST)]);
}

#[test]
fn a_job_that_no_runner_fits_fails_and_says_so() {
    let mut run = Run::new("jobs:\n  a: {runs_on: gpu, steps: [{run: x}]}\n");
    run.advance(run.limits.unmatched_max - Duration::from_millis(1));
    assert_eq!(run.state(0), &JobState::Queued);
    run.advance(Duration::from_millis(1));
    let reason = FailReason::NoRunner {
        labels: vec![String::from("gpu")],
    };
    assert_eq!(run.state(0), &JobState::Failed { step: None, reason });
}

#[test]
fn slots_bound_what_a_runner_is_offered() {
    let mut run =
        Run::new("jobs:\n  a: {steps: [{run: x}]}\n  b: {steps: [{run: x}]}\n  c: {steps: [{run: x}]}\n");
    run.join(A, &[], 2);
    assert_eq!(run.offers().len(), 2);
    run.start(0, A, FIRST);
    assert!(run.offers().is_empty());
    run.finish(0, A, FIRST, Verdict::Succeeded);
    assert_eq!(run.offers(), [(2, A, FIRST)]);
}

#[test]
fn an_offer_that_lapses_goes_to_another_runner_under_a_new_number() {
    let mut run = Run::new("steps: [{run: x}]");
    run.join(A, &[], 1);
    run.join(B, &[], 1);
    assert_eq!(run.offers(), [(0, A, FIRST)]);
    run.advance(run.limits.accept_within);
    assert_eq!(
        run.offers(),
        [(0, B, Attempt(2))],
        "the one that let it lapse rests"
    );
    let late = run.schedule.accepted(run.now, A, JobIndex(0), FIRST);
    assert_eq!(
        late,
        Err(Stale {
            job: JobIndex(0),
            runner: A,
            attempt: FIRST
        })
    );
    run.start(0, B, Attempt(2));
}

#[test]
fn a_job_that_nobody_accepts_fails() {
    let mut run = Run::new("steps: [{run: x}]");
    run.join(A, &[], 1);
    for _ in 0..run.limits.offers_max {
        let offer = run.offers();
        assert_eq!(offer.len(), 1);
        run.schedule
            .rejected(run.now, A, JobIndex(0), offer[0].2)
            .unwrap();
        assert!(run.offers().is_empty(), "a runner that refused rests");
        run.advance(run.limits.runner_back_off);
        run.schedule.lease_renewed(run.now, A, &[]);
    }
    let reason = FailReason::Unaccepted {
        offers: run.limits.offers_max,
    };
    assert_eq!(run.state(0), &JobState::Failed { step: None, reason });
}

#[test]
fn a_lost_runner_gives_its_jobs_back_a_bounded_number_of_times() {
    let mut run = Run::new("steps: [{run: x}]");
    for number in 1..=run.limits.lost_max {
        run.join(RunnerId(u64::from(number)), &[], 1);
        run.start(0, RunnerId(u64::from(number)), Attempt(number));
        run.advance(run.limits.lease);
    }
    assert_eq!(
        run.state(0),
        &JobState::Lost {
            attempts: run.limits.lost_max
        }
    );
    assert_eq!(run.schedule.result(), Some(RunResult::Failed));
}

#[test]
fn a_runner_that_comes_back_too_late_changes_nothing() {
    let mut run = Run::new("steps: [{run: x}]");
    run.join(A, &[], 1);
    run.start(0, A, FIRST);
    run.advance(run.limits.lease);
    run.join(B, &[], 1);
    run.start(0, B, Attempt(2));
    assert!(
        run.schedule
            .finished(run.now, A, JobIndex(0), FIRST, failed(1))
            .is_err()
    );
    assert!(
        run.schedule
            .finished(run.now, A, JobIndex(0), Attempt(2), failed(1))
            .is_err()
    );
    assert_eq!(
        run.schedule
            .lease_renewed(run.now, A, &[(JobIndex(0), FIRST)])
            .stop,
        [(JobIndex(0), FIRST)]
    );
    assert_eq!(run.state(0).holder(), Some((B, Attempt(2))));
}

#[test]
fn lease_lists_reconcile_both_sides() {
    let mut run = Run::new("jobs:\n  a: {steps: [{run: x}]}\n  b: {steps: [{run: x}]}\n");
    run.join(A, &[], 3);
    run.start(0, A, FIRST);
    // The runner restarted: it has forgotten job 0, has not seen the offer of 1, and holds a ghost.
    let ghost = (JobIndex(7), Attempt(3));
    let found = run.schedule.lease_renewed(run.now, A, &[ghost]);
    assert_eq!(
        found,
        Reconciled {
            stop: vec![ghost],
            lost: vec![(JobIndex(0), FIRST)]
        }
    );
    assert_eq!(run.state(1).word(), "offered");
    assert_eq!(
        run.state(0).holder(),
        Some((A, Attempt(2))),
        "the lost job is offered again"
    );
}

#[test]
fn leases_keep_a_runner_as_long_as_it_renews() {
    let mut run = Run::new("steps: [{run: x}]");
    run.join(A, &[], 1);
    run.start(0, A, FIRST);
    for _ in 0..10 {
        run.advance(run.limits.lease - Duration::from_millis(1));
        run.schedule.lease_renewed(run.now, A, &[(JobIndex(0), FIRST)]);
    }
    assert_eq!(run.state(0).word(), "running");
    assert!(
        !run.events()
            .iter()
            .any(|event| matches!(event, Event::RunnerLost { .. }))
    );
}

#[test]
fn a_cancelled_job_ends_when_its_runner_says_so() {
    let mut run = Run::new("jobs:\n  a: {steps: [{run: x}]}\n  b: {needs: a, steps: [{run: x}]}\n");
    run.join(A, &[], 1);
    run.start(0, A, FIRST);
    run.schedule.cancel_all(run.now);
    let cancel = Event::Cancel {
        job: JobIndex(0),
        runner: A,
        attempt: FIRST,
        cause: CancelCause::Requested,
    };
    assert!(run.events().contains(&cancel));
    assert_eq!(
        (run.state(0).word(), run.state(1)),
        ("running", &JobState::Cancelled)
    );
    run.schedule.cancel_all(run.now);
    assert!(run.events().is_empty(), "asking twice tells the runner once");
    run.finish(0, A, FIRST, Verdict::Cancelled);
    assert_eq!(run.schedule.result(), Some(RunResult::Cancelled));
}

#[test]
fn a_cancel_without_answer_ends_all_the_same() {
    let mut run = Run::new("steps: [{run: x}]");
    run.join(A, &[], 1);
    run.start(0, A, FIRST);
    run.schedule.cancel(run.now, JobIndex(0));
    let end = run.now + run.limits.cancel_within;
    while run.now < end {
        run.schedule.lease_renewed(run.now, A, &[(JobIndex(0), FIRST)]);
        run.advance(Duration::from_secs(5));
    }
    assert_eq!(run.state(0), &JobState::Cancelled);
    assert_eq!(
        run.schedule
            .lease_renewed(run.now, A, &[(JobIndex(0), FIRST)])
            .stop
            .len(),
        1
    );
}

#[test]
fn an_offer_is_withdrawn_by_a_cancel_at_once() {
    let mut run = Run::new("steps: [{run: x}]");
    run.join(A, &[], 1);
    run.schedule.cancel(run.now, JobIndex(0));
    assert_eq!(run.state(0), &JobState::Cancelled);
    assert!(run.schedule.accepted(run.now, A, JobIndex(0), FIRST).is_err());
}

#[test]
fn a_success_that_outran_a_cancel_counts() {
    let mut run = Run::new("steps: [{run: x}]");
    run.join(A, &[], 1);
    run.start(0, A, FIRST);
    run.schedule.cancel(run.now, JobIndex(0));
    run.finish(0, A, FIRST, Verdict::Succeeded);
    assert_eq!(run.state(0), &JobState::Succeeded);
}

#[test]
fn a_timeout_that_the_runner_does_not_report_is_enforced() {
    let mut run = Run::new("jobs:\n  a: {timeout: 10s, steps: [{run: x}]}\n");
    run.join(A, &[], 1);
    run.start(0, A, FIRST);
    let renew = |run: &mut Run| run.schedule.lease_renewed(run.now, A, &[(JobIndex(0), FIRST)]);
    for _ in 0..4 {
        run.advance(Duration::from_secs(10));
        renew(&mut run);
    }
    let told = run.events().into_iter().any(|event| {
        matches!(
            event,
            Event::Cancel {
                cause: CancelCause::TimedOut,
                ..
            }
        )
    });
    assert!(told, "timeout and margin are 40 seconds together");
    run.finish(0, A, FIRST, Verdict::Cancelled);
    assert_eq!(run.state(0), &JobState::TimedOut { step: None });
}

#[test]
fn a_draining_runner_finishes_and_takes_nothing_new() {
    let mut run = Run::new("jobs:\n  a: {steps: [{run: x}]}\n  b: {needs: a, steps: [{run: x}]}\n");
    run.join(A, &[], 1);
    run.start(0, A, FIRST);
    run.events();
    run.schedule.runner_draining(run.now, A, true);
    run.finish(0, A, FIRST, Verdict::Succeeded);
    assert!(run.offers().is_empty());
    run.join(B, &[], 1);
    assert_eq!(run.offers(), [(1, B, FIRST)]);
}

#[test]
fn a_runner_that_reconnects_in_time_keeps_its_jobs() {
    let mut run = Run::new("jobs:\n  a: {steps: [{run: x}]}\n  b: {steps: [{run: x}]}\n");
    run.join(A, &[], 2);
    run.start(0, A, FIRST);
    run.events();
    assert!(run.schedule.runner_moved(run.now, A, B));
    assert_eq!(run.state(0).holder(), Some((B, FIRST)));
    assert_eq!(
        run.state(1),
        &JobState::Queued,
        "an offer went to the old connection and is void"
    );
    assert!(
        run.schedule
            .finished(run.now, A, JobIndex(0), FIRST, failed(1))
            .is_err()
    );
    run.finish(0, B, FIRST, Verdict::Succeeded);
    run.advance(run.limits.runner_back_off);
    assert_eq!(run.state(1).holder(), Some((B, Attempt(2))));
    assert!(
        !run.schedule.runner_moved(run.now, A, RunnerId(9)),
        "it is known by its new number only"
    );
}
