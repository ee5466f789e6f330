use bytes::Bytes;

use super::spool::{Place, Spool};
use crate::log::{LogRecord, Stream};
use crate::pipeline::JobIndex;
use crate::schedule::Attempt;
use crate::wire::{JobRef, LOG_PAYLOAD_BYTES_MAX, LogFrame};

const AT: JobRef = JobRef {
    run: 1,
    job: JobIndex(0),
    attempt: Attempt(1),
};

fn record(offset: u64, bytes: &[u8]) -> LogRecord {
    LogRecord {
        job: AT.job,
        step: 2,
        stream: Stream::Stderr,
        offset,
        bytes: Bytes::copy_from_slice(bytes),
    }
}

fn spool(folder: &tempfile::TempDir, log_bytes_max: u64) -> (Spool, u64) {
    let spool = Spool::create(folder.path(), AT, log_bytes_max).unwrap();
    let writer = spool.take_over();
    (spool, writer)
}

/// Everything from a place on, as one text, and how many payloads it came in.
fn read_all(spool: &Spool, from: u64) -> (Vec<u8>, usize) {
    let (mut bytes, mut count) = (Vec::new(), 0);
    let mut place = Place::after(from);
    loop {
        let (payloads, next) = spool.read(place).unwrap();
        if payloads.is_empty() {
            return (bytes, count);
        }
        for payload in payloads {
            let LogFrame::Data { at, record } = LogFrame::decode(&payload).unwrap() else {
                panic!("only data is kept");
            };
            assert_eq!((at, record.step, record.stream), (AT, 2, Stream::Stderr));
            assert_eq!(
                record.offset,
                from + bytes.len() as u64,
                "bytes are missing or doubled"
            );
            bytes.extend_from_slice(&record.bytes);
            count += 1;
        }
        place = next;
    }
}

#[test]
fn what_is_repeated_is_kept_once_and_what_is_missing_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, writer) = spool(&folder, 1 << 20);
    let first = spool
        .append(writer, vec![record(0, b"hello "), record(6, b"world")])
        .unwrap();
    assert_eq!((first.kept, first.gap), (11, false));
    let again = spool.append(writer, vec![record(6, b"world, again")]).unwrap();
    assert_eq!((again.kept, again.gap), (18, false));
    let gap = spool
        .append(writer, vec![record(18, b"!"), record(30, b"?")])
        .unwrap();
    assert_eq!((gap.kept, gap.gap), (19, true));
    assert_eq!(read_all(&spool, 0), (b"hello world, again!".to_vec(), 4));
}

#[test]
fn a_reader_that_comes_back_gets_the_rest_of_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, writer) = spool(&folder, 1 << 20);
    spool
        .append(writer, vec![record(0, b"hello "), record(6, b"world")])
        .unwrap();
    assert_eq!(read_all(&spool, 8), (b"rld".to_vec(), 1));
    assert_eq!(read_all(&spool, 11), (Vec::new(), 0));
}

#[test]
fn the_longest_records_are_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, writer) = spool(&folder, 1 << 30);
    let mut wanted = Vec::new();
    for round in 0..40_u8 {
        let bytes = vec![round; LOG_PAYLOAD_BYTES_MAX];
        spool
            .append(writer, vec![record(wanted.len() as u64, &bytes)])
            .unwrap();
        wanted.extend_from_slice(&bytes);
    }
    assert_eq!(read_all(&spool, 0), (wanted, 40));
}

#[test]
fn a_log_past_its_bound_is_refused_and_what_was_kept_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, writer) = spool(&folder, 8);
    spool.append(writer, vec![record(0, b"12345678")]).unwrap();
    assert!(spool.append(writer, vec![record(8, b"9")]).is_err());
    assert!(
        spool.append(writer, vec![record(8, b"")]).is_err(),
        "a broken log stays broken"
    );
    assert!(spool.broken().unwrap().contains("may have 8 bytes"));
    assert_eq!(read_all(&spool, 0).0, b"12345678");
}

#[test]
fn only_the_newest_connection_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, old) = spool(&folder, 1 << 20);
    let new = spool.take_over();
    assert!(spool.append(old, vec![record(0, b"late")]).is_err());
    assert_eq!(spool.append(new, vec![record(0, b"now")]).unwrap().kept, 3);
    assert!(spool.broken().is_none());
}

#[test]
fn the_file_goes_with_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, writer) = spool(&folder, 1 << 20);
    spool.append(writer, vec![record(0, b"secret")]).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    drop(spool);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
