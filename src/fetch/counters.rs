//! What has happened so far, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters as they are at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Opens that were answered by the store.
    pub hits: u64,
    /// Opens that had to wait for a transfer or a verification.
    pub misses: u64,
    /// Files downloaded and published.
    pub downloads: u64,
    /// Bytes of file data received.
    pub bytes: u64,
    /// Requests made again after a failure.
    pub retries: u64,
    /// Transfers that failed in the end.
    pub failures: u64,
    /// Downloads thrown away because length or digest did not match.
    pub mismatches: u64,
    /// Files found in the store and verified.
    pub adopted: u64,
}

/// Counters that everybody may raise.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) hits: Count,
    pub(super) misses: Count,
    pub(super) downloads: Count,
    pub(super) bytes: Count,
    pub(super) retries: Count,
    pub(super) failures: Count,
    pub(super) mismatches: Count,
    pub(super) adopted: Count,
}

/// One of them.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Tally {
    pub(super) fn counters(&self) -> Counters {
        Counters {
            hits: self.hits.get(),
            misses: self.misses.get(),
            downloads: self.downloads.get(),
            bytes: self.bytes.get(),
            retries: self.retries.get(),
            failures: self.failures.get(),
            mismatches: self.mismatches.get(),
            adopted: self.adopted.get(),
        }
    }
}
