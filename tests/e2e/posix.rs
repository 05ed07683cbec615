//! The user's own files in a mount have what the store's file system gives them: times, modes, groups and kinds.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;

use crate::origin::{Behaviour, Origin};
use crate::rig::{Rig, eventually, program, within};
use crate::{FLAT, PMAP, content, server_flag};

/// The directories that take the user's own files.
const AREAS: [&str; 4] = ["config", "mappings", "references", "pickles"];

/// A mount that needs no server.
fn rig() -> Rig {
    Rig::mounted(&["roman=http://127.0.0.1:9"], &["--offline"])
}

fn directories(rig: &Rig) -> Vec<PathBuf> {
    AREAS.map(|area| rig.path(area).join("roman/own")).to_vec()
}

fn ctime(path: &Path) -> (i64, i64) {
    let stat = fs::symlink_metadata(path).unwrap();
    (stat.ctime(), stat.ctime_nsec())
}

/// Does something that changes the attributes of `path`, after its last change is a tick of the store's clock ago.
fn changes_ctime(what: &str, path: &Path, after: &Path, change: impl FnOnce()) {
    let before = ctime(path);
    let clock = path.with_file_name("clock");
    // The clock of the store's file system has moved on when a new file is younger.
    eventually("the clock has moved on", || {
        fs::write(&clock, "").unwrap();
        ctime(&clock) > before
    });
    fs::remove_file(&clock).unwrap();
    change();
    assert!(
        ctime(after) > before,
        "{what} of {} left its ctime",
        path.display()
    );
}

#[test]
fn ctime_follows_every_change() {
    let rig = rig();
    for own in directories(&rig) {
        fs::create_dir(&own).unwrap();
        let (file, other, moved) = (own.join("file"), own.join("other"), own.join("moved"));
        fs::write(&file, "text").unwrap();
        changes_ctime("chmod", &file, &file, || {
            fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        });
        changes_ctime("link", &file, &file, || fs::hard_link(&file, &other).unwrap());
        changes_ctime("unlink", &file, &file, || fs::remove_file(&other).unwrap());
        changes_ctime("rename", &file, &moved, || fs::rename(&file, &moved).unwrap());
        changes_ctime("utimensat", &moved, &moved, || {
            set_times(&moved, at(1, 0), at(1, 0));
        });
    }
}

fn at(seconds: i64, nanos: i64) -> Timespec {
    Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    }
}

fn set_times(path: &Path, last_access: Timespec, last_modification: Timespec) {
    let times = Timestamps {
        last_access,
        last_modification,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
}

fn times(path: &Path) -> [i64; 4] {
    let stat = fs::metadata(path).unwrap();
    [stat.atime(), stat.atime_nsec(), stat.mtime(), stat.mtime_nsec()]
}

#[test]
fn times_are_kept_as_they_are_set() {
    let rig = rig();
    let omitted = at(0, rustix::fs::UTIME_OMIT);
    for own in directories(&rig) {
        fs::create_dir(&own).unwrap();
        let file = own.join("file");
        // Beside the mount, for what this store's file system can keep.
        let model = rig.store().join("model");
        for path in [&file, &model] {
            fs::write(path, "text").unwrap();
        }
        for (access, modification) in [
            (at(1_000_000_001, 250_000_000), at(1_500_000_002, 750_000_000)),
            (omitted, at(1_600_000_000, 1)),
            (at(1_700_000_000, 999_999_999), omitted),
            (at(-2, 750_000_000), at(-1_000_000, 1)),
            (at(-1, 0), at(0, 0)),
            // 2106 is the end of 32 bits, 2242 is beyond.
            (at((1 << 32) + 5, 5), at(8_600_000_000, 250_000_000)),
        ] {
            for path in [&file, &model] {
                set_times(path, access, modification);
            }
            assert_eq!(
                times(&file),
                times(&model),
                "{}: {access:?}, {modification:?}",
                file.display()
            );
        }
        fs::remove_file(model).unwrap();
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn create(path: &Path, bits: u32) -> File {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
    rustix::fs::open(path, flags, Mode::from_raw_mode(bits))
        .unwrap()
        .into()
}

#[test]
fn set_id_bits_are_kept_and_cleared_as_by_the_kernel() {
    let rig = rig();
    let nobody = 65_534;
    for own in directories(&rig) {
        fs::create_dir(&own).unwrap();
        let program = own.join("program");
        create(&program, 0o4755);
        assert_eq!(mode(&program), 0o4755, "at create");
        let stat = fs::metadata(&program).unwrap();
        rustix::fs::chown(
            &program,
            Some(Uid::from_raw(stat.uid())),
            Some(Gid::from_raw(stat.gid())),
        )
        .unwrap();
        assert_eq!(mode(&program), 0o755, "after chown");

        let shared = own.join("shared");
        fs::create_dir(&shared).unwrap();
        if rustix::process::geteuid().is_root() {
            rustix::fs::chown(&shared, None, Some(Gid::from_raw(nobody))).unwrap();
        }
        fs::set_permissions(&shared, Permissions::from_mode(0o2775)).unwrap();
        let group = fs::metadata(&shared).unwrap().gid();
        let (file, below, link) = (shared.join("file"), shared.join("below"), shared.join("link"));
        create(&file, 0o664);
        fs::create_dir(&below).unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        for path in [&file, &below, &link] {
            assert_eq!(
                fs::symlink_metadata(path).unwrap().gid(),
                group,
                "{}",
                path.display()
            );
        }
        assert_eq!(mode(&below) & 0o2000, 0o2000, "{}", below.display());
        assert_eq!(mode(&file) & 0o2000, 0, "{}", file.display());
    }
}

#[test]
fn fifos_sockets_and_files_are_made_and_work() {
    let rig = rig();
    for own in directories(&rig) {
        fs::create_dir(&own).unwrap();
        let fifo = own.join("fifo");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
        assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
        assert_eq!(mode(&fifo), 0o640);
        let other_end = fifo.clone();
        within(move || {
            let writer = std::thread::spawn(move || fs::write(other_end, "through a fifo").unwrap());
            let mut text = String::new();
            File::open(fifo).unwrap().read_to_string(&mut text).unwrap();
            writer.join().unwrap();
            assert_eq!(text, "through a fifo");
        });

        // The names of sockets are short, and the rig's directory is not.
        let directory = File::open(&own).unwrap();
        let socket = PathBuf::from("/proc/self/fd")
            .join(directory.as_raw_fd().to_string())
            .join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
        UnixStream::connect(&socket).unwrap().write_all(b"hello").unwrap();
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");

        let file = own.join("file");
        rustix::fs::mknodat(CWD, &file, FileType::RegularFile, Mode::from_raw_mode(0o604), 0).unwrap();
        fs::write(&file, "text").unwrap();
        assert_eq!(
            (mode(&file), fs::read_to_string(&file).unwrap().as_str()),
            (0o604, "text")
        );

        let device = rustix::fs::makedev(1, 3);
        let refused = rustix::fs::mknodat(
            CWD,
            own.join("null"),
            FileType::CharacterDevice,
            Mode::RUSR,
            device,
        );
        assert_eq!(refused, Err(rustix::io::Errno::PERM), "devices stay out");

        let mut kinds: Vec<_> = fs::read_dir(&own)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    entry.file_type().unwrap(),
                )
            })
            .collect();
        kinds.sort_by(|one, other| one.0.cmp(&other.0));
        let names: Vec<_> = kinds.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["fifo", "file", "socket"]);
        assert!(kinds[0].1.is_fifo() && kinds[1].1.is_file() && kinds[2].1.is_socket());
    }
}

/// The mount itself never waits for the other end of a FIFO.
#[test]
fn a_fifo_in_the_place_of_a_file_stops_nobody() {
    let rig = rig();
    let own = rig.path("pickles/roman/own");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("file"), "text").unwrap();
    let held = File::open(own.join("file")).unwrap();
    let behind = rig.store().join("pickles/roman/own");
    fs::remove_file(behind.join("file")).unwrap();
    rustix::fs::mknodat(
        CWD,
        behind.join("file"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let path = own.join("file");
    within(move || {
        let open = rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty());
        assert!(open.is_ok(), "{open:?}");
        assert!(fs::metadata(&path).unwrap().file_type().is_fifo());
    });
    drop(held);
}

#[test]
fn parts_of_files_are_allocated_and_freed() {
    let rig = rig();
    for own in directories(&rig) {
        fs::create_dir(&own).unwrap();
        let behind = rig.store().join("model");
        for path in [own.join("file"), behind.clone()] {
            let file = File::create_new(&path).unwrap();
            (&file).write_all(&vec![7; 100_000]).unwrap();
            for (mode, from, length) in [
                (FallocateFlags::empty(), 0, 200_000),
                (FallocateFlags::KEEP_SIZE, 200_000, 50_000),
                (
                    FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                    4_096,
                    8_192,
                ),
                (FallocateFlags::ZERO_RANGE, 50_000, 10),
            ] {
                rustix::fs::fallocate(&file, mode, from, length)
                    .unwrap_or_else(|errno| panic!("{mode:?} of {}: {errno}", path.display()));
            }
        }
        let (file, model) = (fs::read(own.join("file")).unwrap(), fs::read(&behind).unwrap());
        assert!(file == model, "{}", own.display());
        assert_eq!(file.len(), 200_000);
        let blocks = |path: &Path| fs::metadata(path).unwrap().blocks();
        assert_eq!(blocks(&own.join("file")), blocks(&behind));
        fs::remove_file(behind).unwrap();
    }
}

fn rename(from: &Path, to: &Path, flags: RenameFlags) -> Result<(), Errno> {
    rustix::fs::renameat_with(CWD, from, CWD, to, flags)
}

#[test]
fn names_change_places() {
    let rig = rig();
    for own in directories(&rig) {
        fs::create_dir_all(own.join("directory/below")).unwrap();
        let (directory, file) = (own.join("directory"), own.join("file"));
        fs::write(directory.join("below/text"), "below").unwrap();
        fs::write(&file, "file").unwrap();
        assert_eq!(
            rename(&file, &directory, RenameFlags::NOREPLACE),
            Err(Errno::EXIST)
        );
        // Open, so that the kernel goes on by number.
        let held = File::open(&file).unwrap();
        rename(&file, &directory, RenameFlags::EXCHANGE).unwrap();
        assert_eq!(fs::read_to_string(&directory).unwrap(), "file");
        assert_eq!(fs::read_to_string(file.join("below/text")).unwrap(), "below");
        assert_eq!(held.metadata().unwrap().nlink(), 1);
        assert_eq!(
            rename(&file, &own.join("absent"), RenameFlags::EXCHANGE),
            Err(Errno::NOENT)
        );
    }
}

#[test]
fn a_catalogued_name_does_not_change_places() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let (flat, own) = (
        rig.path("references/roman").join(FLAT),
        rig.path("references/roman/own"),
    );
    fs::write(&own, "own").unwrap();
    for (from, to) in [(&flat, &own), (&own, &flat)] {
        assert_eq!(rename(from, to, RenameFlags::EXCHANGE), Err(Errno::PERM));
    }
    assert_eq!(rename(&own, &flat, RenameFlags::NOREPLACE), Err(Errno::EXIST));
    assert_eq!(fs::read_to_string(&own).unwrap(), "own");
    assert_eq!(fs::metadata(&flat).unwrap().len(), 20_000);
}

fn attribute(path: &Path, name: &str) -> Result<String, Errno> {
    let mut value = [0; 64];
    let length = rustix::fs::lgetxattr(path, name, &mut value)?;
    Ok(String::from_utf8(value[..length].to_vec()).unwrap())
}

fn attributes(path: &Path) -> Vec<String> {
    let mut names = [0; 256];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap();
    let names = names[..length].split(|byte| *byte == 0);
    names
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8(name.to_vec()).unwrap())
        .collect()
}

#[test]
fn attributes_of_ones_own_files_are_kept() {
    let origin = Origin::start(content());
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &["--xattr"]);
    let flags = XattrFlags::empty();
    for own in directories(&rig) {
        fs::create_dir(&own).unwrap();
        let file = own.join("file");
        fs::write(&file, "text").unwrap();
        for path in [&file, &own] {
            rustix::fs::setxattr(path, "user.note", b"mine", flags).unwrap();
            assert_eq!(attribute(path, "user.note").unwrap(), "mine");
            assert_eq!(attributes(path), ["user.note"]);
            let again = rustix::fs::setxattr(path, "user.note", b"new", XattrFlags::CREATE);
            assert_eq!(again, Err(Errno::EXIST));
        }
        assert_eq!(attribute(&file, "user.crds.state").unwrap(), "local");
        assert_eq!(attribute(&file, "user.other"), Err(Errno::NODATA));
        let ours = rustix::fs::setxattr(&file, "user.crds.state", b"cached", flags);
        assert_eq!(ours, Err(Errno::PERM));
    }
    rig.umount();
    rig.mount();
    for own in directories(&rig) {
        let file = own.join("file");
        assert_eq!(attribute(&file, "user.note").unwrap(), "mine");
        // An open file keeps them when its name goes.
        let open = File::open(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let mut value = [0; 64];
        assert_eq!(rustix::fs::fgetxattr(&open, "user.note", &mut value), Ok(4));
        rustix::fs::removexattr(&own, "user.note").unwrap();
        assert_eq!(attribute(&own, "user.note"), Err(Errno::NODATA));
        assert!(attributes(&own).is_empty());
    }
    let flat = rig.path("references/roman").join(FLAT);
    assert_eq!(
        rustix::fs::setxattr(&flat, "user.note", b"mine", flags),
        Err(Errno::PERM)
    );
    assert_eq!(attribute(&flat, "user.crds.state").unwrap(), "remote");
    assert!(attributes(&flat).is_empty());
}

#[test]
fn attributes_are_off_unless_asked_for() {
    let rig = rig();
    let file = rig.path("pickles/roman/file");
    fs::write(&file, "text").unwrap();
    assert_eq!(attribute(&file, "user.crds.state"), Err(Errno::OPNOTSUPP));
    let set = rustix::fs::setxattr(&file, "user.note", b"mine", XattrFlags::empty());
    assert_eq!(set, Err(Errno::OPNOTSUPP));
}

#[test]
fn what_is_known_of_a_file_is_told_without_fetching_it() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let told = |path: &str| rig.json(Path::new(".crds-fs/files").join(path)).unwrap();
    let (pmap, flat) = (
        format!("mappings/roman/{PMAP}"),
        format!("references/roman/{FLAT}"),
    );
    for (path, size) in [(&pmap, 2_000), (&flat, 20_000)] {
        let remote = told(path);
        assert_eq!(remote["state"], "remote", "{remote}");
        assert_eq!(remote["path"], path.as_str());
        assert_eq!(remote["size"], size);
        assert_eq!(remote["progress"]["done"], 0);
        assert_eq!(remote["sha1"].as_str().unwrap().len(), 40);
        assert!(
            remote["source"].as_str().unwrap().starts_with("http://127.0.0.1"),
            "{remote}"
        );
        assert!(remote["error"].is_null());
    }
    assert!(rig.stored().is_empty(), "looking fetched {:?}", rig.stored());
    rig.read(&flat).unwrap();
    assert_eq!(told(&flat)["state"], "cached");
    assert_eq!(told(&flat)["progress"]["done"], 20_000);
    let files = rig.path(".crds-fs/files");
    for absent in [
        "mappings/roman/absent.pmap",
        &format!("mappings/roman/{FLAT}"),
        "config",
        "references/hst",
    ] {
        assert!(!files.join(absent).exists(), "{absent}");
    }
    let listed: Vec<_> = fs::read_dir(&files)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(listed, ["mappings", "references"]);
    assert!(fs::write(files.join(&flat), "text").is_err());
}

#[test]
fn the_command_tells_what_is_known_of_a_file() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let own = rig.path("references/roman/own");
    fs::write(&own, "own").unwrap();
    let flat = rig.path("references/roman").join(FLAT);
    let status = |path: &Path, flags: &[&str]| {
        let run = program().arg("status").arg(path).args(flags).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    };
    let first = status(&flat, &[]);
    assert!(
        first.starts_with(&format!("references/roman/{FLAT}: remote, 19.5 KiB\nsha1: ")),
        "{first}"
    );
    origin.set(FLAT, Behaviour::Status(404));
    rig.read(flat.strip_prefix(rig.mountpoint()).unwrap())
        .unwrap_err();
    let failed = status(&flat, &[]);
    assert!(
        failed.contains("\nfailed: ") && failed.contains("404"),
        "{failed}"
    );
    let json: serde_json::Value = serde_json::from_str(&status(&flat, &["--json"])).unwrap();
    assert_eq!(
        (&json["state"], &json["error"]["kind"]),
        (&"remote".into(), &"gone".into())
    );
    assert_eq!(status(&own, &[]), "references/roman/own: local\n");
    assert!(
        status(&rig.path("references"), &[]).contains("crds-fs "),
        "a directory is about the mount"
    );
    assert!(
        rig.stored().iter().all(|path| path.ends_with("own")),
        "{:?}",
        rig.stored()
    );
    // The user's own file in a catalogued one's place is told by its own size.
    fs::rename(&own, rig.path(format!("references/roman/{FLAT}"))).unwrap();
    let text = status(&rig.path(format!("references/roman/{FLAT}")), &[]);
    let size = "local, 3 B of your own in place of the catalogued 19.5 KiB";
    assert!(text.contains(size), "{text}");
}
