//! A store on a file system that is slow, or that fails at close.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fuser::BackgroundSession;

use crate::origin::Origin;
use crate::rig::{Rig, within};
use crate::{PMAP, content, server_flag};

mod double;

use double::{Double, FULL, Gate, HUNG, SLOW};

/// Calls that wait at a time: more than there are threads that take requests.
const READERS: usize = 12;

/// A mount whose store is on the double, which goes after it.
struct Slow {
    rig: Rig,
    gate: Arc<Gate>,
    _double: BackgroundSession,
    _directory: tempfile::TempDir,
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.gate.open();
        self.rig.umount();
    }
}

fn mounted(origin: &Origin) -> Slow {
    let mut rig = Rig::new(&[&server_flag(origin)], &[]);
    let directory = tempfile::tempdir().unwrap();
    let (real, shown) = (directory.path().join("real"), directory.path().join("shown"));
    fs::create_dir_all(real.join("pickles/roman")).unwrap();
    fs::create_dir(&shown).unwrap();
    let slow = (0..READERS).map(|number| format!("{SLOW}{number}"));
    for name in slow.chain([FULL.to_owned()]) {
        fs::write(real.join("pickles/roman").join(name), vec![7; 100_000]).unwrap();
    }
    // Each in a directory of its own: the kernel lets only one change at a time into a directory.
    for number in 0..READERS {
        for beginning in HUNG {
            let directory = real.join(format!("pickles/roman/of-{beginning}{number}"));
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join(format!("{beginning}f")), "hung").unwrap();
        }
    }
    fs::write(real.join("pickles/roman/plain"), "plain").unwrap();
    let gate = Arc::<Gate>::default();
    let double = Double::mount(real, &shown, Arc::clone(&gate));
    rig.use_store(&shown);
    rig.mount();
    Slow {
        rig,
        gate,
        _double: double,
        _directory: directory,
    }
}

#[test]
fn a_disk_that_is_slow_delays_only_those_who_read_from_it() {
    let origin = Origin::start(content());
    let slow = mounted(&origin);
    let rig = &slow.rig;
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|number| {
                let path = rig.path("pickles/roman").join(format!("{SLOW}{number}"));
                scope.spawn(move || File::open(path).unwrap().read_exact_at(&mut [0; 100], 0))
            })
            .collect();
        slow.gate.wait_for(READERS);
        let (mappings, root) = (rig.path("mappings/roman"), rig.mountpoint());
        let looked = catch_unwind(|| {
            within(move || {
                fs::metadata(mappings.join(PMAP)).unwrap();
                assert!(fs::read_dir(&mappings).unwrap().count() > 0);
                rustix::fs::statvfs(&root).unwrap();
            });
        });
        slow.gate.open();
        looked.unwrap();
        for reader in readers {
            reader.join().unwrap().unwrap();
        }
    });
}

/// Callers hang in the store's disk, more of them than there are threads that take requests; others notice nothing.
#[track_caller]
fn delays_nobody_else(beginning: &str, hang: fn(&Path) -> std::io::Result<()>) {
    let origin = Origin::start(content());
    let slow = mounted(&origin);
    let rig = &slow.rig;
    fs::read(rig.path("pickles/roman/plain")).unwrap();
    std::thread::scope(|scope| {
        let hanging: Vec<_> = (0..READERS)
            .map(|number| {
                let directory = rig.path(format!("pickles/roman/of-{beginning}{number}"));
                scope.spawn(move || hang(&directory.join(format!("{beginning}f"))))
            })
            .collect();
        slow.gate.wait_for(READERS);
        let (mappings, pickles, root) = (
            rig.path("mappings/roman"),
            rig.path("pickles/roman"),
            rig.mountpoint(),
        );
        let looked = catch_unwind(|| {
            within(move || {
                fs::metadata(mappings.join(PMAP)).unwrap();
                assert!(fs::read_dir(&mappings).unwrap().count() > 0);
                assert!(fs::read_dir(&pickles).unwrap().count() > READERS);
                rustix::fs::statvfs(&root).unwrap();
                for number in 0..READERS {
                    assert_eq!(fs::read(pickles.join("plain")).unwrap(), b"plain");
                    let own = pickles.join(format!("own-{number}"));
                    fs::write(&own, "own").unwrap();
                    fs::rename(&own, pickles.join("moved")).unwrap();
                    fs::remove_file(pickles.join("moved")).unwrap();
                }
            });
        });
        slow.gate.open();
        looked.unwrap();
        for caller in hanging {
            caller.join().unwrap().unwrap();
        }
    });
}

#[test]
fn a_lookup_that_hangs_in_the_store_delays_nobody_else() {
    delays_nobody_else(HUNG[0], |path| fs::metadata(path).map(drop));
}

#[test]
fn a_write_that_hangs_in_the_store_delays_nobody_else() {
    delays_nobody_else(HUNG[1], |path| {
        let file = File::options().write(true).open(path)?;
        file.write_all_at(b"text", 0)
    });
}

#[test]
fn a_rename_that_hangs_in_the_store_delays_nobody_else() {
    delays_nobody_else(HUNG[2], |path| fs::rename(path, path.with_file_name("moved")));
}

#[test]
fn a_removal_that_hangs_in_the_store_delays_nobody_else() {
    delays_nobody_else(HUNG[3], |path| fs::remove_file(path));
}

/// Of a file that was only read, whose close is not waited for.
#[test]
fn a_close_that_hangs_in_the_store_delays_nobody_else() {
    delays_nobody_else(HUNG[4], |path| File::open(path).map(drop));
}

#[test]
fn the_status_is_told_while_the_disk_says_nothing() {
    let origin = Origin::start(content());
    let slow = mounted(&origin);
    let rig = &slow.rig;
    let total = || rig.json(".crds-fs/status.json").unwrap()["space"]["total"].clone();
    let before = total();
    slow.gate.keeps_room.store(true, Ordering::Relaxed);
    let (own, mappings) = (rig.path(".crds-fs"), rig.path("mappings/roman"));
    let told = catch_unwind(|| {
        within(move || {
            let read = |number: usize| {
                let name = if number.is_multiple_of(2) {
                    "status.json"
                } else {
                    "metrics"
                };
                let path = own.join(name);
                std::thread::spawn(move || fs::read(path).unwrap())
            };
            let readers: Vec<_> = (0..READERS).map(read).collect();
            fs::metadata(mappings.join(PMAP)).unwrap();
            assert!(fs::read_dir(&mappings).unwrap().count() > 0);
            for reader in readers {
                assert!(!reader.join().unwrap().is_empty());
            }
        });
    });
    // The status of a disk that does not answer is the one that was known before.
    let after = catch_unwind(|| {
        within({
            let path = rig.path(".crds-fs/status.json");
            move || fs::read(path).unwrap()
        })
    });
    slow.gate.open();
    told.unwrap();
    let after: serde_json::Value = serde_json::from_slice(&after.unwrap()).unwrap();
    assert_eq!(after["space"]["total"], before);
}

#[test]
fn what_the_disk_says_at_close_is_told_at_close() {
    let origin = Origin::start(content());
    let slow = mounted(&origin);
    for (name, told) in [(FULL, Err(nix::errno::Errno::EDQUOT)), ("fine", Ok(()))] {
        let path = slow.rig.path("pickles/roman").join(name);
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .unwrap();
        (&file).write_all(b"text").unwrap();
        // The standard library drops the error of close(2).
        let closed = nix::unistd::close(file);
        assert_eq!(closed, told, "{name}");
    }
}
