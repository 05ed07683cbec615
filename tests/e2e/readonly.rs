//! A cache that cannot be written: a central one, used as it is by everybody.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::origin::{Behaviour, Origin};
use crate::rig::Rig;
use crate::small_disk::inside;
use crate::{DARK, FLAT, PMAP, content, server_flag};

/// A store that cannot be written, until it is dropped.
pub(crate) enum Unwritable<'a> {
    Mounted(&'a Path),
    Permitted(&'a Path),
}

impl<'a> Unwritable<'a> {
    pub(crate) fn by_mount(store: &'a Path) -> Self {
        let nothing = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(nothing, "/", nothing, private, nothing).unwrap();
        mount(Some(store), store, nothing, MsFlags::MS_BIND, nothing).unwrap();
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(nothing, store, nothing, flags, nothing).unwrap();
        Self::Mounted(store)
    }

    fn by_permission(store: &'a Path) -> Self {
        permit(store, 0o555);
        Self::Permitted(store)
    }
}

impl Drop for Unwritable<'_> {
    fn drop(&mut self) {
        match self {
            Self::Mounted(store) => {
                let _ = umount2(*store, MntFlags::MNT_DETACH);
            }
            Self::Permitted(store) => permit(store, 0o755),
        }
    }
}

/// Changes the mode of every directory.
fn permit(directory: &Path, mode: u32) {
    fs::set_permissions(directory, fs::Permissions::from_mode(mode | 0o700)).unwrap();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            permit(&entry.path(), mode);
        }
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
}

/// A cache as another client leaves it: a catalog, a rule, a reference that is right and one that is not.
fn fill(rig: &Rig, origin: &Origin) {
    let mut first = Rig::mounted(&[&server_flag(origin)], &[]);
    fs::read_dir(first.path("references/roman")).unwrap().count();
    first.umount();
    let config = fs::read(first.store().join("config/roman/server_config")).unwrap();
    for directory in ["config/roman", "mappings/roman", "references/roman"] {
        fs::create_dir_all(rig.store().join(directory)).unwrap();
    }
    fs::write(rig.store().join("config/roman/server_config"), config).unwrap();
    fs::write(
        rig.store().join("mappings/roman").join(PMAP),
        origin.contents(PMAP),
    )
    .unwrap();
    fs::write(
        rig.store().join("references/roman").join(DARK),
        origin.contents(DARK),
    )
    .unwrap();
}

fn snapshot(directory: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        names.push(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            names.extend(snapshot(&entry.path()));
        }
    }
    names.sort();
    names
}

fn reads(rig: &Rig, origin: &Origin) {
    for path in [
        format!("mappings/roman/{PMAP}"),
        format!("references/roman/{DARK}"),
    ] {
        let name = Path::new(&path).file_name().unwrap().to_str().unwrap();
        assert!(
            rig.read(&path) == Ok(origin.contents(name)),
            "{path}: {}",
            rig.log()
        );
    }
}

/// Several mounts at once, each with and without a place to remember in; nothing is written to the cache.
fn many_mounts_read(origin: &Origin, home: &Path, by_mount: bool, remembers: bool) {
    let mut rig = Rig::new(&[&server_flag(origin)], &["--read-only", "--offline"]);
    rig.set("HOME", home.to_str().unwrap());
    fill(&rig, origin);
    let before = snapshot(&rig.store());
    let store = rig.store();
    let unwritable = if by_mount {
        Unwritable::by_mount(&store)
    } else {
        Unwritable::by_permission(&store)
    };
    let mut other = Rig::new(&[&server_flag(origin)], &["--read-only", "--offline"]);
    other.use_store(&store);
    other.set("HOME", home.to_str().unwrap());
    for again in [false, true] {
        rig.mount();
        other.mount();
        for mount in [&rig, &other] {
            reads(mount, origin);
            assert_eq!(
                mount.read(format!("references/roman/{FLAT}")),
                Err(libc::ENETDOWN)
            );
            let status = fs::read_to_string(mount.path(".crds-fs/status.json")).unwrap();
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            assert_eq!(status["store_writable"], false);
            if again {
                // A verified file is not hashed again, if the mount has a place to remember it.
                let hashed = if remembers { 0 } else { 2 };
                assert_eq!(status["counters"]["adopted"], hashed);
            }
            assert!(mount.log().contains("cannot be written"), "{}", mount.log());
        }
        rig.umount();
        other.umount();
    }
    drop(unwritable);
    assert_eq!(snapshot(&store), before);
}

#[test]
fn many_mounts_share_a_cache_on_a_read_only_file_system() {
    if !inside("readonly::many_mounts_share_a_cache_on_a_read_only_file_system") {
        return;
    }
    let origin = Origin::start(content());
    let home = tempfile::tempdir().unwrap();
    many_mounts_read(&origin, home.path(), true, true);
    let kept = snapshot(&home.path().join(".cache/crds-fs/stores"));
    assert!(
        kept.iter().any(|path| path.ends_with("verified/roman")),
        "nothing is remembered: {kept:?}"
    );
}

#[test]
fn many_mounts_share_a_cache_that_they_may_not_write() {
    let origin = Origin::start(content());
    let home = tempfile::tempdir().unwrap();
    many_mounts_read(&origin, home.path(), false, true);
}

/// Without a home, or with one that is as read-only as the cache, all the same works.
#[test]
fn no_home_is_no_obstacle() {
    let origin = Origin::start(content());
    let file = tempfile::NamedTempFile::new().unwrap();
    for home in [
        "/proc",
        "/dev/null/home",
        file.path().to_str().unwrap(),
        "relative",
    ] {
        many_mounts_read(&origin, Path::new(home), false, false);
    }
}

/// Not offline: what is there is read, what is not is an error in words, and files of one's own are refused.
#[test]
fn what_is_not_in_it_is_an_error_that_says_so() {
    if !inside("readonly::what_is_not_in_it_is_an_error_that_says_so") {
        return;
    }
    let origin = Origin::start(content());
    let home = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(&[&server_flag(&origin)], &["--xattr"]);
    rig.set("HOME", home.path().to_str().unwrap());
    fill(&rig, &origin);
    fs::write(rig.store().join("references/roman").join(FLAT), b"short").unwrap();
    let store = rig.store();
    let unwritable = Unwritable::by_mount(&store);
    origin.set(FLAT, Behaviour::Well);
    rig.mount();
    reads(&rig, &origin);
    // Wrong, and it cannot be moved out of the way.
    let flat = format!("references/roman/{FLAT}");
    assert_eq!(rig.read(&flat), Err(libc::EBADMSG), "{}", rig.log());
    drop(unwritable);
    rig.umount();
    fs::remove_file(store.join("references/roman").join(FLAT)).unwrap();
    let unwritable = Unwritable::by_mount(&store);
    rig.mount();
    assert_eq!(rig.read(&flat), Err(libc::EROFS), "{}", rig.log());
    assert_eq!(origin.asked(FLAT), [], "it was fetched to be thrown away");
    assert!(
        rig.log().contains("choose one of your own with --cache"),
        "{}",
        rig.log()
    );
    let refused = fs::write(rig.path("references/roman/mine.txt"), "mine").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    rig.umount();
    drop(unwritable);
}

/// Unlike one that cannot be written.
#[test]
fn a_writable_cache_belongs_to_one_mount() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let store = rig.store();
    let other = tempfile::tempdir().unwrap();
    let refused = crate::rig::program()
        .args([
            "mount",
            "--foreground",
            "--observatory",
            "roman",
            "--offline",
            "--cache",
        ])
        .arg(&store)
        .arg(other.path())
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("in use by process"), "{said}");
}
