//! A shared store of several users: of one group, with umasks that keep others out, and with files that are closed.
//!
//! Root becomes two ordinary users; an ordinary user is but one, who closes his own files.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::origin::Origin;
use crate::rig::program;
use crate::{DARK, FLAT, PMAP, content, server_flag};

/// The group of the store, and two users of it, who have groups of their own.
const GROUP: u32 = 54_321;
const ONE: u32 = 20_001;
const OTHER: u32 = 20_002;

struct Place {
    origin: Origin,
    root: tempfile::TempDir,
    program: PathBuf,
}

impl Place {
    /// A store that is open to its group, and the program where everybody can run it.
    fn new(is_root: bool) -> Self {
        let root = tempfile::Builder::new()
            .prefix("crds-fs-users-")
            .tempdir()
            .unwrap();
        let program_there = root.path().join("crds-fs");
        fs::copy(program().get_program(), &program_there).unwrap();
        for (path, mode) in [(root.path(), 0o755), (&program_there, 0o755)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let place = Self {
            origin: Origin::start(content()),
            root,
            program: program_there,
        };
        fs::create_dir(place.store()).unwrap();
        if is_root {
            chown(place.store(), None, Some(GROUP)).unwrap();
        }
        fs::set_permissions(place.store(), fs::Permissions::from_mode(0o2775)).unwrap();
        place
    }

    fn store(&self) -> PathBuf {
        self.root.path().join("store")
    }

    fn file(&self) -> PathBuf {
        self.store().join("references/roman").join(FLAT)
    }

    /// Fetches a file into the store as a user, or as who runs this, with a umask.
    fn fetch(&self, user: Option<u32>, umask: &str, name: &str) -> Output {
        let known = user.unwrap_or_default();
        let state = self.root.path().join(format!("state-{known}"));
        fs::create_dir_all(&state).unwrap();
        let become_user = user.map_or(String::new(), |user| {
            chown(&state, Some(user), Some(user)).unwrap();
            format!("setpriv --reuid {user} --regid {user} --groups {GROUP} -- ")
        });
        let mut command = Command::new("sh");
        let original = program();
        command.env_clear();
        command.envs(
            original
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        command
            .args(["-c", &format!("umask {umask} && exec {become_user}\"$0\" \"$@\"")])
            .arg(&self.program)
            .args([
                "fetch",
                "--shared",
                "--server",
                &server_flag(&self.origin),
                "--cache",
            ])
            .arg(self.store())
            .arg(name)
            .env("CRDS_FS_STATE", &state)
            .env("HOME", &state)
            .current_dir(self.root.path())
            .output()
            .unwrap()
    }

    fn fetches(&self, user: Option<u32>, umask: &str, name: &str) {
        let output = self.fetch(user, umask, name);
        assert!(
            output.status.success(),
            "{user:?}, umask {umask}, {name}: {}",
            said(&output)
        );
    }

    fn quarantined(&self) -> usize {
        fs::read_dir(self.store().join(".crds-fs/quarantine")).map_or(0, Iterator::count)
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn is_root(what: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        writeln!(std::io::stderr().lock(), "not run: {what} by root only").unwrap();
    }
    is_root
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Else one user's umask would keep a name from all others.
#[test]
fn a_file_that_is_closed_is_set_aside_and_fetched() {
    let is_root = rustix::process::geteuid().is_root();
    let place = Place::new(is_root);
    if is_root {
        place.fetches(Some(ONE), "002", DARK);
        place.fetches(Some(OTHER), "077", FLAT);
    } else {
        place.fetches(None, "002", FLAT);
        fs::set_permissions(place.file(), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let reader = is_root.then_some(ONE);
    place.fetches(reader, "002", FLAT);
    assert_eq!(fs::read(place.file()).unwrap(), &place.origin.contents(FLAT)[..]);
    assert_eq!(mode(&place.file()), 0o664);
    assert_eq!((place.quarantined(), place.origin.asked(FLAT).len()), (1, 2));
    // And now all have it, the one who had closed it too.
    place.fetches(is_root.then_some(OTHER), "077", FLAT);
    assert_eq!(place.origin.asked(FLAT).len(), 2);
}

#[test]
fn who_may_not_write_reads() {
    if !is_root("two users can be had") {
        return;
    }
    let place = Place::new(true);
    place.fetches(Some(ONE), "027", FLAT);
    assert_eq!(
        (mode(&place.file()), mode(&place.store().join(".crds-fs"))),
        (0o640, 0o2750)
    );
    assert_eq!(fs::metadata(place.file()).unwrap().gid(), GROUP);
    place.fetches(Some(OTHER), "002", FLAT);
    assert_eq!(place.origin.asked(FLAT).len(), 1);
    let refused = place.fetch(Some(OTHER), "002", PMAP);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("cannot be written"), "{}", said(&refused));
}

#[test]
fn who_may_not_even_look_is_told_so() {
    if !is_root("two users can be had") {
        return;
    }
    let place = Place::new(true);
    place.fetches(Some(ONE), "077", FLAT);
    let refused = place.fetch(Some(OTHER), "002", FLAT);
    assert_eq!(refused.status.code(), Some(1));
    println!("{}", said(&refused));
    assert!(said(&refused).contains("Permission denied"), "{}", said(&refused));
}
