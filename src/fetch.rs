//! Brings names into the store: catalogs, and one transfer per file.
//!
//! [`Catalogs`] holds the current catalog of each observatory. [`Fetcher::open`] gives a verified open file: on the
//! spot when the store has it, else in a future. A transfer is a task of its own, which goes on when such a future is
//! dropped.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
#[cfg(test)]
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::crds::{FileKey, Observatory, Url};
use crate::metrics::Durations;
use crate::remote::{Destination, Endpoints, Origin};
use crate::store::{HoldingKind, Store};

mod catalogs;
mod counters;
mod digester;
mod early_timer;
mod error;
mod histogram;
mod in_flight;
mod lanes;
mod open;
mod origins;
mod outcome;
mod own_rules;
mod provided;
mod rate;
mod receive;
pub(crate) mod remedy;
mod settings;
mod short_work;
mod small;
mod sources;
mod state_machine;
mod transfer;
mod write_back;

#[cfg(test)]
mod tests;

pub(crate) use catalogs::{CatalogSource, Catalogs};
pub(crate) use counters::Counters;
pub(crate) use error::{FetchError, FetchErrorKind};
pub(crate) use in_flight::TransferStatus;
pub(crate) use outcome::Outcome;
pub(crate) use own_rules::{OwnVersion, own_version};
pub(crate) use provided::Provided;
pub(crate) use remedy::of_request;
pub(crate) use settings::{CatalogSettings, FetchSettings};
pub(crate) use short_work::short_work;
#[cfg(test)]
pub(crate) use sources::{Served, SourceHealth};
pub(crate) use sources::{SourceStatus, WrongFile};
pub(crate) use state_machine::State as TransferState;
pub(crate) use write_back::{TierStatus, WriteBackCounts, WriteBackStatus};

use counters::Metrics;
use early_timer::EarlyTimer;
use in_flight::InFlightTable;
use lanes::Lanes;
use origins::Origins;
use sources::SourceStates;
use write_back::WriteBack;

/// The state of a catalogued file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileState {
    /// On the server only.
    Remote,
    /// A transfer of it runs.
    Fetching {
        /// Bytes that have arrived.
        done: u64,
        /// Bytes in all; 0 while that is not known.
        total: u64,
    },
    /// In the store.
    Cached,
    /// In the store, as the user's own file in place of the catalogued one.
    Local,
}

impl FileState {
    /// The state in a word, as in `user.crds.state`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Remote => "remote",
            Self::Fetching { .. } => "fetching",
            Self::Cached => "cached",
            Self::Local => "local",
        }
    }
}

/// Provides files. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fetcher {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Handle,
    store: Arc<dyn Store>,
    origin: Arc<dyn Origin>,
    endpoints: Endpoints,
    catalogs: Catalogs,
    settings: FetchSettings,
    running: InFlightTable,
    metrics: Metrics,
    lanes: Lanes,
    early_timer: EarlyTimer,
    source_states: SourceStates,
    /// The sources that files came from.
    origins: Origins,
    /// The way back to the tier, if there is one.
    write_back: Option<WriteBack>,
    end: CancellationToken,
    tasks: TaskTracker,
}

impl Fetcher {
    /// A fetcher whose tasks run on `runtime`, without a tier.
    #[cfg(test)]
    pub(crate) fn new(
        runtime: Handle,
        origin: Arc<dyn Origin>,
        endpoints: Endpoints,
        catalogs: Catalogs,
        settings: FetchSettings,
    ) -> Self {
        Self::with_tier(runtime, origin, None, endpoints, catalogs, settings)
    }

    /// A fetcher whose tasks run on `runtime`, and the place of the tier, if there is one.
    pub(crate) fn with_tier(
        runtime: Handle,
        origin: Arc<dyn Origin>,
        tier: Option<Arc<dyn Destination>>,
        endpoints: Endpoints,
        catalogs: Catalogs,
        settings: FetchSettings,
    ) -> Self {
        let inner = Inner {
            runtime,
            store: Arc::clone(catalogs.store()),
            origin,
            endpoints,
            catalogs,
            running: InFlightTable::default(),
            metrics: Metrics::default(),
            source_states: SourceStates::default(),
            origins: Origins::default(),
            write_back: tier.map(WriteBack::new),
            lanes: Lanes::new(settings.jobs),
            early_timer: EarlyTimer::default(),
            settings,
            end: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let inner = Arc::new(inner);
        let restored = Arc::clone(&inner);
        inner
            .runtime
            .spawn_blocking(move || restored.origins.restore(&*restored.store));
        Self { inner }
    }

    /// The state of a file, from memory.
    pub(crate) fn state(&self, key: &FileKey) -> FileState {
        if let Some(in_flight) = self.inner.running.get(key) {
            let (done, total) = in_flight.progress();
            return FileState::Fetching { done, total };
        }
        match self.inner.store.holding(key).map(|holding| holding.kind) {
            Some(HoldingKind::Local) => FileState::Local,
            Some(HoldingKind::Catalogued | HoldingKind::Unverified) => FileState::Cached,
            None => FileState::Remote,
        }
    }

    /// The last failure to provide a file, until it succeeds or a catalog gives the name other contents.
    pub(crate) fn last_error(&self, key: &FileKey) -> Option<FetchError> {
        self.last_failure(key).map(|(_, error)| error)
    }

    /// As [`Fetcher::last_error`], with its time.
    pub(crate) fn last_failure(&self, key: &FileKey) -> Option<(SystemTime, FetchError)> {
        let info = self.inner.catalogs.current(key.observatory);
        let entry = info.and_then(|info| info.catalog().get(key.name.as_str()));
        let failure = self.inner.running.last_failure(key, entry);
        // Without a network a file may still come, from the user.
        let failure = failure.filter(|(_, error)| {
            error.kind != FetchErrorKind::Offline || self.inner.store.holding(key).is_none()
        });
        failure.or_else(|| {
            let mut unkept = self.inner.store.unkept();
            // A later transfer may have brought it.
            unkept.retain(|one| one.key.as_ref() == Some(key) && self.inner.store.holding(key).is_none());
            unkept.pop().map(|one| (one.when, FetchError::unkept(one)))
        })
    }

    /// The last failures of all files, oldest first, with their times; also those to keep files that were given out.
    pub(crate) fn last_errors(&self) -> Vec<(SystemTime, FetchError)> {
        let mut all = self.inner.running.last_failures();
        let unkept = self.inner.store.unkept().into_iter();
        all.extend(unkept.map(|one| (one.when, FetchError::unkept(one))));
        all.sort_by_key(|(when, _)| *when);
        all
    }

    /// The URL of a file: that of the source that is asked now, or that gave most of what is in the store, as far as that is
    /// known; of one that is not there that of the first source, `None` if that is the server and its catalog is not loaded.
    pub(crate) fn url(&self, key: &FileKey) -> Option<Url> {
        if let Some(url) = self.inner.running.url(key) {
            return Some(url);
        }
        match self.inner.store.holding(key).map(|holding| holding.kind) {
            Some(HoldingKind::Local) => None,
            Some(_) => self.inner.origin_of(key),
            None => self.inner.first_url(key),
        }
    }

    /// The URL that most of the file in the store came from, if it is known. May wait for the disk, unlike
    /// [`Fetcher::url`].
    pub(crate) fn came_from(&self, key: &FileKey) -> Option<Url> {
        self.inner.origins.restore(&*self.inner.store);
        self.inner.origin_of(key)
    }

    /// Saves for the next start what is known of the sources that files came from. Waits for the disk.
    pub(crate) fn save_origins(&self) {
        self.inner.origins.save(&*self.inner.store);
    }

    /// The bytes that each source gave of a file that is in flight, or was fetched since the mount began; as far as is
    /// remembered.
    #[cfg(test)]
    pub(crate) fn served(&self, key: &FileKey) -> Vec<Served> {
        self.inner.running.served(key)
    }

    /// Watches the frontier of a file in flight, in bytes from its start, below which none is missing. It goes back
    /// when the transfer begins anew; the channel closes when it ends.
    #[cfg(test)]
    pub(crate) fn frontier(&self, key: &FileKey) -> Option<watch::Receiver<u64>> {
        Some(self.inner.running.get(key)?.frontier())
    }

    /// The transfers that run, oldest first.
    pub(crate) fn transfers(&self) -> Vec<TransferStatus> {
        self.inner.running.statuses()
    }

    /// The transfer of a file, if one runs.
    pub(crate) fn transfer(&self, key: &FileKey) -> Option<TransferStatus> {
        self.inner.running.get(key).map(|in_flight| in_flight.status())
    }

    /// The last wrong file of each source that is left alone for it, as far as there are others; oldest first.
    pub(crate) fn wrong_files(&self) -> Vec<WrongFile> {
        self.inner.source_states.wrong_files()
    }

    /// The states of the sources of an observatory's files, in the order in which they are asked.
    pub(crate) fn sources(&self, observatory: Observatory) -> Vec<SourceStatus> {
        self.inner.source_statuses(observatory)
    }

    /// The state of the tier, if there is one.
    pub(crate) fn tier(&self) -> Option<TierStatus> {
        self.inner.tier_status()
    }

    /// Waits until everything is written to the tier that can be written now, as long as something is written within
    /// `patience`.
    pub(crate) async fn written_back(&self, patience: Duration) -> WriteBackStatus {
        self.inner.written_back(patience).await
    }

    /// Writes to the tier what still waits for that, for `longest` at most. To be called when no transfer runs any more.
    pub(crate) async fn finish_write_back(&self, longest: Duration) {
        self.inner.finish_write_back(longest).await;
    }

    /// The counters as they are now.
    pub(crate) fn counters(&self) -> Counters {
        self.inner.metrics.counters()
    }

    /// Transfers that failed in the end, for every kind of failure.
    pub(crate) fn failures_by_kind(&self) -> [(FetchErrorKind, u64); FetchErrorKind::ALL.len()] {
        self.inner.metrics.failures()
    }

    /// The times that opens have waited for transfers and verifications.
    pub(crate) fn open_waits(&self) -> [(Observatory, Durations); Observatory::ALL.len()] {
        self.inner.metrics.open_waits.durations()
    }

    /// The times from requests for file data to the beginnings of the answers.
    pub(crate) fn source_latencies(&self) -> [(Observatory, Durations); Observatory::ALL.len()] {
        self.inner.metrics.source_latencies.durations()
    }

    /// The catalogs.
    pub(crate) fn catalogs(&self) -> &Catalogs {
        &self.inner.catalogs
    }

    /// Whether nothing can be fetched of an observatory, on purpose.
    pub(crate) fn is_offline(&self, observatory: Observatory) -> bool {
        self.inner.is_offline(observatory)
    }

    /// The number of small files to request at a time in the background, which leaves a quarter of the slots to files
    /// that are waited for.
    pub(crate) fn background_slots(&self) -> usize {
        lanes::small_slots(self.inner.settings.jobs) * 3 / 4
    }

    /// The runtime of its tasks.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.inner.runtime
    }

    /// The store.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// Stops all transfers, which keep their bytes for a later resumption where they can; those who wait for them get
    /// [`FetchErrorKind::ShuttingDown`]. To be called when the mount ends.
    pub(crate) fn shutdown(&self) {
        self.inner.end.cancel();
        self.inner.tasks.close();
        self.inner.catalogs.shutdown();
    }

    /// Waits, after [`Fetcher::shutdown`], until the last transfer has saved its bytes and ended.
    pub(crate) async fn finished(&self) {
        self.inner.tasks.wait().await;
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Fetcher")
            .field("settings", &self.inner.settings)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// The URL that most of a file came from, if it is known.
    fn origin_of(&self, key: &FileKey) -> Option<Url> {
        let info = self.catalogs.current(key.observatory)?;
        self.origins.url(key, info.catalog().get(key.name.as_str())?)
    }

    fn is_offline(&self, observatory: Observatory) -> bool {
        let is_alone = || self.catalogs.is_offline(observatory) && !self.has_own_sources(observatory);
        self.settings.offline || is_alone()
    }
}
