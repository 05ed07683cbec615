//! Files of a mount, by their keys.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::crds::{FileKey, Observatory};
use crate::mount::mountinfo::MountEntry;
use crate::tree::report::FileReport;

/// The file of a mount with an observatory's catalog and contexts.
pub(super) fn config_in_mount(mount: &MountEntry, observatory: Observatory) -> PathBuf {
    let config = mount.mountpoint.join("config");
    config.join(observatory.as_str()).join("server_config")
}

/// Opens a file in a mount, which is its download, whatever the layout of the mount.
pub(super) fn open_in_mount(mountpoint: &Path, key: &FileKey) -> io::Result<File> {
    let path = in_area(mountpoint, key);
    let error = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => error,
        other => return other,
    };
    let instrument = key.observatory.instrument_of(key.name.as_str());
    match instrument.filter(|_| !key.name.kind().is_mapping()) {
        Some(instrument) => File::open(path.with_file_name(instrument).join(key.name.as_str())),
        None => Err(error),
    }
}

/// The path of a file in the flat layout, below a mount point or below `.crds-fs/files`.
pub(super) fn in_area(root: &Path, key: &FileKey) -> PathBuf {
    let area = if key.name.kind().is_mapping() {
        "mappings"
    } else {
        "references"
    };
    [area, key.observatory.as_str(), key.name.as_str()]
        .iter()
        .fold(root.to_owned(), |path, part| path.join(part))
}

/// The mount's description of a file.
pub(super) fn described(mountpoint: &Path, key: &FileKey) -> Option<FileReport> {
    let text = fs::read(in_area(&mountpoint.join(".crds-fs/files"), key)).ok()?;
    serde_json::from_slice(&text).ok()
}
