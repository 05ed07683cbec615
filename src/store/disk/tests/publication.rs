//! Openers are answered when the bytes are right; what follows in the background is not theirs to wait for.

use std::sync::mpsc::{Sender, channel};
use std::thread;

use super::moments::Moment;
use super::*;

/// A store whose publisher stands still once, with durable bytes in its hands and no name given, until it is let go.
struct Halted {
    dir: TempDir,
    store: DiskStore,
    go: Sender<()>,
}

impl Halted {
    fn new(options: StoreOptions) -> Self {
        let dir = TempDir::new().unwrap();
        let store = DiskStore::open(dir.path(), options).unwrap();
        let (go, going) = channel();
        store.disk.moments.plan(Moment::DataSynced, move || {
            let _ = going.recv();
        });
        Self { dir, store, go }
    }

    fn let_go(&self) {
        self.go.send(()).unwrap();
        self.store.close().unwrap();
    }
}

fn absent(found: &Found) -> bool {
    matches!(found, Found::Absent)
}

#[test]
fn what_was_verified_is_there_before_it_is_durable() {
    let halted = Halted::new(options());
    let (store, rule) = (&halted.store, key("hst_0001.pmap"));
    let first = publish(store, &rule, b"rules").unwrap();
    let inode = first.metadata().unwrap().ino();
    assert!(!path(&halted.dir, &rule).exists());
    assert_eq!(store.holding(&rule).unwrap().kind, HoldingKind::Catalogued);
    for found in [
        store.open(&rule, entry(b"rules")).unwrap(),
        store.verify(&rule, entry(b"rules")).unwrap(),
    ] {
        assert!(Arc::ptr_eq(&first, catalogued(&found)));
    }
    assert_eq!(store.usage().unwrap().used, 5);
    drop(first);
    // Also when it is not open any more.
    let again = store.open(&rule, entry(b"rules")).unwrap();
    assert_eq!(bytes_of(catalogued(&again)), b"rules");
    halted.let_go();
    assert_eq!(fs::read(path(&halted.dir, &rule)).unwrap(), b"rules");
    assert_eq!(fs::metadata(path(&halted.dir, &rule)).unwrap().ino(), inode);
    let found = store.open(&rule, entry(b"rules")).unwrap();
    assert!(Arc::ptr_eq(catalogued(&again), catalogued(&found)));
    assert!(partials(&halted.dir).is_empty());
    assert_eq!(store.usage().unwrap().used, 5);
}

#[test]
fn what_is_removed_before_it_is_durable_gets_no_name() {
    for whole in [false, true] {
        let halted = Halted::new(options());
        let (store, rule) = (&halted.store, key("hst_0001.pmap"));
        let file = publish(store, &rule, b"rules").unwrap();
        let removed = if whole {
            store.remove(&rule)
        } else {
            store.remove_copy(&rule)
        };
        assert!(removed.unwrap());
        assert!(absent(&store.open(&rule, entry(b"rules")).unwrap()));
        assert!(partials(&halted.dir).is_empty());
        // The next transfer has a file of its own: what openers have stays as it is.
        let partial = store.begin(&rule).unwrap();
        partial.file.write_all_at(b"RULES", 0).unwrap();
        assert_eq!(bytes_of(&file), b"rules");
        halted.let_go();
        assert!(!path(&halted.dir, &rule).exists());
        assert_eq!(partials(&halted.dir), ["hst_0001.pmap"]);
        store.publish(&rule, &partial, sum(b"RULES")).unwrap();
        store.close().unwrap();
        assert_eq!(fs::read(path(&halted.dir, &rule)).unwrap(), b"RULES");
    }
}

#[test]
fn an_override_of_what_is_not_durable_yet_wins() {
    let halted = Halted::new(options());
    let (store, rule) = (&halted.store, key("hst_0001.pmap"));
    let file = publish(store, &rule, b"rules").unwrap();
    fs::write(halted.dir.path().join("mine"), b"my own").unwrap();
    store.move_in(Path::new("mine"), &rule).unwrap();
    assert!(matches!(
        store.open(&rule, entry(b"rules")).unwrap(),
        Found::Local(_)
    ));
    halted.let_go();
    assert_eq!(fs::read(path(&halted.dir, &rule)).unwrap(), b"my own");
    assert_eq!(bytes_of(&file), b"rules");
    assert!(partials(&halted.dir).is_empty());
    assert_eq!(store.usage().unwrap().used, 6);
}

/// The user's file of that name was renamed away: a published file that is about to get the name stays.
#[test]
fn what_is_not_durable_yet_is_not_taken_for_a_file_that_was_renamed_away() {
    let halted = Halted::new(options());
    let (store, rule) = (&halted.store, key("hst_0001.pmap"));
    publish(store, &rule, b"rules").unwrap();
    store.recount(&rule).unwrap();
    store.abandon(&rule, false).unwrap();
    catalogued(&store.open(&rule, entry(b"rules")).unwrap());
    halted.let_go();
    assert_eq!(fs::read(path(&halted.dir, &rule)).unwrap(), b"rules");
}

#[test]
fn what_a_new_catalog_does_not_want_gets_no_name() {
    let halted = Halted::new(options());
    let (store, rule) = (&halted.store, key("hst_0001.pmap"));
    publish(store, &rule, b"old!").unwrap();
    assert!(absent(&store.open(&rule, entry(b"new!")).unwrap()));
    halted.let_go();
    assert!(!path(&halted.dir, &rule).exists());
    put(store, &rule, b"new!").unwrap();
    catalogued(&store.open(&rule, entry(b"new!")).unwrap());
    assert!(quarantined(&halted.dir).is_empty());
}

/// The partial file is written to after it was verified.
#[test]
fn what_was_changed_before_it_is_durable_gets_no_name() {
    let halted = Halted::new(options());
    let (store, rule) = (&halted.store, key("hst_0001.pmap"));
    publish(store, &rule, b"rules").unwrap();
    fs::write(
        halted.dir.path().join(".crds-fs/partial/hst/hst_0001.pmap"),
        b"evil!",
    )
    .unwrap();
    halted.go.send(()).unwrap();
    assert!(store.close().is_err(), "it is told that something is not kept");
    let unkept = store.unkept();
    let [unkept] = unkept.as_slice() else {
        panic!("{unkept:?}")
    };
    assert_eq!(unkept.key.as_ref(), Some(&rule));
    assert!(!path(&halted.dir, &rule).exists());
    assert!(store.holding(&rule).is_none());
    store.close().unwrap();
}

/// A file that is not durable cannot be evicted, and is waited for before anything is refused.
#[test]
fn room_that_durability_would_give_is_waited_for() {
    let small = StoreOptions {
        cache_size: Some(10),
        ..options()
    };
    let halted = Halted::new(small);
    let (first, second) = (key("hst_0001.pmap"), key("hst_0002.pmap"));
    publish(&halted.store, &first, b"01234567").unwrap();
    thread::scope(|scope| {
        let later = scope.spawn(|| publish(&halted.store, &second, b"abcdefgh"));
        halted.go.send(()).unwrap();
        later.join().unwrap().unwrap();
    });
    assert!(halted.store.holding(&first).is_none());
    catalogued(&halted.store.open(&second, entry(b"abcdefgh")).unwrap());
}

/// After a kill the bytes of a file that was not durable are there, and a transfer has nothing left to request.
#[test]
fn what_a_crash_leaves_of_a_verified_file_is_used_again() {
    let halted = Halted::new(options());
    let (store, data) = (&halted.store, key("hst_acs_dark_0001.fits"));
    store.reserve(&data, 10).unwrap();
    let partial = store.begin(&data).unwrap();
    store.record(&data, &record(&[(0, 10, 0)])).unwrap();
    partial.file.write_all_at(b"0123456789", 0).unwrap();
    store.publish(&data, &partial, sum(b"0123456789")).unwrap();
    let after = TempDir::new().unwrap();
    copy(halted.dir.path(), after.path());
    halted.let_go();
    let store = open(&after);
    store.load_index(Observatory::Hst).unwrap();
    assert!(store.holding(&data).is_none());
    assert_eq!(store.usage().unwrap().partial, 4096);
    let partial = store.begin(&data).unwrap();
    assert_eq!(partial.record.unwrap().arrived(), 10);
    assert_eq!(bytes_of(&partial.file), b"0123456789");
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

#[test]
fn many_files_become_durable_in_few_batches() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let names: Vec<FileKey> = (0..100)
        .map(|number| key(&format!("hst_{number:04}.pmap")))
        .collect();
    for name in &names {
        publish(&store, name, name.name.as_str().as_bytes()).unwrap();
    }
    store.close().unwrap();
    for name in &names {
        assert_eq!(fs::read(path(&dir, name)).unwrap(), name.name.as_str().as_bytes());
    }
    let done = store.disk.durability.done();
    let data = done.iter().filter(|sync| matches!(sync, Sync::Data(..))).count();
    assert_eq!(data, 100);
    drop(store);
    let store = open(&dir);
    for name in &names {
        let bytes = name.name.as_str().as_bytes();
        catalogued(&store.open(name, entry(bytes)).unwrap());
    }
}

#[test]
fn what_is_not_durable_is_bounded() {
    let queue = super::super::publisher::Queue::default();
    let large = queue.admit(1 << 40);
    let (sender, admitted) = channel();
    thread::scope(|scope| {
        let queue = &queue;
        scope.spawn(move || {
            let small = queue.admit(1);
            sender.send(()).unwrap();
            drop(small);
        });
        assert!(admitted.try_recv().is_err());
        drop(large);
        admitted.recv().unwrap();
    });
    assert!(queue.is_empty());
}
