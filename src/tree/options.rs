//! The options of the tree, which the mount's flags set.

use std::path::PathBuf;
use std::sync::Arc;

use crate::crds::LockFile;

/// The form in which `/bestrefs` shows a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum BestrefsAs {
    /// A relative symbolic link to the file under `references/`.
    #[default]
    Link,
    /// A regular file that shares the reference's inode.
    File,
}

/// The treatment of files that are opened.
#[derive(Debug, Clone, Default)]
pub(crate) enum UseOfFiles {
    /// Nothing.
    #[default]
    Free,
    /// They are noted, and told in `.crds-fs/opened.json`.
    Recorded,
    /// No other rules and references than these are opened.
    Locked(Arc<LockFile>),
}

/// The options of the tree, which the mount's flags set.
#[derive(Debug, Clone)]
pub(crate) struct TreeOptions {
    /// The mount point, for `status.json`, and to see whether it covers the store.
    pub mountpoint: PathBuf,
    /// The directory of the store, for `status.json`, `user.crds.store`, and the same.
    pub store: PathBuf,
    /// The owner of everything but the user's own files.
    pub uid: u32,
    /// The group of everything but the user's own files.
    pub gid: u32,
    /// Permission bits that are cleared on everything but the user's own files.
    pub umask: u16,
    /// Refuse every change.
    pub read_only: bool,
    /// Whether the network may not be used, for `user.crds.offline`.
    pub offline: bool,
    /// Extended attributes; else ENOSYS, after which the kernel no longer asks.
    pub xattrs: bool,
    /// The form in which `/bestrefs` shows a reference.
    pub bestrefs_as: BestrefsAs,
    /// The most descriptors that this process may have.
    pub descriptors: usize,
    /// The treatment of files that are opened.
    pub use_of_files: UseOfFiles,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self {
            mountpoint: PathBuf::new(),
            store: PathBuf::new(),
            uid: 0,
            gid: 0,
            umask: 0o022,
            read_only: false,
            offline: false,
            xattrs: false,
            bestrefs_as: BestrefsAs::Link,
            descriptors: 1024,
            use_of_files: UseOfFiles::Free,
        }
    }
}
