//! Small files: received whole into memory, then hashed and stored in one go.

use std::fs::File;
use std::sync::Arc;

use sha1::{Digest as _, Sha1};

use crate::crds::{FileKey, Sha1Sum};
use crate::store::{Store, StoreError};

/// The result of storing a small file.
pub(super) enum Stored {
    /// They are the file, which is in the store.
    File(Arc<File>),
    /// They have this digest, which is not the expected one; nothing was stored.
    Mismatch(Sha1Sum),
    /// The user's own file has taken the name meanwhile.
    Overridden,
}

/// Hashes the bytes of a whole file and, if that gives the `expected` digest, stores them. A few system calls; may wait
/// for the disk.
pub(super) fn store(
    store: &dyn Store,
    key: &FileKey,
    bytes: &[u8],
    expected: Option<Sha1Sum>,
) -> Result<Stored, StoreError> {
    let found = Sha1Sum::from_bytes(Sha1::digest(bytes).into());
    if expected.is_some_and(|expected| expected != found) {
        return Ok(Stored::Mismatch(found));
    }
    match store.store_whole(key, bytes, found) {
        Ok(file) => Ok(Stored::File(file)),
        Err(StoreError::Overridden(_)) => Ok(Stored::Overridden),
        Err(error) => Err(error),
    }
}
