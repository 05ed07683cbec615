//! The space that the store uses and has left, for who must not wait long for its disk.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::store::Usage;

use super::core::Core;
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

impl Core {
    /// The usage of the store; where its disk has not answered within [`PATIENCE`], as it was measured last, all zeros
    /// before that.
    pub(super) async fn usage_soon(self: &Arc<Self>) -> Usage {
        let begun = self.room.begun.lock().unwrap_or_else(Instant::now);
        if timeout_at(begun + PATIENCE, self.measure_usage()).await.is_err() {
            log::debug!("the store's disk does not tell its usage in time");
        }
        *self.room.last.lock()
    }

    async fn measure_usage(self: &Arc<Self>) {
        let Ok(turn) = Arc::clone(&self.room.measuring).acquire_owned().await else {
            return;
        };
        // It goes on when nobody waits any more, and keeps its turn until it is done.
        let measured = self.blocking(move |core| {
            *core.room.begun.lock() = Some(Instant::now());
            let usage = core.fetcher.store().usage();
            *core.room.begun.lock() = None;
            *core.room.last.lock() = usage?;
            drop(turn);
            Ok(())
        });
        if let Err(error) = measured.await {
            log::debug!("{error}");
        }
    }
}
