//! Open files as they are given out.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use crate::crds::{CatalogEntry, FileKey};
use crate::store::{Found, StoreError};

/// An open file of the store.
#[derive(Debug, Clone)]
pub(crate) struct Provided {
    /// The file. It is shared: read with positions only.
    pub file: Arc<File>,
    /// The entry of the catalog with which it was compared; `None` for the user's own file in place of a catalogued one.
    pub entry: Option<CatalogEntry>,
    /// Its length in bytes when it was opened.
    pub length: u64,
    /// Its device and inode number, which stay the same as long as it is open.
    pub identity: (u64, u64),
}

impl Provided {
    /// An open file of the store, with length and identity as they are now.
    pub(super) fn new(
        key: &FileKey,
        file: Arc<File>,
        entry: Option<CatalogEntry>,
    ) -> Result<Self, StoreError> {
        let looked = file.metadata();
        let metadata = looked.map_err(|error| StoreError::io("look at", key.name.as_str(), error))?;
        Ok(Self {
            length: metadata.len(),
            identity: (metadata.dev(), metadata.ino()),
            file,
            entry,
        })
    }

    /// A file that the store has found, if it can be given out; `entry` is the one of the catalog.
    pub(super) fn found(
        key: &FileKey,
        found: Found,
        entry: CatalogEntry,
    ) -> Result<Option<Self>, StoreError> {
        match found {
            Found::Catalogued(file) => Self::new(key, file, Some(entry)).map(Some),
            Found::Local(file) => Self::new(key, file, None).map(Some),
            Found::Absent | Found::Unverified => Ok(None),
        }
    }
}
