//! What is done by who looks after a store: holding, evicting and checking files, and finding what is of no use any more.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::SystemTime;

use super::{HoldChange, StoreError};
use crate::crds::{CatalogEntry, FileKey, Sha1Sum};

/// Holds, eviction and checks that somebody asks for.
pub(crate) trait Upkeep: Send + Sync + 'static {
    /// The names that are held: their copies are never evicted, whether or not they are there now. From memory.
    fn held(&self) -> BTreeSet<FileKey>;

    /// Whether a name is held. From memory.
    fn is_held(&self, key: &FileKey) -> bool;

    /// Holds and releases names. Durable, all of it or nothing, when this returns.
    fn change_holds(&self, changes: Vec<HoldChange>) -> Result<(), StoreError>;

    /// When what lies under this name was used last, as far as is known; also before the last restart. From memory.
    fn last_used(&self, key: &FileKey) -> Option<SystemTime>;

    /// Whether somebody has the copy under this name open. From memory.
    fn is_open(&self, key: &FileKey) -> bool;

    /// Evicts the copy under this name, unless it has to stay. One that was never hashed is hashed first.
    fn evict(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Eviction, StoreError>;

    /// Reads and hashes what lies under this name, whatever is remembered of it. Nothing is moved: what is wrong is hashed
    /// once more at its next open, and set aside then.
    fn examine(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Finding, StoreError>;

    /// What processes that ended before their time have left, and nobody will use.
    fn leftovers(&self) -> Vec<Leftover>;

    /// Removes something that was left.
    fn remove_leftover(&self, leftover: &Leftover) -> Result<(), StoreError>;
}

/// What became of a copy that was to be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// It is gone, and its bytes are free.
    Gone(u64),
    /// There is none.
    Absent,
    /// The user's own file has its name.
    Local,
    /// It is held.
    Held,
    /// Somebody has it open.
    Open,
    /// What lies there is not the catalogued file, so that it may be somebody's.
    Wrong,
}

/// What lies under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Nothing.
    Absent,
    /// The catalogued file, as far as the catalog tells.
    Right,
    /// A file of another length, in bytes.
    WrongLength(u64),
    /// A file of the right length with this digest.
    WrongDigest(Sha1Sum),
    /// The user's own file, of so many bytes.
    Local(u64),
}

/// Something in the store's own directories that nobody will use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leftover {
    /// Where it lies, below the root of the store.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
}
