//! The answers of a second mount of a store: the same as those of the first.

use std::fs;

use serde_json::Value;

use crate::library::Library;
use crate::rig::Rig;

/// The server of the demonstration names bad rules, so that every link looks at the rules behind it.
#[test]
fn best_references_read_again_after_a_remount() {
    let library = Library::demo();
    let mut rig = Rig::mounted(&[&library.flags()[0]], &[]);
    let dataset = "bestrefs/roman-latest/R0000101001001001001_0001.WFI01";
    let original = fs::read(library.cache.join("references/roman/roman_wfi_gain_0001.json")).unwrap();
    for mount in 1..=3 {
        for path in [
            format!("{dataset}/gain"),
            format!("{dataset}/gain.json"),
            // The literal context, and one that no mount before has asked for.
            dataset.replace("roman-latest", &format!("roman_000{}.pmap", 1 + mount % 2)) + "/gain",
        ] {
            let read = rig.read(&path);
            assert!(read.as_ref() == Ok(&original), "mount {mount}, {path}: {read:?}");
        }
        let status: Value = serde_json::from_slice(&rig.read(".crds-fs/status.json").unwrap()).unwrap();
        assert_eq!(status["counters"]["panics"], 0, "mount {mount}: {status}");
        rig.umount();
        rig.mount();
    }
}

/// With `--bestrefs-as file` the rules are looked at by the lookup.
#[test]
fn best_references_that_are_files_are_found_again_after_a_remount() {
    let library = Library::demo();
    let mut rig = Rig::mounted(&[&library.flags()[0]], &["--bestrefs-as", "file"]);
    let path = "bestrefs/roman-latest/R0000101001001001001_0001.WFI01/gain";
    let first = fs::metadata(rig.path(path)).unwrap().len();
    rig.umount();
    rig.mount();
    let again = fs::metadata(rig.path(path)).unwrap().len();
    assert_eq!(again, first);
    assert!(!rig.log().contains("panicked"), "{}", rig.log());
}
