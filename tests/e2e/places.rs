//! Mount points and stores: directories that are missing, that hold something else, that are mounted already.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use tempfile::TempDir;

use crate::mounts;
use crate::outputs::{done, failed};
use crate::rig::program;

/// A directory for one test, in which nothing stays mounted.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(relative)
    }

    fn name(&self, relative: &str) -> String {
        self.path(relative).to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = program();
        command.args(arguments).env("HOME", self.0.path());
        let output = command.env("CRDS_FS_OFFLINE", "1").output().unwrap();
        if arguments.first() == Some(&"umount") {
            mounts::await_end(&output);
        }
        output
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let root = self.path("");
        for entry in mounts::all() {
            if entry.mountpoint.starts_with(&root) {
                self.run(&["umount", "--lazy", entry.mountpoint.to_str().unwrap()]);
            }
        }
    }
}

fn is_mounted(path: &Path) -> bool {
    mounts::at(path).is_some()
}

#[test]
fn a_directory_with_something_else_in_it_is_not_mounted_over() {
    let place = Place::new();
    let home = place.path("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("thesis.tex"), "years of work").unwrap();
    let name = place.name("home");
    for arguments in [
        &["mount", &name][..],
        &["mount", "--cache", &name, &name],
        &["run", "--cache", &name, "--", "true"],
    ] {
        failed(
            &place.run(arguments),
            1,
            &["'thesis.tex'", "'--cache DIR'", "'--over'", &name],
        );
        assert!(!is_mounted(&home));
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1, "nothing was put into it");
    }
    for arguments in [
        &["verify", "--cache", &name][..],
        &["hold", "--list", "--cache", &name],
        &["fetch", "--cache", &name, "roman_0001.pmap"],
    ] {
        failed(
            &place.run(arguments),
            1,
            &["'thesis.tex'", "is no CRDS cache", &name],
        );
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1, "nothing was put into it");
    }
    done(&place.run(&["mount", "--cache", &place.name("elsewhere"), &name]));
    assert!(is_mounted(&home));
    done(&place.run(&["umount", &name]));
    done(&place.run(&["mount", "--over", &name]));
    assert!(!home.join("thesis.tex").exists());
    done(&place.run(&["umount", &name]));
    assert_eq!(
        fs::read_to_string(home.join("thesis.tex")).unwrap(),
        "years of work"
    );
}

/// A cache stays one whatever lies beside it.
#[test]
fn a_cache_is_mounted_over_again() {
    let place = Place::new();
    let name = place.name("cache");
    fs::create_dir_all(place.path("cache/lost+found")).unwrap();
    for _ in 0..2 {
        done(&place.run(&["mount", &name]));
        fs::create_dir_all(place.path("cache/references/jwst")).unwrap();
        fs::write(place.path("cache/references/jwst/mine.fits"), "mine").unwrap();
        done(&place.run(&["umount", &name]));
    }
    fs::write(place.path("cache/notes.txt"), "").unwrap();
    done(&place.run(&["mount", &name]));
    done(&place.run(&["umount", &name]));
    let log = place.path(".local/state/crds-fs");
    let logs: String = fs::read_dir(log)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    assert!(logs.contains("'notes.txt' in"), "{logs}");
}

#[test]
fn what_is_missing_in_its_last_part_only_is_made() {
    let place = Place::new();
    done(&place.run(&["mount", "--cache", &place.name("store"), &place.name("new")]));
    assert!(is_mounted(&place.path("new")));
    done(&place.run(&["umount", &place.name("new")]));

    let mistyped = place.name("mistyped");
    let further = place.name("mistyped/further/place");
    let first = format!("'{mistyped}'");
    for arguments in [
        &["mount", &further][..],
        &["mount", "--cache", &further, &place.name("new")],
        &["run", "--cache", &further, "--", "true"],
    ] {
        failed(&place.run(arguments), 1, &[&first, "mkdir -p"]);
        assert!(!Path::new(&mistyped).exists());
    }
    assert!(!is_mounted(&place.path("new")));
}

#[test]
fn commands_that_cannot_be_run_are_told_as_shells_do() {
    let place = Place::new();
    let cache = place.name("cache");
    failed(
        &place.run(&["run", "--cache", &cache, "no-such-command-here"]),
        2,
        &["-- no-such-command-here"],
    );
    let missing = place.run(&["run", "--cache", &cache, "--", "no-such-command-here"]);
    failed(&missing, 127, &["there is no command 'no-such-command-here'"]);
    let data = place.name("data");
    fs::write(&data, "no program").unwrap();
    failed(
        &place.run(&["run", "--cache", &cache, "--", &data]),
        126,
        &["cannot run"],
    );
}

#[test]
fn run_uses_the_mount_that_is_there() {
    let place = Place::new();
    let name = place.name("cache");
    done(&place.run(&["mount", &name]));
    fs::create_dir_all(place.path("cache/pickles/jwst")).unwrap();
    fs::write(place.path("cache/pickles/jwst/mine"), "mine").unwrap();
    let script = "cat \"$CRDS_PATH/pickles/jwst/mine\"; readlink /proc/self/ns/mnt";
    let here = fs::read_link("/proc/self/ns/mnt").unwrap();
    let output = program()
        .args(["run", "--", "sh", "-c", script])
        .env("HOME", place.path(""))
        .env("CRDS_PATH", &name)
        .output()
        .unwrap();
    assert_eq!(done(&output), format!("mine{}\n", here.display()));
    let by_flag = place.run(&["run", "--cache", &name, "--", "sh", "-c", "exit 7"]);
    assert_eq!(by_flag.status.code(), Some(7));
    failed(
        &place.run(&["run", "--cache", &name, "--read-only", "--", "true"]),
        2,
        &["mounted already"],
    );
    done(&place.run(&["umount", &name]));
}

/// A home that cannot be written to, as in many containers and batch systems, is no reason not to mount.
#[test]
fn without_a_place_for_its_log_it_mounts_and_says_so() {
    let place = Place::new();
    let name = place.name("cache");
    let at_home = |arguments: &[&str]| {
        let mut command = program();
        command.args(arguments).env("CRDS_FS_OFFLINE", "1");
        // Root can write to any directory, but not to this.
        command.env("HOME", "/proc/nowhere").output().unwrap()
    };
    let mounted = at_home(&["mount", &name]);
    done(&mounted);
    let said = String::from_utf8_lossy(&mounted.stderr).into_owned();
    assert!(said.contains("--log-file"), "{said}");
    done(&place.run(&["umount", &name]));
    done(&at_home(&["run", "--cache", &name, "--", "true"]));
    let named = at_home(&["mount", "--log-file", "/proc/nowhere/log", &name]);
    failed(&named, 1, &["cannot log to '/proc/nowhere/log'"]);
}

/// A cache cannot lie in another mount: that one would fetch every file itself.
#[test]
fn a_cache_in_a_mount_is_refused() {
    let place = Place::new();
    let (first, second) = (place.name("first"), place.name("second"));
    done(&place.run(&["mount", &first]));
    for cache in ["first", "first/pickles", "first/new"] {
        let refused = place.run(&["mount", "--cache", &place.name(cache), &second]);
        failed(
            &refused,
            1,
            &[
                "--cache",
                &format!("mounted at '{first}'"),
                "name another directory",
            ],
        );
        assert!(!is_mounted(&place.path("second")));
    }
    done(&place.run(&["umount", &first]));
    done(&place.run(&["mount", "--cache", &first, &second]));
    done(&place.run(&["umount", &second]));
}
