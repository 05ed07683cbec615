//! Short work on the store's disk within tasks of the runtime.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{block_in_place, spawn_blocking};

/// The most threads of the runtime that do short work themselves at a time. A disk that hangs keeps them.
const AT_ONCE: usize = 32;

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Whether a thread does the shortest work.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Permission to do work on the thread of the task, until it is dropped.
struct Permission;

impl Permission {
    fn get() -> Option<Self> {
        // A runtime of one thread has no other that could go on with the other tasks.
        if Handle::try_current().ok()?.runtime_flavor() == RuntimeFlavor::CurrentThread {
            return None;
        }
        let more = |running: usize| running.checked_add(1).filter(|running| *running <= AT_ONCE);
        let entered = RUNNING.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more);
        // Made only where it was entered: dropping it takes it out again.
        entered.ok().map(|_| Self)
    }
}

impl Drop for Permission {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Permission to do work on the thread of the task while that keeps its other tasks, until it is dropped.
struct Keep;

impl Keep {
    fn get() -> Option<Self> {
        // Others have to go on with the tasks of the runtime where the disk hangs.
        let handle = Handle::try_current().ok()?;
        let is_free = handle.metrics().num_workers() > 1 && !TAKEN.swap(true, Ordering::AcqRel);
        is_free.then_some(Self)
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}

/// As [`short_work`], for a task that is about to tell who waits for it, and has told nobody since it was woken. One thread
/// at a time keeps its other tasks meanwhile, and those who are told: handing them over wakes another thread, and telling
/// them one more. A disk that hangs keeps that one thread of the runtime, and the connection that the task was woken by.
pub(crate) async fn shortest_work<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match Keep::get() {
        Some(_keep) => Some(work()),
        None => short_work(work).await,
    }
}

/// Runs work of some system calls that take microseconds on a healthy disk. It is done on the thread that the task is on,
/// whose other tasks move to another thread: handing it to a thread for blocking work and waiting for that wakes two
/// threads, which takes as long as the work where processors are idle. [`AT_ONCE`] bounds the threads that do so; further
/// work goes to those for blocking work. A panic of the work goes on in the caller; `None` when the runtime ends before
/// the work began.
pub(crate) async fn short_work<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if let Some(_permission) = Permission::get() {
        return Some(block_in_place(work));
    }
    match spawn_blocking(work).await {
        Ok(done) => Some(done),
        Err(error) => {
            if let Ok(panic) = error.try_into_panic() {
                resume_unwind(panic);
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::thread;
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_runtime_of_one_thread_hands_it_over() {
        let here = thread::current().id();
        let there = short_work(move || thread::current().id()).await;
        assert!(there.is_some_and(|there| there != here));
        let panicked = AssertUnwindSafe(short_work(|| panic!("goes on"))).catch_unwind();
        assert!(panicked.await.is_err());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn only_so_many_have_permission_however_often_others_ask() {
        let held: Vec<_> = (0..3 * AT_ONCE).filter_map(|_| Permission::get()).collect();
        assert!(held.len() <= AT_ONCE, "{}", held.len());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_tasks_go_on_while_a_thread_waits() {
        let done = tokio::spawn(async {
            let (sender, receiver) = std::sync::mpsc::channel();
            tokio::spawn(async move { sender.send(()) });
            // The other task needs a thread of the runtime, of which there is one.
            short_work(move || receiver.recv().is_ok()).await
        });
        assert_eq!(done.await.unwrap(), Some(true));
    }

    /// Whether a task that comes from elsewhere is done while the shortest work waits for it.
    async fn goes_on_beside_the_shortest_work() -> bool {
        let handle = Handle::current();
        let work = move || {
            let (sender, receiver) = std::sync::mpsc::channel();
            thread::spawn(move || handle.spawn(async move { sender.send(()) }));
            receiver.recv_timeout(Duration::from_secs(60)).is_ok()
        };
        tokio::spawn(shortest_work(work)).await.unwrap() == Some(true)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn one_thread_hands_its_tasks_over_for_the_shortest_work() {
        assert!(Keep::get().is_none());
        assert!(goes_on_beside_the_shortest_work().await);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_several_threads_one_keeps_its_tasks_for_the_shortest_work() {
        // Tests of transfers may have it at the moment.
        let keep = loop {
            match Keep::get() {
                Some(keep) => break keep,
                None => thread::yield_now(),
            }
        };
        assert!(Keep::get().is_none());
        assert!(goes_on_beside_the_shortest_work().await, "by another way");
        drop(keep);
        assert!(goes_on_beside_the_shortest_work().await);
    }
}
