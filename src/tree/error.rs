//! The error of an operation on the tree.

use std::io;
use std::sync::Arc;

use crate::crds::{FileKey, Observatory};
use crate::fetch::FetchError;
use crate::resolve::ResolveError;
use crate::store::StoreError;

/// The error of an operation on the tree. [`super::errno`] maps it to an errno.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    /// There is no such name.
    #[error("no such file or directory")]
    NotFound,
    /// A file or a catalog could not be fetched or opened.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A catalog is still being loaded.
    #[error("the catalog of {0} has not come yet")]
    CatalogLoading(Observatory),
    /// Best references could not be found.
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
    /// Something that is not allowed here to any caller; the text says why.
    #[error("{0}")]
    NotPermitted(&'static str),
    /// A file that was judged invalid; the text says how to use it all the same.
    #[error("{0}")]
    BadFile(String),
    /// A file that no lock file names, where only those that one names may be used; the text says which and why.
    #[error("{0}")]
    NotLocked(String),
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
    /// An invalid argument, or a name that no file can have.
    #[error("invalid argument: {0}")]
    Invalid(&'static str),
    /// The inode number stands for nothing, or no longer for the file that it stood for.
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
        /// The operation, a verb for the message, such as `open`.
        doing: &'static str,
        /// The file, relative to the store.
        path: String,
        /// The error of the system call.
        source: Arc<io::Error>,
    },
    /// As many files are open as this process can have.
    #[error(
        "{files} files are open through the mount, which is as many as the limit of {limit} descriptors allows; close \
         some, or mount with a higher limit ('ulimit -n', or LimitNOFILE= of a systemd unit)"
    )]
    TooManyOpen {
        /// The most files that may be open through the mount.
        files: usize,
        /// The most descriptors that the process may have.
        limit: usize,
    },
    /// The mount is going away.
    #[error("the mount is going away")]
    ShuttingDown,
}

impl Error {
    /// A function for `map_err` that makes [`Self::Local`] of an I/O error. `path` is relative to the store.
    pub(super) fn local(doing: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Local {
            doing,
            path: path.display().to_string(),
            source: Arc::new(source),
        }
    }
}

/// An error with all its reasons, on one line. What is said already is not said again.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(reason) = source {
        let told = reason.to_string();
        if !text.contains(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        source = reason.source();
    }
    text
}
