use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::log::{LogRecord, Stream};
use crate::pipeline::{JobIndex, Pipeline};
use crate::schedule::{Attempt, CancelCause, FailReason, RunResult, RunnerId, Verdict};

fn at() -> impl Strategy<Value = JobRef> {
    (any::<u64>(), any::<u32>(), any::<u32>()).prop_map(|(run, job, attempt)| JobRef {
        run,
        job: JobIndex(job),
        attempt: Attempt(attempt),
    })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let step = proptest::option::of(0..200_u32);
    let reason = prop_oneof![
        any::<i32>().prop_map(|code| FailReason::Exited { code }),
        (any::<i32>(), any::<bool>()).prop_map(|(signal, core)| FailReason::Signalled { signal, core }),
        Just(FailReason::OutOfMemory),
        ".{0,40}".prop_map(|error| FailReason::CouldNotStart { error }),
        ".{0,40}".prop_map(|error| FailReason::Runner { error }),
        proptest::collection::vec(".{0,9}", 0..4).prop_map(|labels| FailReason::NoRunner { labels }),
        any::<u32>().prop_map(|offers| FailReason::Unaccepted { offers }),
    ];
    prop_oneof![
        Just(Verdict::Succeeded),
        Just(Verdict::Cancelled),
        step.clone().prop_map(|step| Verdict::TimedOut { step }),
        (step, reason).prop_map(|(step, reason)| Verdict::Failed { step, reason }),
    ]
}

fn from_runner() -> impl Strategy<Value = FromRunner> {
    let phase = prop_oneof![
        Just(StepPhase::Started),
        (any::<u64>(), any::<bool>(), ".{0,40}").prop_map(|(duration_ms, ok, detail)| StepPhase::Ended {
            duration_ms,
            ok,
            detail
        }),
    ];
    prop_oneof![
        at().prop_map(|at| Accept { at }.into()),
        (at(), ".{0,40}").prop_map(|(at, reason)| Reject { at, reason }.into()),
        at().prop_map(|at| Start { at }.into()),
        (at(), 0..200_u32, phase).prop_map(|(at, step, phase)| Progress { at, step, phase }.into()),
        (at(), any::<u64>()).prop_map(|(at, log_bytes)| Complete { at, log_bytes }.into()),
        (at(), any::<u64>(), verdict()).prop_map(|(at, log_bytes, verdict)| Failed {
            at,
            log_bytes,
            verdict
        }
        .into()),
        (at(), any::<bool>()).prop_map(|(at, held)| CancelAck { at, held }.into()),
        (proptest::collection::vec(at(), 0..9), any::<bool>()).prop_map(|(held, draining)| Lease {
            held,
            draining
        }
        .into()),
        (any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>()).prop_map(
            |(slots, used, log_unacknowledged_bytes, jobs_ended)| {
                Metrics {
                    slots,
                    used,
                    log_unacknowledged_bytes,
                    jobs_ended,
                }
                .into()
            }
        ),
        (any::<bool>(), ".{0,40}").prop_map(|(ok, detail)| Health { ok, detail }.into()),
    ]
}

fn job_status() -> impl Strategy<Value = JobStatus> {
    let number = || proptest::option::of(any::<u64>());
    let text = || proptest::option::of(".{0,20}");
    let state = prop_oneof![
        Just(JobPhase::Queued),
        Just(JobPhase::TimedOut),
        Just(JobPhase::Lost)
    ];
    (
        any::<u32>(),
        ".{0,20}",
        state,
        text(),
        text(),
        number(),
        number(),
        any::<u32>(),
    )
        .prop_map(
            |(job, id, state, runner, detail, started_ms, ended_ms, steps)| JobStatus {
                job: JobIndex(job),
                id,
                state,
                attempt: steps,
                runner,
                started_ms,
                ended_ms,
                detail,
                step: Some(1),
                steps,
            },
        )
}

fn from_server() -> impl Strategy<Value = FromServer> {
    let settlement = prop_oneof![
        Just(Settlement::Recorded),
        Just(Settlement::Fenced),
        any::<u64>().prop_map(|from| Settlement::NeedLog { from }),
    ];
    prop_oneof![
        (at(), ".{0,20}", any::<u64>(), proptest::option::of(".{0,20}")).prop_map(
            |(at, pipeline, accept_within_ms, artifacts)| {
                let source = "env: {A: b}\nsteps: [{run: x, timeout: 3s}, {run: y, continue_on_error: true}]";
                let parsed = Pipeline::parse(source).unwrap();
                let spec = JobSpec::new(&parsed, &parsed.jobs[0]);
                Request {
                    at,
                    pipeline,
                    accept_within_ms,
                    artifacts,
                    spec,
                }
                .into()
            }
        ),
        (at(), any::<u64>()).prop_map(|(at, grace_ms)| Cancel {
            at,
            cause: CancelCause::Requested,
            grace_ms
        }
        .into()),
        (any::<u64>(), proptest::collection::vec(at(), 0..9)).prop_map(|(lease_ms, stop)| LeaseReply {
            lease_ms,
            stop
        }
        .into()),
        (at(), settlement).prop_map(|(at, settlement)| Settled { at, settlement }.into()),
        job_status().prop_map(|job| StatusUpdate::Job(job).into()),
        (
            any::<u64>(),
            ".{0,20}",
            proptest::collection::vec(job_status(), 0..5)
        )
            .prop_map(|(run, name, jobs)| StatusUpdate::Run(RunStatus { run, name, jobs }).into()),
        any::<u64>().prop_map(|run| StatusUpdate::End {
            run,
            result: RunResult::Cancelled
        }
        .into()),
    ]
}

fn log_frame() -> impl Strategy<Value = LogFrame> {
    let bytes = proptest::collection::vec(any::<u8>(), 1..300);
    prop_oneof![
        (at(), any::<u16>(), 0..3_u8, 0..u64::MAX / 2, bytes).prop_map(
            |(at, step, stream, offset, bytes)| {
                let stream = Stream::from_code(stream).unwrap();
                let record = LogRecord {
                    job: at.job,
                    step,
                    stream,
                    offset,
                    bytes: Bytes::from(bytes),
                };
                LogFrame::Data { at, record }
            }
        ),
        (at(), any::<u64>()).prop_map(|(at, offset)| LogFrame::End { at, offset }),
        (at(), any::<u64>()).prop_map(|(at, offset)| LogFrame::Ack { at, offset }),
        (at(), any::<u64>()).prop_map(|(at, offset)| LogFrame::Rewind { at, offset }),
    ]
}

proptest! {
    #[test]
    fn what_a_runner_says_comes_back(message in from_runner()) {
        let payload = message.encode().unwrap();
        prop_assert_eq!(FromRunner::decode(message.kind().code(), &payload), Ok(message));
    }

    #[test]
    fn what_a_server_says_comes_back(message in from_server()) {
        let payload = message.encode().unwrap();
        prop_assert_eq!(FromServer::decode(message.kind().code(), &payload), Ok(message));
    }

    #[test]
    fn log_frames_come_back(frame in log_frame()) {
        prop_assert_eq!(LogFrame::decode(&frame.encode().unwrap()), Ok(frame));
    }

    #[test]
    fn no_bytes_panic_a_decoder(kind in any::<u8>(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = FromRunner::decode(kind, &bytes);
        let _ = FromServer::decode(kind, &bytes);
        let _ = LogFrame::decode(&Bytes::from(bytes.clone()));
        let _ = (Register::decode(&bytes), Submit::decode(&bytes), Watch::decode(&bytes));
    }

    #[test]
    fn damaged_messages_never_panic(message in from_server(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut payload = message.encode().unwrap().to_vec();
        let at = at.index(payload.len());
        payload[at] = byte;
        let _ = FromServer::decode(message.kind().code(), &payload);
        let _ = FromServer::decode(message.kind().code(), &payload[..at]);
    }
}

#[test]
fn fields_of_a_later_version_are_ignored() {
    let json = br#"{"at":{"run":1,"job":2,"attempt":3,"new":0},"future":{"a":[1]}}"#;
    let at = JobRef {
        run: 1,
        job: JobIndex(2),
        attempt: Attempt(3),
    };
    assert_eq!(FromRunner::decode(0x21, json), Ok(Accept { at }.into()));
    let json = br#"{"at":{"run":1,"job":2,"attempt":3},"step":0,"phase":{"phase":"dreaming","of":"sheep"}}"#;
    let progress = Progress {
        at,
        step: 0,
        phase: StepPhase::Unknown,
    };
    assert_eq!(FromRunner::decode(0x24, json), Ok(progress.into()));
    let json = br#"{"status":"weather","temperature":20}"#;
    assert_eq!(FromServer::decode(0x44, json), Ok(StatusUpdate::Unknown.into()));
}

#[test]
fn a_kind_from_the_wrong_side_is_refused() {
    assert_eq!(
        FromRunner::decode(0x20, b"{}"),
        Err(WireError::UnexpectedKind(0x20))
    );
    assert_eq!(
        FromServer::decode(0x21, b"{}"),
        Err(WireError::UnexpectedKind(0x21))
    );
    assert_eq!(
        FromServer::decode(0x28, b"{}"),
        Err(WireError::UnexpectedKind(0x28))
    );
}

#[test]
fn bounds_hold_on_both_sides() {
    let at = JobRef {
        run: 1,
        job: JobIndex(2),
        attempt: Attempt(3),
    };
    let long = Reject {
        at,
        reason: "x".repeat(TEXT_BYTES_MAX + 1),
    };
    assert!(matches!(
        FromRunner::from(long.clone()).encode(),
        Err(WireError::Limit(WireLimit { field: "reason", .. }))
    ));
    let payload = serde_json::to_vec(&long).unwrap();
    assert!(matches!(
        FromRunner::decode(0x22, &payload),
        Err(WireError::Limit(_))
    ));
    let huge = vec![b' '; CONTROL_BYTES_MAX + 1];
    assert!(matches!(
        FromRunner::decode(0x22, &huge),
        Err(WireError::TooLong { .. })
    ));
    let lease = Lease {
        held: vec![at; HELD_MAX + 1],
        draining: false,
    };
    assert!(FromRunner::from(lease).encode().is_err());
    let register = Register {
        protocol: PROTOCOL,
        name: String::from("r"),
        labels: vec![String::new(); LABELS_MAX + 1],
        slots: 1,
        held: Vec::new(),
        was: Some(RunnerId(1)),
    };
    assert!(register.encode().is_err());
    let bytes = Bytes::from(vec![0; LOG_PAYLOAD_BYTES_MAX + 1]);
    let record = LogRecord {
        job: at.job,
        step: 0,
        stream: Stream::Stdout,
        offset: 0,
        bytes,
    };
    assert!(LogFrame::Data { at, record }.encode().is_err());
}

#[test]
fn the_log_header_is_as_specified() {
    let at = JobRef {
        run: 0x0102_0304_0506_0708,
        job: JobIndex(9),
        attempt: Attempt(10),
    };
    let record = LogRecord {
        job: at.job,
        step: 11,
        stream: Stream::Stderr,
        offset: 12,
        bytes: Bytes::from_static(b"hi"),
    };
    let expected = [
        1, 1, 0, 11, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12,
        b'h', b'i',
    ];
    assert_eq!(LogFrame::Data { at, record }.encode().unwrap(), expected[..]);
    let mut broken = expected;
    broken[0] = 2;
    assert_eq!(
        LogFrame::decode(&Bytes::copy_from_slice(&broken)),
        Err(WireError::Log("unknown version"))
    );
    broken = expected;
    broken[23] = 2;
    assert_eq!(
        LogFrame::decode(&Bytes::copy_from_slice(&broken)),
        Err(WireError::Log("bytes where none belong"))
    );
    broken = expected;
    broken[23] = 8;
    assert!(LogFrame::decode(&Bytes::copy_from_slice(&broken)).is_err());
}
