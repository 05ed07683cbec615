//! Files of a mount, by their keys.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::crds::{FileKey, Observatory};
use crate::mount::mountinfo::MountEntry;
use crate::store::{ReferenceLayout, file_path};
use crate::tree::report::FileReport;

/// More than the bytes of a usual description.
const DESCRIPTION: usize = 4096;

/// The file of a mount with an observatory's catalog and contexts.
pub(super) fn config_in_mount(mount: &MountEntry, observatory: Observatory) -> PathBuf {
    let config = mount.mountpoint.join("config");
    config.join(observatory.as_str()).join("server_config")
}

/// Opens a file in a mount, which is its download, whatever the layout of the mount.
pub(super) fn open_in_mount(mountpoint: &Path, key: &FileKey) -> io::Result<File> {
    let [flat, by_instrument] = [ReferenceLayout::Flat, ReferenceLayout::Instrument]
        .map(|layout| mountpoint.join(file_path(layout, key)));
    match File::open(&flat) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && by_instrument != flat => {
            File::open(by_instrument)
        }
        other => other,
    }
}

/// The path of a file in the flat layout, below a mount point or below `.crds-fs/files`.
pub(super) fn flat(root: &Path, key: &FileKey) -> PathBuf {
    root.join(file_path(ReferenceLayout::Flat, key))
}

/// The mount's description of a file.
pub(super) fn described(mountpoint: &Path, key: &FileKey) -> Option<FileReport> {
    let file = File::open(flat(&mountpoint.join(".crds-fs/files"), key)).ok()?;
    // Not by `fs::read`, which asks for the length first: the mount would describe the file once more for that.
    let mut text = Vec::with_capacity(DESCRIPTION);
    file.take(u64::MAX).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}
