//! The limit on files that are open through the mount: each is a descriptor of this process, which needs some for
//! itself.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Error;

/// The directory that lists the descriptors of this process.
const LISTED: &str = "/proc/self/fd";

/// The least number of descriptors kept for transfers, their connections, files that are not yet durable, and lookups.
/// A quarter of a large limit is kept, and half of a small one.
const RESERVE: usize = 256;

/// The descriptors of this process.
pub(super) struct Descriptors {
    limit: usize,
    files: usize,
    free: Arc<Semaphore>,
    told: AtomicBool,
}

/// A permit for one open file, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Descriptors {
    /// For a process that may have `limit` descriptors.
    pub(super) fn new(limit: usize) -> Self {
        let files = limit - RESERVE.max(limit / 4).min(limit / 2);
        let files = files.min(Semaphore::MAX_PERMITS);
        Self {
            limit,
            files,
            free: Arc::new(Semaphore::new(files)),
            told: AtomicBool::new(false),
        }
    }

    /// A permit for a file that is to be opened. [`Error::TooManyOpen`] when there is none left, which is logged once.
    pub(super) fn slot(&self) -> Result<Slot, Error> {
        let permit = Arc::clone(&self.free).try_acquire_owned();
        permit.map(|permit| Slot { _permit: permit }).map_err(|_| {
            let error = Error::TooManyOpen {
                files: self.files,
                limit: self.limit,
            };
            if !self.told.swap(true, Ordering::Relaxed) {
                log::warn!("a file cannot be opened: {error}");
            }
            error
        })
    }

    /// The most files that may be open through the mount.
    pub(super) fn files(&self) -> usize {
        self.files
    }

    /// The most descriptors that this process may have.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// The number of descriptors that this process has; `None` when that cannot be read.
    pub(super) fn open() -> Option<usize> {
        // One of them is that of the listing itself.
        Some(fs::read_dir(LISTED).ok()?.count().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_kept_back() {
        assert_eq!(Descriptors::new(1024).files(), 768);
        let few = Descriptors::new(4);
        let taken = (few.slot().unwrap(), few.slot().unwrap());
        assert!(matches!(
            few.slot(),
            Err(Error::TooManyOpen { files: 2, limit: 4 })
        ));
        drop(taken);
        assert!(few.slot().is_ok());
        assert!(Descriptors::open().is_some_and(|open| open > 2));
    }
}
