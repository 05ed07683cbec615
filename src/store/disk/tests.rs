use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use sha1::{Digest as _, Sha1};
use tempfile::TempDir;

use super::durability::Sync;
use super::*;
use crate::store::{HoldingKind, Part, State as _, Upkeep as _, file_path};

mod full;
mod interleavings;
mod leases;
mod power_loss;
mod promises;
mod publication;
mod shared;
#[path = "../../../tests/common/small_disk.rs"]
mod small_disk;
mod upkeep;
mod verification;

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

fn entry(bytes: &[u8]) -> CatalogEntry {
    CatalogEntry {
        size: Some(bytes.len() as u64),
        sha1: Some(sum(bytes)),
    }
}

fn options() -> StoreOptions {
    StoreOptions {
        keep_free: 0,
        ..StoreOptions::default()
    }
}

fn open(dir: &TempDir) -> DiskStore {
    DiskStore::open(dir.path(), options()).unwrap()
}

fn bytes_of(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Stores a file in the steps of a transfer, and waits until it is durable under its name.
fn put(store: &DiskStore, key: &FileKey, bytes: &[u8]) -> Result<Arc<File>, StoreError> {
    let published = publish(store, key, bytes);
    store.disk.queue.flush()?;
    published
}

/// Stores a file in the steps of a transfer.
fn publish(store: &DiskStore, key: &FileKey, bytes: &[u8]) -> Result<Arc<File>, StoreError> {
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

/// Checks that a file which may be the wanted one is found to be another when it is hashed.
#[track_caller]
fn is_found_to_differ(store: &DiskStore, key: &FileKey, wanted: &[u8]) {
    let opened = store.open(key, entry(wanted)).unwrap();
    assert!(matches!(opened, Found::Unverified), "{opened:?}");
    let verified = store.verify(key, entry(wanted)).unwrap();
    assert!(matches!(verified, Found::Absent), "{verified:?}");
}

/// The record of a transfer of 10 bytes, with parts by their start, end and progress.
fn record(parts: &[(u64, u64, u64)]) -> Record {
    Record {
        url: "http://127.0.0.1/".into(),
        validator: Some("\"v\"".into()),
        size: 10,
        parts: parts
            .iter()
            .map(|&(start, end, done)| Part { start, end, done })
            .collect(),
    }
}

fn path(dir: &TempDir, key: &FileKey) -> PathBuf {
    dir.path().join(file_path(ReferenceLayout::Flat, key))
}

/// The names of the partial files of HST and of their records.
fn partials(dir: &TempDir) -> Vec<std::ffi::OsString> {
    let names = fs::read_dir(dir.path().join(".crds-fs/partial/hst"));
    let names = names.into_iter().flatten();
    names.map(|entry| entry.unwrap().file_name()).collect()
}

fn quarantined(dir: &TempDir) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(dir.path().join(".crds-fs/quarantine")) else {
        return Vec::new();
    };
    entries
        .map(|entry| fs::read(entry.unwrap().path()).unwrap_or_default())
        .collect()
}

#[test]
fn published_files_survive_a_restart_and_are_ordinary() {
    let dir = TempDir::new().unwrap();
    let (rule, data) = (key("jwst_miri_0001.imap"), key("jwst_miri_dark_0001.fits"));
    {
        let store = open(&dir);
        assert!(matches!(
            store.open(&rule, entry(b"rules")).unwrap(),
            Found::Absent
        ));
        assert_eq!(bytes_of(&put(&store, &rule, b"rules").unwrap()), b"rules");
        put(&store, &data, b"data").unwrap();
        store.close().unwrap();
    }
    assert_eq!(
        fs::read(dir.path().join("mappings/jwst/jwst_miri_0001.imap")).unwrap(),
        b"rules"
    );
    assert_eq!(
        fs::read(dir.path().join("references/jwst/jwst_miri_dark_0001.fits")).unwrap(),
        b"data"
    );
    assert!(
        fs::read_dir(dir.path().join(".crds-fs/partial/jwst"))
            .unwrap()
            .next()
            .is_none()
    );
    let store = open(&dir);
    let found = store.open(&rule, entry(b"rules")).unwrap();
    assert_eq!(bytes_of(catalogued(&found)), b"rules");
    let holding = store.holding(&rule).unwrap();
    assert_eq!((holding.kind, holding.size), (HoldingKind::Catalogued, 5));
    assert!(holding.blocks > 0);
    assert_eq!(store.holdings(Observatory::Jwst).unwrap().len(), 2);
    assert_eq!(store.usage().unwrap().used, 9);
}

#[test]
fn links_out_of_the_store_are_not_followed() {
    let dir = TempDir::new().unwrap();
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("secret"), b"good").unwrap();
    fs::create_dir_all(dir.path().join("mappings/hst")).unwrap();
    symlink(outside.path(), dir.path().join("references")).unwrap();
    let store = open(&dir);
    assert!(put(&store, &key("hst_x_y_0001.fits"), b"data").is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(
        bytes_of(&put(&store, &key("hst_0001.pmap"), b"good").unwrap()),
        b"good"
    );
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"good");
}

#[test]
fn pipes_and_directories_do_not_stop_an_open() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("mappings/hst/hst_0001.pmap")).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let pipe = dir.path().join("mappings/hst/hst_0002.pmap");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let store = open(&dir);
    for name in ["hst_0001.pmap", "hst_0002.pmap"] {
        assert!(matches!(
            store.open(&key(name), entry(b"good")).unwrap(),
            Found::Absent
        ));
        put(&store, &key(name), b"good").unwrap();
    }
}

#[test]
fn instrument_layout_is_kept_when_the_store_has_it() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("config/jwst")).unwrap();
    fs::write(
        dir.path().join("config/jwst/ref_cache_subdir_mode"),
        "instrument\n",
    )
    .unwrap();
    let store = open(&dir);
    assert_eq!(store.layout(), ReferenceLayout::Instrument);
    put(&store, &key("jwst_miri_dark_0001.fits"), b"data").unwrap();
    assert!(
        dir.path()
            .join("references/jwst/miri/jwst_miri_dark_0001.fits")
            .exists()
    );
    store.save_snapshot(Observatory::Hst, "{}", "").unwrap();
    let tag = fs::read_to_string(dir.path().join("config/hst/ref_cache_subdir_mode")).unwrap();
    assert_eq!(tag, "instrument");
    drop(store);
    let store = open(&dir);
    catalogued(
        &store
            .open(&key("jwst_miri_dark_0001.fits"), entry(b"data"))
            .unwrap(),
    );
    assert!(store.remove(&key("jwst_miri_dark_0001.fits")).unwrap());
    assert!(!store.remove(&key("jwst_miri_dark_0001.fits")).unwrap());
}

#[test]
fn local_files_win_and_are_remembered() {
    let dir = TempDir::new().unwrap();
    let rule = key("hst_0001.pmap");
    {
        let store = open(&dir);
        put(&store, &rule, b"theirs").unwrap();
        fs::write(dir.path().join("mappings/hst/.tmp"), b"mine").unwrap();
        store.move_in(Path::new("mappings/hst/.tmp"), &rule).unwrap();
        assert!(matches!(
            store.open(&rule, entry(b"theirs")).unwrap(),
            Found::Local(_)
        ));
        assert!(matches!(
            put(&store, &rule, b"theirs"),
            Err(StoreError::Overridden(_))
        ));
        store.abandon(&rule, false).unwrap();
    }
    let store = open(&dir);
    let Found::Local(file) = store.open(&rule, entry(b"theirs")).unwrap() else {
        panic!("not local any more");
    };
    assert_eq!(bytes_of(&file), b"mine");
    assert!(quarantined(&dir).is_empty());
    assert!(store.remove(&rule).unwrap());
    put(&store, &rule, b"theirs").unwrap();
    drop(store);
    let store = open(&dir);
    catalogued(&store.open(&rule, entry(b"theirs")).unwrap());
}

#[test]
fn publication_replaces_nothing() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let rule = key("hst_0001.pmap");
    store.load_index(Observatory::Hst).unwrap();
    fs::create_dir_all(dir.path().join("mappings/hst")).unwrap();
    fs::write(dir.path().join("mappings/hst/hst_0001.pmap"), b"unasked").unwrap();
    let file = put(&store, &rule, b"good").unwrap();
    assert_eq!(bytes_of(&file), b"good", "who waited for it has it");
    assert_eq!(
        fs::read(dir.path().join("mappings/hst/hst_0001.pmap")).unwrap(),
        b"unasked"
    );
    assert!(quarantined(&dir).is_empty());
    assert_eq!(store.usage().unwrap().used, 7, "it is counted");
}

#[test]
fn transfers_go_on_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let data = key("hst_acs_dark_0001.fits");
    {
        let store = open(&dir);
        let partial = store.begin(&data).unwrap();
        assert!(partial.record.is_none());
        store.record(&data, &record(&[(0, 10, 0)])).unwrap();
        partial.file.write_all_at(b"0123", 0).unwrap();
    }
    {
        let store = open(&dir);
        assert_eq!(store.begin(&data).unwrap().record, Some(record(&[(0, 10, 4)])));
        // Parts beyond the end of the file were lost.
        store.record(&data, &record(&[(0, 5, 5), (5, 10, 9)])).unwrap();
        assert_eq!(
            store.begin(&data).unwrap().record,
            Some(record(&[(0, 5, 4), (5, 10, 5)]))
        );
        store.record(&data, &record(&[(0, 5, 4), (6, 10, 6)])).unwrap();
        let partial = store.begin(&data).unwrap();
        assert!(partial.record.is_none());
        assert_eq!(partial.file.metadata().unwrap().len(), 0);
        store.abandon(&data, false).unwrap();
    }
    assert!(
        fs::read_dir(dir.path().join(".crds-fs/partial/hst"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn least_recently_used_copies_make_room() {
    let dir = TempDir::new().unwrap();
    let names: Vec<FileKey> = (0..4)
        .map(|number| key(&format!("hst_000{number}.pmap")))
        .collect();
    let small = StoreOptions {
        cache_size: Some(30),
        ..options()
    };
    {
        let store = DiskStore::open(dir.path(), small.clone()).unwrap();
        for name in &names[..3] {
            put(&store, name, b"0123456789").unwrap();
        }
        store.open(&names[0], entry(b"0123456789")).unwrap();
        store.close().unwrap();
    }
    let store = DiskStore::open(dir.path(), small).unwrap();
    let held = store.open(&names[1], entry(b"0123456789")).unwrap();
    put(&store, &names[3], b"0123456789").unwrap();
    assert!(store.holding(&names[2]).is_none());
    assert!(!dir.path().join("mappings/hst/hst_0002.pmap").exists());
    assert!(store.holding(&names[0]).is_some());
    assert!(
        store
            .reserve(&key("hst_9999.pmap"), 31)
            .unwrap_err()
            .is_no_space()
    );
    put(&store, &names[2], b"01234567890123456789").unwrap();
    assert_eq!(bytes_of(catalogued(&held)), b"0123456789");
    assert!(store.holding(&names[1]).is_some(), "open files stay");
    assert_eq!(store.usage().unwrap().available, 0);
}

#[test]
fn one_owner_at_a_time() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let refused = DiskStore::open(dir.path(), options()).unwrap_err().to_string();
    assert!(refused.contains(&std::process::id().to_string()), "{refused}");
    drop(store);
    open(&dir);
}

#[test]
fn another_format_is_refused() {
    let dir = TempDir::new().unwrap();
    drop(open(&dir));
    assert!(dir.path().join(".crds-fs/CACHEDIR.TAG").exists());
    fs::write(dir.path().join(".crds-fs/format"), "2\n").unwrap();
    assert!(matches!(
        DiskStore::open(dir.path(), options()),
        Err(StoreError::Format { .. })
    ));
}

#[test]
fn snapshots_and_notes() {
    let dir = TempDir::new().unwrap();
    {
        let store = open(&dir);
        assert!(store.snapshot(Observatory::Hst).unwrap().is_none());
        store.save_snapshot(Observatory::Hst, "{'a': 1}", "x\ny").unwrap();
        assert!(store.note("answers").unwrap().is_none());
        store.save_note("answers", b"{}").unwrap();
        assert!(store.save_note("../x", b"").is_err());
    }
    let store = open(&dir);
    assert_eq!(store.note("answers").unwrap().unwrap(), b"{}");
    assert_eq!(
        store.snapshot(Observatory::Hst).unwrap().unwrap().text,
        "{'a': 1}"
    );
    let config = dir.path().join("config/hst");
    assert_eq!(fs::read_to_string(config.join("bad_files.txt")).unwrap(), "x\ny");
    assert_eq!(
        fs::read_to_string(config.join("ref_cache_subdir_mode")).unwrap(),
        "flat"
    );
    store.set_aside_snapshot(Observatory::Hst).unwrap();
    assert!(store.snapshot(Observatory::Hst).unwrap().is_none());
    assert_eq!(quarantined(&dir), [b"{'a': 1}"]);
}
