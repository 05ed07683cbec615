//! Faults of the servers of shared file systems besides being late: quotas that are told at close, root that is nobody, locks
//! that want a file open for writing.

use std::fs;
use std::path::{Path, PathBuf};

use crate::double::{Locks, Options};
use crate::mounts::{FLAT, Mounts, PMAP, content};
use crate::origin::Content;
use crate::rig::eventually;

const LARGE: &str = "roman_wfi_dark_0001.asdf";

fn with_a_large_file() -> Content {
    content().file(LARGE, 1_000_000)
}

/// All files below a directory, with their lengths.
fn files(directory: &Path, found: &mut Vec<(PathBuf, u64)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push((entry.path(), entry.metadata().unwrap().len()));
        }
    }
}

/// The kernel takes all bytes, and the server refuses them at close, or when they are synced.
#[test]
fn nothing_that_a_quota_has_cut_gets_a_name() {
    for quota in [0, 20, 1_000, 10_000] {
        let options = Options {
            quota: Some(quota),
            ..Options::default()
        };
        let mut mounts = Mounts::new(1, options, &["--shared"], content());
        let has_started = mounts.rigs[0].try_mount();
        if has_started {
            for _ in 0..2 {
                // It is right, and cannot be kept.
                mounts.read(&format!("references/roman/{FLAT}"));
            }
            eventually("it is told", || {
                mounts.rigs[0].log().contains("what was fetched is not kept")
            });
            mounts.rigs[0].terminate();
            mounts.rigs[0].reap();
        } else {
            assert!(mounts.rigs[0].log().contains("quota"), "{}", mounts.rigs[0].log());
        }
        let mut found = Vec::new();
        files(&mounts.store(), &mut found);
        for (path, length) in found {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert_ne!(name, FLAT);
            assert!(
                !path.starts_with(mounts.store().join(".crds-fs/incoming")),
                "{name} is left"
            );
            // A lease counts without its line as well.
            assert!(
                length > 0 || name == "bad_files.txt",
                "{name} is empty, of {quota} bytes"
            );
        }
    }
}

/// As root on a node is for many servers: its files are another's, and it can give none away.
#[test]
fn files_may_be_nobodys() {
    for arguments in [&[][..], &["--shared"]] {
        let options = Options {
            squashed: true,
            locks: Locks::Honest,
            ..Options::default()
        };
        let mut mounts = Mounts::new(1, options, arguments, with_a_large_file());
        let states = mounts.root.path().join("view-0/states");
        mounts.rigs[0].set("CRDS_FS_STATE", &states.display().to_string());
        for _ in 0..2 {
            mounts.start();
            mounts.read(&format!("mappings/roman/{PMAP}"));
            mounts.read(&format!("references/roman/{LARGE}"));
            mounts.rigs[0].umount();
        }
        assert_eq!(mounts.origin.asked(PMAP).len(), 1);
        assert!(!mounts.rigs[0].log().contains("WARN"), "{}", mounts.rigs[0].log());
    }
}

/// Else each mount would have a new state, and learn everything anew.
#[test]
fn a_state_on_the_network_is_used_again_where_locks_mean_something() {
    let options = Options {
        locks: Locks::Honest,
        ..Options::default()
    };
    let mut mounts = Mounts::new(1, options, &["--shared"], content());
    let states = mounts.root.path().join("view-0/states");
    mounts.rigs[0].set("CRDS_FS_STATE", &states.display().to_string());
    for _ in 0..2 {
        mounts.start();
        mounts.read(&format!("references/roman/{FLAT}"));
        mounts.rigs[0].umount();
    }
    let store = fs::read_dir(mounts.store().join("states"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(fs::read_dir(store.path()).unwrap().count(), 1);
    assert!(
        !mounts.rigs[0].log().contains("locks mean nothing"),
        "{}",
        mounts.rigs[0].log()
    );
}
