//! Lock files on the disk.

use std::io::Write as _;
use std::path::Path;

use tempfile::NamedTempFile;

use super::Failure;
use crate::crds::LockFile;
use crate::dataset;

/// No lock file is larger, in bytes.
const MAX_LOCK_FILE: u64 = 256 << 20;

/// Reads a lock file.
pub(super) fn read(path: &Path) -> Result<LockFile, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::new(format!("the lock file '{}': {error}", path.display()));
    let file = dataset::open_regular(path).map_err(|error| failed(&error))?;
    let text = dataset::read_text(&file, MAX_LOCK_FILE).map_err(|error| failed(&error))?;
    LockFile::parse(&text).map_err(|error| failed(&error))
}

/// A lock file to be written later, whose place was found good before.
pub(super) struct NewLockFile<'a> {
    path: &'a Path,
    file: NamedTempFile,
}

impl<'a> NewLockFile<'a> {
    /// Makes sure that it can be written, before anything long is begun.
    pub(super) fn at(path: &'a Path) -> Result<Self, Failure> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .prefix(".crds-fs-lock-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(directory);
        let file = file.map_err(|error| {
            Failure::because(format!("cannot write the lock file '{}'", path.display()), error)
        })?;
        Ok(Self { path, file })
    }

    /// Writes it in place of what is there.
    pub(super) fn write(mut self, lock: &LockFile) -> Result<(), Failure> {
        let path = self.path;
        let failed =
            |error| Failure::because(format!("cannot write the lock file '{}'", path.display()), error);
        self.file.write_all(lock.to_text().as_bytes()).map_err(failed)?;
        self.file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}
