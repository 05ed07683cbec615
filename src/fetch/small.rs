//! Small files: received whole into memory, then hashed and stored in one go.

use sha1::{Digest as _, Sha1};

use super::Provided;
use crate::crds::{CatalogEntry, FileKey, Sha1Sum};
use crate::store::{Store, StoreError};

/// The result of storing a small file.
pub(super) enum Stored {
    /// They are the file, which is in the store.
    File(Provided),
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
    entry: CatalogEntry,
    expected: Option<Sha1Sum>,
) -> Result<Stored, StoreError> {
    let found = Sha1Sum::from_bytes(Sha1::digest(bytes).into());
    if expected.is_some_and(|expected| expected != found) {
        return Ok(Stored::Mismatch(found));
    }
    match store.store_whole(key, bytes, found) {
        Ok(file) => Provided::new(key, file, Some(entry)).map(Stored::File),
        Err(StoreError::Overridden(_)) => Ok(Stored::Overridden),
        Err(error) => Err(error),
    }
}
