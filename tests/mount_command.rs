//! The commands `mount`, `status`, `umount` and `run` as users meet them, on a cache without a network.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/fuse.rs"]
mod fuse;
#[path = "common/mounts.rs"]
mod mounts;
#[path = "common/waiting.rs"]
mod waiting;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use waiting::{eventually, wait};

/// A cache with a local rule in it, and what is to be cleaned up.
struct Cache {
    directory: tempfile::TempDir,
}

impl Cache {
    fn new() -> Self {
        fuse::require();
        let directory = tempfile::tempdir().unwrap();
        let cache = Self { directory };
        fs::create_dir_all(cache.path().join("pickles/roman")).unwrap();
        fs::write(cache.path().join("pickles/roman/mine.pkl"), "mine").unwrap();
        cache
    }

    fn path(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join("cache")
    }

    /// `crds-fs` with a log of its own and nothing else from the environment.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crds-fs"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap());
        command
            .env("HOME", self.directory.path())
            .env("CRDS_FS_OFFLINE", "1");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        if arguments.first() == Some(&"umount") {
            mounts::await_end(&output);
        }
        output
    }

    fn place(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.run(&["umount", "--lazy", &self.place()]);
    }
}

#[track_caller]
fn done(output: &Output) -> String {
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn failed(output: &Output, status: i32, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(said.contains(words), "{said}");
}

fn status(cache: &Cache) -> serde_json::Value {
    serde_json::from_str(&done(&cache.run(&["status", &cache.place(), "--json"]))).unwrap()
}

#[test]
fn from_mount_to_umount() {
    let cache = Cache::new();
    let place = cache.place();
    done(&cache.run(&["mount", &place]));
    assert_eq!(mounts::at(Path::new(&place)).unwrap().fstype, "fuse.crds-fs");
    assert_eq!(
        fs::read_to_string(cache.path().join("pickles/roman/mine.pkl")).unwrap(),
        "mine"
    );
    assert!(fs::metadata(cache.path().join("references/jwst/absent.fits")).is_err());

    assert_eq!(status(&cache)["mountpoint"], *place);
    assert_eq!(status(&cache)["offline"], true);
    assert!(done(&cache.run(&["status", &place])).starts_with(&format!("{place}: crds-fs ")));
    failed(&cache.run(&["mount", &place]), 1, "already");

    done(&cache.run(&["umount", &place]));
    assert_eq!(mounts::at(Path::new(&place)), None);
    assert_eq!(
        fs::read_to_string(cache.path().join("pickles/roman/mine.pkl")).unwrap(),
        "mine"
    );
    failed(
        &cache.run(&["umount", &place]),
        1,
        "no crds-fs file system is mounted",
    );
    failed(
        &cache.run(&["status", &place]),
        1,
        "no crds-fs file system is mounted",
    );

    let log = fs::read_dir(cache.directory.path().join(".local/state/crds-fs"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert!(fs::read_to_string(log.path()).unwrap().contains("is mounted at"));
}

/// The cache is locked while it is mounted; `umount` returns when it is free.
#[test]
fn again_and_again() {
    let cache = Cache::new();
    for _ in 0..10 {
        done(&cache.run(&["mount", &cache.place(), "-o", "ro,_netdev"]));
        assert_eq!(
            fs::write(cache.path().join("pickles/new"), "")
                .unwrap_err()
                .raw_os_error(),
            Some(libc::EROFS)
        );
        done(&cache.run(&["umount", &cache.place()]));
    }
}

#[test]
fn a_killed_daemon_is_told_of_and_mended() {
    let cache = Cache::new();
    done(&cache.run(&["mount", &cache.place()]));
    let pid = i32::try_from(status(&cache)["pid"].as_i64().unwrap()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    // The kernel cuts the connection while the process ends.
    eventually("the connection is cut", || {
        nix::sys::statvfs::statvfs(&cache.path()).is_err()
    });
    failed(&cache.run(&["status", &cache.place()]), 1, "has died");
    done(&cache.run(&["mount", &cache.place()]));
    assert_eq!(
        fs::read_to_string(cache.path().join("pickles/roman/mine.pkl")).unwrap(),
        "mine"
    );
    done(&cache.run(&["umount", &cache.place()]));
}

/// Waits until a process has mounted.
fn await_mount(cache: &Cache, process: &mut Child) {
    eventually("it is mounted", || {
        assert!(process.try_wait().unwrap().is_none(), "it ended");
        mounts::at(&cache.path())
    });
}

#[test]
fn in_the_foreground_until_a_signal() {
    let cache = Cache::new();
    let mut child = cache
        .command(&["mount", "-f", "-q", &cache.place()])
        .spawn()
        .unwrap();
    await_mount(&cache, &mut child);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert!(wait(child).success());
    assert_eq!(mounts::at(&cache.path()), None);
}

#[test]
fn the_log_is_json_where_that_is_asked_for() {
    let cache = Cache::new();
    let log = cache.directory.path().join("log");
    let mut command = cache.command(&["mount"]);
    command
        .env("CRDS_PATH", cache.place())
        .env("CRDS_FS_LOG_FILE", &log)
        .env("CRDS_FS_LOG_FORMAT", "json")
        .env("CRDS_FS_VERBOSE", "2");
    done(&command.output().unwrap());
    done(&cache.run(&["umount", &cache.place()]));
    let text = fs::read_to_string(log).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let mounted = lines.iter().find(|line| {
        let message = line["message"].as_str();
        message.is_some_and(|message| message.contains("is mounted at"))
    });
    let mounted = mounted.unwrap_or_else(|| panic!("{text}"));
    assert_eq!(mounted["level"], "INFO");
    assert_eq!(mounted["module"], "crds_fs::cli::daemon_main");
    assert!(mounted["time"].as_str().is_some_and(|time| time.ends_with('Z')));
    assert!(lines.iter().any(|line| line["level"] == "DEBUG"), "{text}");
}

#[test]
fn in_the_foreground_where_a_variable_says_so() {
    let cache = Cache::new();
    let mut child = cache
        .command(&["mount", "-q", &cache.place()])
        .env("CRDS_FS_FOREGROUND", "1")
        .spawn()
        .unwrap();
    await_mount(&cache, &mut child);
    done(&cache.run(&["umount", &cache.place()]));
    assert!(wait(child).success());
}

#[test]
fn one_command_with_a_mount_of_its_own() {
    let cache = Cache::new();
    let script = "test \"$CRDS_PATH\" = \"$0\" && cat \"$CRDS_PATH/pickles/roman/mine.pkl\" && grep -c ' fuse.crds-fs ' /proc/mounts >&2; exit 7";
    let output = cache.run(&[
        "run",
        "--cache",
        &cache.place(),
        "--",
        "sh",
        "-c",
        script,
        &cache.place(),
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "mine");
    assert_eq!(mounts::at(&cache.path()), None);
}

#[test]
fn wrong_usage_is_status_2() {
    let cache = Cache::new();
    failed(&cache.run(&["mount"]), 2, "where to mount?");
    failed(&cache.run(&["mount", "/tmp", "--jobs", "none"]), 2, "--jobs");
    failed(&cache.run(&["mount", "--no-such-flag"]), 2, "--no-such-flag");
    failed(&cache.run(&["mount", "/nonexistent/place"]), 1, "mkdir");
    failed(&cache.run(&["run"]), 2, "Usage");
    failed(
        &cache.run(&["mount", "/tmp", "--log-format", "xml"]),
        2,
        "--log-format: 'xml' is neither text nor json",
    );
    for (flag, value) in [("--timeout", "0"), ("--stall-timeout", "0s")] {
        let words = format!("{flag}: '{value}' leaves no time");
        failed(&cache.run(&["mount", "/tmp", flag, value]), 2, &words);
    }
    for (variable, value) in [
        ("CRDS_CONFIG_URI", "ftp://example.org/"),
        ("CRDS_REFERENCE_URI", "nowhere"),
        ("CRDS_SERVER_URL", "nowhere"),
        ("CRDS_FS_VERBOSE", "3"),
        ("CRDS_FS_FOREGROUND", "perhaps"),
        ("CRDS_FS_LOG_FORMAT", "xml"),
    ] {
        for arguments in [&["mount"][..], &["run", "--", "true"]] {
            let mut command = cache.command(arguments);
            command.env("CRDS_PATH", cache.place()).env(variable, value);
            if (variable, arguments[0]) == ("CRDS_FS_FOREGROUND", "run") {
                continue;
            }
            let output = command.output().unwrap();
            failed(&output, 2, variable);
            failed(&output, 2, &format!("'{value}'"));
        }
    }
}
