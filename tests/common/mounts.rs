//! The kernel's list of mounts. Reading it touches no mount.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "shared by several test binaries, each of which uses a part"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::waiting::eventually;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub mountpoint: PathBuf,
    pub fstype: String,
    pub source: String,
    /// The number of the FUSE connection below `/sys/fs/fuse/connections`.
    pub minor: u32,
}

impl Mount {
    pub fn is_ours(&self) -> bool {
        self.fstype == "fuse.crds-fs"
    }
}

/// All mounts of this process's namespace; of several at one path the topmost comes last (proc(5); no name of a test
/// needs its escapes).
pub fn all() -> Vec<Mount> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = |line: &str| {
        let (before, behind) = line.split_once(" - ")?;
        let (mut before, mut behind) = (before.split(' '), behind.split(' '));
        let (_, minor) = before.nth(2)?.split_once(':')?;
        Some(Mount {
            minor: minor.parse().ok()?,
            mountpoint: before.nth(1)?.into(),
            fstype: behind.next()?.to_owned(),
            source: behind.next()?.to_owned(),
        })
    };
    table.lines().filter_map(mount).collect()
}

/// The topmost mount at exactly `path`, which must be absolute and free of links.
pub fn at(path: &Path) -> Option<Mount> {
    all().into_iter().rev().find(|mount| mount.mountpoint == path)
}

/// The time that others have to end before the process of a mount that they have a copy of is told to.
const OTHERS_END: Duration = Duration::from_secs(10);

/// Waits for the end of the process of a mount where `umount` says that it goes on for others.
pub fn await_end(umount: &Output) {
    let said = String::from_utf8_lossy(&umount.stderr);
    let Some(pid) = said.lines().find_map(|line| {
        let pid = line.strip_prefix("its process ")?.split(' ').next()?;
        pid.parse::<u32>().ok()
    }) else {
        return;
    };
    println!("{said}");
    let program = PathBuf::from(format!("/proc/{pid}/exe"));
    await_end_of_all(
        || program.read_link().is_err(),
        || {
            let _ = Command::new("sh")
                .args(["-c", &format!("kill -TERM {pid}")])
                .status();
        },
    );
}

/// Waits for the end of the process of a mount. Namespaces of other tests, or of others on this machine, begin with a copy of all
/// mounts: where they keep one for long, the process is told to end, as often as that takes.
pub fn await_end_of_all(has_ended: impl Fn() -> bool, tell: impl Fn()) {
    let (begun, mut told) = (Instant::now(), 0);
    eventually("the process of the mount ends", || {
        if begun.elapsed() > OTHERS_END + told * Duration::from_secs(1) {
            told += 1;
            tell();
        }
        has_ended()
    });
}
