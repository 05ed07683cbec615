//! Holds, and the times of use, of a store on a disk.

use super::*;
use crate::store::{HoldChange, Upkeep as _};

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
