//! The connections that may be open at a time. When all are, the one that has been idle for longest is closed for the next
//! client.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// The slots of a server's connections.
pub(super) struct Slots {
    free: Arc<Semaphore>,
    next: AtomicU64,
    /// By number; idle for longest first.
    idle: Mutex<LruCache<u64, CancellationToken>>,
    one_more_idle: Notify,
}

/// The slot of one connection, which is free again when this is dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    number: u64,
    state: Mutex<State>,
    closed: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No request has come whole that is not answered.
    Idle,
    /// A request is worked on, or its answer is made and sent.
    Busy,
    /// The answer was handed over to be sent.
    Ending,
}

/// A request that is worked on, until its answer was handed over to be sent.
pub(super) struct UnderWay(Arc<Slot>);

impl Slots {
    /// So many slots.
    pub(super) fn new(count: NonZeroUsize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(count.get().min(Semaphore::MAX_PERMITS))),
            next: AtomicU64::new(0),
            idle: Mutex::new(LruCache::unbounded()),
            one_more_idle: Notify::new(),
        })
    }

    /// Whether all are in use.
    pub(super) fn are_taken(&self) -> bool {
        self.free.available_permits() == 0
    }

    /// A slot for a connection that is idle: a free one, else that of the connection that has been idle for longest, else the
    /// first that is given back or whose connection becomes idle. `None` never comes but where the server is gone.
    pub(super) async fn claim(self: &Arc<Self>) -> Option<Arc<Slot>> {
        loop {
            let one_more_idle = self.one_more_idle.notified();
            tokio::pin!(one_more_idle);
            one_more_idle.as_mut().enable();
            if self.are_taken() {
                let longest = self.idle.lock().pop_lru();
                if let Some((_, longest)) = longest {
                    longest.cancel();
                }
            }
            let permit = tokio::select! {
                biased;
                permit = Arc::clone(&self.free).acquire_owned() => permit.ok()?,
                () = one_more_idle => continue,
            };
            let slot = Slot {
                slots: Arc::clone(self),
                number: self.next.fetch_add(1, Ordering::Relaxed),
                state: Mutex::new(State::Ending),
                closed: CancellationToken::new(),
                _permit: permit,
            };
            slot.flushed();
            return Some(Arc::new(slot));
        }
    }
}

impl Slot {
    /// Waits until the connection is to be closed for another one. A request that has come meanwhile is to be answered.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Whether no request is under way.
    pub(super) fn is_idle(&self) -> bool {
        *self.state.lock() == State::Idle
    }

    /// Takes note that a request has come.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        *self.state.lock() = State::Busy;
        self.slots.idle.lock().pop(&self.number);
        UnderWay(Arc::clone(self))
    }

    /// Takes note that all that was handed over has been sent.
    pub(super) fn flushed(&self) {
        {
            let mut state = self.state.lock();
            if *state != State::Ending {
                return;
            }
            *state = State::Idle;
        }
        self.slots.idle.lock().put(self.number, self.closed.clone());
        self.slots.one_more_idle.notify_waiters();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        *self.0.state.lock() = State::Ending;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.idle.lock().pop(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn is_closed(slot: &Slot) -> bool {
        slot.closed().now_or_never().is_some()
    }

    fn claimed(slots: &Arc<Slots>) -> Arc<Slot> {
        slots.claim().now_or_never().unwrap().unwrap()
    }

    #[tokio::test]
    async fn the_one_that_has_been_idle_for_longest_gives_way() {
        let slots = Slots::new(NonZeroUsize::new(3).unwrap());
        let [first, second, third] = [(); 3].map(|()| claimed(&slots));
        // The first has answered a request since, and the answer to the second was not sent yet.
        drop(first.begin());
        first.flushed();
        drop(second.begin());
        assert!(slots.are_taken() && !is_closed(&third));
        let next = slots.claim();
        tokio::pin!(next);
        assert!(next.as_mut().now_or_never().is_none());
        assert!(is_closed(&third) && third.is_idle());
        assert!(!is_closed(&first) && !is_closed(&second));
        drop(third);
        let next = next.now_or_never().unwrap().unwrap();
        // The newest is idle as well, but not for as long.
        assert!(slots.claim().now_or_never().is_none());
        assert!(is_closed(&first) && !is_closed(&next));
    }

    #[tokio::test]
    async fn requests_are_finished_before_their_connection_gives_way() {
        let slots = Slots::new(NonZeroUsize::MIN);
        let only = claimed(&slots);
        let request = only.begin();
        let next = slots.claim();
        tokio::pin!(next);
        only.flushed();
        assert!(next.as_mut().now_or_never().is_none());
        assert!(!is_closed(&only), "parts of an answer were sent");
        drop(request);
        assert!(next.as_mut().now_or_never().is_none());
        assert!(!is_closed(&only), "the answer is not sent yet");
        only.flushed();
        assert!(next.as_mut().now_or_never().is_none());
        assert!(is_closed(&only));
        // A request that came at that moment is answered.
        let late = only.begin();
        assert!(!only.is_idle());
        drop(late);
        only.flushed();
        drop(only);
        assert!(next.now_or_never().unwrap().is_some());
    }
}
