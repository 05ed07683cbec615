//! What can go wrong in the store.

use std::io;
use std::sync::Arc;

use super::ledger::Full;

/// A failure of the store.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum StoreError {
    /// The operating system refused.
    #[error("cannot {doing} {path} in the store")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what, relative to the store.
        path: String,
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// There is no room for a file.
    #[error(transparent)]
    NoSpace(#[from] Full),
    /// Another process uses the store.
    #[error("the store is in use by {holder}; unmount that first, or choose another with --cache")]
    InUse {
        /// Who.
        holder: String,
    },
    /// The store was made by a newer crds-fs.
    #[error(
        "the store has format '{found}', this crds-fs knows '{known}': use a newer crds-fs or another --cache"
    )]
    Format {
        /// What it says.
        found: String,
        /// What is understood.
        known: &'static str,
    },
    /// Something is not in a store that nothing can be brought into.
    #[error("it is not in the cache, which cannot be written: choose one of your own with --cache")]
    ReadOnly,
    /// A file in a store that cannot be written is not what it should be, and stays where it is.
    #[error("{path} in the cache is not used: {why}; the cache cannot be written, so that it stays there")]
    Wrong {
        /// Where it is.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A local file has taken the name while the catalogued one was on its way.
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
