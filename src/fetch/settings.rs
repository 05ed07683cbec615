//! Settings of transfers and catalogs.

use std::time::Duration;

use crate::crds::ContextSpec;

/// Settings of transfers.
#[derive(Debug, Clone)]
pub(crate) struct FetchSettings {
    /// Files received at a time from each observatory (small ones have four times as many slots of their own). One that
    /// stands still does not count.
    pub jobs: usize,
    /// Files up to this size, in bytes, use the small files' lane.
    pub small: u64,
    /// Files up to this size, in bytes, are received into memory and stored in one go.
    pub whole: u64,
    /// Files from this size on, in bytes, are received over several connections.
    pub large: u64,
    /// The most bytes of a file that the catalog gives no length for: a mapping.
    pub unknown: u64,
    /// Connections for one large file, at most.
    pub streams: usize,
    /// Bytes asked for at a time over each of them, at most.
    pub part: u64,
    /// The least bytes of each half of a part that is cut, for one more connection or for a later request.
    pub least: u64,
    /// Parts begin at multiples of so many bytes. A cache in between keeps files in slices, whose length divides this,
    /// and is asked for each slice by one connection.
    pub align: u64,
    /// The time without a byte after which a transfer is tried again.
    pub stall_timeout: Duration,
    /// The time without progress, over all tries, after which a transfer has failed; bytes beyond the farthest so far
    /// are progress.
    pub timeout: Duration,
    /// Tries without progress that a failing server gets.
    pub tries: u32,
    /// Tries without progress that a server which cannot be reached gets.
    pub tries_unreachable: u32,
    /// Tries without progress that a server which says nothing gets, where there is no other; time bounds them too.
    pub tries_silent: u32,
    /// The time for which files are not asked for where all their sources were found dead; zero where each file is.
    pub outage: Duration,
    /// The pause before the second try, which doubles from then on. The real one is a random share of it.
    pub pause: Duration,
    /// The longest pause that is not asked for by the server.
    pub longest_pause: Duration,
    /// The time for which a failure answers further opens.
    pub failure_memory: Duration,
    /// Whether digests are compared (`CRDS_DOWNLOAD_CHECKSUMS`).
    pub checksums: bool,
    /// Whether lengths are compared (`CRDS_DOWNLOAD_LENGTHS`).
    pub lengths: bool,
    /// Whether nothing may be fetched.
    pub offline: bool,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            jobs: 8,
            small: 1 << 20,
            whole: 256 << 10,
            large: 16 << 20,
            unknown: 256 << 20,
            streams: 8,
            part: 32 << 20,
            least: 2 << 20,
            align: 4 << 20,
            stall_timeout: Duration::from_secs(30),
            timeout: Duration::from_secs(300),
            tries: 5,
            tries_unreachable: 2,
            tries_silent: u32::MAX,
            outage: Duration::ZERO,
            pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(10),
            failure_memory: Duration::from_secs(1),
            checksums: true,
            lengths: true,
            offline: false,
        }
    }
}

/// Settings of catalogs.
#[derive(Debug, Clone)]
pub(crate) struct CatalogSettings {
    /// The age from which a catalog is asked for again, in the background.
    pub ttl: Duration,
    /// The shortest time between two requests for a new catalog because a plausible name is missing.
    pub missing_interval: Duration,
    /// The longest time that a look-up of a missing name waits for the server, from the beginning of the request.
    pub look_timeout: Duration,
    /// The time after a failure until the next try in the background.
    pub retry_interval: Duration,
    /// The longest time that a server may take to answer a request.
    pub timeout: Duration,
    /// The time for which a failure answers further requests.
    pub failure_memory: Duration,
    /// Whether no server may be asked.
    pub offline: bool,
    /// The context that is the default instead of the server's, for the observatory it belongs to.
    pub context: Option<ContextSpec>,
}

impl Default for CatalogSettings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(600),
            missing_interval: Duration::from_secs(5),
            look_timeout: Duration::from_secs(2),
            retry_interval: Duration::from_secs(30),
            timeout: Duration::from_secs(300),
            failure_memory: Duration::from_secs(1),
            offline: false,
            context: None,
        }
    }
}
