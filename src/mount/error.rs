//! The error of this room.

use std::io;
use std::path::{Path, PathBuf};

/// Why a file system could not be mounted, unmounted or served, with the remedy where there is one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on a path failed.
    #[error("{doing} '{path}'")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// There is no file system of ours at this place.
    #[error("no crds-fs file system is mounted at '{0}'")]
    NotMounted(PathBuf),
    /// Something else is mounted there.
    #[error("what is mounted at '{path}' is not ours but of type {fstype}")]
    Foreign {
        /// The mount point.
        path: PathBuf,
        /// The type of what is there.
        fstype: String,
    },
    /// Processes still use the file system.
    #[error("'{path}' is in use{users}; end its users, or detach it with 'crds-fs umount --lazy'")]
    Busy {
        /// The mount point.
        path: PathBuf,
        /// Who uses it, as ` by name (pid), ...`; empty when that cannot be seen.
        users: String,
    },
    /// The set-user-id helper failed; its own words.
    #[error("fusermount3 says: {0}")]
    Helper(String),
}

impl Error {
    pub(super) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            doing,
            path: path.to_owned(),
            source: source.into(),
        }
    }
}
