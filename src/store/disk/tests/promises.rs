//! Promises of a store beyond returning the bytes that were put in: durability, atomicity, room, and a message of every
//! change.

use std::collections::BTreeSet;

use super::*;

fn in_order(store: &DiskStore) -> String {
    let done = store.disk.durability.done();
    done.iter()
        .map(|sync| match sync {
            Sync::Data(..) => 'd',
            Sync::Names(..) => 'n',
        })
        .collect()
}

#[test]
fn bytes_are_durable_before_their_names_and_both_when_the_store_is_closed() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let (rule, other) = (key("hst_0001.pmap"), key("hst_0002.pmap"));
    put(&store, &rule, b"rules").unwrap();
    store.close().unwrap();
    assert_eq!(in_order(&store), "dn");
    store.close().unwrap();
    assert_eq!(in_order(&store), "dn");
    put(&store, &other, b"rules").unwrap();
    drop(store.open(&other, entry(b"rules")).unwrap());
    store.close().unwrap();
    assert_eq!(in_order(&store), "dndn");
}

/// Between the moment when the user's file takes a name and its rename nothing lies there.
#[test]
fn a_name_that_is_the_users_is_not_published_under_even_while_nothing_lies_there() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let rule = key("hst_0001.pmap");
    put(&store, &rule, b"theirs").unwrap();
    store.set_local(&rule).unwrap();
    fs::remove_file(dir.path().join("mappings/hst/hst_0001.pmap")).unwrap();
    assert!(matches!(
        put(&store, &rule, b"theirs"),
        Err(StoreError::Overridden(_))
    ));
    assert!(!dir.path().join("mappings/hst/hst_0001.pmap").exists());
}

/// The same length is no proof: what replaced a verified file while it was closed is hashed, be it before a restart or
/// after.
#[test]
fn a_file_that_was_replaced_in_the_same_length_is_noticed() {
    for restart in [false, true] {
        let dir = TempDir::new().unwrap();
        let running = open(&dir);
        let rule = key("hst_0001.pmap");
        put(&running, &rule, b"good").unwrap();
        let running = Some(running).filter(|_| !restart);
        let path = dir.path().join("mappings/hst/hst_0001.pmap");
        fs::write(dir.path().join("new"), b"evil").unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        let store = running.unwrap_or_else(|| open(&dir));
        is_found_to_differ(&store, &rule, b"good");
        assert_eq!(quarantined(&dir), [b"evil"]);
        assert!(store.holding(&rule).is_none());
    }
}

#[test]
fn every_change_is_told() {
    let dir = TempDir::new().unwrap();
    let small = StoreOptions {
        cache_size: Some(10),
        ..options()
    };
    let store = DiskStore::open(dir.path(), small).unwrap();
    let (sender, changes) = mpsc::channel();
    store.watch(sender);
    let told = || changes.try_iter().collect::<BTreeSet<FileKey>>();
    let (first, second) = (key("hst_0001.pmap"), key("hst_0002.pmap"));
    put(&store, &first, b"0123456789").unwrap();
    assert_eq!(told(), [first.clone()].into(), "it came");
    put(&store, &second, b"0123456789").unwrap();
    assert_eq!(told(), [first, second.clone()].into(), "one went, one came");
    store.set_local(&second).unwrap();
    assert_eq!(told(), [second.clone()].into(), "it is the user's");
    store.remove(&second).unwrap();
    assert_eq!(told(), [second].into(), "it went");
}

#[test]
fn files_of_the_users_are_counted_as_they_come_change_and_go() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    store.load_index(Observatory::Hst).unwrap();
    let (copy, other, rule) = (key("hst_0001.pmap"), key("notes.txt"), key("hst_0002.pmap"));
    put(&store, &copy, b"theirs").unwrap();
    let counted = |key: &FileKey| {
        store.recount(key).unwrap();
        let usage = store.usage().unwrap();
        (usage.used, usage.files)
    };
    fs::create_dir_all(dir.path().join("references/hst")).unwrap();
    assert_eq!(counted(&other), (6, 1), "nothing is there yet");
    fs::write(path(&dir, &other), b"12345").unwrap();
    assert_eq!(counted(&other), (11, 2));
    fs::write(path(&dir, &other), b"0123456789").unwrap();
    assert_eq!(counted(&other), (16, 2));
    fs::write(path(&dir, &rule), b"").unwrap();
    store.set_local(&rule).unwrap();
    assert_eq!(counted(&rule), (16, 3));
    fs::write(path(&dir, &rule), b"mine").unwrap();
    assert_eq!(counted(&rule), (20, 3));
    assert_eq!(store.holding(&rule).unwrap().kind, HoldingKind::Local);
    fs::remove_file(path(&dir, &other)).unwrap();
    assert_eq!(counted(&other), (10, 2));
    fs::remove_file(path(&dir, &rule)).unwrap();
    assert_eq!(counted(&rule), (6, 1));
    assert_eq!(counted(&copy), (6, 1));
    assert_eq!(store.holding(&copy).unwrap().kind, HoldingKind::Catalogued);
    // Only what was remembered of a name is to be forgotten.
    let memory = fs::read_to_string(dir.path().join(".crds-fs/verified/hst")).unwrap();
    assert!(
        !memory.contains("notes.txt") && memory.ends_with("G\thst_0002.pmap\n"),
        "{memory}"
    );
}

/// A reader who has the description open while it is replaced reads all of the old one.
#[test]
fn a_snapshot_is_replaced_whole() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    store.save_snapshot(Observatory::Hst, "{'old': 1}", "").unwrap();
    let before = File::open(dir.path().join("config/hst/server_config")).unwrap();
    store
        .save_snapshot(Observatory::Hst, "{'a newer one': 2}", "")
        .unwrap();
    assert_eq!(bytes_of(&before), b"{'old': 1}");
    let names = fs::read_dir(dir.path().join("config/hst")).unwrap().count();
    assert_eq!(names, 3, "no temporary name is left");
}

#[test]
fn a_large_file_has_its_blocks_before_its_bytes() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let data = key("hst_acs_dark_0001.fits");
    let size = 3 << 20;
    store.reserve(&data, size).unwrap();
    let partial = store.begin(&data).unwrap();
    store.claim(&data, &partial).unwrap();
    let metadata = partial.file.metadata().unwrap();
    assert_eq!(metadata.len(), 0);
    assert!(metadata.blocks() * 512 >= size, "{} blocks", metadata.blocks());
}

#[test]
fn partial_files_that_nobody_wants_any_more_are_swept_away() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let partials = dir.path().join(".crds-fs/partial/hst");
    let (wanted, unnamed, old) = (
        key("hst_acs_dark_0001.fits"),
        key("hst_acs_dark_0002.fits"),
        key("hst_acs_dark_0003.fits"),
    );
    let record = record(&[(0, 10, 4)]);
    for key in [&wanted, &unnamed, &old] {
        let partial = store.begin(key).unwrap();
        partial.file.write_all_at(b"0123", 0).unwrap();
        store.record(key, &record).unwrap();
    }
    fs::write(partials.join(".crds-fs~7~hst_acs_dark_0001.fits~record"), b"torn").unwrap();
    let month = std::time::Duration::from_secs(31 * 24 * 60 * 60);
    let long_ago = std::time::SystemTime::now() - month;
    for name in ["hst_acs_dark_0003.fits", "hst_acs_dark_0003.fits~record"] {
        let file = File::options().write(true).open(partials.join(name)).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    store.sweep(Observatory::Hst, &|name| {
        name == wanted.name.as_str() || name == old.name.as_str()
    });
    let mut left: Vec<_> = fs::read_dir(&partials)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort_unstable();
    assert_eq!(left, ["hst_acs_dark_0001.fits", "hst_acs_dark_0001.fits~record"]);
    assert_eq!(store.begin(&wanted).unwrap().record.unwrap().arrived(), 4);
    // Nothing of another observatory, and nothing where nothing was.
    store.sweep(Observatory::Jwst, &|_| false);
    assert_eq!(fs::read_dir(&partials).unwrap().count(), 2);
}

#[test]
fn a_snapshot_without_end_is_replaced_by_the_next_one() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    fs::create_dir_all(dir.path().join("config/hst")).unwrap();
    let file = File::create(dir.path().join("config/hst/server_config")).unwrap();
    file.set_len(10 << 30).unwrap();
    assert!(store.snapshot(Observatory::Hst).unwrap().is_none());
    store.save_snapshot(Observatory::Hst, "{}", "").unwrap();
    assert_eq!(store.snapshot(Observatory::Hst).unwrap().unwrap().text, "{}");
}
