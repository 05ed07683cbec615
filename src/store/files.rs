//! The files of a store under their final names.

use std::path::Path;
use std::sync::mpsc;

use cap_std::fs::Dir;

use super::{Found, Holding, ReferenceLayout, StoreError};
use crate::crds::{CatalogEntry, FileKey, Observatory};

/// Files under their final names: look-up, opening, verification, removal, and the user's own files in their place.
///
/// Methods answer from memory or with a few system calls unless they say that they may take long.
pub(crate) trait Files: Send + Sync + 'static {
    /// The layout of references.
    fn layout(&self) -> ReferenceLayout;

    /// The directory of the store, for the files that users write; `None` when there is none on a disk.
    fn directory(&self) -> Option<&Dir>;

    /// Whether files can be brought into the store. One that cannot be written is used as it is.
    fn is_writable(&self) -> bool {
        true
    }

    /// Whether others use the store at the same time. Then copies are never removed by themselves, and no user's file takes
    /// the place of a catalogued one: it would be everybody's.
    fn is_shared(&self) -> bool {
        self.shared_state().is_some()
    }

    /// Whether the store is for a group that cannot write to what this process makes in it.
    fn keeps_group_out(&self) -> bool {
        false
    }

    /// The directory of what this process has of its own of a store that is shared; `None` for any other.
    fn shared_state(&self) -> Option<&Path> {
        None
    }

    /// Indexes the files of an observatory. The first call scans its directories, which may take long; later ones
    /// return at once. In a store that is shared they are scanned in the background, and what was not seen so far is known
    /// when it is opened.
    fn load_index(&self, observatory: Observatory) -> Result<(), StoreError>;

    /// Indexes the files of an observatory and waits until all are seen.
    fn list(&self, observatory: Observatory) -> Result<(), StoreError> {
        self.load_index(observatory)
    }

    /// The file that the store holds under this name, from memory; `None` as long as the observatory is not indexed.
    fn holding(&self, key: &FileKey) -> Option<Holding>;

    /// Everything the store holds of an observatory. May take long, see [`Files::load_index`].
    fn holdings(&self, observatory: Observatory) -> Result<Vec<(FileKey, Holding)>, StoreError>;

    /// Sends the key of every file that comes, goes or changes from now on, also while locks of the store are held: the
    /// receiver belongs into a thread of its own. The default sends nothing.
    fn watch(&self, changes: mpsc::Sender<FileKey>) {
        drop(changes);
    }

    /// Opens a file if the store holds it and its length is right.
    fn open(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Found, StoreError>;

    /// Hashes a file that was found in the store and opens it if it is the catalogued one; else it goes to quarantine.
    /// Takes as long as reading the file.
    fn verify(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Found, StoreError>;

    /// Marks the file under this name as the user's own. Fails if there is none.
    fn set_local(&self, key: &FileKey) -> Result<(), StoreError>;

    /// Renames the user's file at `from` (a path below the root of the store) to this name, replacing a copy that is
    /// there; from now on it is a local file. A transfer that ends at the same moment does not touch it.
    fn move_in(&self, from: &Path, key: &FileKey) -> Result<(), StoreError>;

    /// Renames the user's file at `from` (a path below the root of the store) to this name, if it has the length and the
    /// digest of the catalog; then it is a copy like any other. False, and it stays, if not. Takes as long as reading the
    /// file. For stores that are shared.
    fn take_copy(&self, from: &Path, key: &FileKey, wanted: CatalogEntry) -> Result<bool, StoreError> {
        let _ = (from, key, wanted);
        Ok(false)
    }

    /// Counts the user's file under this name as it is now, after it has come, gone or changed. One that is no longer there is
    /// forgotten.
    fn recount(&self, key: &FileKey) -> Result<(), StoreError>;

    /// Makes the user's file under this name a copy like any other, if its length and digest are those of the catalog;
    /// false if they are not, or the catalog lacks one of them. Takes as long as reading the file.
    fn adopt(&self, key: &FileKey, wanted: CatalogEntry) -> Result<bool, StoreError> {
        let _ = (key, wanted);
        Ok(false)
    }

    /// Removes the copy under this name; false when there is none, and where the user's own file is.
    fn remove_copy(&self, key: &FileKey) -> Result<bool, StoreError>;

    /// Removes the copy or the local file under this name; false when there is none.
    fn remove(&self, key: &FileKey) -> Result<bool, StoreError>;
}
