//! Errors of the store.

use std::io;
use std::sync::Arc;

use super::ledger::Full;

/// A failure of the store.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum StoreError {
    /// A system call failed.
    #[error("cannot {doing} {path} in the store")]
    Io {
        /// The action that failed, as a verb ("open").
        doing: &'static str,
        /// The path; that of a file of the store is relative to the store or to its `.crds-fs`.
        path: String,
        /// The error of the system call.
        #[source]
        source: Arc<io::Error>,
    },
    /// There is no room for a file, and evicting does not make any.
    #[error(transparent)]
    NoSpace(#[from] Full),
    /// Another process uses the store.
    #[error("the store is in use by {holder}; unmount that first, or choose another with --cache")]
    InUse {
        /// The holder of the lock as the lock file names it ("process 12 (crds-fs)", with " on NODE" where that is another one), or "another process".
        holder: String,
    },
    /// The store is shared by mounts, and was to be used alone.
    #[error(
        "the store is shared by several mounts: say --shared, or, if none of them uses it any more, remove .crds-fs/shared in it"
    )]
    IsShared,
    /// There is no place for the state of a shared store.
    #[error(
        "a shared store needs a directory for the state of this mount: name one on a disk of this node with --state"
    )]
    NoState,
    /// The store was made by a newer crds-fs.
    #[error(
        "the store has format '{found}', this crds-fs knows '{known}': use a newer crds-fs or another --cache"
    )]
    Format {
        /// The format that the store names, cut to 40 characters.
        found: String,
        /// The format that this version knows.
        known: &'static str,
    },
    /// A file is not in the store, and cannot be brought into it because the store cannot be written.
    #[error("it is not in the cache, which cannot be written: choose one of your own with --cache")]
    ReadOnly,
    /// A file in a store that cannot be written is not what it should be, and stays where it is.
    #[error("{path} in the cache is not used: {why}; the cache cannot be written, so that it stays there")]
    Wrong {
        /// Its path, relative to the store.
        path: String,
        /// The difference from what it should be ("it has 3 bytes instead of 4").
        why: String,
    },
    /// A local file took the name while the catalogued one was being transferred.
    #[error("a local file has taken the name {0} meanwhile")]
    Overridden(String),
}

impl StoreError {
    pub(crate) fn io(doing: &'static str, path: impl AsRef<std::path::Path>, source: io::Error) -> Self {
        Self::Io {
            doing,
            path: path.as_ref().display().to_string(),
            source: Arc::new(source),
        }
    }

    /// Whether more room would have helped.
    pub(crate) fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace(_) => true,
            Self::Io { source, .. } => is_disk_full(source),
            _ => false,
        }
    }
}

/// Whether the system says that disk or quota are full.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
