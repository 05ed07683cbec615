//! Writes what came from elsewhere to the tier, in the background.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::short_work::short_work;
use crate::crds::{CatalogEntry, FileKey, Observatory, ReferenceLayout, Url};
use crate::remote::{Destination, Put, PutError, Upload};
use crate::store::Found;

mod queue;

use queue::{Ended, Item, Next, Offer, Queue};
pub(crate) use queue::{WriteBackCounts, WriteBackStatus};

/// The files that wait to be written, and the place that they go to.
pub(super) struct WriteBack {
    destination: Arc<dyn Destination>,
    queue: Mutex<Queue>,
    /// Something has changed in the queue.
    changed: Notify,
    /// The end of all writing.
    end: CancellationToken,
}

impl WriteBack {
    /// Writing to this place.
    pub(super) fn new(destination: Arc<dyn Destination>) -> Self {
        Self {
            destination,
            queue: Mutex::new(Queue::new()),
            changed: Notify::new(),
            end: CancellationToken::new(),
        }
    }

    /// Lets who writes, and who waits for the end, look at the queue.
    fn tell(&self) {
        self.changed.notify_waiters();
        self.changed.notify_one();
    }
}

/// The state of the tier.
#[derive(Debug, Clone)]
pub(crate) struct TierStatus {
    /// The tier as the user named it.
    pub tier: String,
    /// Files that came from it, the last of their bytes at least.
    pub served_files: u64,
    /// Bytes that came from it.
    pub served_bytes: u64,
    /// The state of writing to it.
    pub write_back: WriteBackStatus,
}

impl Inner {
    /// The state of the tier, if there is one.
    pub(super) fn tier_status(&self) -> Option<TierStatus> {
        let (Some(write_back), Some((number, place))) = (&self.write_back, self.endpoints.tier()) else {
            return None;
        };
        let mut status = TierStatus {
            tier: place.to_string(),
            served_files: 0,
            served_bytes: 0,
            write_back: write_back.queue.lock().status(Instant::now()),
        };
        for observatory in Observatory::ALL {
            let (files, bytes) = self.source_states.served(observatory, number);
            status.served_files += files;
            status.served_bytes += bytes;
        }
        Some(status)
    }

    /// Has a file that came from elsewhere written to the tier later. Never waits.
    pub(super) fn offer_to_tier(self: &Arc<Self>, key: &FileKey, entry: CatalogEntry) {
        let (Some(write_back), Some(size)) = (&self.write_back, entry.size) else {
            return;
        };
        if entry.sha1.is_none() || !self.settings.checksums {
            return;
        }
        let item = Item::new(key.clone(), entry, size);
        let offer = write_back.queue.lock().offer(item, Instant::now());
        match offer {
            Offer::First => {
                self.runtime.spawn(write_all(Arc::clone(self)));
            }
            Offer::Taken => write_back.tell(),
            Offer::Known => {}
            Offer::NoRoom => log::debug!("{key} is not written to the tier: too many files wait for that"),
            Offer::NotWritable => log::debug!("{key} is not written to the tier, which cannot be written to"),
        }
    }

    /// Notes that the tier has another file in the place of one.
    pub(super) fn note_wrong_in_tier(&self, key: &FileKey, url: &Url) {
        log::warn!("the tier has another file in the place of {key}, and keeps it: remove {url}");
        if let Some(write_back) = &self.write_back {
            write_back.queue.lock().note_wrong();
        }
    }

    /// Waits until everything is written to the tier that can be written now, as long as something is written within
    /// `patience`.
    pub(super) async fn written_back(&self, patience: Duration) -> WriteBackStatus {
        let Some(write_back) = &self.write_back else {
            return Queue::new().status(Instant::now());
        };
        loop {
            let changed = write_back.changed.notified();
            if write_back.queue.lock().is_at_rest() {
                break;
            }
            if tokio::time::timeout(patience, changed).await.is_err() {
                break;
            }
        }
        write_back.queue.lock().status(Instant::now())
    }

    /// Waits until everything is written to the tier that can be written now, for `longest` at most; then ends writing, and
    /// tells in the log what was not written.
    pub(super) async fn finish_write_back(&self, longest: Duration) {
        let Some(write_back) = &self.write_back else {
            return;
        };
        let _ = tokio::time::timeout(longest, self.written_back(longest)).await;
        let (left, bytes) = write_back.queue.lock().close();
        write_back.end.cancel();
        write_back.tell();
        if left > 0 {
            log::warn!(
                "{left} files with {bytes} bytes were not written to the tier before the end; who fetches them next writes \
                 them"
            );
        }
    }

    /// The URL of a file in the tier.
    fn url_in_tier(&self, key: &FileKey) -> Option<(usize, ReferenceLayout, Url)> {
        let (number, place) = self.endpoints.tier()?;
        let layout = self.source_states.layout(key.observatory, number);
        let layout = layout.unwrap_or(ReferenceLayout::Flat);
        let (layout, url) = place.file_urls(key, Some(layout)).into_iter().next()?;
        Some((number, layout, url))
    }

    /// Writes one file to the tier.
    async fn write_to_tier(&self, write_back: &WriteBack, item: &Item) -> Ended {
        let (key, entry) = (item.key.clone(), item.entry);
        let (Some((_, _, url)), Some(sha1)) = (self.url_in_tier(&key), entry.sha1) else {
            return Ended::Gone;
        };
        let store = Arc::clone(&self.store);
        let found = short_work(move || store.open(&key, entry)).await;
        let Some(Ok(Found::Catalogued(file))) = found else {
            return Ended::Gone;
        };
        let upload = Upload {
            file,
            size: item.size,
            sha1,
        };
        let put = tokio::select! {
            put = write_back.destination.put(&url, &upload) => put,
            () = write_back.end.cancelled() => return Ended::Stopped,
        };
        match put {
            Ok(Put::Written) => {
                log::debug!("wrote {} to the tier ({url})", item.key);
                Ended::Written
            }
            Ok(Put::Exists) => Ended::Exists,
            Err(PutError::Damaged(why)) => {
                log::error!(
                    "{} is not written to the tier: {why}; 'crds-fs verify' looks at all files here",
                    item.key
                );
                Ended::Damaged
            }
            Err(PutError::Other(error)) => {
                log::warn!("{} is not written to the tier: {error}", item.key);
                Ended::Wrong
            }
            Err(PutError::Refused(error)) => Ended::Refused(error),
            Err(PutError::Full(error)) => Ended::Full(error),
            Err(PutError::Failed(error)) => Ended::Failed(error),
        }
    }
}

/// Writes what waits, until the end.
async fn write_all(inner: Arc<Inner>) {
    let Some(write_back) = &inner.write_back else {
        return;
    };
    loop {
        let changed = write_back.changed.notified();
        let is_busy = !inner.running.is_idle();
        let next = write_back.queue.lock().next(Instant::now(), is_busy);
        match next {
            Next::Write(item) => {
                let inner = Arc::clone(&inner);
                inner.runtime.clone().spawn(write_one(inner, item));
            }
            Next::Wait => changed.await,
            Next::WaitUntil(time) => {
                let _ = tokio::time::timeout_at(time, changed).await;
            }
            Next::End => return,
        }
    }
}

/// Writes one file, and notes what came of it.
async fn write_one(inner: Arc<Inner>, item: Item) {
    let Some(write_back) = &inner.write_back else {
        return;
    };
    let entry = Entry {
        write_back,
        item: Some(item),
    };
    let ended = match &entry.item {
        Some(item) => inner.write_to_tier(write_back, item).await,
        None => return,
    };
    entry.end(ended);
}

/// A file that is being written: it leaves the queue also where writing it ends by a panic.
struct Entry<'a> {
    write_back: &'a WriteBack,
    item: Option<Item>,
}

impl Entry<'_> {
    fn end(mut self, ended: Ended) {
        if let Some(item) = self.item.take() {
            self.leave(item, ended);
        }
    }

    fn leave(&self, item: Item, ended: Ended) {
        let told = self.write_back.queue.lock().end(item, ended, Instant::now());
        if let Some(told) = told {
            log::warn!("{told}");
        }
        self.write_back.tell();
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(item) = self.item.take() {
            self.leave(item, Ended::Stopped);
        }
    }
}
