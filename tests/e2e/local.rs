//! The user's own files while several processes work on them: names are replaced, removed and changed under each other.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::origin::Origin;
use crate::rig::{Rig, within};
use crate::{content, server_flag};

/// Attempts of one operation while other threads interfere.
const ROUNDS: usize = 4_000;

fn mounted() -> (Origin, Rig) {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    (origin, rig)
}

/// Runs `work` while `interfere` is called again and again with the number of its round.
fn while_others(interfere: impl Fn(usize) + Sync, others: usize, work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for other in 0..others {
            let (done, interfere) = (&done, &interfere);
            scope.spawn(move || {
                let mut round = other;
                while !done.load(Ordering::Relaxed) {
                    interfere(round);
                    round += others;
                }
            });
        }
        let end = Ending(&done);
        work();
        drop(end);
    });
}

/// Two names of the store change places behind the back of the mount.
fn exchange(one: &Path, other: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

/// Ends the others also when the work failed.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_change_of_mode_never_follows_a_link_out_of_the_store() {
    let (_origin, rig) = mounted();
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o600)).unwrap();
    // The kernel does not remember the user's files in config: each open looks the name up again.
    let name = rig.path("config/roman/f");
    fs::write(&name, "").unwrap();
    let stored = rig.store().join("config/roman");
    symlink(outside.path(), stored.join("l")).unwrap();
    let swap = |_| exchange(&stored.join("f"), &stored.join("l"));
    while_others(swap, 1, || {
        let mut tried = 0;
        while tried < ROUNDS {
            // Followed by the caller itself, a link leads outside by right.
            let opened = OpenOptions::new()
                .read(true)
                .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
                .open(&name);
            if let Ok(file) = opened {
                let _ = file.set_permissions(fs::Permissions::from_mode(0o666));
                tried += 1;
            }
            let mode = fs::metadata(outside.path()).unwrap().mode() & 0o777;
            assert_eq!(mode, 0o600, "the mode of a file outside the store was changed");
        }
    });
}

/// Writers that put ever new files under one name.
fn replaced(rig: &Rig, name: &Path, round: usize) {
    let fresh = rig.path(format!("pickles/roman/fresh-{}", round % 64));
    fs::write(&fresh, "whole").unwrap();
    fs::rename(&fresh, name).unwrap();
}

#[test]
fn a_name_that_is_replaced_all_the_time_is_always_there() {
    let (_origin, rig) = mounted();
    let name = rig.path("pickles/roman/busy");
    fs::write(&name, "whole").unwrap();
    let failures = |what: &str, tries: usize, one: &dyn Fn() -> io::Result<()>| {
        let mut failed = Vec::new();
        for _ in 0..tries {
            if let Err(error) = one() {
                failed.push(error);
            }
        }
        let (count, first) = (failed.len(), failed.first());
        assert!(
            count == 0,
            "{what}: {count} of {tries} failed, the first with {first:?}"
        );
    };
    while_others(
        |round| replaced(&rig, &name, round),
        4,
        || {
            failures("open", ROUNDS, &|| File::open(&name).map(drop));
            failures("stat", ROUNDS, &|| fs::metadata(&name).map(drop));
            failures("append", ROUNDS, &|| {
                OpenOptions::new().append(true).open(&name).map(drop)
            });
            failures("chmod", ROUNDS, &|| {
                fs::set_permissions(&name, fs::Permissions::from_mode(0o640))
            });
            failures("read", ROUNDS, &|| {
                let text = fs::read_to_string(&name)?;
                assert_eq!(text, "whole");
                Ok(())
            });
        },
    );
}

/// Requests of the kernel for names and attributes so far.
fn looks(rig: &Rig) -> u64 {
    let metrics = String::from_utf8(rig.read(".crds-fs/metrics").unwrap()).unwrap();
    let of = |op: &str| {
        let sample = format!("crds_fs_fuse_operations_total{{op=\"{op}\"}} ");
        let count = metrics.lines().find_map(|line| line.strip_prefix(&sample));
        count.unwrap().parse::<u64>().unwrap()
    };
    of("lookup") + of("getattr")
}

/// Nobody else reaches a store that the mount covers, so that the kernel need not ask again and again.
#[test]
fn files_in_a_store_that_the_mount_covers_are_not_asked_for_again() {
    let origin = Origin::start(content());
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    let mountpoint = rig.mountpoint().canonicalize().unwrap();
    rig.use_store(&mountpoint);
    rig.mount();
    let names: Vec<_> = (0..200)
        .map(|number| rig.path(format!("pickles/roman/{number}")))
        .collect();
    for name in &names {
        fs::write(name, "text").unwrap();
        assert_eq!(fs::metadata(name).unwrap().len(), 4);
    }
    // Longer than what others may change is kept.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let before = looks(&rig);
    for name in &names {
        assert_eq!(fs::metadata(name).unwrap().len(), 4);
    }
    let asked = looks(&rig) - before;
    assert!(asked < 50, "{asked} requests for {} files", names.len());
    fs::write(&names[0], "longer").unwrap();
    assert_eq!(fs::metadata(&names[0]).unwrap().len(), 6);
    fs::remove_file(&names[1]).unwrap();
    assert!(!names[1].exists());
    fs::rename(&names[0], &names[2]).unwrap();
    assert_eq!(fs::metadata(&names[2]).unwrap().len(), 6);
    assert!(!names[0].exists());
}

/// Names are found in a directory while others rename the directory: what was found stays usable.
#[test]
fn what_is_found_in_a_directory_that_is_being_renamed_is_never_lost() {
    use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};
    let (_origin, rig) = mounted();
    let pickles = File::open(rig.path("pickles/roman")).unwrap();
    let names = ["d", "e"].map(|name| rig.path("pickles/roman").join(name));
    fs::create_dir_all(names[0].join("sub")).unwrap();
    fs::write(names[0].join("sub/f"), "text").unwrap();
    // Twice the same file system's directory, so that a rename is never refused for its target.
    let rename = |round: usize| {
        let (from, to) = (&names[round % 2], &names[(round + 1) % 2]);
        fs::rename(from, to).unwrap();
    };
    let directory = OFlags::PATH | OFlags::DIRECTORY;
    while_others(rename, 1, || {
        for round in 0..ROUNDS {
            let name = ["d/sub", "e/sub"][round % 2];
            let Ok(sub) = openat(&pickles, name, directory, Mode::empty()) else {
                continue;
            };
            let stat = statat(&sub, "f", AtFlags::empty());
            assert!(stat.is_ok(), "in round {round}: {stat:?}");
            // So that the next round looks the names up anew.
            if round % 64 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    });
}

#[test]
fn a_file_keeps_what_was_said_of_it_after_its_name_is_gone() {
    let (_origin, rig) = mounted();
    let name = rig.path("pickles/roman/gone");
    fs::write(&name, "text").unwrap();
    // Such a descriptor is not an open of the file: the mount never hears of it.
    let looking = rustix::fs::open(&name, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    fs::remove_file(&name).unwrap();
    let stat = rustix::fs::fstat(&looking).unwrap();
    assert_eq!((stat.st_size, stat.st_nlink), (4, 0));
}

#[test]
fn a_directory_that_is_removed_under_its_reader_is_empty() {
    let (_origin, rig) = mounted();
    let directory = rig.path("pickles/roman/d");
    fs::create_dir(&directory).unwrap();
    let open = File::open(&directory).unwrap();
    fs::remove_dir(&directory).unwrap();
    assert!(open.metadata().unwrap().is_dir());
    let names: Vec<_> = rustix::fs::Dir::read_from(&open)
        .unwrap()
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_owned())
        .filter(|name| !matches!(name.to_bytes(), b"." | b".."))
        .collect();
    assert!(names.is_empty(), "{names:?}");
    let error = rustix::fs::openat(
        &open,
        "x",
        rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY,
        0o600.into(),
    )
    .unwrap_err();
    assert_eq!(error, rustix::io::Errno::NOENT);
}

#[test]
fn reading_a_directory_again_shows_what_is_new() {
    let (_origin, rig) = mounted();
    for directory in ["pickles/roman/d", "references/roman"] {
        let directory = rig.path(directory);
        fs::create_dir_all(&directory).unwrap();
        let mut listing = rustix::fs::Dir::new(File::open(&directory).unwrap()).unwrap();
        let mut has = |name: &str| {
            listing.rewind();
            let mut found = false;
            while let Some(entry) = listing.read() {
                found |= entry.unwrap().file_name().to_bytes() == name.as_bytes();
            }
            found
        };
        assert!(!has("new"));
        fs::write(directory.join("new"), "").unwrap();
        assert!(has("new"), "{}", directory.display());
        fs::remove_file(directory.join("new")).unwrap();
        assert!(!has("new"), "{}", directory.display());
    }
}

#[test]
fn a_pipe_put_into_the_store_never_hangs_an_open() {
    let (_origin, rig) = mounted();
    let name = rig.path("pickles/roman/f");
    fs::write(&name, "").unwrap();
    let stored = rig.store().join("pickles/roman");
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, stored.join("p"), fifo, 0o666.into(), 0).unwrap();
    let opener = move || {
        for round in 0..ROUNDS {
            // Without NONBLOCK an open of a pipe waits for its other end.
            let mut options = OpenOptions::new();
            options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
            let _ = match round % 3 {
                0 => options.read(true).open(&name),
                1 => options.write(true).open(&name),
                _ => options.write(true).create(true).truncate(true).open(&name),
            };
        }
    };
    while_others(
        |_| exchange(&stored.join("f"), &stored.join("p")),
        1,
        || within(opener),
    );
    assert!(fs::metadata(rig.path("pickles/roman")).is_ok());
}

#[test]
fn directories_can_be_made_durable() {
    let (_origin, rig) = mounted();
    fs::create_dir(rig.path("pickles/roman/d")).unwrap();
    fs::write(rig.path("pickles/roman/d/f"), "text").unwrap();
    for directory in [
        "",
        "config/roman",
        "pickles/roman",
        "pickles/roman/d",
        "references/roman",
        "bestrefs",
    ] {
        let open = File::open(rig.path(directory)).unwrap();
        open.sync_all()
            .unwrap_or_else(|error| panic!("fsync of '{directory}': {error}"));
        open.sync_data()
            .unwrap_or_else(|error| panic!("fdatasync of '{directory}': {error}"));
    }
}
