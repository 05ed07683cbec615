//! System calls on the store's disk, made so that the threads that take requests never all wait for it.
//!
//! Most such calls take microseconds, less than it takes to hand work to another thread and wait for it; so the thread that
//! asks makes them itself. A disk that hangs keeps that thread. Therefore only [`MAY_WAIT`] threads do so at a time, and no
//! further one while one of them has been at it for [`SLOW`]. Everything else goes to the runtime's threads for blocking
//! work, as does all that is asked for by tasks of the runtime.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::ops::MAY_WAIT;

/// A call that takes longer than this shows that the disk is slow.
const SLOW: Duration = Duration::from_millis(10);

/// The disk calls that run on the threads that asked for them.
#[derive(Debug)]
pub(super) struct DiskCalls {
    started: Instant,
    /// The beginning of each of them, in microseconds since `started` and at least 1; 0 for a free slot.
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
        };
        assert!(calls.permission().is_none(), "the disk is not well");
        calls.begun[0].store(0, Ordering::Relaxed);
        assert!(calls.permission().is_some());
    }

    #[tokio::test]
    async fn tasks_never_wait_for_the_disk() {
        assert!(DiskCalls::default().permission().is_none());
    }
}
