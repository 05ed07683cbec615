//! Small files: received whole into memory, then hashed and stored in one go.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use sha1::{Digest as _, Sha1};

use crate::crds::{FileKey, Sha1Sum};
use crate::store::{Store, StoreError, is_disk_full};

/// What became of the bytes of a small file.
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
    match publish(store, key, bytes, found) {
        Ok(file) => Ok(Stored::File(file)),
        Err(error) => {
            if let Err(error) = store.abandon(key, false) {
                log::debug!("{error}");
            }
            match error {
                StoreError::Overridden(_) => Ok(Stored::Overridden),
                error => Err(error),
            }
        }
    }
}

fn publish(store: &dyn Store, key: &FileKey, bytes: &[u8], sha1: Sha1Sum) -> Result<Arc<File>, StoreError> {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let failed = |error| StoreError::io("write", key.name.as_str(), error);
    store.reserve(key, size)?;
    let partial = match store.begin(key) {
        Err(error) if error.is_no_space() => {
            store.make_room(key, size)?;
            store.begin(key)?
        }
        other => other?,
    };
    if partial.record.is_some() {
        // What an earlier transfer left is not gone on with: all bytes are here.
        partial.file.set_len(0).map_err(failed)?;
    }
    store.claim(key, &partial)?;
    match partial.file.write_all_at(bytes, 0) {
        Err(error) if is_disk_full(&error) => {
            store.make_room(key, size).map_err(|_| failed(error))?;
            partial.file.write_all_at(bytes, 0).map_err(failed)?;
        }
        other => other.map_err(failed)?,
    }
    store.publish(key, &partial, sha1)
}
