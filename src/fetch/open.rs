//! Opens: answered by the store, else by a transfer, which is begun or joined.

use std::fs::File;
use std::sync::Arc;

use tokio::time::Instant;

use super::in_flight::Joined;
use super::{FetchError, Fetcher, Inner, Outcome, Provided, transfer};
use crate::crds::{CatalogEntry, FileKey, Observatory};
use crate::store::Found;

impl Fetcher {
    /// A verified open file. What the store has is answered with a few system calls; for everything else there is a
    /// future, which may be dropped at any time: the transfer goes on. The file is shared: read with positions only.
    pub(crate) fn open(&self, key: &FileKey) -> Outcome<Arc<File>, FetchError> {
        self.provide(key).map(|provided| Ok(provided?.file))
    }

    /// As [`Fetcher::open`], with the catalog's entry by which the file was verified: the catalog of that moment may be
    /// another one than when the file was looked up.
    pub(crate) fn provide(&self, key: &FileKey) -> Outcome<Provided, FetchError> {
        let Some(info) = self.inner.catalogs.current(key.observatory) else {
            return self.provide_after_catalog(key);
        };
        match info.catalog().get(key.name.as_str()) {
            Some(entry) => self.provide_entry(key, entry),
            None => Outcome::Ready(Err(FetchError::not_in_catalog(key))),
        }
    }

    fn provide_after_catalog(&self, key: &FileKey) -> Outcome<Provided, FetchError> {
        match self.inner.catalogs.load(key.observatory) {
            Outcome::Ready(Ok(_)) => self.provide(key),
            Outcome::Ready(Err(error)) => Outcome::Ready(Err(error)),
            Outcome::Later(load) => {
                let (fetcher, key) = (self.clone(), key.clone());
                Outcome::Later(Box::pin(async move {
                    load.await?;
                    fetcher.provide(&key).wait().await
                }))
            }
        }
    }

    fn provide_entry(&self, key: &FileKey, entry: CatalogEntry) -> Outcome<Provided, FetchError> {
        let inner = &self.inner;
        let opened = inner.store.open(key, entry).and_then(|found| {
            let is_absent = matches!(found, Found::Absent);
            Ok((is_absent, Provided::found(key, found, entry)?))
        });
        let is_absent = match opened {
            Ok((_, Some(provided))) => {
                inner.metrics.hits.add(1);
                return Outcome::Ready(Ok(provided));
            }
            Ok((is_absent, None)) => is_absent,
            Err(error) => return Outcome::Ready(Err(FetchError::store(key, error))),
        };
        if inner.end.is_cancelled() {
            return Outcome::Ready(Err(FetchError::shutting_down(key)));
        }
        if is_absent {
            if inner.is_offline(key.observatory) {
                let error = FetchError::offline(key);
                inner.running.note_failure(key, entry, &error);
                return Outcome::Ready(Err(error));
            }
            if let Some(error) = inner
                .running
                .recent_failure(key, entry, inner.settings.failure_memory)
            {
                return Outcome::Ready(Err(error));
            }
        }
        inner.metrics.misses.add(1);
        let wait = OpenWait::begin(inner, key.observatory);
        let in_flight = match inner.running.join(key, self.url(key), entry) {
            Joined::Running(in_flight) => in_flight,
            Joined::New(in_flight) => {
                inner.set_early_timer();
                let task = transfer::run(Arc::clone(inner), Arc::clone(&in_flight), entry);
                inner.tasks.spawn_on(task, &inner.runtime);
                in_flight
            }
        };
        let (fetcher, key, arrival) = (self.clone(), key.clone(), in_flight.wait());
        Outcome::Later(Box::pin(async move {
            let answer = arrival.await;
            drop(wait);
            if in_flight.entry() == entry {
                return answer;
            }
            // The transfer went by another catalog, which gives the name other contents, and has left the table: each
            // further turn needs a further catalog.
            fetcher.provide(&key).wait().await
        }))
    }
}

/// An open that waits, whose time is counted when this is dropped: it has its answer, or has left.
struct OpenWait {
    inner: Arc<Inner>,
    observatory: Observatory,
    since: Instant,
}

impl OpenWait {
    fn begin(inner: &Arc<Inner>, observatory: Observatory) -> Self {
        Self {
            inner: Arc::clone(inner),
            observatory,
            since: Instant::now(),
        }
    }
}

impl Drop for OpenWait {
    fn drop(&mut self) {
        let waits = &self.inner.metrics.open_waits;
        waits.note(self.observatory, self.since.elapsed());
    }
}
