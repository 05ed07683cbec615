//! One store for several mounts (`--shared`): each with a state of its own, and clients of other kinds beside them.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Output;

use crate::origin::{Behaviour, Origin};
use crate::rig::{Rig, equal, eventually, program};
use crate::{DARK, FLAT, PMAP, content, server_flag};

/// Mounts of one store.
struct Mounts {
    origin: Origin,
    state: tempfile::TempDir,
    rigs: Vec<Rig>,
}

impl Mounts {
    /// So many mounts of the store of the first, whose state lies in one directory.
    fn new(count: usize) -> Self {
        let origin = Origin::start(content());
        let state = tempfile::Builder::new()
            .prefix("crds-fs-state-")
            .tempdir()
            .unwrap();
        let mut rigs: Vec<Rig> = Vec::new();
        for _ in 0..count {
            let mut rig = Rig::new(&[&server_flag(&origin)], &["--shared"]);
            rig.set("CRDS_FS_STATE", &state.path().display().to_string());
            if let Some(first) = rigs.first() {
                rig.use_store(&first.store());
            }
            rig.mount();
            rigs.push(rig);
        }
        Self { origin, state, rigs }
    }

    /// The directory that they share.
    fn store(&self) -> PathBuf {
        self.rigs[0].store()
    }

    fn reads(&self, name: &str) {
        for rig in &self.rigs {
            let place = if name == PMAP { "mappings" } else { "references" };
            let read = rig.read(format!("{place}/roman/{name}")).unwrap();
            assert!(read == self.origin.contents(name), "{name} is another one");
            rig.settle();
        }
    }

    fn quarantined(&self) -> usize {
        fs::read_dir(self.store().join(".crds-fs/quarantine")).map_or(0, Iterator::count)
    }
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

#[test]
fn what_one_mount_fetches_all_have() {
    let mut mounts = Mounts::new(3);
    for name in [PMAP, DARK, FLAT] {
        mounts.reads(name);
        assert_eq!(mounts.origin.asked(name).len(), 1, "{name}");
    }
    let status = mounts.rigs[1].json(".crds-fs/status.json").unwrap();
    assert_eq!(status["shared"]["leases_held"], 0);
    // Files that a mount has verified are known to its next run.
    for rig in &mut mounts.rigs {
        rig.umount();
    }
    mounts.origin.refuse();
    for rig in &mut mounts.rigs {
        rig.mount();
    }
    for name in [PMAP, DARK, FLAT] {
        mounts.reads(name);
    }
    let mut own: Vec<_> = fs::read_dir(mounts.store().join(".crds-fs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    own.sort();
    for kept_apart in ["partial", "verified", "order", "notes", "lock"] {
        assert!(!own.iter().any(|name| name == kept_apart), "{own:?}");
    }
    assert!(mounts.state.path().exists());
}

#[test]
fn who_wants_what_another_mount_fetches_waits_for_it() {
    let mounts = Mounts::new(3);
    mounts
        .origin
        .set_each(DARK, &[Behaviour::StallAfter(1000), Behaviour::Well]);
    std::thread::scope(|scope| {
        for rig in &mounts.rigs {
            scope.spawn(|| {
                let read = rig.read(format!("references/roman/{DARK}")).unwrap();
                assert!(read == mounts.origin.contents(DARK));
            });
        }
        mounts.origin.wait_for_stalled(1);
        let waits = |rig: &Rig| {
            let status = rig.json(".crds-fs/status.json").unwrap();
            status["transfers"][0]["state"] == "elsewhere"
        };
        eventually("two wait for another", || {
            equal(mounts.rigs.iter().filter(|rig| waits(rig)).count(), 2)
        });
        mounts.origin.release();
    });
    assert_eq!(mounts.origin.asked(DARK).len(), 1);
    let found: u64 = mounts
        .rigs
        .iter()
        .map(|rig| {
            rig.json(".crds-fs/status.json").unwrap()["shared"]["found"]
                .as_u64()
                .unwrap()
        })
        .sum();
    assert_eq!(found, 2);
}

#[test]
fn who_waits_for_a_mount_that_is_killed_goes_on_by_himself() {
    let mut mounts = Mounts::new(2);
    mounts
        .origin
        .set_each(DARK, &[Behaviour::StallAfter(1000), Behaviour::Well]);
    std::thread::scope(|scope| {
        let (first, second) = (&mounts.rigs[0], &mounts.rigs[1]);
        scope.spawn(|| first.read(format!("references/roman/{DARK}")).unwrap_err());
        mounts.origin.wait_for_stalled(1);
        let other = scope.spawn(|| second.read(format!("references/roman/{DARK}")).unwrap());
        first.kill_shared();
        assert!(other.join().unwrap() == mounts.origin.contents(DARK));
    });
    mounts.rigs[0].reap();
    assert_eq!(mounts.origin.asked(DARK).len(), 2);
    let status = mounts.rigs[1].json(".crds-fs/status.json").unwrap();
    assert_eq!(status["shared"]["leases_taken_over"], 1);
    mounts.rigs[0].mount();
    mounts.reads(DARK);
    assert_eq!(mounts.origin.asked(DARK).len(), 2);
}

#[test]
fn a_mount_that_was_killed_does_not_wait_for_itself_when_it_is_there_again() {
    let mut mounts = Mounts::new(1);
    mounts
        .origin
        .set_each(DARK, &[Behaviour::StallAfter(1000), Behaviour::Well]);
    std::thread::scope(|scope| {
        let rig = &mounts.rigs[0];
        scope.spawn(|| rig.read(format!("references/roman/{DARK}")).unwrap_err());
        mounts.origin.wait_for_stalled(1);
        rig.kill_shared();
    });
    mounts.rigs[0].reap();
    let lease = mounts.store().join(".crds-fs/leases/roman").join(DARK);
    assert!(lease.exists());
    mounts.rigs[0].mount();
    mounts.reads(DARK);
    let status = mounts.rigs[0].json(".crds-fs/status.json").unwrap();
    let shared = &status["shared"];
    assert_eq!(
        (&shared["waited"], &shared["leases_taken_over"]),
        (&0.into(), &1.into())
    );
}

#[test]
fn a_file_that_another_client_puts_there_is_checked_and_used() {
    let mounts = Mounts::new(2);
    let directory = mounts.store().join("references/roman");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(DARK), mounts.origin.contents(DARK)).unwrap();
    mounts.reads(DARK);
    assert_eq!(mounts.origin.asked(DARK).len(), 0);
}

/// Clients before 14 write to the final name.
#[test]
fn a_file_that_another_client_has_half_written_is_not_used_and_not_moved() {
    let mut mounts = Mounts::new(1);
    let directory = mounts.store().join("references/roman");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(DARK);
    let right = mounts.origin.contents(DARK);
    fs::write(&path, &right[..1000]).unwrap();
    let half = fs::OpenOptions::new().write(true).open(&path).unwrap();
    mounts.reads(DARK);
    mounts.reads(DARK);
    assert_eq!(mounts.origin.asked(DARK).len(), 1);
    assert_eq!(mounts.quarantined(), 0);
    half.write_all_at(&right[1000..], 1000).unwrap();
    drop(half);
    mounts.rigs[0].umount();
    assert!(fs::read(&path).unwrap() == right);
    mounts.origin.refuse();
    mounts.rigs[0].mount();
    mounts.reads(DARK);
    assert_eq!(mounts.quarantined(), 0);
}

#[test]
fn a_byte_that_somebody_changes_is_never_read_after_the_next_open() {
    let mounts = Mounts::new(2);
    mounts.reads(FLAT);
    let path = mounts.store().join("references/roman").join(FLAT);
    let mut wrong = mounts.origin.contents(FLAT);
    wrong[77] ^= 1;
    fs::write(&path, &wrong).unwrap();
    mounts.reads(FLAT);
    assert_eq!(mounts.quarantined(), 1);
    assert!(fs::read(&path).unwrap() == mounts.origin.contents(FLAT));
}

#[test]
fn new_files_are_for_the_group_of_the_store() {
    let mut mounts = Mounts::new(0);
    let mut rig = Rig::new(&[&server_flag(&mounts.origin)], &["--shared"]);
    rig.set("CRDS_FS_STATE", &mounts.state.path().display().to_string());
    rig.set_umask("002");
    fs::set_permissions(rig.store(), fs::Permissions::from_mode(0o2775)).unwrap();
    rig.mount();
    mounts.rigs.push(rig);
    mounts.reads(DARK);
    mounts.reads(PMAP);
    let group = fs::metadata(mounts.store()).unwrap().gid();
    for (path, mode) in [
        ("references/roman", 0o42775),
        ("mappings", 0o42775),
        (".crds-fs/incoming", 0o42775),
        (&format!("references/roman/{DARK}"), 0o100_664),
        ("config/roman/server_config", 0o100_664),
    ] {
        let metadata = fs::metadata(mounts.store().join(path)).unwrap();
        assert_eq!(
            (metadata.mode(), metadata.gid()),
            (mode, group),
            "{path}: {:o}",
            metadata.mode()
        );
    }
}

#[test]
fn the_state_may_lie_on_another_file_system() {
    let Some(memory) = ["/dev/shm", "/run/user"].iter().find(|path| {
        let other = fs::metadata(path).map(|there| there.dev()).ok();
        let here = fs::metadata(std::env::temp_dir()).unwrap().dev();
        other.is_some_and(|other| other != here)
    }) else {
        panic!("this test needs a file system in memory at /dev/shm");
    };
    let state = tempfile::Builder::new()
        .prefix("crds-fs-state-")
        .tempdir_in(memory)
        .unwrap();
    let mut mounts = Mounts::new(0);
    for _ in 0..2 {
        let mut rig = Rig::new(&[&server_flag(&mounts.origin)], &["--shared"]);
        if let Some(first) = mounts.rigs.first() {
            rig.use_store(&first.store());
        }
        rig.set("CRDS_FS_STATE", &state.path().display().to_string());
        rig.mount();
        mounts.rigs.push(rig);
    }
    for name in [PMAP, DARK, FLAT] {
        mounts.reads(name);
        assert_eq!(mounts.origin.asked(name).len(), 1, "{name}");
    }
    assert_eq!(
        fs::read_dir(mounts.store().join(".crds-fs/incoming"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_copy_that_all_use_is_not_removed_and_no_own_file_takes_its_place() {
    let mounts = Mounts::new(1);
    mounts.reads(DARK);
    let rig = &mounts.rigs[0];
    let path = rig.path(format!("references/roman/{DARK}"));
    let refused = fs::remove_file(&path).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    let mine = rig.path("references/roman/mine.asdf");
    fs::write(&mine, "mine").unwrap();
    let refused = fs::rename(&mine, &path).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    assert_eq!(fs::read(&mine).unwrap(), b"mine");
    // The same contents are no file of one's own: so clients bring what they download.
    for name in [DARK, FLAT] {
        fs::write(&mine, mounts.origin.contents(name)).unwrap();
        fs::rename(&mine, rig.path(format!("references/roman/{name}"))).unwrap();
        assert!(!mine.exists());
        mounts.reads(name);
    }
    assert_eq!(mounts.origin.asked(FLAT).len(), 0);
    assert_eq!(
        rig.json(".crds-fs/status.json").unwrap()["local_overrides"],
        serde_json::json!([])
    );
}

#[test]
fn commands_work_beside_mounts() {
    let mounts = Mounts::new(1);
    let (store, state) = (
        mounts.store().display().to_string(),
        mounts.state.path().display().to_string(),
    );
    let url = mounts.origin.url();
    let command = |command: &str, more: &[&str]| {
        let mut all = vec![command, "--cache", &store];
        all.extend(more);
        program().args(all).env("CRDS_FS_STATE", &state).output().unwrap()
    };
    let refused = command("fetch", &["--server", &url, DARK]);
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("--shared"), "{told}");
    let fetched = command("fetch", &["--shared", "--server", &url, DARK, FLAT]);
    assert!(
        fetched.status.success(),
        "{}",
        String::from_utf8_lossy(&fetched.stderr)
    );
    mounts.reads(DARK);
    assert_eq!(mounts.origin.asked(DARK).len(), 1);
    let evicted = command("evict", &["--shared", "--offline", FLAT]);
    assert!(
        evicted.status.success(),
        "{}",
        String::from_utf8_lossy(&evicted.stderr)
    );
    assert!(!mounts.store().join("references/roman").join(FLAT).exists());
    mounts.reads(FLAT);
    assert_eq!(mounts.origin.asked(FLAT).len(), 2);
    let verified = command("verify", &["--shared", "--offline"]);
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
}

#[test]
fn only_what_brings_files_makes_a_cache_a_shared_one() {
    let origin = Origin::start(content());
    let [cache, state] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (cache, url) = (cache.path().display().to_string(), origin.url());
    let command = |name: &str, more: &[&str], status: i32| {
        let output = program()
            .args([name, "--cache", &cache])
            .args(more)
            .env("CRDS_FS_STATE", state.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{name} {more:?}: {told}");
        told.into_owned()
    };
    let marker = PathBuf::from(&cache).join(".crds-fs/shared");
    command("fetch", &["--server", &url, PMAP, DARK], 0);
    // There are no rules for the last of them.
    let others = [
        ("verify", &[][..], 0),
        ("verify", &["--repair"], 0),
        ("hold", &[DARK], 0),
        ("hold", &["--list"], 0),
        ("release", &[DARK], 0),
        ("evict", &["--dry-run", DARK], 0),
        ("evict", &[DARK], 0),
        ("fetch", &["--dry-run", DARK], 0),
        ("contexts", &["roman"], 0),
        ("context", &["roman-latest"], 0),
        ("diff", &[PMAP, PMAP], 1),
        ("bestrefs", &["R0000101001001001001_01101_0001.WFI01"], 1),
    ];
    for (name, more, status) in others {
        command(name, &[&["--shared", "--offline"], more].concat(), status);
        assert!(!marker.exists(), "{name} {more:?}");
    }
    // Nor is it another one for its owner.
    command("verify", &["--offline"], 0);
    command("fetch", &["--shared", "--server", &url, DARK], 0);
    assert!(marker.exists());
    command("verify", &["--shared", "--offline"], 0);
    let refused = command("verify", &["--offline"], 1);
    assert!(refused.contains("say --shared"), "{refused}");
}

#[test]
fn a_size_is_no_setting_of_a_shared_store() {
    let refused = run(&["mount", "/nonexistent", "--shared", "--cache-size", "1G"]);
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("crds-fs evict"), "{told}");
}
