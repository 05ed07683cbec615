//! Counters of the fetcher.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::error::FetchErrorKind;
use super::histogram::ByObservatory;

/// Counters as they are at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counters {
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

/// Counters that any thread may raise.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub(super) hits: Count,
    pub(super) misses: Count,
    pub(super) downloads: Count,
    pub(super) bytes: Count,
    pub(super) retries: Count,
    failures: Mutex<BTreeMap<&'static str, u64>>,
    pub(super) mismatches: Count,
    pub(super) adopted: Count,
    /// The times that opens have waited.
    pub(super) open_waits: ByObservatory,
    /// The times until sources began to answer.
    pub(super) source_latencies: ByObservatory,
}

/// A counter.
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

impl Metrics {
    /// Counts a transfer that failed in the end.
    pub(super) fn failed(&self, kind: FetchErrorKind) {
        let mut failures = self.failures.lock();
        *failures.entry(kind.as_str()).or_default() += 1;
    }

    /// Transfers that failed in the end, for every kind of failure.
    pub(super) fn failures(&self) -> [(FetchErrorKind, u64); FetchErrorKind::ALL.len()] {
        let failures = self.failures.lock();
        FetchErrorKind::ALL.map(|kind| (kind, failures.get(kind.as_str()).copied().unwrap_or_default()))
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            hits: self.hits.get(),
            misses: self.misses.get(),
            downloads: self.downloads.get(),
            bytes: self.bytes.get(),
            retries: self.retries.get(),
            failures: self.failures().iter().map(|(_, count)| count).sum(),
            mismatches: self.mismatches.get(),
            adopted: self.adopted.get(),
        }
    }
}
