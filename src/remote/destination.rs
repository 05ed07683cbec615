//! A place that files are written to, each only if there is none of its name.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sha1::{Digest as _, Sha1};

use super::error::{RemoteError, RemoteErrorKind};
use crate::crds::{Sha1Sum, Url};

#[cfg(test)]
pub(super) mod conformance;
mod directory;

pub(crate) use directory::DirectoryDestination;

/// A file to be written somewhere, with the length and the digest that it has to have.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    /// The file, which others may have open. It is read with positions only.
    pub file: Arc<File>,
    /// Its length in bytes.
    pub size: u64,
    /// Its digest.
    pub sha1: Sha1Sum,
}

/// The result of writing a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It was written.
    Written,
    /// The same file was there.
    Exists,
}

/// The reason why a file was not written.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum PutError {
    /// The bytes that were to be written are not the file that they should be; nothing was written.
    #[error("{0}")]
    Damaged(String),
    /// Another file of this name is there, and stays.
    #[error("{0}")]
    Other(RemoteError),
    /// The place cannot be written to.
    #[error("{0}")]
    Refused(RemoteError),
    /// There is no room.
    #[error("{0}")]
    Full(RemoteError),
    /// The place fails, or cannot be reached.
    #[error("{0}")]
    Failed(RemoteError),
}

/// A place that files are written to.
///
/// Nothing is ever under a name of [`Destination::put`] but the whole file, also where the process is killed: it is compared
/// with its digest before it gets its name, and never takes the place of another one. Dropping the future ends the work soon.
pub(crate) trait Destination: Send + Sync {
    /// Writes a file to `url` if there is none.
    fn put<'a>(&'a self, url: &'a Url, upload: &'a Upload) -> BoxFuture<'a, Result<Put, PutError>>;
}

impl Upload {
    /// The failure of a file with another digest, or of a length that is not its own.
    pub(super) fn check(&self, found: Sha1Sum, size: u64) -> Result<(), PutError> {
        if size == self.size && found == self.sha1 {
            return Ok(());
        }
        Err(PutError::Damaged(format!(
            "what is here has {size} bytes and the SHA-1 {found} where the catalog says {} and {}",
            self.size, self.sha1
        )))
    }

    /// Up to `longest` bytes from `at` on; none at the end. Waits for the disk.
    pub(super) fn read_at(&self, at: u64, longest: usize) -> Result<Bytes, PutError> {
        let left = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; longest.min(left)];
        self.file
            .read_exact_at(&mut bytes, at)
            .map_err(|error| PutError::Damaged(format!("what is here cannot be read: {error}")))?;
        Ok(bytes.into())
    }
}

/// A digest in the making, and its bytes so far.
#[derive(Default)]
pub(super) struct Sum {
    sha1: Sha1,
    pub(super) bytes: u64,
}

impl Sum {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.sha1.update(bytes);
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    }

    pub(super) fn finish(self) -> (Sha1Sum, u64) {
        (Sha1Sum::from_bytes(self.sha1.finalize().into()), self.bytes)
    }
}

/// The failure that a place has another file of this name.
pub(super) fn other(url: &Url, what: &str) -> PutError {
    let message = format!("another file is there: {what}; remove it, since it is not replaced");
    PutError::Other(RemoteError::new(RemoteErrorKind::Protocol, url, message))
}
