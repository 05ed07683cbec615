//! Holds, checks and leftovers of a store on a disk.

use std::time::{Duration, SystemTime};

use super::*;
use crate::store::{Eviction, Finding, HoldChange};

fn hold(name: &str) -> HoldChange {
    HoldChange::Hold(key(name))
}

#[test]
fn holds_survive_a_restart_and_lines_that_make_no_sense_are_passed_over() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    store
        .change_holds(vec![hold("hst_0001.pmap"), hold("jwst_a_0001.fits")])
        .unwrap();
    drop(store);
    let file = dir.path().join(".crds-fs/hold");
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, "hold hst/hst_0001.pmap\nhold jwst/jwst_a_0001.fits\n");
    fs::write(
        &file,
        format!("{text}hold ../x\nrelease hst/hst_0001.pmap\nlater {{}}\n"),
    )
    .unwrap();
    let store = open(&dir);
    assert_eq!(store.held(), [key("jwst_a_0001.fits")].into());
    let again = vec![hold("jwst_a_0001.fits")];
    store.change_holds(again).unwrap();
    assert!(
        fs::read_to_string(&file).unwrap().contains("later"),
        "nothing changes what is as it should be"
    );
    store.change_holds(vec![hold("hst_0002.pmap")]).unwrap();
    drop(store);
    assert_eq!(open(&dir).held().len(), 2);
}

#[test]
fn a_store_that_cannot_be_written_has_its_owners_holds_and_takes_none() {
    let dir = TempDir::new().unwrap();
    open(&dir).change_holds(vec![hold("hst_0001.pmap")]).unwrap();
    fs::create_dir_all(dir.path().join("mappings")).unwrap();
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o555);
    let store = open(&dir);
    assert!(!store.is_writable());
    assert!(store.is_held(&key("hst_0001.pmap")));
    let refused = store.change_holds(vec![hold("hst_0002.pmap")]).unwrap_err();
    assert!(refused.to_string().contains("write to"), "{refused}");
    assert!(!store.is_held(&key("hst_0002.pmap")));
    mode(0o755);
}

/// A verified file that was changed in place is found by reading it, stays where it is, and is no longer given out.
#[test]
fn what_is_wrong_is_found_and_not_trusted_any_more() {
    let dir = TempDir::new().unwrap();
    let rule = key("hst_0001.pmap");
    let path = dir.path().join("mappings/hst/hst_0001.pmap");
    for wrong in ["RULES", "rul"] {
        let store = open(&dir);
        drop(put(&store, &rule, b"rules").unwrap());
        fs::write(&path, wrong).unwrap();
        let found = store.examine(&rule, entry(b"rules")).unwrap();
        let expected = if wrong.len() == 5 {
            Finding::WrongDigest(sum(b"RULES"))
        } else {
            Finding::WrongLength(3)
        };
        assert_eq!(found, expected);
        assert_eq!(fs::read_to_string(&path).unwrap(), wrong);
        assert_eq!(store.evict(&rule, entry(b"rules")).unwrap(), Eviction::Wrong);
        drop(store);
        let store = open(&dir);
        assert!(!matches!(
            store.open(&rule, entry(b"rules")).unwrap(),
            Found::Catalogued(_)
        ));
        assert!(matches!(
            store.verify(&rule, entry(b"rules")).unwrap(),
            Found::Absent
        ));
        assert!(!path.exists(), "set aside");
    }
    assert_eq!(open(&dir).usage().unwrap().quarantined_files, 2);
}

/// A copy whose bytes have changed on the disk without a trace is found by reading it, and hashed again after a restart.
#[test]
fn what_was_found_wrong_is_not_remembered_as_verified() {
    let dir = TempDir::new().unwrap();
    let rule = key("hst_0001.pmap");
    let store = open(&dir);
    drop(put(&store, &rule, b"RULES").unwrap());
    drop(store);
    // As if the bytes had been others when they were verified.
    let memory = dir.path().join(".crds-fs/verified/hst");
    let text = fs::read_to_string(&memory).unwrap();
    let text = text.replace(&sum(b"RULES").to_string(), &sum(b"rules").to_string());
    fs::write(&memory, text).unwrap();
    let store = open(&dir);
    let opened = store.open(&rule, entry(b"rules")).unwrap();
    assert!(matches!(opened, Found::Catalogued(_)), "nothing has told of it");
    drop(opened);
    let found = store.examine(&rule, entry(b"rules")).unwrap();
    assert_eq!(found, Finding::WrongDigest(sum(b"RULES")));
    drop(store);
    let store = open(&dir);
    store.load_index(Observatory::Hst).unwrap();
    assert_eq!(store.holding(&rule).unwrap().kind, HoldingKind::Unverified);
    assert_eq!(store.examine(&rule, entry(b"RULES")).unwrap(), Finding::Right);
    drop(store);
    let store = open(&dir);
    store.load_index(Observatory::Hst).unwrap();
    assert_eq!(store.holding(&rule).unwrap().kind, HoldingKind::Catalogued);
}

/// A file that was there before is hashed before it goes: another one may be somebody's work.
#[test]
fn a_file_that_was_never_hashed_is_evicted_only_if_it_is_the_catalogued_one() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("mappings/hst")).unwrap();
    let path = |name: &str| dir.path().join("mappings/hst").join(name);
    fs::write(path("hst_0001.pmap"), "rules").unwrap();
    fs::write(path("hst_0002.pmap"), "my own").unwrap();
    let store = open(&dir);
    let evict = |name| store.evict(&key(name), entry(b"rules")).unwrap();
    assert_eq!(evict("hst_0001.pmap"), Eviction::Gone(5));
    assert_eq!(evict("hst_0002.pmap"), Eviction::Wrong);
    assert!(!path("hst_0001.pmap").exists() && path("hst_0002.pmap").exists());
}

#[test]
fn the_time_of_the_last_use_survives_a_restart() {
    let dir = TempDir::new().unwrap();
    let rule = key("hst_0001.pmap");
    let store = open(&dir);
    drop(put(&store, &rule, b"rules").unwrap());
    let before = store.last_used(&rule).unwrap();
    store.close().unwrap();
    drop(store);
    let order = dir.path().join(".crds-fs/order");
    let text = fs::read_to_string(&order).unwrap();
    let (line, nanoseconds) = text.trim_end().rsplit_once('\t').unwrap();
    let day_ago = nanoseconds.parse::<u64>().unwrap() - 86_400_000_000_000;
    fs::write(&order, format!("{line}\t{day_ago}\n")).unwrap();
    let store = open(&dir);
    store.load_index(Observatory::Hst).unwrap();
    let age = before.duration_since(store.last_used(&rule).unwrap()).unwrap();
    assert_eq!(age.as_secs(), 86_400);
    drop(store.open(&rule, entry(b"rules")).unwrap());
    assert!(store.last_used(&rule).unwrap() >= before);
}

#[test]
fn what_killed_processes_leave_is_found_once_it_is_old() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let names = [
        ".crds-fs/.crds-fs~1~2~format",
        ".crds-fs/notes/.crds-fs~1~3~answers",
        ".crds-fs/uploads/hst-x.fits",
        "config/hst/.crds-fs~1~4~server_config",
    ];
    for name in names {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "half").unwrap();
    }
    assert_eq!(store.leftovers(), []);
    let old = SystemTime::now() - Duration::from_secs(7_200);
    for name in names {
        let file = File::options().write(true).open(dir.path().join(name)).unwrap();
        file.set_modified(old).unwrap();
    }
    let found = store.leftovers();
    let paths: Vec<&str> = found.iter().map(|one| one.path.to_str().unwrap()).collect();
    assert_eq!(paths, names);
    assert_eq!(found[0].bytes, 4);
    for leftover in &found {
        store.remove_leftover(leftover).unwrap();
    }
    assert_eq!(store.leftovers(), []);
}
