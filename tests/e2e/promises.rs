//! Promises of docs/semantics.md that no other test is about.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;

use rustix::fs::{FlockOperation, flock};

use crate::origin::{Behaviour, Origin};
use crate::rig::Rig;
use crate::{DARK, FLAT, PMAP, content, server_flag};

/// The errno of a call that has failed.
fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// With a size for the cache the file system is that large, and what is stored leaves less of it.
#[test]
fn the_room_that_is_told_is_what_the_cache_size_leaves() {
    const SIZE: u64 = 5_000_000;
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &["--cache-size", &SIZE.to_string()]);
    let told = || rustix::fs::statvfs(rig.mountpoint()).unwrap();
    let empty = told();
    let bytes = |blocks: u64| blocks * empty.f_frsize;
    assert!(
        bytes(empty.f_blocks).abs_diff(SIZE) < empty.f_frsize,
        "{}",
        bytes(empty.f_blocks)
    );
    assert!(bytes(empty.f_bavail) <= SIZE);
    let file = rig.read(format!("references/roman/{DARK}")).unwrap();
    let left = bytes(told().f_bavail);
    assert!(
        left + u64::try_from(file.len()).unwrap() <= bytes(empty.f_bavail) + empty.f_frsize,
        "{left} of {}",
        bytes(empty.f_bavail)
    );
}

#[test]
fn what_crds_fs_tells_of_itself_cannot_be_changed() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &["--no-xattr"]);
    let own = rig.path(".crds-fs");
    let status = own.join("status.json");
    let described = own.join(format!("files/references/roman/{DARK}"));
    fs::read(&described).unwrap();
    // The kernel heeds modes for all but root.
    let read_only = if rustix::process::geteuid().is_root() {
        libc::EROFS
    } else {
        libc::EACCES
    };
    for file in [&status, &described] {
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o222, 0, "{}", file.display());
        let refused = [
            errno(fs::write(file, "x")),
            errno(fs::remove_file(file)),
            errno(fs::rename(file, rig.path("config/roman/status.json"))),
        ];
        assert_eq!(refused, [Some(read_only); 3], "{}", file.display());
    }
    assert_eq!(errno(fs::write(own.join("new"), "x")), Some(read_only));
    assert_eq!(errno(fs::create_dir(own.join("new"))), Some(read_only));
    fs::read(&status).unwrap();
}

#[test]
fn a_read_only_mount_shows_no_write_permission() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &["--read-only"]);
    let mapping = format!("mappings/roman/{PMAP}");
    for (path, mode) in [
        (".", 0o555),
        ("config/roman/server_config", 0o444),
        ("mappings/roman", 0o555),
        (mapping.as_str(), 0o444),
        ("pickles", 0o555),
    ] {
        let found = fs::metadata(rig.path(path)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{path}: {found:o}");
    }
    assert_eq!(errno(fs::write(rig.path("pickles/new"), "x")), Some(libc::EROFS));
    assert_eq!(rig.read(mapping).unwrap(), origin.contents(PMAP));
}

/// By its permissions an ordinary user may try, so that the refusal is that of the mount.
#[test]
fn a_catalogued_file_is_refused_with_eperm_to_ordinary_users_too() {
    let origin = Origin::start(content());
    let is_root = rustix::process::geteuid().is_root();
    let more: &[&str] = if is_root {
        &["--allow-other", "--uid", "65534"]
    } else {
        &[]
    };
    let rig = Rig::mounted(&[&server_flag(&origin)], more);
    let outside = rig.mountpoint().parent().unwrap().to_owned();
    fs::set_permissions(outside, fs::Permissions::from_mode(0o755)).unwrap();
    let file = rig.path(format!("references/roman/{DARK}"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    for way in [": >> \"$0\"", ": > \"$0\"", "true <> \"$0\""] {
        let mut shell = std::process::Command::new("sh");
        shell.arg("-c").arg(way).arg(&file).env("LC_ALL", "C");
        if is_root {
            std::os::unix::process::CommandExt::uid(&mut shell, 65_534);
        }
        let output = shell.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{way}");
        assert!(said.contains("Operation not permitted"), "{way}: {said}");
    }
    assert_eq!(origin.asked(DARK).len(), 0);
}

/// However many opens fail by one transfer, the log has one line with all that is known.
#[test]
fn a_failure_is_logged_once_with_file_url_and_reason() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let path = format!("references/roman/{DARK}");
    origin.set(DARK, Behaviour::Status(403));
    for _ in 0..5 {
        assert_eq!(rig.read(&path), Err(libc::EACCES));
    }
    // Another file's transfer ends after the line was written.
    rig.read(format!("references/roman/{FLAT}")).unwrap();
    let log = rig.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(DARK)).collect();
    let failures: Vec<&&str> = lines
        .iter()
        .filter(|line| line.contains("403 Forbidden"))
        .collect();
    assert_eq!(failures.len(), 1, "{log}");
    assert!(failures[0].contains(&origin.url()), "{log}");
    let told = rig.json(format!(".crds-fs/files/{path}")).unwrap();
    assert!(told["error"].to_string().contains("403"), "{told}");
}

#[test]
fn locks_keep_others_out() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let path = rig.path("config/roman/a.lock");
    let first = fs::File::create(&path).unwrap();
    let second = fs::File::open(&path).unwrap();
    flock(&first, FlockOperation::NonBlockingLockExclusive).unwrap();
    let refused = flock(&second, FlockOperation::NonBlockingLockShared);
    assert_eq!(refused, Err(rustix::io::Errno::WOULDBLOCK));
    drop(first);
    flock(&second, FlockOperation::NonBlockingLockExclusive).unwrap();
}
