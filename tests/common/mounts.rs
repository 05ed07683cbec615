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
