//! The tree as programs see and use it through a mount: a small observatory, served from this process.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use crate::library::Library;
use crate::rig::{Rig, eventually};

const REFERENCE: &str = "v8q14451j_idc.fits";

/// Dropped from top to bottom: the mount goes before its server.
struct Whole {
    rig: Rig,
    library: Library,
}

fn reference() -> Vec<u8> {
    (0..200_000_u32)
        .map(|place| u8::try_from(place * 7 % 251).unwrap())
        .collect()
}

/// A small observatory, served and mounted.
fn whole() -> Whole {
    let directory = tempfile::tempdir().unwrap();
    let original = directory.path().join("original");
    fs::create_dir_all(original.join("mappings/hst")).unwrap();
    fs::create_dir_all(original.join("references/hst")).unwrap();
    fs::write(
        original.join("mappings/hst/hst_0001.pmap"),
        "header = {}\nselector = {}\n",
    )
    .unwrap();
    fs::write(original.join("references/hst").join(REFERENCE), reference()).unwrap();
    let datasets = directory.path().join("datasets.json");
    let answers = serde_json::json!({"J8BA0HRPQ": {
        "header": {"INSTRUME": "ACS"}, "bestrefs": {"hst_0001.pmap": {"idctab": REFERENCE}}
    }});
    fs::write(&datasets, answers.to_string()).unwrap();
    let library = Library::made(directory, original, Some(datasets));
    let flags = library.flags();
    let rig = Rig::mounted(&[&flags[0]], &["--keep-free", "0"]);
    Whole { rig, library }
}

impl Whole {
    fn path(&self, name: &str) -> PathBuf {
        self.rig.path(name)
    }

    fn downloads(&self) -> u64 {
        self.library.counters().downloads()
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(directory))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn a_rule_and_a_reference_are_read_through_the_mount() {
    let whole = whole();
    assert_eq!(
        whole.names(""),
        ["bestrefs", "config", "mappings", "pickles", "references"]
    );
    assert_eq!(whole.names("mappings/hst"), ["hst_0001.pmap"]);
    let path = whole.path("references/hst").join(REFERENCE);
    let before = fs::metadata(&path).unwrap();
    assert_eq!((before.len(), before.blocks()), (200_000, 0));
    assert_eq!(whole.downloads(), 0);
    assert!(fs::read(&path).unwrap() == reference());
    let rule = fs::read_to_string(whole.path("mappings/hst/hst_0001.pmap")).unwrap();
    assert_eq!(rule, "header = {}\nselector = {}\n");
    assert_eq!(whole.downloads(), 2);
    assert!(fs::read(&path).unwrap() == reference());
    assert_eq!(whole.downloads(), 2);
    whole.rig.settle();
    let kept = fs::read(whole.rig.store().join("references/hst").join(REFERENCE)).unwrap();
    assert!(kept == reference());
    let error = File::options().write(true).open(&path).unwrap_err();
    assert!(matches!(error.raw_os_error(), Some(1 | 13)), "{error}");
}

#[test]
fn a_best_reference_is_a_link_that_can_be_followed() {
    let whole = whole();
    let path = whole.path("bestrefs/hst-latest/j8ba0hrpq/idctab");
    assert!(fs::read(&path).unwrap() == reference());
    assert_eq!(path.canonicalize().unwrap().file_name().unwrap(), REFERENCE);
    let error = fs::metadata(whole.path("bestrefs/hst-latest/j00000000")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_client_writes_its_config_and_its_locks() {
    let whole = whole();
    let config = whole.path("config/hst/server_config");
    let before = fs::read_to_string(&config).unwrap();
    let temporary = whole.path("config/hst/0b8f4c0e-6d3f-4d8b-9f6a-2b8f4c0e6d3f");
    let mut file = File::create(&temporary).unwrap();
    file.write_all(b"{'theirs': True}").unwrap();
    drop(file);
    fs::rename(&temporary, &config).unwrap();
    assert_eq!(fs::read_to_string(&config).unwrap(), before);
    assert!(!temporary.exists());
    assert!(
        !whole
            .names("config/hst")
            .iter()
            .any(|name| name.starts_with("0b8f"))
    );

    let lock = whole.path("references/hst/x.fits.lock");
    let held = File::create_new(&lock).unwrap();
    assert_eq!(
        File::create_new(&lock).unwrap_err().kind(),
        std::io::ErrorKind::AlreadyExists
    );
    held.lock().unwrap();
    let other = File::open(&lock).unwrap();
    assert!(other.try_lock().is_err(), "the lock is real");
    assert_eq!(held.metadata().unwrap().nlink(), 1);
    fs::remove_file(&lock).unwrap();
    assert_eq!(held.metadata().unwrap().nlink(), 0);
    assert!(!lock.exists());
}

#[test]
fn a_copy_that_is_removed_comes_back_and_an_override_can_be_undone() {
    let whole = whole();
    let path = whole.path("mappings/hst/hst_0001.pmap");
    let catalogued = fs::read_to_string(&path).unwrap();
    // The kernel is told of the download by a thread of its own.
    eventually("the download is seen", || {
        fs::metadata(&path).unwrap().blocks() > 0
    });
    fs::remove_file(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().nlink(), 1);
    assert_eq!(fs::read_to_string(&path).unwrap(), catalogued);
    assert_eq!(whole.downloads(), 2);

    let mine = whole.path("mappings/hst/mine");
    fs::write(&mine, "mine").unwrap();
    fs::rename(&mine, &path).unwrap();
    let mut text = String::new();
    File::open(&path).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "mine");
    fs::write(&path, "changed").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "changed");
    assert_eq!(whole.names("mappings/hst"), ["hst_0001.pmap"]);
    fs::remove_file(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), catalogued);
}

#[test]
fn plain_tools_work() {
    let whole = whole();
    let shell = "set -eu; mkdir -p pickles/hst/a/b; cp references/hst/v8q14451j_idc.fits pickles/hst/a/b/copy; \
                 cmp pickles/hst/a/b/copy references/hst/v8q14451j_idc.fits; mv pickles/hst/a pickles/hst/c; \
                 ln -s c pickles/hst/d; test -s pickles/hst/d/b/copy; truncate -s 7 pickles/hst/c/b/copy; \
                 test $(stat -c %s pickles/hst/c/b/copy) = 7; chmod 600 pickles/hst/c/b/copy; \
                 echo more >> pickles/hst/c/b/copy; rm -r pickles/hst/c pickles/hst/d; \
                 test -z \"$(ls pickles/hst)\"; ls -lR . > /dev/null; df . > /dev/null; \
                 grep -q hst .crds-fs/status.json; grep -q crds_fs_downloads_total .crds-fs/metrics";
    let status = Command::new("sh")
        .args(["-c", shell])
        .current_dir(whole.rig.mountpoint())
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn what_is_said_of_a_users_file_is_done_to_it() {
    let whole = whole();
    let path = whole.path("pickles/hst/mine.pkl");
    let mut file = File::create_new(&path).unwrap();
    file.write_all(b"mine").unwrap();
    let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    file.set_modified(then).unwrap();
    let stored = whole.rig.store().join("pickles/hst/mine.pkl");
    assert_eq!(fs::metadata(&stored).unwrap().modified().unwrap(), then);
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), then);
    file.set_len(2).unwrap();
    assert_eq!(fs::read(&stored).unwrap(), b"mi");

    // Removed, it is still there for who holds it.
    fs::remove_file(&path).unwrap();
    assert!(!stored.exists());
    file.write_all(b"!!").unwrap();
    assert_eq!(file.metadata().unwrap().len(), 6);
    file.set_len(3).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 3);
}
