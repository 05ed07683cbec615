//! Small files, which are stored whole, with few system calls.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::OpenOptions;

use super::Disk;
use super::file_state::Event;
use super::naming::{self, make_dirs};
use super::partials::partial_path;
use super::state_dir;
use crate::crds::{FileKey, Sha1Sum};
use crate::store::StoreError;

impl Disk {
    /// Stores and publishes bytes that hash to `sha1`. If the disk turns out to be full, evicts others and tries once
    /// more.
    pub(super) fn store_bytes(
        &self,
        key: &FileKey,
        bytes: &[u8],
        sha1: Sha1Sum,
    ) -> Result<Arc<File>, StoreError> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let stored = self
            .reserve_bytes(key, size)
            .and_then(|disk| self.clear_room(key, Some(disk)))
            .and_then(|()| match self.write_whole(key, bytes, sha1) {
                Err(error @ StoreError::Io { .. }) if error.is_no_space() => {
                    self.evict_bytes(key, size).map_err(|_| error)?;
                    self.write_whole(key, bytes, sha1)
                }
                other => other,
            });
        stored.inspect_err(|_| {
            if let Err(error) = self.abandon_transfer(key, false) {
                log::debug!("{error}");
            }
        })
    }

    fn write_whole(&self, key: &FileKey, bytes: &[u8], sha1: Sha1Sum) -> Result<Arc<File>, StoreError> {
        let path = partial_path(key);
        let failed = |error| StoreError::io("write", &path, error);
        let admission = self.queue.admit(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let guard = self.guards.of(key);
        let entered = self.index().enter(&guard, Event::Begin);
        entered.map_err(|refused| refused.error(key))?;
        let file = Arc::new(self.create_partial(&path).map_err(failed)?);
        self.index().running.insert(key.clone(), Arc::downgrade(&file));
        file.write_all_at(bytes, 0).map_err(failed)?;
        self.publish_partial(&guard, admission, &file, sha1)
    }

    /// Makes an empty partial file, replacing one that an earlier transfer has left.
    fn create_partial(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        for _ in 0..3 {
            match self.state_dir.open_with(path, &options) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    // Anything but a file is moved to quarantine.
                    state_dir::open_writable(
                        &self.state_dir,
                        path,
                        OpenOptions::new().read(true).write(true),
                    )?;
                    naming::remove(&self.state_dir, path)?;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    make_dirs(&self.state_dir, path.parent().unwrap_or(Path::new("")))?;
                }
                other => return other.map(cap_std::fs::File::into_std),
            }
        }
        Err(io::Error::new(
            ErrorKind::InvalidInput,
            "something comes back there again and again",
        ))
    }
}
