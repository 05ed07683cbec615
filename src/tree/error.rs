//! Why an operation on the tree failed.

use std::io;
use std::sync::Arc;

use crate::crds::{FileKey, Observatory};
use crate::fetch::FetchError;
use crate::resolve::ResolveError;
use crate::store::StoreError;

/// Why an operation on the tree failed. [`super::errno`] has the number for each.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    /// There is no such name.
    #[error("no such file or directory")]
    NotFound,
    /// A file could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A catalog is still being loaded.
    #[error("the catalog of {0} has not come yet")]
    CatalogLoading(Observatory),
    /// Best references could not be had.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The mount, or this part of it, is read-only.
    #[error("read-only file system")]
    ReadOnly,
    /// A catalogued file cannot be changed.
    #[error("{0} is in the catalog and cannot be changed; replace it by a rename to override it")]
    Immutable(FileKey),
    /// Not allowed here, whoever asks.
    #[error("{0}")]
    NotPermitted(&'static str),
    /// A file that was judged invalid; the text says how to use it all the same.
    #[error("{0}")]
    BadFile(String),
    /// The name is taken.
    #[error("the name exists")]
    Exists,
    /// A directory that is not empty, or that always exists.
    #[error("the directory is not empty")]
    NotEmpty,
    /// Something else than a directory.
    #[error("not a directory")]
    NotDirectory,
    /// A directory where a file is wanted.
    #[error("is a directory")]
    IsDirectory,
    /// Arguments that make no sense, or names that cannot be.
    #[error("invalid argument: {0}")]
    Invalid(&'static str),
    /// What the number stood for is gone.
    #[error("the file is gone")]
    Stale,
    /// Something that this file system does not have.
    #[error("not supported: {0}")]
    Unsupported(&'static str),
    /// The handle is not open, or not open for this.
    #[error("bad file handle")]
    BadHandle,
    /// There is no such extended attribute.
    #[error("no such attribute")]
    NoAttribute,
    /// Extended attributes are switched off.
    #[error("extended attributes are switched off")]
    NoAttributes,
    /// The operating system refused something in the store's directory.
    #[error("cannot {doing} '{path}' in the store: {source}")]
    Local {
        /// What was tried.
        doing: &'static str,
        /// The file, relative to the store.
        path: String,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// As many files are open as this process can have.
    #[error(
        "{files} files are open through the mount, which is as many as the limit of {limit} descriptors allows; close \
         some, or mount with a higher limit ('ulimit -n', or LimitNOFILE= of a systemd unit)"
    )]
    TooManyOpen {
        /// How many files may be open.
        files: usize,
        /// How many descriptors the process may have.
        limit: usize,
    },
    /// The mount is going away.
    #[error("the mount is going away")]
    ShuttingDown,
}

impl Error {
    /// For `map_err` on what was tried with a file in the store's directory.
    pub(super) fn local(doing: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Local {
            doing,
            path: path.display().to_string(),
            source: Arc::new(source),
        }
    }
}

/// An error with all its reasons, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(reason) = source {
        text.push_str(": ");
        text.push_str(&reason.to_string());
        source = reason.source();
    }
    text
}
