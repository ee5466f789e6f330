//! The engine on disks that fail: cut off at every write, refusing any one write, short, and changed by others.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use redb::StorageBackend;

use super::engine::{Command, Engine, Reply};
use super::open::{Fault, open_on};
use super::*;
use crate::store::Guard;

/// A disk in memory. What was not synced may or may not be there after a cut, sector by sector.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Platter>>);

#[derive(Default)]
struct Platter {
    synced: Vec<u8>,
    written: Vec<u8>,
    /// Since the last sync: where, and what.
    pending: Vec<(usize, Vec<u8>)>,
    operations: u64,
    /// The operation that fails, and whether all after it fail too.
    fails: Option<(u64, bool)>,
}

impl Disk {
    fn of(image: Vec<u8>) -> Self {
        let platter = Platter {
            synced: image.clone(),
            written: image,
            ..Platter::default()
        };
        Self(Arc::new(Mutex::new(platter)))
    }

    fn failing(self, at: u64, for_good: bool) -> Self {
        self.0.lock().unwrap().fails = Some((at, for_good));
        self
    }

    fn operations(&self) -> u64 {
        self.0.lock().unwrap().operations
    }

    /// What a process finds that starts after another was killed: the system has all that was written.
    fn after_kill(&self) -> Vec<u8> {
        self.0.lock().unwrap().written.clone()
    }

    /// What is found when the power comes back: what was synced, and some of the rest.
    fn after_power_cut(&self, mut seed: u64) -> Vec<u8> {
        let platter = self.0.lock().unwrap();
        let mut image = platter.synced.clone();
        for (offset, bytes) in &platter.pending {
            for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                if seed >> 63 == 0 {
                    continue;
                }
                let at = offset + index * SECTOR;
                if image.len() < at + sector.len() {
                    image.resize(at + sector.len(), 0);
                }
                image[at..at + sector.len()].copy_from_slice(sector);
            }
        }
        image
    }
}

impl Platter {
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.fails {
            Some((at, for_good)) if self.operations == at || (for_good && self.operations > at) => {
                Err(io::Error::other("the disk fails, as the test wants it"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().written.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.0.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        let bytes = platter.written.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.operate()?;
        platter.written.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.operate()?;
        platter.synced = platter.written.clone();
        platter.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.operate()?;
        let from = usize::try_from(offset).unwrap();
        if platter.written.len() < from + data.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        platter.written[from..from + data.len()].copy_from_slice(data);
        platter.pending.push((from, data.to_vec()));
        Ok(())
    }
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn small() -> Bounds {
    Bounds {
        history_events_max: 8,
        ..Bounds::DEFAULT
    }
}

/// Batches of commands, each with its time, that do everything that is written in some way of its own.
fn history() -> Vec<(u64, Vec<Command>)> {
    let put = |name: &str, lease: Option<u64>| {
        let value = Bytes::from(format!("value of {name} ").repeat(20));
        Command::Commit(Txn::new().put(key(name), value, lease.map(LeaseId::new)))
    };
    let second = Duration::from_secs(1);
    vec![
        (0, vec![Command::Grant(second), Command::Grant(second * 60)]),
        (10, vec![put("a/1", Some(1)), put("a/2", Some(2)), put("b", None)]),
        (
            20,
            vec![put("a/1", Some(2)), Command::Commit(Txn::new().delete(key("b")))],
        ),
        (30, vec![put("c/1", None), put("c/2", None), put("c/3", Some(1))]),
        (900, vec![Command::KeepAlive(vec![LeaseId::new(1)])]),
        (1950, vec![put("d", None)]),
        (
            1960,
            vec![
                Command::Grant(second),
                put("e", Some(3)),
                Command::Revoke(LeaseId::new(3)),
            ],
        ),
        (
            1970,
            vec![Command::Commit(
                Txn::new()
                    .guard(Guard::Present(key("d")))
                    .delete(key("d"))
                    .delete(key("c/1")),
            )],
        ),
    ]
}

/// What counts of a ledger: everything that was acknowledged.
type Picture = (Vec<Arc<Entry>>, Revision, Revision, usize);

fn picture(engine: &Engine) -> Picture {
    let state = engine.state();
    let changes = state.history().count();
    (
        state.entries().cloned().collect(),
        state.revision(),
        state.compacted(),
        changes,
    )
}

/// The pictures after each batch, the empty one first.
fn pictures() -> Vec<Picture> {
    let mut engine = open_on(Disk::default(), small()).unwrap();
    let mut pictures = vec![picture(&engine)];
    for (now, commands) in history() {
        engine.run(Moment::from_millis(now), commands).unwrap();
        pictures.push(picture(&engine));
    }
    pictures
}

/// Runs the history until the disk fails. How many batches were acknowledged, and whether all were.
fn run_on(disk: &Disk) -> (usize, bool) {
    let mut acknowledged = 0;
    let Ok(mut engine) = open_on(disk.clone(), small()) else {
        return (0, false);
    };
    for (now, commands) in history() {
        if engine.run(Moment::from_millis(now), commands).is_err() {
            // As when the process ends: nothing more is written in an orderly way.
            disk.0.lock().unwrap().fails = Some((0, true));
            return (acknowledged, false);
        }
        acknowledged += 1;
    }
    (acknowledged, true)
}

fn expect_nothing_lost(image: Vec<u8>, acknowledged: usize, pictures: &[Picture], case: &str) {
    let engine = match open_on(Disk::of(image), small()) {
        Ok(engine) => engine,
        // A file that was being made when the power went need not be one.
        Err(Fault::Corrupt(_)) if acknowledged == 0 => return,
        Err(fault) => panic!("{case}: {fault:?}"),
    };
    let found = picture(&engine);
    // The batch that was under way is there as a whole or not at all.
    let under_way = pictures.get(acknowledged + 1);
    assert!(
        found == pictures[acknowledged] || Some(&found) == under_way,
        "{case}: {found:?}"
    );
}

#[test]
fn nothing_acknowledged_is_lost_by_a_power_cut_at_any_write() {
    let pictures = pictures();
    let whole = Disk::default();
    assert_eq!(run_on(&whole), (pictures.len() - 1, true));
    let mut cuts = 0;
    for at in 1..=whole.operations() {
        let disk = Disk::default().failing(at, true);
        let (acknowledged, _) = run_on(&disk);
        for seed in 0..3 {
            let case = format!("cut at operation {at}, seed {seed}");
            expect_nothing_lost(
                disk.after_power_cut(at * 1000 + seed),
                acknowledged,
                &pictures,
                &case,
            );
            cuts += 1;
        }
    }
    assert!(cuts > 100, "{cuts} cuts are too few to say anything");
}

#[test]
fn nothing_acknowledged_is_lost_by_a_write_that_fails() {
    let pictures = pictures();
    let whole = Disk::default();
    run_on(&whole);
    for at in 1..=whole.operations() {
        let disk = Disk::default().failing(at, false);
        let (acknowledged, _) = run_on(&disk);
        let case = format!("operation {at} fails");
        expect_nothing_lost(disk.after_kill(), acknowledged, &pictures, &case);
    }
}

/// A disk with the whole history on it, closed in order, and its picture.
fn closed_in_order() -> (Vec<u8>, Picture) {
    let disk = Disk::default();
    let mut engine = open_on(disk.clone(), small()).unwrap();
    for (now, commands) in history() {
        engine.run(Moment::from_millis(now), commands).unwrap();
    }
    let picture = picture(&engine);
    drop(engine);
    (disk.after_kill(), picture)
}

#[test]
fn a_file_that_was_cut_short_is_corrupt_or_whole_and_never_less() {
    let (image, whole) = closed_in_order();
    let mut corrupt = 0;
    for part in 1..64 {
        let cut = image[..image.len() * part / 64].to_vec();
        match open_on(Disk::of(cut), small()) {
            Err(Fault::Corrupt(_)) => corrupt += 1,
            Err(fault) => panic!("cut to {part}/64: {fault:?}"),
            Ok(engine) => assert_eq!(picture(&engine), whole, "cut to {part}/64"),
        }
    }
    assert!(corrupt > 0);
}

#[test]
fn a_file_that_others_changed_is_corrupt_or_whole_and_never_different() {
    let (image, whole) = closed_in_order();
    let used: Vec<usize> = (0..image.len()).filter(|at| image[*at] != 0).collect();
    let mut corrupt = 0;
    for at in used.iter().step_by(used.len() / 400) {
        let mut changed = image.clone();
        changed[*at] ^= 0x41;
        match open_on(Disk::of(changed), small()) {
            Err(Fault::Corrupt(_)) => corrupt += 1,
            Err(fault) => panic!("byte {at}: {fault:?}"),
            Ok(engine) => assert_eq!(picture(&engine), whole, "byte {at}"),
        }
    }
    assert!(corrupt > 0);
}

#[test]
fn leases_have_their_whole_time_after_a_restart_and_time_goes_on() {
    let disk = Disk::default();
    let mut engine = open_on(disk.clone(), small()).unwrap();
    let granted = engine
        .run(
            Moment::from_millis(5000),
            vec![Command::Grant(Duration::from_secs(2))],
        )
        .unwrap();
    assert!(matches!(granted.replies[..], [(Reply::Granted(Ok(_)), _)]));
    drop(engine);
    let engine = open_on(Disk::of(disk.after_kill()), small()).unwrap();
    assert_eq!(engine.now(), Moment::from_millis(5000));
    assert_eq!(engine.poll_timeout(), Some(Moment::from_millis(7000)));
}

#[test]
fn a_command_that_changes_nothing_writes_nothing() {
    let disk = Disk::default();
    let mut engine = open_on(disk.clone(), small()).unwrap();
    engine
        .run(Moment::START, vec![Command::Grant(Duration::from_secs(5))])
        .unwrap();
    let before = disk.operations();
    let renewals = vec![Command::KeepAlive(vec![LeaseId::new(1)]); 100];
    let done = engine.run(Moment::from_millis(1000), renewals).unwrap();
    assert!(!done.changed);
    let refused = Txn::new()
        .guard(Guard::Present(key("nobody")))
        .put(key("a"), Bytes::new(), None);
    engine
        .run(Moment::from_millis(1000), vec![Command::Commit(refused)])
        .unwrap();
    assert_eq!(disk.operations(), before);
}

#[tokio::test]
async fn a_corrupt_file_is_kept_aside_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.redb");
    for round in 1..=2 {
        std::fs::write(&path, vec![0x5a; 20_000]).unwrap();
        match EmbeddedStore::open(&path, Bounds::DEFAULT).await {
            Err(OpenError::Corrupt { kept, .. }) => {
                assert_eq!(kept, folder.path().join(format!("registry.redb.corrupt-{round}")));
                assert_eq!(std::fs::read(&kept).unwrap(), vec![0x5a; 20_000]);
            }
            other => panic!("{other:?}"),
        }
        assert!(!path.exists());
    }
    let store = EmbeddedStore::open(&path, Bounds::DEFAULT).await.unwrap();
    let second = EmbeddedStore::open(&path, Bounds::DEFAULT).await;
    assert!(matches!(second, Err(OpenError::InUse(_))), "{second:?}");
    store.close().await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_it_was_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.redb");
    let store = EmbeddedStore::open(&path, Bounds::DEFAULT).await.unwrap();
    let committed = store
        .commit(Txn::new().put(key("a"), Bytes::from("1"), None))
        .await
        .unwrap();
    let handle = store.clone();
    let mut watch = store.watch(&Prefix::all(), committed.revision).await.unwrap();
    store.close().await;
    assert!(matches!(
        handle.get(&key("a")).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(matches!(
        handle.commit(Txn::new()).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(watch.next(1).await.is_err(), "a watch of a closed store ends");
    let again = EmbeddedStore::open(&path, Bounds::DEFAULT).await.unwrap();
    let found = again.get(&key("a")).await.unwrap();
    assert_eq!(
        (found.revision, found.value.unwrap().value.clone()),
        (committed.revision, Bytes::from("1"))
    );
    // A watch that was at that revision goes on from there.
    assert!(again.watch(&Prefix::all(), committed.revision).await.is_ok());
}

const SECTOR: usize = 512;

#[tokio::test]
async fn a_new_file_begins_where_it_is_told_to_and_an_old_one_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.redb");
    let open = async |begin| {
        let begin = Revision::new(begin);
        EmbeddedStore::open_beginning_after(&path, Bounds::DEFAULT, begin)
            .await
            .unwrap()
    };
    let write = async |store: &EmbeddedStore| {
        let txn = Txn::new().put("a".parse().unwrap(), Bytes::new(), None);
        store.commit(txn).await.unwrap().revision.number()
    };
    let store = open(100).await;
    assert_eq!(write(&store).await, 101);
    store.close().await;
    let store = open(900).await;
    assert_eq!(write(&store).await, 102);
    let early = store.watch(&Prefix::all(), Revision::new(99)).await;
    assert!(matches!(early.err(), Some(WatchError::Compacted { .. })));
}
