//! An update of any file writes what it says and leaves every other value, or leaves the file alone.
#![cfg_attr(not(test), no_main)]

use std::fs;
use std::path::PathBuf;

use crds_fs::dataset::{self, Change, DatasetHeader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (which, bytes) = input;
    let change = |keyword: &str, value: &str| Change {
        keyword: keyword.to_owned(),
        value: value.to_owned(),
    };
    let (name, changes) = match which % 3 {
        0 => (
            "fits",
            vec![
                change("DARKFILE", "jref$x_drk.fits"),
                change("A-LONG-KEYWORD", "it's"),
            ],
        ),
        1 => (
            "asdf",
            vec![change(
                "roman.meta.ref_file.dark",
                "crds://roman_wfi_dark_0001.asdf",
            )],
        ),
        _ => ("r0h", vec![change("DARKFILE", "uref$x.r0h")]),
    };
    // In memory where the system has a directory for that.
    let directory = PathBuf::from("/dev/shm");
    let directory = if directory.is_dir() {
        directory
    } else {
        std::env::temp_dir()
    };
    let path = directory.join(format!("crds-fs-fuzz-{}.{name}", std::process::id()));
    fs::write(&path, bytes).expect("scratch space");
    let before = dataset::read(&path, None);
    let outcome = dataset::update(&path, &changes);
    let now = fs::read(&path).expect("the file is still there");
    if matches!(outcome, Ok(true)) {
        if let (Ok(before), Ok(after)) = (before, dataset::read(&path, None)) {
            compare(&before, &after, &changes);
            assert_eq!(
                dataset::update(&path, &changes),
                Ok(false),
                "a second update changes nothing"
            );
        }
    } else {
        assert!(now == bytes, "refused, and changed all the same: {outcome:?}");
    }
    // Of what fails the file remains.
    let _ = fs::remove_file(&path);
});

fn compare(before: &DatasetHeader, after: &DatasetHeader, changes: &[Change]) {
    for change in changes {
        let found = after.get(&change.keyword.to_uppercase());
        assert_eq!(found, Some(change.value.as_str()), "{}", change.keyword);
    }
    for (name, value) in before.iter() {
        if !changes
            .iter()
            .any(|change| change.keyword.eq_ignore_ascii_case(name))
        {
            assert_eq!(after.get(name), Some(value), "{name}");
        }
    }
}
