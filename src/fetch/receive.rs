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

/// How far a transfer of several parts has come is written down this often, in bytes and time.
const RECORDED: u64 = 16 << 20;
const RECORD_TIME: Duration = Duration::from_secs(1);

mod body;
mod part_map;
mod progress;
mod ranges;
mod stream_count;
mod whole;
mod writer;

use part_map::{PartMap, Piece};
use stream_count::StreamCount;

/// Why a try ended before all bytes were there.
#[derive(Debug)]
pub(super) enum Break {
    /// The origin failed.
    Remote {
        error: RemoteError,
        /// Whether any byte came that had never been there before.
        progress: bool,
        /// For how long the transfer has stood still.
        idle: Duration,
    },
    /// The content is another one than at the beginning.
    Changed,
    /// The origin's file has this length, which is not the catalog's.
    WrongLength(u64),
    /// The store failed.
    Store(StoreError),
}

/// Where the bytes of a file go.
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

    /// What hashes the bytes while they arrive; in memory they are hashed at the end.
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
    /// The length that the catalog promises, and that what comes is compared with.
    expected: Option<u64>,
    /// About how long a file is whose length is not compared, and how long at most.
    likely: u64,
    limit: u64,
    part_map: Mutex<PartMap>,
    /// Whether room was made for what arrives.
    claimed: AtomicBool,
    digest: Option<Sha1Sum>,
}

/// How a stream ended that was not broken.
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
                && sources.iter().any(|source| source.url.as_str() == record.url)
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
            // What has no known length is a mapping, and those are small; a wrong guess is found out while writing.
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

    /// Asks another source from now on, for what is still missing.
    pub(super) fn go_on_with(&mut self, source: &Source) {
        self.source = source.clone();
        self.part_map().stream_count = StreamCount::new(self.inner.settings.streams, Instant::now());
        self.in_flight.set_url(&source.url);
    }

    /// Whether the bytes are from several sources, or from an earlier run.
    pub(super) fn is_mixed(&self) -> bool {
        self.resumed || self.in_flight.served().len() > 1
    }

    /// Forgets what has arrived; from now on over one connection.
    pub(super) fn begin_anew(&mut self) -> Result<(), FetchError> {
        self.truncate()?;
        (self.digest, self.resumed) = (None, false);
        self.part_map().begin_anew(self.expected, self.target.digester());
        Ok(())
    }

    /// What has arrived is wrong: it does not count as progress either.
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

    /// The bytes of a file that was received into memory. They are given away.
    pub(super) fn take_bytes(&self) -> Option<Vec<u8>> {
        match &self.target {
            Target::Disk(_) => None,
            Target::Memory(bytes) => Some(std::mem::take(&mut *bytes.lock())),
        }
    }

    /// Whether anything of this transfer is on the disk.
    pub(super) fn is_on_disk(&self) -> bool {
        self.target.partial().is_some()
    }

    /// How far it came, if a later attempt could go on from there.
    pub(super) fn record(&self) -> Option<Record> {
        self.target.partial()?;
        let part_map = self.part_map();
        part_map.record().filter(|record| record.arrived() > 0)
    }

    /// Receives what is missing.
    pub(super) async fn receive(&mut self) -> Result<(), Break> {
        let several = {
            let mut part_map = self.part_map();
            part_map.begin_try(Instant::now());
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

    /// What is to be published: file and digest.
    pub(super) fn result(&self) -> Result<(Partial, Sha1Sum), FetchError> {
        let sum = self.digest.ok_or_else(|| self.not_verified())?;
        let partial = self.target.partial().ok_or_else(|| self.not_verified())?;
        Ok((partial.clone(), sum))
    }

    fn not_verified(&self) -> FetchError {
        let message = "the file was not verified";
        FetchError::new(super::FetchErrorKind::Store, &self.in_flight.key, message)
    }

    /// Tells how far it is, to who looks and to what hashes.
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

    async fn get(&self, range: Option<ByteRange>) -> Result<Download, Break> {
        let Source { origin, url } = &self.source;
        let validator = self.part_map().validator(url).map(str::to_owned);
        let validator = validator.filter(|_| range.is_some());
        let begun = Instant::now();
        let asked = origin.get(url, range, validator.as_deref());
        let mut asked = std::pin::pin!(asked);
        let download = loop {
            let patience = self.patience(begun)?;
            match self.hear(patience, &mut asked).await {
                Some(Ok(download)) => break download,
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

    /// Whether it is known that this source has another version now.
    fn is_other(&self, download: &Download) -> bool {
        self.part_map()
            .is_other(self.url(), download.validator.as_deref())
    }

    fn note_version(&self, download: &Download) {
        self.part_map()
            .note_version(self.url(), download.validator.as_deref());
    }

    /// Bytes of a piece are in the file up to `done`.
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
            // It only means that a restart begins anew.
            log::debug!("{error}");
        }
        Ok(())
    }
}
