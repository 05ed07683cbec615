//! The mounts that are compared: crds-fs, rclone, and the limit.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::columns::Column;
use crate::data::Directory;
use crate::rig::Rig;
use crate::{Fallible, limit, program};

/// The time after which mounting, a matter of milliseconds, counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mount; taken away when dropped.
pub(crate) struct Mount {
    column: Column,
    point: PathBuf,
    binary: PathBuf,
    pid: u32,
    /// The process, where it is ours; that of crds-fs goes into the background.
    child: Option<Child>,
    mounted: bool,
    /// Seconds until the mount's root could be listed.
    pub(crate) ready: f64,
}

impl Mount {
    /// Mounts with this directory as the store.
    pub(crate) fn start(rig: &Rig, column: Column, store: &Path) -> Fallible<Self> {
        let point = rig.directory("mount")?;
        let mut mount = Self {
            column,
            point,
            binary: rig.binary().to_owned(),
            pid: 0,
            child: None,
            mounted: true,
            ready: 0.0,
        };
        let begin = Instant::now();
        match column {
            Column::CrdsFs => mount.start_crds_fs(rig, store)?,
            Column::Rclone => mount.wait_for(rclone(rig, store, &mount.point))?,
            _ => {
                let mut command = Command::new("/proc/self/exe");
                command
                    .arg(limit::COMMAND)
                    .arg(rig.data().root())
                    .arg(&mount.point);
                mount.wait_for(command)?;
            }
        }
        fs::read_dir(&mount.point)?.for_each(drop);
        mount.ready = begin.elapsed().as_secs_f64();
        if column == Column::CrdsFs {
            let status: serde_json::Value =
                serde_json::from_slice(&fs::read(mount.point.join(".crds-fs/status.json"))?)?;
            mount.pid = u32::try_from(status["pid"].as_u64().ok_or("no pid")?)?;
        }
        Ok(mount)
    }

    fn start_crds_fs(&self, rig: &Rig, store: &Path) -> Fallible<()> {
        let status = program::command(&self.binary)
            .args(["mount", "-q", "--observatory", "hst,jwst"])
            .args(rig.servers())
            .arg("--cache")
            .arg(store)
            .args(rig.mount_options())
            .arg(&self.point)
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("crds-fs mount ended with {status}").into())
        }
    }

    /// Starts a program that stays in the foreground, and waits until something is mounted.
    fn wait_for(&mut self, mut command: Command) -> Fallible<()> {
        let below = fs::metadata(&self.point)?.dev();
        let (name, begin) = (self.column.name(), Instant::now());
        let child = self.child.insert(command.spawn()?);
        self.pid = child.id();
        while fs::metadata(&self.point)?.dev() == below {
            if let Some(status) = child.try_wait()? {
                return Err(format!("{name} ended with {status}").into());
            }
            if begin.elapsed() > PATIENCE {
                return Err(format!("{name} does not mount").into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The path in the mount at which a directory of the data appears.
    pub(crate) fn directory(&self, directory: Directory) -> PathBuf {
        match (self.column, directory) {
            (Column::CrdsFs, Directory::Names) => self.point.join("references/hst"),
            (Column::CrdsFs, _) => self.point.join("references/jwst"),
            _ => self.point.join(directory.name()),
        }
    }

    pub(crate) fn point(&self) -> &Path {
        &self.point
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Fallible<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
        Ok(kib.ok_or("no VmRSS")?.trim().parse::<f64>()? * 1024.0)
    }

    /// Unmounts, and waits for the end of the process.
    pub(crate) fn unmount(mut self) -> Fallible<()> {
        let mut command = match self.column {
            Column::CrdsFs => {
                let mut command = program::command(&self.binary);
                command.arg("umount");
                command
            }
            _ if rustix::process::geteuid().is_root() => program::command("umount"),
            _ => {
                let mut command = program::command("fusermount3");
                command.arg("-u");
                command
            }
        };
        let status = command.arg(&self.point).status()?;
        if !status.success() {
            return Err(format!("unmounting {}: {status}", self.point.display()).into());
        }
        self.mounted = false;
        let begin = Instant::now();
        while !self.has_ended()? {
            if begin.elapsed() > PATIENCE {
                return Err("the mount's process does not end".into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn has_ended(&mut self) -> Fallible<bool> {
        Ok(match &mut self.child {
            Some(child) => child.try_wait()?.is_some(),
            None => !Path::new(&format!("/proc/{}", self.pid)).exists(),
        })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Nothing may be left, whatever has failed.
        if self.mounted {
            let quiet = |command: &mut Command| command.stderr(Stdio::null()).status();
            let mut lazy = program::command(&self.binary);
            let ours = quiet(lazy.args(["umount", "--lazy"]).arg(&self.point));
            if !ours.is_ok_and(|status| status.success()) {
                let _ = quiet(program::command("umount").arg("--lazy").arg(&self.point));
            }
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir(&self.point);
    }
}

/// rclone with what makes it fast here: long lifetimes, wide readahead, several streams.
fn rclone(rig: &Rig, store: &Path, point: &Path) -> Command {
    let mut command = program::command(rig.rclone());
    command
        .args(["mount", ":http:"])
        .arg(point)
        .args(["--http-url", &format!("{}/", rig.files()), "--cache-dir"])
        .arg(store)
        .args(
            "--vfs-cache-mode full --read-only --config /dev/null --dir-cache-time 100h --attr-timeout 100h"
                .split(' '),
        )
        .args(
            "--poll-interval 0 --vfs-cache-poll-interval 1h --vfs-cache-max-age 1000h --vfs-fast-fingerprint"
                .split(' '),
        )
        .args(
            "--checkers 32 --buffer-size 64M --vfs-read-ahead 256M --max-read-ahead 1M --vfs-read-wait 5ms"
                .split(' '),
        )
        .args(["--vfs-read-chunk-size", "32M", "--vfs-read-chunk-streams"])
        .arg(if rig.far() { "8" } else { "4" })
        .stderr(Stdio::null());
    command
}
