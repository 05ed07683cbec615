//! Bytes from an origin into a partial file: one stream, or several over ranges of a large file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::Inner;
use super::digester::Digester;
use super::error::FetchError;
use super::in_flight::InFlight;
use super::lanes::Slot;
use super::sources::Source;
use crate::crds::{Sha1Sum, Url};
use crate::remote::{ByteRange, Download, RemoteError, RemoteErrorKind};
use crate::store::{Partial, Record, StoreError};

/// The bytes, or the time, after which the progress of a transfer in several parts is written down again.
const RECORDED: u64 = 16 << 20;
pub(super) const RECORD_TIME: Duration = Duration::from_secs(1);

mod body;
mod part_map;
mod progress;
mod ranges;
mod stream_count;
mod whole;
mod writer;

use part_map::{PartMap, Piece};
use stream_count::StreamCount;

/// The reason why a try ended before all bytes were there.
#[derive(Debug)]
pub(super) enum Break {
    /// The origin failed.
    Remote {
        error: RemoteError,
        /// Whether any byte came beyond the farthest so far.
        progress: bool,
        /// The time without progress.
        idle: Duration,
    },
    /// The content on the server has changed since the first byte.
    Changed,
    /// The origin's file has this length, which is not the catalog's.
    WrongLength(u64),
    /// The store failed.
    Store(StoreError),
}

/// The destination of the bytes of a file.
pub(super) enum Target {
    /// Into a partial file.
    Disk(Partial),
    /// Into memory: the file is small, and its length is known.
    Memory(Mutex<Vec<u8>>),
}

impl Target {
    /// Memory for a file of this length.
    pub(super) fn memory(size: u64) -> Self {
        Self::Memory(Mutex::new(Vec::with_capacity(
            usize::try_from(size).unwrap_or_default(),
        )))
    }

    fn partial(&self) -> Option<&Partial> {
        match self {
            Self::Disk(partial) => Some(partial),
            Self::Memory(_) => None,
        }
    }

    /// A digester of the partial file; `None` in memory, where the bytes are hashed at the end.
    fn digester(&self) -> Option<Digester> {
        self.partial()
            .map(|partial| Digester::new(Arc::clone(&partial.file)))
    }
}

/// Receives one file.
pub(super) struct Receiver {
    inner: Arc<Inner>,
    in_flight: Arc<InFlight>,
    slot: Arc<Slot>,
    source: Source,
    /// Whether it goes on from bytes of an earlier run.
    resumed: bool,
    target: Target,
    /// The length in bytes that the catalog gives and the file must have; `None` if that is unknown or lengths are not
    /// compared.
    expected: Option<u64>,
    /// The estimated length of a file whose length is not compared, and the most that it may have, in bytes.
    likely: u64,
    limit: u64,
    part_map: Mutex<PartMap>,
    /// Whether the store has made room for the bytes.
    claimed: AtomicBool,
    digest: Option<Sha1Sum>,
}

/// The end of a stream that was not broken.
enum Ended {
    Done,
    /// Another stream has failed.
    Halted,
}

impl Receiver {
    pub(super) fn new(
        inner: &Arc<Inner>,
        in_flight: &Arc<InFlight>,
        slot: &Arc<Slot>,
        sources: &[Source],
        target: Target,
        promised: Option<u64>,
    ) -> Result<Self, FetchError> {
        let settings = &inner.settings;
        let no_source = || FetchError::new(super::FetchErrorKind::Store, &in_flight.key, "it has no source");
        let source = sources.first().cloned().ok_or_else(no_source)?;
        let expected = promised.filter(|_| settings.lengths);
        let record = target.partial().and_then(|partial| partial.record.clone());
        let earlier = record.filter(|record| {
            record.validator.is_some()
                && sources.iter().any(|source| source.has(&record.url))
                && expected.is_none_or(|size| size == record.size)
        });
        let part_map = PartMap::new(earlier, expected, target.digester(), settings, Instant::now());
        let resumed = part_map.arrived() > 0;
        let receiver = Self {
            inner: Arc::clone(inner),
            in_flight: Arc::clone(in_flight),
            slot: Arc::clone(slot),
            source,
            resumed,
            target,
            expected,
            // Only mappings have no known length, and those are small; a wrong guess is found out while writing.
            likely: promised.unwrap_or(1 << 20),
            limit: promised.map_or(settings.unknown, |size| {
                size.saturating_mul(2).max(settings.unknown)
            }),
            part_map: Mutex::new(part_map),
            claimed: AtomicBool::new(false),
            digest: None,
        };
        if resumed {
            log::info!(
                "{} goes on at {} bytes",
                in_flight.key,
                receiver.part_map().arrived()
            );
            receiver.note_frontier();
        } else {
            receiver.truncate()?;
        }
        Ok(receiver)
    }

    pub(super) fn url(&self) -> &Url {
        &self.source.url
    }

    /// Whether they come from the tier.
    pub(super) fn is_of_tier(&self) -> bool {
        self.source.is_tier
    }

    /// Requests the missing bytes from another source from now on.
    pub(super) fn go_on_with(&mut self, source: &Source) {
        self.source = source.clone();
        self.part_map().stream_count = StreamCount::new(self.inner.settings.streams, Instant::now());
        self.in_flight.set_url(&source.url);
    }

    /// Whether the bytes are from several sources, or from an earlier run.
    pub(super) fn is_mixed(&self) -> bool {
        self.resumed || self.in_flight.served().len() > 1
    }

    /// Forgets the bytes that have arrived, and receives the file over one connection from now on.
    pub(super) fn begin_anew(&mut self) -> Result<(), FetchError> {
        self.truncate()?;
        (self.digest, self.resumed) = (None, false);
        self.part_map().begin_anew(self.expected, self.target.digester());
        Ok(())
    }

    /// Takes back all progress, because the bytes that have arrived are wrong.
    pub(super) fn forget_progress(&self) {
        self.part_map().progress.forget(Instant::now());
    }

    fn truncate(&self) -> Result<(), FetchError> {
        self.empty()
            .map_err(|error| FetchError::store(&self.in_flight.key, error))
    }

    /// Forgets the bytes that have come. Emptying the partial file gives back the room that it had.
    fn empty(&self) -> Result<(), StoreError> {
        self.claimed.store(false, Ordering::Release);
        self.in_flight.forget_served();
        match &self.target {
            Target::Disk(partial) => partial.file.set_len(0).map_err(|error| self.write_error(error)),
            Target::Memory(bytes) => {
                bytes.lock().clear();
                Ok(())
            }
        }
    }

    /// Takes the bytes of a file that was received into memory; `None` for one on the disk.
    pub(super) fn take_bytes(&self) -> Option<Vec<u8>> {
        match &self.target {
            Target::Disk(_) => None,
            Target::Memory(bytes) => Some(std::mem::take(&mut *bytes.lock())),
        }
    }

    /// Whether the bytes go to a partial file.
    pub(super) fn is_on_disk(&self) -> bool {
        self.target.partial().is_some()
    }

    /// The progress, if a later attempt can resume from it.
    pub(super) fn record(&self) -> Option<Record> {
        self.target.partial()?;
        let part_map = self.part_map();
        part_map.record().filter(|record| record.arrived() > 0)
    }

    /// Receives the bytes that are missing.
    pub(super) async fn receive(&mut self) -> Result<(), Break> {
        let several = {
            let mut part_map = self.part_map();
            let now = Instant::now();
            part_map.begin_try(now);
            self.in_flight.restart_rate(now);
            part_map.parts.len() > 1
        };
        let result = if several {
            self.receive_parts().await
        } else {
            self.receive_whole().await
        };
        self.note_frontier();
        result
    }

    /// Notes the fault of a try for those who wait for a slot.
    pub(super) fn note_fault(&self, fault: &FetchError) {
        self.slot.lane().note_fault(fault);
    }

    /// The digest of everything that has arrived.
    pub(super) async fn digest(&mut self) -> Result<Sha1Sum, FetchError> {
        let (digester, size) = {
            let mut part_map = self.part_map();
            let size = part_map.arrived();
            (part_map.digester.take(), size)
        };
        let sum = digester
            .or_else(|| self.target.digester())
            .ok_or_else(|| self.not_verified())?
            .finish(size)
            .await
            .map_err(|error| FetchError::store(&self.in_flight.key, self.write_error(error)))?;
        self.digest = Some(sum);
        Ok(sum)
    }

    /// The file to publish and its digest. Fails if it was not verified.
    pub(super) fn result(&self) -> Result<(Partial, Sha1Sum), FetchError> {
        let sum = self.digest.ok_or_else(|| self.not_verified())?;
        let partial = self.target.partial().ok_or_else(|| self.not_verified())?;
        Ok((partial.clone(), sum))
    }

    fn not_verified(&self) -> FetchError {
        let message = "the file was not verified";
        FetchError::new(super::FetchErrorKind::Store, &self.in_flight.key, message)
    }

    /// Passes the progress on to the status and to the digester.
    fn note_frontier(&self) {
        let (arrived, frontier) = self.part_map().look_around();
        self.in_flight.set_done(arrived, frontier);
    }

    fn part_map(&self) -> MutexGuard<'_, PartMap> {
        self.part_map.lock()
    }

    fn write_error(&self, error: std::io::Error) -> StoreError {
        StoreError::io("write", self.in_flight.key.name.as_str(), error)
    }

    fn broken(&self, error: RemoteError) -> Break {
        let part_map = self.part_map();
        Break::Remote {
            error,
            progress: part_map.progress.advanced(),
            idle: part_map.progress.idle(Instant::now()),
        }
    }

    fn protocol(&self, message: String) -> Break {
        self.broken(RemoteError::new(RemoteErrorKind::Protocol, self.url(), message))
    }

    /// The validator of the version that has come from this source, for the condition of a request that goes on with it.
    fn validator(&self) -> Option<String> {
        self.part_map().validator(self.url()).map(str::to_owned)
    }

    async fn get(&self, range: Option<ByteRange>, if_range: Option<&str>) -> Result<Download, Break> {
        let (origin, url) = (&self.inner.origin, self.url());
        let begun = Instant::now();
        let asked = origin.get(url, range, if_range);
        let mut asked = std::pin::pin!(asked);
        let download = loop {
            let patience = self.patience(begun)?;
            match self.hear(patience, &mut asked).await {
                Some(Ok(download)) => {
                    let latencies = &self.inner.metrics.source_latencies;
                    let latency = begun.elapsed();
                    latencies.note(self.in_flight.key.observatory, latency);
                    self.part_map().note_latency(latency);
                    break download;
                }
                Some(Err(error)) => return Err(self.broken(error)),
                None => {}
            }
        };
        if let (Some(expected), Some(total)) = (self.expected, download.total)
            && expected != total
        {
            return Err(Break::WrongLength(total));
        }
        Ok(download)
    }

    /// Whether the source is known to give another version of the file now.
    fn is_other(&self, download: &Download) -> bool {
        self.part_map()
            .is_other(self.url(), download.validator.as_deref())
    }

    fn note_version(&self, download: &Download) {
        self.part_map()
            .note_version(self.url(), download.validator.as_deref());
    }

    /// Notes that the bytes of a piece are written up to `done`, and saves the progress if that is due.
    async fn wrote(&self, piece: Piece, done: u64) -> Result<(), Break> {
        let due = {
            let mut part_map = self.part_map();
            let new = part_map.note_written(piece, done);
            let (arrived, frontier) = part_map.look_around();
            self.in_flight.note_served(self.url(), new);
            self.in_flight.set_done(arrived, frontier);
            let (when, bytes) = part_map.recorded;
            // One stream needs no more than its first record: the length of the partial file tells the rest.
            part_map.parts.len() > 1 && (arrived >= bytes + RECORDED || when.elapsed() >= RECORD_TIME)
        };
        if due { self.save_record().await } else { Ok(()) }
    }

    /// Saves the progress, if there is any since it was saved last.
    async fn save_progress(&self) -> Result<(), Break> {
        {
            let mut part_map = self.part_map();
            if part_map.arrived() <= part_map.recorded.1 {
                part_map.recorded.0 = Instant::now();
                return Ok(());
            }
        }
        self.save_record().await
    }

    async fn save_record(&self) -> Result<(), Break> {
        let record = {
            let mut part_map = self.part_map();
            part_map.recorded = (Instant::now(), part_map.arrived());
            part_map.record()
        };
        let Some(record) = record else { return Ok(()) };
        let (store, key) = (Arc::clone(&self.inner.store), self.in_flight.key.clone());
        let saved = tokio::task::spawn_blocking(move || store.record(&key, &record)).await;
        if let Ok(Err(error)) = saved {
            // The only consequence is that a restart begins anew.
            log::debug!("{error}");
        }
        Ok(())
    }
}
