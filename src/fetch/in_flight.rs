//! The transfers in flight, those who wait for them, and the last failures.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Provided;
use super::error::FetchError;
use super::rate::Rate;
use super::sources::{Served, add_served};
use super::state_machine::State;
use crate::crds::{CatalogEntry, FileKey, Url};

/// The number of files whose last failure is remembered, for `user.crds.error`.
const FAILURES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);
/// The number of fetched files whose sources are remembered.
const SERVED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);
/// The number of last failures that the status shows.
const LAST: usize = 20;

pub(super) type Answer = Result<Provided, FetchError>;

/// A transfer as others see it.
#[derive(Debug, Clone)]
pub(crate) struct TransferStatus {
    /// The file.
    pub key: FileKey,
    /// The source that is asked.
    pub url: Option<Url>,
    /// The bytes that each source has given.
    pub served: Vec<Served>,
    /// Its state.
    pub state: State,
    /// Bytes that have arrived.
    pub done: u64,
    /// Bytes in all; 0 while that is not known.
    pub total: u64,
    /// Bytes per second in the last seconds; 0 while that is not measured, and where nothing comes.
    pub rate: u64,
    /// The number of opens that wait for it.
    pub waiters: usize,
    /// The time since it began.
    pub age: Duration,
}

/// A transfer that runs.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) key: FileKey,
    /// The catalog entry that the transfer goes by.
    entry: Mutex<CatalogEntry>,
    url: Mutex<Option<Url>>,
    served: Mutex<Vec<Served>>,
    started: Instant,
    state: Mutex<State>,
    done: AtomicU64,
    /// The offset below which no byte is missing.
    frontier: watch::Sender<u64>,
    total: AtomicU64,
    rate: Mutex<Rate>,
    waiters: AtomicUsize,
    result: watch::Sender<Option<Answer>>,
}

impl InFlight {
    fn new(key: FileKey, url: Option<Url>, entry: CatalogEntry) -> Self {
        let now = Instant::now();
        Self {
            key,
            entry: Mutex::new(entry),
            url: Mutex::new(url),
            served: Mutex::default(),
            started: now,
            state: Mutex::new(State::Queued),
            done: AtomicU64::new(0),
            frontier: watch::Sender::new(0),
            total: AtomicU64::new(entry.size.unwrap_or(0)),
            rate: Mutex::new(Rate::new(now)),
            waiters: AtomicUsize::new(0),
            result: watch::Sender::new(None),
        }
    }

    /// Sets the catalog entry that the transfer goes by.
    pub(super) fn set_entry(&self, entry: CatalogEntry) {
        *self.entry.lock() = entry;
    }

    /// The catalog entry that the transfer goes by. A later catalog may give the name other contents.
    pub(super) fn entry(&self) -> CatalogEntry {
        *self.entry.lock()
    }

    pub(super) fn enter(&self, state: State) {
        *self.state.lock() = state;
    }

    /// Sets the number of bytes that have arrived, and the offset below which none is missing.
    pub(super) fn set_done(&self, done: u64, frontier: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.frontier.send_if_modified(|old| {
            let moved = *old != frontier;
            *old = frontier;
            moved
        });
    }

    /// Watches the offset below which no byte is missing. It goes back where a transfer begins anew; the channel closes
    /// at the end.
    #[cfg(test)]
    pub(super) fn frontier(&self) -> watch::Receiver<u64> {
        self.frontier.subscribe()
    }

    /// Sets the source that is asked from now on.
    pub(super) fn set_url(&self, url: &Url) {
        *self.url.lock() = Some(url.clone());
    }

    fn url(&self) -> Option<Url> {
        self.url.lock().clone()
    }

    /// Counts bytes of the file that have come from `url`.
    pub(super) fn note_served(&self, url: &Url, bytes: u64) {
        add_served(&mut self.served.lock(), url, bytes);
    }

    /// Forgets the sources, because none of their bytes is used.
    pub(super) fn forget_served(&self) {
        self.served.lock().clear();
    }

    pub(super) fn served(&self) -> Vec<Served> {
        self.served.lock().clone()
    }

    /// Counts the bytes that have come since the last call, for the rate.
    pub(super) fn note_rate(&self, bytes: u64, now: Instant) {
        self.rate.lock().note(bytes, now);
    }

    /// Begins to measure the rate anew, because another try begins.
    pub(super) fn restart_rate(&self, now: Instant) {
        self.rate.lock().restart(now);
    }

    pub(super) fn set_total(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    pub(super) fn progress(&self) -> (u64, u64) {
        (
            self.done.load(Ordering::Relaxed),
            self.total.load(Ordering::Relaxed),
        )
    }

    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn status(&self) -> TransferStatus {
        let (done, total) = self.progress();
        TransferStatus {
            key: self.key.clone(),
            url: self.url(),
            served: self.served(),
            state: *self.state.lock(),
            done,
            total,
            rate: self.rate.lock().per_second(Instant::now()),
            waiters: self.waiters.load(Ordering::Relaxed),
            age: self.age(),
        }
    }

    /// Waits for the end of the transfer, which goes on if the future is dropped.
    pub(super) fn wait(self: &Arc<Self>) -> BoxFuture<'static, Answer> {
        let (in_flight, mut result) = (Arc::clone(self), self.result.subscribe());
        let waiter = Waiter::new(in_flight);
        Box::pin(async move {
            let gone = || FetchError::shutting_down(&waiter.0.key);
            let answer = result.wait_for(Option::is_some).await.map_err(|_| gone())?;
            answer.clone().unwrap_or_else(|| Err(gone()))
        })
    }
}

/// One who waits for a transfer, counted until it is dropped.
struct Waiter(Arc<InFlight>);

impl Waiter {
    fn new(in_flight: Arc<InFlight>) -> Self {
        in_flight.waiters.fetch_add(1, Ordering::Relaxed);
        Self(in_flight)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All transfers that run, the last failures, and the sources of fetched files.
#[derive(Debug)]
pub(super) struct InFlightTable {
    running: Mutex<HashMap<FileKey, Arc<InFlight>>>,
    failed: Mutex<Failed>,
    served: Mutex<LruCache<FileKey, Vec<Served>>>,
}

#[derive(Debug)]
struct Failed {
    by_file: LruCache<FileKey, Failure>,
    last: VecDeque<(SystemTime, FetchError)>,
}

/// The last failure to provide a file.
#[derive(Debug)]
struct Failure {
    when: Instant,
    /// The same time by the clock.
    at: SystemTime,
    /// The catalog entry of the file at that time: the failure does not hold for other contents that a later catalog
    /// gives to the name.
    entry: CatalogEntry,
    error: FetchError,
}

/// A transfer that is in flight, and whether it has to be started.
pub(super) enum Joined {
    /// It runs already.
    Running(Arc<InFlight>),
    /// It was entered just now: the caller starts the task.
    New(Arc<InFlight>),
}

impl Default for InFlightTable {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
            failed: Mutex::new(Failed {
                by_file: LruCache::new(FAILURES),
                last: VecDeque::new(),
            }),
            served: Mutex::new(LruCache::new(SERVED)),
        }
    }
}

impl InFlightTable {
    fn running(&self) -> MutexGuard<'_, HashMap<FileKey, Arc<InFlight>>> {
        self.running.lock()
    }

    fn failed(&self) -> MutexGuard<'_, Failed> {
        self.failed.lock()
    }

    /// The running transfer of a name, or a new one. A running one may be of other contents than `entry`: see
    /// [`InFlight::entry`] at its end.
    pub(super) fn join(&self, key: &FileKey, url: Option<Url>, entry: CatalogEntry) -> Joined {
        let mut running = self.running();
        if let Some(in_flight) = running.get(key) {
            return Joined::Running(Arc::clone(in_flight));
        }
        let in_flight = Arc::new(InFlight::new(key.clone(), url, entry));
        running.insert(key.clone(), Arc::clone(&in_flight));
        Joined::New(in_flight)
    }

    /// Whether no transfer runs.
    pub(super) fn is_idle(&self) -> bool {
        self.running().is_empty()
    }

    pub(super) fn get(&self, key: &FileKey) -> Option<Arc<InFlight>> {
        self.running().get(key).cloned()
    }

    /// The URL that a file in flight is requested from, or that most of a fetched one came from.
    pub(super) fn url(&self, key: &FileKey) -> Option<Url> {
        if let Some(in_flight) = self.get(key) {
            return in_flight.url();
        }
        let served = self.served.lock();
        let most = served.peek(key)?.iter().max_by_key(|source| source.bytes)?;
        Some(most.url.clone())
    }

    /// The bytes that each source gave of a file in flight or fetched.
    #[cfg(test)]
    pub(super) fn served(&self, key: &FileKey) -> Vec<Served> {
        match self.get(key) {
            Some(in_flight) => in_flight.served(),
            None => self.served.lock().peek(key).cloned().unwrap_or_default(),
        }
    }

    /// Ends a transfer: remembers a failure, removes the transfer from the table, and tells those who wait. In this
    /// order, so that an open that comes in between finds the file in the store or the failure in the memory.
    pub(super) fn complete(&self, in_flight: &Arc<InFlight>, answer: Answer) {
        match &answer {
            Ok(_) => drop(self.failed().by_file.pop(&in_flight.key)),
            Err(error) => self.note_failure(&in_flight.key, in_flight.entry(), error),
        }
        if answer.is_ok() {
            self.served.lock().put(in_flight.key.clone(), in_flight.served());
        }
        self.running().remove(&in_flight.key);
        in_flight.enter(if answer.is_ok() {
            State::Done
        } else {
            State::Failed
        });
        in_flight.result.send_replace(Some(answer));
    }

    /// Remembers a failure to provide a file with this catalog entry.
    pub(super) fn note_failure(&self, key: &FileKey, entry: CatalogEntry, error: &FetchError) {
        let at = SystemTime::now();
        let failure = Failure {
            when: Instant::now(),
            at,
            entry,
            error: error.clone(),
        };
        let mut failed = self.failed();
        failed.by_file.put(key.clone(), failure);
        failed.last.push_back((at, error.clone()));
        if failed.last.len() > LAST {
            failed.last.pop_front();
        }
    }

    /// The last failure of the file with this catalog entry, if it is younger than `memory`.
    pub(super) fn recent_failure(
        &self,
        key: &FileKey,
        entry: CatalogEntry,
        memory: Duration,
    ) -> Option<FetchError> {
        let failed = self.failed();
        let failure = failed.by_file.peek(key)?;
        (failure.entry == entry && failure.when.elapsed() < memory).then(|| failure.error.clone())
    }

    /// The last failure of the file with this catalog entry and its time, however old, unless it was fetched since; without
    /// an entry, that of any contents of this name.
    pub(super) fn last_failure(
        &self,
        key: &FileKey,
        entry: Option<CatalogEntry>,
    ) -> Option<(SystemTime, FetchError)> {
        let failed = self.failed();
        let failure = failed.by_file.peek(key)?;
        if entry.is_some_and(|entry| failure.entry != entry) {
            return None;
        }
        Some((failure.at, failure.error.clone()))
    }

    /// The last failures of all files, oldest first, with their times.
    pub(super) fn last_failures(&self) -> Vec<(SystemTime, FetchError)> {
        self.failed().last.iter().cloned().collect()
    }

    pub(super) fn statuses(&self) -> Vec<TransferStatus> {
        let mut all: Vec<TransferStatus> = self
            .running()
            .values()
            .map(|in_flight| in_flight.status())
            .collect();
        all.sort_by(|left, right| right.age.cmp(&left.age).then_with(|| left.key.cmp(&right.key)));
        all
    }
}
