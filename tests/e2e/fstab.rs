//! Lines of fstab, as mount(8) asks its helper for them, and the signals that administrators send.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::mounts;
use crate::origin::Origin;
use crate::rig::{eventually, program, wait};
use crate::{DARK, content, server_flag};

/// The program under the name of the helper, and a place to mount on.
struct Fstab(TempDir);

impl Fstab {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        symlink(
            env!("CARGO_BIN_EXE_crds-fs"),
            root.path().join("mount.fuse.crds-fs"),
        )
        .unwrap();
        fs::create_dir(root.path().join("mnt")).unwrap();
        Self(root)
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(relative)
    }

    fn named(&self, command: &Path) -> Command {
        let template = program();
        let mut command = Command::new(command);
        command.env_clear();
        command.envs(
            template
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        command.env("HOME", self.0.path());
        command
    }

    /// As mount(8) calls it.
    fn mount(&self, source: &str, options: &str) -> Output {
        self.named(&self.path("mount.fuse.crds-fs"))
            .arg(source)
            .arg(self.path("mnt"))
            .args(["-o", options])
            .output()
            .unwrap()
    }

    fn umount(&self) -> Output {
        let output = self
            .named(Path::new(env!("CARGO_BIN_EXE_crds-fs")))
            .arg("umount")
            .arg(self.path("mnt"))
            .output()
            .unwrap();
        mounts::await_end(&output);
        output
    }

    fn status(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("mnt/.crds-fs/status.json")).unwrap()).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.status()["pid"].as_i64().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }
}

impl Drop for Fstab {
    fn drop(&mut self) {
        if mounts::at(&self.path("mnt")).is_some() {
            self.umount();
        }
    }
}

#[track_caller]
fn done(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
}

fn observatories(status: &Value) -> Vec<String> {
    let list = status["observatories"].as_array().unwrap();
    list.iter()
        .map(|one| one["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_line_of_fstab_is_mounted_with_everything_that_such_lines_have() {
    let origin = Origin::start(content());
    let fstab = Fstab::new();
    let options = format!(
        "rw,nosuid,nodev,noexec,relatime,_netdev,nofail,noauto,user,comment=a word,x-systemd.automount,X-mount.mkdir,\
         cache={},server={},cache_size=1G,tier={}",
        fstab.path("store").display(),
        server_flag(&origin),
        fstab.path("tier").display()
    );
    done(&fstab.mount("roman", &options));
    let entry = mounts::at(&fstab.path("mnt")).unwrap();
    assert_eq!(
        (entry.fstype.as_str(), entry.source.as_str()),
        ("fuse.crds-fs", "roman")
    );
    assert_eq!(observatories(&fstab.status()), ["roman"]);
    let references = fstab.path("mnt/references/roman");
    // Unlike a lookup this waits for the catalog as long as it takes.
    assert_eq!(fs::read_dir(&references).unwrap().count(), 2);
    assert_eq!(fs::read(references.join(DARK)).unwrap(), origin.contents(DARK));
    let tier = format!("file://{}", fstab.path("tier").display());
    assert_eq!(fstab.status()["tier"]["tier"], tier.as_str());

    // noexec holds.
    let script = fstab.path("mnt/pickles/roman/script");
    fs::create_dir_all(script.parent().unwrap()).unwrap();
    fs::copy("/bin/true", &script).unwrap();
    let refused = Command::new(&script).status().unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
    done(&fstab.umount());
}

#[test]
fn several_observatories_in_the_source_or_the_options() {
    let fstab = Fstab::new();
    for (source, options) in [
        ("hst,jwst", "offline"),
        ("hst:jwst", "offline"),
        ("all", "offline,observatory=hst:jwst"),
        ("none", "offline,observatory=hst,observatory=jwst"),
    ] {
        done(&fstab.mount(source, options));
        let entry = mounts::at(&fstab.path("mnt")).unwrap();
        assert_eq!(entry.source, source);
        assert_eq!(
            observatories(&fstab.status()),
            ["hst", "jwst"],
            "{source} {options}"
        );
        done(&fstab.umount());
    }
    for (source, options, word) in [
        ("/dev/sda1", "ro", "hst:jwst"),
        ("jwst", "no_such_option", "no_such_option"),
    ] {
        let refused = fstab.mount(source, options);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains(word), "{said}");
    }
}

/// Only root may change the flags of a mount.
#[test]
fn remount_changes_whether_it_can_be_written_to() {
    let fstab = Fstab::new();
    done(&fstab.mount("jwst", "rw,offline"));
    let file = fstab.path("mnt/pickles/jwst/file");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "1").unwrap();
    // A process that another test starts has a copy of the descriptor for a moment.
    let to_ro = eventually("nobody has the file open for writing", || {
        let to_ro = fstab.mount("jwst", "remount,ro,offline");
        let said = String::from_utf8_lossy(&to_ro.stderr).into_owned();
        if said.contains("busy") {
            Err(said)
        } else {
            Ok(to_ro)
        }
    });
    if !rustix::process::geteuid().is_root() {
        let said = String::from_utf8_lossy(&to_ro.stderr).into_owned();
        assert!(said.contains("Operation not permitted"), "{said}");
        done(&fstab.umount());
        return;
    }
    done(&to_ro);
    assert_eq!(
        fs::write(&file, "2").unwrap_err().raw_os_error(),
        Some(libc::EROFS)
    );
    done(&fstab.mount("jwst", "remount,rw,offline"));
    fs::write(&file, "3").unwrap();
    done(&fstab.umount());

    done(&fstab.mount("jwst", "ro,offline"));
    let refused = fstab.mount("jwst", "remount,rw");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(32), "{said}");
    assert!(said.contains("was mounted read-only"), "{said}");
    done(&fstab.umount());
}

/// As logrotate does it: the file is renamed, and the process told.
#[test]
fn a_hangup_begins_a_new_log_and_other_signals_do_nothing() {
    let fstab = Fstab::new();
    let log = fstab.path("log");
    done(&fstab.mount("jwst", &format!("offline,log_file={}", log.display())));
    fstab.signal(Signal::USR1);
    fstab.signal(Signal::USR2);
    fs::rename(&log, fstab.path("log.1")).unwrap();
    fstab.signal(Signal::HUP);
    eventually("there is a new log", || {
        fs::metadata(&log).is_ok_and(|log| log.len() > 0)
    });
    // It lives, and the rest goes into the new file.
    let pid = fstab.status()["pid"].clone();
    done(&fstab.umount());
    assert!(fs::read_to_string(&log).unwrap().contains("the end"), "{pid}");
    let old = fs::read_to_string(fstab.path("log.1")).unwrap();
    assert!(old.contains("is mounted at") && !old.contains("the end"), "{old}");
}

/// At the end of a terminal a mount in its foreground ends as well: there is no log to begin anew.
#[test]
fn a_mount_in_the_foreground_ends_with_its_terminal() {
    let fstab = Fstab::new();
    let mut child = fstab
        .named(Path::new(env!("CARGO_BIN_EXE_crds-fs")))
        .args(["mount", "--foreground", "--offline", "--quiet"])
        .arg(fstab.path("mnt"))
        .process_group(0)
        .spawn()
        .unwrap();
    eventually("it answers", || {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        fstab.path("mnt/.crds-fs/status.json").exists()
    });
    fstab.signal(Signal::HUP);
    assert!(wait(child).success());
    assert_eq!(mounts::at(&fstab.path("mnt")), None);
}
