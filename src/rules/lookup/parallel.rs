//! Work on many things at once.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Items for which it is worth while to start a thread, each being some microseconds of work.
const WORTH_A_THREAD: usize = 8;

/// Works on all items, on all cores if there are many of them, and returns when all is done.
pub(crate) fn for_each_parallel<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let run = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(item);
        }
    };
    let helpers = cores().min(items.len() / WORTH_A_THREAD).saturating_sub(1);
    if helpers == 0 {
        return run();
    }
    thread::scope(|scope| {
        for _ in 0..helpers {
            // Where no thread can be started, the work is done all the same.
            let _ = thread::Builder::new().spawn_scoped(scope, run);
        }
        run();
    });
}

/// The number of threads that can run at once. Finding out takes some time.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, NonZeroUsize::get))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_is_worked_on_once() {
        for count in [0_usize, 1, 2, 1000] {
            let counters: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            for_each_parallel(&counters, |counter| {
                counter.fetch_add(1, Ordering::Relaxed);
            });
            assert!(
                counters
                    .iter()
                    .all(|counter| counter.load(Ordering::Relaxed) == 1)
            );
        }
    }
}
