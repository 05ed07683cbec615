//! What the mount's flags mean for the tree.

use std::path::PathBuf;

/// How `/bestrefs` shows a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum BestrefsAs {
    /// A relative symbolic link to the file under `references/`.
    #[default]
    Link,
    /// A regular file that shares the reference's inode.
    File,
}

/// What the mount's flags mean for the tree.
#[derive(Debug, Clone)]
pub(crate) struct TreeOptions {
    /// Where it is mounted, for `status.json`.
    pub mountpoint: PathBuf,
    /// Where the store is, for `status.json` and `user.crds.store`.
    pub store: PathBuf,
    /// The owner of everything but the user's own files.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Permission bits that nothing but the user's own files has.
    pub umask: u16,
    /// Refuse every change.
    pub read_only: bool,
    /// Whether the network may not be used, for `user.crds.offline`.
    pub offline: bool,
    /// Extended attributes; else ENOSYS, after which the kernel no longer asks.
    pub xattrs: bool,
    /// How `/bestrefs` shows a reference.
    pub bestrefs_as: BestrefsAs,
    /// How many descriptors this process may have.
    pub descriptors: usize,
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
        }
    }
}
