//! The scan of the store: counts the files of every observatory once, on a thread for blocking work.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::crds::Observatory;
use crate::store::Store;

/// The longest wait for the scan, and for a look at the disk, before the status is shown without it: it must be readable
/// also while the disk is slow.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the store's files are counted.
#[derive(Debug, Default)]
pub(super) struct Scan {
    done: Mutex<Option<watch::Receiver<bool>>>,
}

impl Scan {
    pub(super) fn is_done(&self) -> bool {
        let done = self.done.lock();
        done.as_ref().is_some_and(|done| *done.borrow())
    }

    /// Starts the scan unless it runs. To be called on the runtime.
    pub(super) fn start(&self, store: &Arc<dyn Store>) -> watch::Receiver<bool> {
        let mut done = self.done.lock();
        done.get_or_insert_with(|| {
            let (sender, receiver) = watch::channel(false);
            let store = Arc::clone(store);
            tokio::task::spawn_blocking(move || {
                for observatory in Observatory::ALL {
                    if let Err(error) = store.list(observatory) {
                        log::warn!("the files of {observatory} in the store cannot be counted: {error}");
                    }
                }
                sender.send_replace(true);
            });
            receiver
        })
        .clone()
    }

    /// Waits for the scan, for [`PATIENCE`] at most.
    pub(super) async fn run(&self, store: &Arc<dyn Store>) {
        let mut done = self.start(store);
        // A scan that is dropped (the mount is going away) ends the wait with an error, which does not matter.
        let _ = tokio::time::timeout(PATIENCE, done.wait_for(|done| *done)).await;
    }
}
