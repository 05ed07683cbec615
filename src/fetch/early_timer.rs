//! A timer that is due soon while transfers run.
//!
//! tokio wakes the thread that waits for events for each new timer that is due before all others. The time limits of a
//! request are such timers. While there is one that is due sooner, they wake nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Inner;
use super::lanes::PACE_TIME;

/// The time after which the timer is set anew: sooner than the shortest time limit of a transfer.
const PERIOD: Duration = PACE_TIME.saturating_sub(Duration::from_millis(100));

/// Whether the timer is set.
#[derive(Debug, Default)]
pub(super) struct EarlyTimer(AtomicBool);

impl Inner {
    /// Sets the timer until no transfer runs any more.
    pub(super) fn set_early_timer(self: &Arc<Self>) {
        if self.early_timer.0.swap(true, Ordering::AcqRel) {
            return;
        }
        let inner = Arc::downgrade(self);
        self.runtime.spawn(async move {
            loop {
                tokio::time::sleep(PERIOD).await;
                let Some(inner) = inner.upgrade() else { return };
                if inner.running.is_idle() {
                    inner.early_timer.0.store(false, Ordering::Release);
                    return;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::tests::world::{FILE, World, content, key};

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_the_transfers_and_comes_back_with_the_next() {
        let world = World::with(&content(5000));
        let is_set = || world.fetcher.inner.early_timer.0.load(Ordering::Acquire);
        for _ in 0..2 {
            assert!(!is_set());
            world.open(FILE).await.unwrap();
            assert!(is_set());
            tokio::time::sleep(PERIOD * 2).await;
            world.fetcher.store().remove(&key(FILE)).unwrap();
        }
    }
}
