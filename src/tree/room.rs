//! The space that the store uses and has left, for callers that must not wait long for its disk.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::store::{Store, Usage};

use super::disk_calls::DiskCalls;
use super::scan::PATIENCE;

/// The usage of the store as it was measured last. One measurement runs at a time: on a disk that hangs further ones would
/// keep all threads for blocking work.
#[derive(Debug)]
pub(super) struct Room {
    last: Mutex<Usage>,
    measuring: Arc<Semaphore>,
    /// The beginning of the measurement that runs.
    begun: Mutex<Option<Instant>>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            last: Mutex::default(),
            measuring: Arc::new(Semaphore::new(1)),
            begun: Mutex::default(),
        }
    }
}

impl Room {
    /// The usage of the store; where its disk has not answered within [`PATIENCE`], as it was measured last, all zeros
    /// before that.
    pub(super) async fn soon(self: &Arc<Self>, store: &Arc<dyn Store>, calls: &DiskCalls) -> Usage {
        let begun = self.begun.lock().unwrap_or_else(Instant::now);
        if timeout_at(begun + PATIENCE, self.measure(store, calls))
            .await
            .is_err()
        {
            log::debug!("the store's disk does not tell its usage in time");
        }
        *self.last.lock()
    }

    async fn measure(self: &Arc<Self>, store: &Arc<dyn Store>, calls: &DiskCalls) {
        let Ok(turn) = Arc::clone(&self.measuring).acquire_owned().await else {
            return;
        };
        let (room, store) = (Arc::clone(self), Arc::clone(store));
        // It goes on when nobody waits any more, and keeps its turn until it is done.
        let measured = calls.make(move || {
            *room.begun.lock() = Some(Instant::now());
            let usage = store.usage();
            *room.begun.lock() = None;
            *room.last.lock() = usage?;
            drop(turn);
            Ok(())
        });
        if let Err(error) = measured.await {
            log::debug!("{error}");
        }
    }
}
