//! The options of a store in a directory.

use std::path::PathBuf;
use std::time::Duration;

/// The use of a store by several processes at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Sharing {
    /// By one process alone; a store that others share is refused.
    #[default]
    Alone,
    /// With others where it is shared already, else alone.
    IfShared,
    /// With others; it is shared from then on.
    Shared,
}

/// The options of a store.
#[derive(Debug, Clone)]
pub(crate) struct StoreOptions {
    /// The most bytes that it may hold; `None` for as many as the disk gives, as it is in any case where it is shared.
    pub cache_size: Option<u64>,
    /// The bytes of its disk that stay free.
    pub keep_free: u64,
    /// Whether digests are compared (`CRDS_DOWNLOAD_CHECKSUMS`).
    pub checksums: bool,
    /// Whether lengths are compared (`CRDS_DOWNLOAD_LENGTHS`).
    pub lengths: bool,
    /// The directory for the state of shared stores, and of such as cannot be written, in which each gets one of its own.
    pub state: Option<PathBuf>,
    /// Whether others use the store at the same time.
    pub sharing: Sharing,
    /// The term of leases on files of a shared store: the time for which a mount that was killed holds others back at most.
    pub lease: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            cache_size: None,
            keep_free: 1 << 30,
            checksums: true,
            lengths: true,
            state: None,
            sharing: Sharing::Alone,
            lease: Duration::from_secs(10),
        }
    }
}
