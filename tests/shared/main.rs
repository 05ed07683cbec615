//! The double of a shared file system, as two nodes see it: each way in which it is bad is seen from outside, and what must
//! hold on it holds.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is not as it must be"
)]

mod double;
mod mounts;
mod operations;
#[path = "../common/origin.rs"]
mod origin;
#[path = "../common/rig.rs"]
mod rig;
mod servers;
mod together;

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use double::{Locks, Options};
use fuser::BackgroundSession;
use rig::{eventually, fuse};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use tempfile::TempDir;

/// Times so long that no test sees their end.
const LONG: f64 = 3600.0;

/// Two nodes on one directory.
struct Nodes {
    // In this order: what is mounted goes before its directory.
    _views: [BackgroundSession; 2],
    root: TempDir,
}

impl Nodes {
    fn new(options: Options) -> Self {
        fuse::require();
        let root = tempfile::Builder::new()
            .prefix("crds-fs-double-")
            .tempdir()
            .unwrap();
        let views = ["a", "b"].map(|node| {
            let point = root.path().join(node);
            fs::create_dir(&point).unwrap();
            let shared = root.path().join("shared");
            fs::create_dir_all(&shared).unwrap();
            double::mount(&shared, &point, options).unwrap()
        });
        Self { _views: views, root }
    }

    fn a(&self, name: &str) -> PathBuf {
        self.root.path().join("a").join(name)
    }

    fn b(&self, name: &str) -> PathBuf {
        self.root.path().join("b").join(name)
    }
}

/// Nothing is ever late.
fn fresh() -> Options {
    Options {
        absent: (0.0, 0.0),
        listing: (0.0, 0.0),
        attributes: 0.0,
        stale: 0.0,
        ..Options::default()
    }
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn number<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn what_is_written_and_closed_is_what_an_open_reads() {
    let nodes = Nodes::new(Options {
        attributes: LONG,
        ..Options::default()
    });
    for round in 0..50_u32 {
        let text = format!("{round} ").repeat(usize::try_from(round % 7 + 1).unwrap() * 5000);
        let (writer, reader) = if round % 2 == 0 {
            (nodes.a("file"), nodes.b("file"))
        } else {
            (nodes.b("file"), nodes.a("file"))
        };
        fs::write(writer, &text).unwrap();
        let mut read = String::new();
        File::open(reader).unwrap().read_to_string(&mut read).unwrap();
        assert!(
            read == text,
            "round {round}: {} of {} bytes",
            read.len(),
            text.len()
        );
    }
}

#[test]
fn a_node_sees_at_once_what_it_does_itself() {
    let nodes = Nodes::new(Options {
        absent: (LONG, LONG),
        listing: (LONG, LONG),
        attributes: LONG,
        ..Options::default()
    });
    let (file, moved) = (nodes.a("file"), nodes.a("moved"));
    assert!(!file.exists() && names(&nodes.a("")).is_empty());
    fs::write(&file, "text").unwrap();
    assert_eq!(fs::metadata(&file).unwrap().len(), 4);
    assert_eq!(names(&nodes.a("")), ["file"]);
    fs::rename(&file, &moved).unwrap();
    assert!(!file.exists() && moved.exists());
    fs::hard_link(&moved, &file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().nlink(), 2);
    let mut opened = File::options().append(true).open(&file).unwrap();
    opened.write_all(b" and more").unwrap();
    assert_eq!(fs::read(&moved).unwrap(), b"text and more");
    fs::remove_file(&file).unwrap();
    fs::remove_file(&moved).unwrap();
    assert!(names(&nodes.a("")).is_empty());
    assert!(fs::metadata(&file).is_err());
    // A file that this node itself has open stays usable.
    assert_eq!(opened.metadata().unwrap().len(), 13);
}

#[test]
fn names_and_listings_of_others_come_late() {
    let nodes = Nodes::new(Options {
        absent: (0.5, 1.0),
        listing: (0.5, 1.0),
        ..fresh()
    });
    assert!(!nodes.b("file").exists() && names(&nodes.b("")).is_empty());
    fs::write(nodes.a("file"), "text").unwrap();
    eventually("the name of the other node is seen", || nodes.b("file").exists());
    eventually("the listing has the name of the other node", || {
        names(&nodes.b("")) == ["file"]
    });
    // With times that do not end while this runs, however busy the machine is.
    let nodes = Nodes::new(Options {
        absent: (LONG, LONG),
        listing: (LONG, LONG),
        ..fresh()
    });
    assert!(!nodes.b("file").exists() && names(&nodes.b("")).is_empty());
    fs::write(nodes.a("file"), "text").unwrap();
    assert!(!nodes.b("file").exists() && names(&nodes.b("")).is_empty());
}

#[test]
fn creation_and_links_are_decided_in_one_place() {
    for stubborn in [false, true] {
        let nodes = Nodes::new(Options {
            absent: (LONG, LONG),
            stubborn,
            ..fresh()
        });
        fs::write(nodes.a("source"), "a").unwrap();
        for name in ["made", "linked"] {
            assert!(!nodes.b(name).exists());
        }
        fs::write(nodes.a("made"), "a").unwrap();
        fs::hard_link(nodes.a("source"), nodes.a("linked")).unwrap();
        let made = File::create_new(nodes.b("made"));
        assert_eq!(made.unwrap_err().kind(), ErrorKind::AlreadyExists);
        fs::write(nodes.b("other"), "b").unwrap();
        let linked = fs::hard_link(nodes.b("other"), nodes.b("linked"));
        assert_eq!(linked.unwrap_err().kind(), ErrorKind::AlreadyExists);
        // A node that was told that a name exists can open it, unless it is stubborn.
        for name in ["made", "linked"] {
            assert_eq!(File::open(nodes.b(name)).is_ok(), !stubborn, "{name}");
        }
    }
    // Of many who create one name, one succeeds.
    let nodes = Nodes::new(Options::default());
    for round in 0..20 {
        let name = format!("race-{round}");
        let created = std::thread::scope(|scope| {
            let create = |path: PathBuf| scope.spawn(move || File::create_new(path).is_ok());
            let all: Vec<_> = (0..4)
                .flat_map(|_| [create(nodes.a(&name)), create(nodes.b(&name))])
                .collect();
            all.into_iter()
                .map(|one| one.join().unwrap())
                .filter(|won| *won)
                .count()
        });
        assert_eq!(created, 1);
    }
}

#[test]
fn a_lost_reply_is_an_error_after_the_deed() {
    let nodes = Nodes::new(Options {
        lost: 1000,
        ..fresh()
    });
    let created = File::create_new(nodes.a("file"));
    assert_eq!(created.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(nodes.b("file").exists());
    let linked = fs::hard_link(nodes.a("file"), nodes.a("link"));
    assert_eq!(linked.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::metadata(nodes.b("link")).unwrap().nlink(), 2);
}

#[test]
fn attributes_of_others_are_old_until_a_file_is_opened() {
    let nodes = Nodes::new(Options {
        attributes: LONG,
        ..fresh()
    });
    fs::write(nodes.a("file"), "one").unwrap();
    assert_eq!(fs::metadata(nodes.b("file")).unwrap().len(), 3);
    fs::write(nodes.a("file"), "three and more").unwrap();
    assert_eq!(fs::metadata(nodes.b("file")).unwrap().len(), 3);
    assert_eq!(File::open(nodes.b("file")).unwrap().metadata().unwrap().len(), 14);
    let nodes = Nodes::new(Options {
        attributes: 0.5,
        ..fresh()
    });
    fs::write(nodes.a("file"), "one").unwrap();
    assert_eq!(fs::metadata(nodes.b("file")).unwrap().len(), 3);
    fs::write(nodes.a("file"), "three and more").unwrap();
    eventually("the new length is seen", || {
        fs::metadata(nodes.b("file")).unwrap().len() == 14
    });
}

#[test]
fn what_others_remove_is_stale() {
    let nodes = Nodes::new(fresh());
    fs::write(nodes.a("file"), vec![7; 3 << 20]).unwrap();
    let (others, own) = (
        File::open(nodes.b("file")).unwrap(),
        File::open(nodes.a("file")).unwrap(),
    );
    fs::remove_file(nodes.a("file")).unwrap();
    let mut byte = [0];
    // A read behind the pages that the kernel has read ahead.
    assert_eq!(number(others.read_at(&mut byte, 2 << 20)), Some(libc::ESTALE));
    own.read_exact_at(&mut byte, 2 << 20).unwrap();
    assert!(!nodes.b("file").exists());
    // A name that was replaced leads to the new file, also where the old one is remembered.
    let nodes = Nodes::new(Options {
        attributes: LONG,
        stale: LONG,
        ..fresh()
    });
    fs::write(nodes.a("file"), "old").unwrap();
    let old = File::open(nodes.b("file")).unwrap();
    fs::write(nodes.a("new"), "newer").unwrap();
    fs::rename(nodes.a("new"), nodes.a("file")).unwrap();
    assert_eq!(fs::metadata(nodes.b("file")).unwrap().len(), 3);
    assert_eq!(fs::read(nodes.b("file")).unwrap(), b"newer");
    // And who has the old one open has it for a while.
    let mut text = [0; 3];
    old.read_exact_at(&mut text, 0).unwrap();
    assert_eq!(&text, b"old");
}

#[test]
fn locks_are_given_to_everybody_or_nobody() {
    for (locks, expected) in [
        (Locks::Granted, None),
        (Locks::Refused, Some(libc::ENOLCK)),
        (Locks::Unknown, Some(libc::ENOSYS)),
    ] {
        let nodes = Nodes::new(Options { locks, ..fresh() });
        fs::write(nodes.a("file"), "").unwrap();
        let files = [nodes.a("file"), nodes.a("file"), nodes.b("file")].map(|path| File::open(path).unwrap());
        for file in &files {
            let locked = flock(file, FlockOperation::NonBlockingLockExclusive);
            assert_eq!(
                locked.err().map(rustix::io::Errno::raw_os_error),
                expected,
                "{locks:?}"
            );
        }
    }
}

#[test]
fn links_and_renames_without_replacing_may_be_missing() {
    let nodes = Nodes::new(Options {
        links: false,
        ..fresh()
    });
    fs::write(nodes.a("file"), "").unwrap();
    assert_eq!(
        number(fs::hard_link(nodes.a("file"), nodes.a("link"))),
        Some(libc::EPERM)
    );
    let moved = renameat_with(
        CWD,
        nodes.a("file"),
        CWD,
        nodes.a("moved"),
        RenameFlags::NOREPLACE,
    );
    assert_eq!(moved.err(), Some(rustix::io::Errno::INVAL));
    fs::rename(nodes.a("file"), nodes.a("moved")).unwrap();
    assert!(nodes.b("moved").exists());
}

#[test]
fn numbers_stay_and_devices_differ() {
    let nodes = Nodes::new(fresh());
    fs::write(nodes.a("file"), "").unwrap();
    let [a, b, again] =
        [nodes.a("file"), nodes.b("file"), nodes.a("file")].map(|path| fs::metadata(path).unwrap());
    assert_eq!((a.dev(), a.ino()), (again.dev(), again.ino()));
    assert_eq!(a.ino(), b.ino());
    assert_ne!(a.dev(), b.dev());
}

#[test]
fn the_clock_of_the_server_is_another_one() {
    let nodes = Nodes::new(Options {
        clock: 1000,
        ..fresh()
    });
    let file = File::create(nodes.a("file")).unwrap();
    let ahead = file
        .metadata()
        .unwrap()
        .modified()
        .unwrap()
        .duration_since(SystemTime::now())
        .unwrap();
    assert!(ahead > Duration::from_secs(500));
    // A time that a node sets is the same on all nodes.
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    file.set_modified(time).unwrap();
    assert_eq!(fs::metadata(nodes.b("file")).unwrap().modified().unwrap(), time);
}
