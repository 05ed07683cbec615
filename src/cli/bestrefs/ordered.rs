//! Work on many items by all cores, results in the order of the items.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

/// Results that wait for their turn, for each thread.
const AHEAD: usize = 64;

/// Does `work` on each item by as many threads as there are cores, each with a state of its own made by `worker`, and hands
/// the results to `take` in order. An error of `take` ends it.
pub(super) fn in_order<T: Sync, W, R: Send, E>(
    items: &[T],
    worker: impl Fn() -> W + Sync,
    work: impl Fn(&mut W, &T) -> R + Sync,
    mut take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let threads = cores.get().min(items.len());
    let next = AtomicUsize::new(0);
    let (tell, told) = sync_channel(threads * AHEAD + 1);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (tell, next, worker, work) = (tell.clone(), &next, &worker, &work);
            scope.spawn(move || {
                let mut state = worker();
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(place) else { return };
                    // Nobody takes results any more after an error.
                    if tell.send((place, work(&mut state, item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        let mut waiting = BTreeMap::new();
        let mut turn = 0;
        // By value, so that the threads are told of an error by its end.
        for (place, result) in told {
            waiting.insert(place, result);
            while let Some(result) = waiting.remove(&turn) {
                take(result)?;
                turn += 1;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_an_error_ends_it() {
        let items: Vec<usize> = (0..5000).collect();
        let work = |count: &mut usize, item: &usize| {
            *count += 1;
            for _ in 0..item % 7 {
                thread::yield_now();
            }
            *item
        };
        let mut taken = Vec::new();
        let all: Result<(), ()> = in_order(
            &items,
            || 0,
            work,
            |item| {
                taken.push(item);
                Ok(())
            },
        );
        assert_eq!((all, taken), (Ok(()), items.clone()));
        let ended = in_order(
            &items,
            || 0,
            work,
            |item| if item == 100 { Err(item) } else { Ok(()) },
        );
        assert_eq!(ended, Err(100));
        let none: Result<(), ()> = in_order(&[], || 0, work, |_| Ok(()));
        assert_eq!(none, Ok(()));
    }
}
