//! The names that are held, and what is known of the use of files.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::{HoldChange, StoreError};
use crate::crds::FileKey;

/// Holds, and the use of files.
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
}
