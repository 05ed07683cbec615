//! The tests that every implementation of a store must pass: in memory, on a disk flat, on a disk by instrument.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use sha1::{Digest as _, Sha1};

use super::{Found, HoldingKind, Part, Record, ReferenceLayout, Store, StoreError};
use crate::crds::{CatalogEntry, FileKey, Observatory, Sha1Sum};

mod subjects;
mod upkeep;

use subjects::{Disk, Memory, Shared};
use upkeep::{
    a_copy_is_evicted_by_name_unless_it_must_stay, what_is_held_stays_whatever_has_to_go,
    what_lies_under_a_name_is_told,
};

/// An implementation that is tested, with at most so many bytes in the store.
trait Subject {
    fn store(&self) -> &dyn Store;

    fn layout(&self) -> ReferenceLayout;

    /// Puts a file of the user's under a name.
    fn put_own(&self, key: &FileKey, contents: &[u8]);
}

/// Every test for every implementation.
macro_rules! for_every_store {
    ($($test:ident: $limit:expr;)*) => {
        mod memory {
            $(#[test] fn $test() { super::$test(&super::Memory::new($limit)); })*
        }
        mod flat_disk {
            use super::ReferenceLayout::Flat;
            $(#[test] fn $test() { super::$test(&super::Disk::new(Flat, $limit)); })*
        }
        mod disk_by_instrument {
            use super::ReferenceLayout::Instrument;
            $(#[test] fn $test() { super::$test(&super::Disk::new(Instrument, $limit)); })*
        }
    };
}

/// Every test that needs no eviction, for shared stores.
macro_rules! for_shared_stores {
    ($($test:ident;)*) => {
        mod shared_disk {
            use super::ReferenceLayout::Flat;
            $(#[test] fn $test() { super::$test(&super::Shared::new(Flat)); })*
        }
        mod shared_disk_by_instrument {
            use super::ReferenceLayout::Instrument;
            $(#[test] fn $test() { super::$test(&super::Shared::new(Instrument)); })*
        }
    };
}

for_shared_stores! {
    what_is_published_is_there;
    what_is_stored_whole_is_there;
    an_open_file_is_shared;
    other_contents_than_wanted_are_not_given;
    the_users_file_wins;
    a_transfer_that_the_user_overtook_is_refused;
    a_transfer_goes_on_from_its_record;
    copies_and_own_files_are_removed;
    snapshots_and_notes_are_kept;
    a_copy_is_evicted_by_name_unless_it_must_stay;
    what_lies_under_a_name_is_told;
    only_right_bytes_are_seen_while_everything_changes;
}

for_every_store! {
    what_is_published_is_there: None;
    what_is_stored_whole_is_there: None;
    an_open_file_is_shared: None;
    other_contents_than_wanted_are_not_given: None;
    the_users_file_wins: None;
    a_transfer_that_the_user_overtook_is_refused: None;
    a_transfer_goes_on_from_its_record: None;
    an_abandoned_transfer_gives_its_room_back: Some(30);
    the_least_recently_used_copy_makes_room: Some(30);
    room_is_made_of_what_nobody_has_open: None;
    what_cannot_fit_is_refused_at_once: Some(30);
    copies_and_own_files_are_removed: None;
    snapshots_and_notes_are_kept: None;
    what_is_held_stays_whatever_has_to_go: Some(30);
    a_copy_is_evicted_by_name_unless_it_must_stay: None;
    what_lies_under_a_name_is_told: None;
    only_right_bytes_are_seen_while_everything_changes: None;
}

fn key(name: &str) -> FileKey {
    let observatory = name.split('_').next().and_then(|text| text.parse().ok());
    FileKey {
        observatory: observatory.unwrap_or(Observatory::Hst),
        name: name.parse().unwrap(),
    }
}

fn sum(bytes: &[u8]) -> Sha1Sum {
    Sha1Sum::from_bytes(Sha1::digest(bytes).into())
}

fn wanted(bytes: &[u8]) -> CatalogEntry {
    CatalogEntry {
        size: Some(bytes.len() as u64),
        sha1: Some(sum(bytes)),
    }
}

fn bytes_of(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Stores a file in the steps of a transfer.
fn put(store: &dyn Store, key: &FileKey, bytes: &[u8]) -> Result<Arc<File>, StoreError> {
    store.reserve(key, bytes.len() as u64)?;
    let partial = store.begin(key)?;
    store.claim(key, &partial)?;
    partial.file.write_all_at(bytes, 0).unwrap();
    store.publish(key, &partial, sum(bytes))
}

fn catalogued(found: &Found) -> &Arc<File> {
    match found {
        Found::Catalogued(file) => file,
        other => panic!("{other:?}"),
    }
}

fn own(found: &Found) -> &Arc<File> {
    match found {
        Found::Local(file) => file,
        other => panic!("{other:?}"),
    }
}

fn is_overridden<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Overridden(_)))
}

fn what_is_published_is_there(subject: &impl Subject) {
    let store = subject.store();
    assert_eq!(store.layout(), subject.layout());
    assert!(store.is_writable());
    let (rule, data, other) = (
        key("jwst_miri_0001.imap"),
        key("jwst_miri_dark_0001.fits"),
        key("hst_0001.pmap"),
    );
    assert!(matches!(store.open(&rule, wanted(b"rules")), Ok(Found::Absent)));
    assert!(store.holding(&rule).is_none());
    assert_eq!(bytes_of(&put(store, &rule, b"rules").unwrap()), b"rules");
    assert_eq!(bytes_of(&put(store, &data, b"data").unwrap()), b"data");
    put(store, &other, b"").unwrap();
    for (key, bytes) in [(&rule, &b"rules"[..]), (&data, b"data"), (&other, b"")] {
        let found = store.open(key, wanted(bytes)).unwrap();
        assert_eq!(bytes_of(catalogued(&found)), bytes);
        let holding = store.holding(key).unwrap();
        assert_eq!(holding.kind, HoldingKind::Catalogued);
        assert_eq!(holding.size, bytes.len() as u64);
    }
    let mut held: Vec<FileKey> = store
        .holdings(Observatory::Jwst)
        .unwrap()
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    held.sort();
    assert_eq!(held, [rule, data]);
    let usage = store.usage().unwrap();
    assert_eq!((usage.used, usage.files, usage.partial), (9, 3, 0));
    store.close().unwrap();
    assert!(store.holding(&other).is_some(), "the store stays usable");
}

fn what_is_stored_whole_is_there(subject: &impl Subject) {
    let store = subject.store();
    let (rule, mine) = (key("hst_0001.pmap"), key("hst_0002.pmap"));
    assert_eq!(
        bytes_of(&store.store_whole(&rule, b"rules", sum(b"rules")).unwrap()),
        b"rules"
    );
    catalogued(&store.open(&rule, wanted(b"rules")).unwrap());
    subject.put_own(&mine, b"mine");
    assert!(is_overridden(&store.store_whole(&mine, b"rules", sum(b"rules"))));
    assert_eq!(
        bytes_of(own(&store.open(&mine, wanted(b"rules")).unwrap())),
        b"mine"
    );
    // The remains of an earlier attempt are not in the way.
    let third = key("hst_0003.pmap");
    let partial = store.begin(&third).unwrap();
    partial.file.write_all_at(b"something longer", 0).unwrap();
    store.record(&third, &record(16, 8)).unwrap();
    store.abandon(&third, true).unwrap();
    let file = store.store_whole(&third, b"short", sum(b"short")).unwrap();
    assert_eq!(bytes_of(&file), b"short");
    let usage = store.usage().unwrap();
    assert_eq!((usage.used, usage.partial), (14, 0));
}

fn an_open_file_is_shared(subject: &impl Subject) {
    let store = subject.store();
    let rule = key("hst_0001.pmap");
    let first = put(store, &rule, b"x").unwrap();
    let second = store.open(&rule, wanted(b"x")).unwrap();
    assert!(Arc::ptr_eq(&first, catalogued(&second)));
}

/// A new catalog may give a name other contents: then the old file is not handed out.
fn other_contents_than_wanted_are_not_given(subject: &impl Subject) {
    let store = subject.store();
    for other in [&b"new!"[..], b"longer"] {
        let rule = key("hst_0001.pmap");
        let before = put(store, &rule, b"old!").unwrap();
        let found = match store.open(&rule, wanted(other)).unwrap() {
            Found::Unverified => store.verify(&rule, wanted(other)).unwrap(),
            found => found,
        };
        assert!(matches!(found, Found::Absent), "{found:?}");
        assert!(store.holding(&rule).is_none());
        assert_eq!(bytes_of(&before), b"old!", "who has it open goes on with it");
        assert_eq!(bytes_of(&put(store, &rule, other).unwrap()), other);
        catalogued(&store.open(&rule, wanted(other)).unwrap());
        assert!(store.remove(&rule).unwrap());
    }
}

fn the_users_file_wins(subject: &impl Subject) {
    let store = subject.store();
    let rule = key("hst_0001.pmap");
    put(store, &rule, b"theirs").unwrap();
    subject.put_own(&rule, b"my own");
    assert_eq!(
        bytes_of(own(&store.open(&rule, wanted(b"theirs")).unwrap())),
        b"my own"
    );
    assert_eq!(store.holding(&rule).unwrap().kind, HoldingKind::Local);
    let verified = store.verify(&rule, wanted(b"theirs")).unwrap();
    assert_eq!(bytes_of(own(&verified)), b"my own");
    // It is neither removed as a copy nor evicted to make room.
    assert!(!store.remove_copy(&rule).unwrap());
    assert!(store.make_room(&key("hst_0002.pmap"), 100).is_err());
    assert_eq!(store.holding(&rule).unwrap().kind, HoldingKind::Local);
}

fn a_transfer_that_the_user_overtook_is_refused(subject: &impl Subject) {
    let store = subject.store();
    let rule = key("hst_0001.pmap");
    store.reserve(&rule, 6).unwrap();
    let partial = store.begin(&rule).unwrap();
    store.claim(&rule, &partial).unwrap();
    partial.file.write_all_at(b"theirs", 0).unwrap();
    subject.put_own(&rule, b"mine");
    assert!(is_overridden(&store.publish(&rule, &partial, sum(b"theirs"))));
    store.abandon(&rule, false).unwrap();
    assert_eq!(
        bytes_of(own(&store.open(&rule, wanted(b"theirs")).unwrap())),
        b"mine"
    );
    assert_eq!(store.usage().unwrap().used, 4);
    assert!(store.remove(&rule).unwrap());
    assert!(!store.remove(&rule).unwrap());
    put(store, &rule, b"theirs").unwrap();
    catalogued(&store.open(&rule, wanted(b"theirs")).unwrap());
}

fn record(size: u64, done: u64) -> Record {
    Record {
        url: "http://127.0.0.1/".into(),
        validator: Some("\"v\"".into()),
        size,
        parts: vec![Part {
            start: 0,
            end: size,
            done,
        }],
    }
}

fn a_transfer_goes_on_from_its_record(subject: &impl Subject) {
    let store = subject.store();
    let data = key("hst_acs_dark_0001.fits");
    let partial = store.begin(&data).unwrap();
    assert!(partial.record.is_none());
    partial.file.write_all_at(b"0123", 0).unwrap();
    store.record(&data, &record(10, 4)).unwrap();
    store.abandon(&data, true).unwrap();
    let partial = store.begin(&data).unwrap();
    assert_eq!(partial.record, Some(record(10, 4)));
    assert_eq!(bytes_of(&partial.file), b"0123");
    store.abandon(&data, false).unwrap();
    let partial = store.begin(&data).unwrap();
    assert!(partial.record.is_none());
    assert_eq!(partial.file.metadata().unwrap().len(), 0);
    store.abandon(&data, true).unwrap();
    assert!(
        store.begin(&data).unwrap().record.is_none(),
        "nothing to go on from"
    );
    store.abandon(&data, false).unwrap();
}

fn an_abandoned_transfer_gives_its_room_back(subject: &impl Subject) {
    let store = subject.store();
    let (first, second) = (key("hst_0001.pmap"), key("hst_0002.pmap"));
    for keep in [true, false] {
        store.reserve(&first, 20).unwrap();
        assert!(store.reserve(&second, 20).unwrap_err().is_no_space());
        store.abandon(&first, keep).unwrap();
        assert_eq!(store.usage().unwrap().used, 0);
        store.reserve(&second, 20).unwrap();
        store.abandon(&second, keep).unwrap();
    }
}

fn the_least_recently_used_copy_makes_room(subject: &impl Subject) {
    let store = subject.store();
    let names: Vec<FileKey> = (0..4)
        .map(|number| key(&format!("hst_000{number}.pmap")))
        .collect();
    let wanted = wanted(b"0123456789");
    for name in &names[..3] {
        put(store, name, b"0123456789").unwrap();
    }
    store.close().unwrap();
    store.open(&names[0], wanted).unwrap();
    let held = store.open(&names[1], wanted).unwrap();
    put(store, &names[3], b"0123456789").unwrap();
    assert!(store.holding(&names[2]).is_none());
    assert!(store.holding(&names[0]).is_some());
    let usage = store.usage().unwrap();
    assert_eq!((usage.available, usage.limit), (0, Some(30)));
    assert_eq!((usage.evicted.files, usage.evicted.bytes), (1, 10));
    store.close().unwrap();
    put(store, &names[2], b"01234567890123456789").unwrap();
    assert_eq!(bytes_of(catalogued(&held)), b"0123456789");
    assert!(store.holding(&names[1]).is_some(), "open files stay");
}

fn room_is_made_of_what_nobody_has_open(subject: &impl Subject) {
    let store = subject.store();
    let (held, idle, mine) = (key("hst_0001.pmap"), key("hst_0002.pmap"), key("hst_0003.pmap"));
    let _open = put(store, &held, b"0123456789").unwrap();
    put(store, &idle, b"0123456789").unwrap();
    put(store, &mine, b"0123456789").unwrap();
    store.close().unwrap();
    store.make_room(&mine, 100).unwrap();
    assert!(store.holding(&idle).is_none());
    assert!(store.holding(&held).is_some(), "it is open");
    assert!(store.holding(&mine).is_some(), "the room is for it");
    assert!(store.make_room(&mine, 100).unwrap_err().is_no_space());
}

fn what_cannot_fit_is_refused_at_once(subject: &impl Subject) {
    let store = subject.store();
    put(store, &key("hst_0001.pmap"), b"0123456789").unwrap();
    let refused = store.reserve(&key("hst_0002.pmap"), 31).unwrap_err();
    assert!(refused.is_no_space(), "{refused}");
    assert!(store.holding(&key("hst_0001.pmap")).is_some());
    let bytes = [7; 31];
    let refused = store.store_whole(&key("hst_0002.pmap"), &bytes, sum(&bytes));
    assert!(refused.unwrap_err().is_no_space());
    assert_eq!(store.usage().unwrap().used, 10);
}

fn copies_and_own_files_are_removed(subject: &impl Subject) {
    let store = subject.store();
    let (rule, mine) = (key("hst_0001.pmap"), key("hst_0002.pmap"));
    let open = put(store, &rule, b"rules").unwrap();
    assert!(store.remove_copy(&rule).unwrap());
    assert!(!store.remove_copy(&rule).unwrap());
    assert!(store.holding(&rule).is_none());
    assert!(matches!(store.open(&rule, wanted(b"rules")), Ok(Found::Absent)));
    assert_eq!(bytes_of(&open), b"rules", "who has it open goes on with it");
    store.close().unwrap();
    assert!(matches!(store.open(&rule, wanted(b"rules")), Ok(Found::Absent)));
    subject.put_own(&mine, b"mine");
    assert!(store.remove(&mine).unwrap());
    assert!(!store.remove(&mine).unwrap());
    assert_eq!(store.usage().unwrap().used, 0);
}

fn snapshots_and_notes_are_kept(subject: &impl Subject) {
    let store = subject.store();
    assert!(store.snapshot(Observatory::Hst).unwrap().is_none());
    store.save_snapshot(Observatory::Hst, "{'a': 1}", "x\ny").unwrap();
    store.save_snapshot(Observatory::Hst, "{'a': 2}", "x\ny").unwrap();
    assert_eq!(
        store.snapshot(Observatory::Hst).unwrap().unwrap().text,
        "{'a': 2}"
    );
    assert!(store.snapshot(Observatory::Jwst).unwrap().is_none());
    store.set_aside_snapshot(Observatory::Hst).unwrap();
    assert!(store.snapshot(Observatory::Hst).unwrap().is_none());
    assert!(store.note("answers").unwrap().is_none());
    store.save_note("answers", b"{}").unwrap();
    store.save_note("answers", b"{1}").unwrap();
    assert_eq!(store.note("answers").unwrap().unwrap(), b"{1}");
}

/// Threads publish, open, remove and override the same names: every copy that is opened is complete.
fn only_right_bytes_are_seen_while_everything_changes(subject: &impl Subject) {
    let store = subject.store();
    let names: Vec<FileKey> = (0..3)
        .map(|number| key(&format!("hst_000{number}.pmap")))
        .collect();
    let bytes = vec![7; 10_000];
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0..300 {
                let _ = store.store_whole(&names[turn % 3], &bytes, sum(&bytes));
            }
        });
        scope.spawn(|| {
            for turn in 0..200 {
                let _ = store.remove_copy(&names[turn % 3]);
                let _ = store.make_room(&names[turn % 3], 1);
            }
        });
        let reader = scope.spawn(|| {
            let mut seen = 0;
            for turn in 0..600 {
                if let Ok(Found::Catalogued(file)) = store.open(&names[turn % 3], wanted(&bytes)) {
                    assert!(bytes_of(&file) == bytes, "turn {turn}");
                    seen += 1;
                }
            }
            seen
        });
        reader.join().unwrap()
    });
    store.close().unwrap();
    let usage = store.usage().unwrap();
    let held = names.iter().filter(|name| store.holding(name).is_some()).count() as u64;
    assert_eq!((usage.used, usage.files), (held * 10_000, held), "{seen} opens");
    for name in &names {
        let _ = store.remove(name);
        store.store_whole(name, &bytes, sum(&bytes)).unwrap();
        catalogued(&store.open(name, wanted(&bytes)).unwrap());
    }
}
