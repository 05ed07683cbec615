//! The state of a store beside its files.

use super::{Snapshot, StoreError, Usage};
use crate::crds::Observatory;

/// Server descriptions and notes that are kept for the next start, and the usage of the store.
///
/// Methods may wait for the disk.
pub(crate) trait State: Send + Sync + 'static {
    /// The last server description of an observatory.
    fn snapshot(&self, observatory: Observatory) -> Result<Option<Snapshot>, StoreError>;

    /// Keeps a server description (as a Python literal), its bad files (one name a line) and the layout tag.
    fn save_snapshot(
        &self,
        observatory: Observatory,
        literal: &str,
        bad_files: &str,
    ) -> Result<(), StoreError>;

    /// Moves a server description that cannot be read out of the way.
    fn set_aside_snapshot(&self, observatory: Observatory) -> Result<(), StoreError>;

    /// A note kept for a higher layer, as it was saved; `name` is `[a-z0-9_-]{1,64}`.
    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keeps a note, replacing an older one atomically.
    fn save_note(&self, name: &str, contents: &[u8]) -> Result<(), StoreError>;

    /// Space used and left.
    fn usage(&self) -> Result<Usage, StoreError>;

    /// Waits until every published file is durable under its final name or was given up, without a limit of time, and
    /// saves the order of last use. Fails with the first error since the last flush. The store stays usable.
    fn close(&self) -> Result<(), StoreError>;
}
