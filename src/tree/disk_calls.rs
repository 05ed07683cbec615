//! System calls on the store's disk, made so that the threads that take requests never all wait for it.
//!
//! Most such calls take microseconds, less than it takes to hand work to another thread and wait for it; so the thread that
//! asks makes them itself. A disk that hangs keeps that thread. Therefore only [`MAY_WAIT`] threads do so at a time, and no
//! further one while one of them has been at it for [`SLOW`]. Everything else goes to the runtime's threads for blocking
//! work, as does all that is asked for by tasks of the runtime: at most [`IN_FLIGHT`] at a time, which leaves threads for
//! work that has nothing to do with the disk, also when each of these hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::fetch::short_work;

use super::error::Error;
use super::ops::MAY_WAIT;

/// A call that takes longer than this shows that the disk is slow.
const SLOW: Duration = Duration::from_millis(10);

/// Calls on the runtime's threads for blocking work at a time: half of the threads that there may be by default.
const IN_FLIGHT: usize = 256;

/// The disk calls that are running.
#[derive(Debug)]
pub(super) struct DiskCalls {
    /// Places for those that run on the runtime's threads for blocking work.
    places: Arc<Semaphore>,
    started: Instant,
    /// The beginning of each call that runs on the thread that asked for it, in microseconds since `started` and at least 1;
    /// 0 for a free slot.
    begun: [AtomicU64; MAY_WAIT],
}

/// Permission for the thread that asked to make disk calls itself, until it is dropped.
#[derive(Debug)]
pub(super) struct Permission<'a>(&'a AtomicU64);

impl Drop for Permission<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

impl Default for DiskCalls {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(IN_FLIGHT)),
            started: Instant::now(),
            begun: Default::default(),
        }
    }
}

impl DiskCalls {
    /// Permission for the calling thread to make disk calls itself. `None` while [`MAY_WAIT`] threads have one, while
    /// one of those has had it for longer than [`SLOW`], and on the threads of the runtime.
    pub(super) fn permission(&self) -> Option<Permission<'_>> {
        if Handle::try_current().is_ok() {
            return None;
        }
        let now = micros(self.started.elapsed()).max(1);
        let mut free = None;
        for slot in &self.begun {
            match slot.load(Ordering::Relaxed) {
                0 => free = Some(slot),
                begun if now.saturating_sub(begun) > micros(SLOW) => return None,
                _ => {}
            }
        }
        let slot = free?;
        slot.compare_exchange(0, now, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        Some(Permission(slot))
    }

    /// Makes calls on one of the runtime's threads for blocking work, once there is a place for them. If it is dropped before
    /// that, it makes none; afterwards they run to the end, and keep their place until then.
    pub(super) async fn make<T: Send + 'static>(
        &self,
        calls: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let made = tokio::task::spawn_blocking(self.placed(calls).await?);
        match made.await {
            Ok(made) => made,
            Err(error) => match error.try_into_panic() {
                // The adapter answers the request and goes on.
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Error::ShuttingDown),
            },
        }
    }

    /// As [`Self::make`], for some calls that take microseconds on a healthy disk: as [`short_work`].
    pub(super) async fn make_few<T: Send + 'static>(
        &self,
        calls: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let calls = self.placed(calls).await?;
        short_work(calls).await.unwrap_or(Err(Error::ShuttingDown))
    }

    /// Waits for a place for some calls, which keep it until they are made.
    async fn placed<T, F: FnOnce() -> Result<T, Error>>(
        &self,
        calls: F,
    ) -> Result<impl FnOnce() -> Result<T, Error> + use<T, F>, Error> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| Error::ShuttingDown)?;
        Ok(move || {
            let _place = place;
            calls()
        })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_wait_and_nobody_behind_one_that_is_slow() {
        let calls = DiskCalls::default();
        let taken: Vec<_> = (0..MAY_WAIT).map(|_| calls.permission().unwrap()).collect();
        assert!(calls.permission().is_none(), "one too many");
        drop(taken);
        let slow = calls.permission().unwrap();
        let late = calls.started.checked_sub(SLOW * 2).unwrap();
        let calls = DiskCalls {
            started: late,
            begun: [
                AtomicU64::new(slow.0.load(Ordering::Relaxed)),
                AtomicU64::new(0),
                AtomicU64::new(0),
            ],
            ..DiskCalls::default()
        };
        assert!(calls.permission().is_none(), "the disk is not well");
        calls.begun[0].store(0, Ordering::Relaxed);
        assert!(calls.permission().is_some());
    }

    /// Calls that all hang do not keep other blocking work from being done; the next call is made when one of them is over.
    #[test]
    fn calls_that_hang_leave_threads_for_other_work() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(IN_FLIGHT + 1)
            .enable_time()
            .build()
            .unwrap();
        let calls = Arc::new(DiskCalls::default());
        let (begun, hanging) = std::sync::mpsc::channel();
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let gate = Arc::new(parking_lot::Mutex::new(gate));
        let tasks: Vec<_> = (0..IN_FLIGHT + 100)
            .map(|_| {
                let (calls, begun, gate) = (Arc::clone(&calls), begun.clone(), Arc::clone(&gate));
                runtime.spawn(async move {
                    let call = move || {
                        let _ = begun.send(());
                        // Until nobody is left who could say go.
                        let _ = gate.lock().recv();
                        Ok(())
                    };
                    calls.make(call).await
                })
            })
            .collect();
        for _ in 0..IN_FLIGHT {
            hanging.recv().unwrap();
        }
        runtime.block_on(async {
            let other = tokio::task::spawn_blocking(|| ());
            let other = tokio::time::timeout(Duration::from_secs(60), other).await;
            other.expect("other work is done").unwrap();
            assert!(hanging.try_recv().is_err(), "one too many");
            go.send(()).unwrap();
            tokio::task::spawn_blocking(move || hanging.recv().unwrap())
                .await
                .unwrap();
            drop(go);
            for task in tasks {
                task.await.unwrap().unwrap();
            }
        });
    }

    #[tokio::test]
    async fn tasks_never_wait_for_the_disk() {
        assert!(DiskCalls::default().permission().is_none());
    }
}
