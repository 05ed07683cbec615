//! Bytes from an origin into a partial file: one stream, or several over ranges of a large file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::digester::Digester;
use super::error::FetchError;
use super::in_flight::InFlight;
use super::lanes::{PACE_TIME, Slot};
use crate::crds::{Sha1Sum, Url};
use crate::remote::{ByteRange, Download, RemoteError, RemoteErrorKind};
use crate::store::{Partial, Record, StoreError};

/// Bytes that have waited so long are written, few as they are.
const GATHER_TIME: Duration = Duration::from_millis(200);
/// A transfer that brings less than so many bytes in [`PACE_TIME`] leaves its slot to others.
const PACE: u64 = 1 << 10;
/// How far a transfer of several parts has come is written down this often, in bytes and time.
const RECORDED: u64 = 16 << 20;
const RECORD_TIME: Duration = Duration::from_secs(1);
/// Files from this size on have a record from the first byte on, so that they go on after a crash.
const RECORD_FROM: u64 = 256 << 10;

mod part_map;
mod progress;
mod ranges;
mod writer;

use part_map::{PartMap, Piece, plan};
use progress::Progress;
use writer::Writer;

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
    url: Url,
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
        url: Url,
        target: Target,
        promised: Option<u64>,
    ) -> Result<Self, FetchError> {
        let settings = &inner.settings;
        let expected = promised.filter(|_| settings.lengths);
        let record = target.partial().and_then(|partial| partial.record.clone());
        let earlier = record.filter(|record| {
            record.validator.is_some()
                && record.url == url.as_str()
                && expected.is_none_or(|size| size == record.size)
        });
        let (validator, parts) = match earlier {
            Some(record) => (record.validator, record.parts),
            None => (None, plan(expected, &inner.settings)),
        };
        let now = Instant::now();
        let arrived = parts.iter().map(|part| part.done - part.start).sum();
        let part_map = PartMap {
            digester: target.digester(),
            validator,
            parts,
            progress: Progress::new(arrived, inner.settings.timeout, now),
            pace: (now, 0),
            recorded: (now, 0),
        };
        let fresh = arrived == 0;
        let receiver = Self {
            inner: Arc::clone(inner),
            in_flight: Arc::clone(in_flight),
            slot: Arc::clone(slot),
            url,
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
        if fresh {
            receiver.truncate()?;
        } else {
            log::info!(
                "{} goes on at {} bytes",
                in_flight.key,
                receiver.part_map().arrived()
            );
            receiver.part_map().advance();
        }
        Ok(receiver)
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Forgets what has arrived; from now on over one connection.
    pub(super) fn begin_anew(&mut self) -> Result<(), FetchError> {
        self.truncate()?;
        self.digest = None;
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
        part_map.validator.as_ref()?;
        (part_map.arrived() > 0)
            .then(|| part_map.record(self.url.as_str()))
            .flatten()
    }

    /// Receives what is missing.
    pub(super) async fn receive(&mut self) -> Result<(), Break> {
        let several = {
            let mut part_map = self.part_map();
            let arrived = part_map.arrived();
            part_map.progress.begin_try(arrived);
            part_map.pace = (Instant::now(), 0);
            part_map.parts.len() > 1
        };
        let result = if several {
            self.receive_parts().await
        } else {
            self.receive_whole().await
        };
        self.in_flight.set_done(self.part_map().arrived());
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
        self.broken(RemoteError::new(RemoteErrorKind::Protocol, &self.url, message))
    }

    /// How long the next byte may take, after the last one came at `heard`.
    fn patience(&self, heard: Instant) -> Result<Duration, Break> {
        let settings = &self.inner.settings;
        let (idle, farthest) = {
            let part_map = self.part_map();
            (
                part_map.progress.idle(Instant::now()),
                part_map.progress.farthest(),
            )
        };
        let left = settings.timeout.saturating_sub(idle);
        let patience = settings.stall_timeout.saturating_sub(heard.elapsed()).min(left);
        if !patience.is_zero() {
            return Ok(patience);
        }
        let message = if left.is_zero() {
            let timeout = settings.timeout.as_secs_f64();
            format!("no progress beyond byte {farthest} for {timeout:.1} s")
        } else {
            format!("no byte has come for {:.1} s", heard.elapsed().as_secs_f64())
        };
        Err(self.broken(RemoteError::new(RemoteErrorKind::TimedOut, &self.url, message)))
    }

    /// Waits for what the server does next, at most for `longest`; `None` when it did nothing. A transfer that stands
    /// still gives up its slot.
    async fn hear<T>(&self, longest: Duration, next: impl Future<Output = T>) -> Option<T> {
        let mut next = std::pin::pin!(next);
        let deadline = Instant::now() + longest;
        while self.slot.is_held() {
            let look = Instant::now() + PACE_TIME;
            if look >= deadline {
                break;
            }
            if let Ok(heard) = tokio::time::timeout_at(look, &mut next).await {
                return Some(heard);
            }
            self.note_pace(0);
        }
        tokio::time::timeout_at(deadline, next).await.ok()
    }

    /// Counts bytes for the pace, and leaves the slot to others if it is too slow.
    fn note_pace(&self, count: u64) {
        let now = Instant::now();
        let mut part_map = self.part_map();
        let (since, bytes) = part_map.pace;
        let bytes = bytes.saturating_add(count);
        let due = now.saturating_duration_since(since) >= PACE_TIME;
        part_map.pace = if due { (now, 0) } else { (since, bytes) };
        drop(part_map);
        if due && bytes < PACE {
            self.slot.step_aside();
        }
    }

    /// The transfer had to wait for so long, which is not the server's fault.
    pub(super) fn excuse(&self, waited: Duration) {
        self.part_map().progress.excuse(waited);
    }

    async fn get(&self, range: Option<ByteRange>) -> Result<Download, Break> {
        let validator = self.part_map().validator.clone().filter(|_| range.is_some());
        let begun = Instant::now();
        let asked = self.inner.origin.get(&self.url, range, validator.as_deref());
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

    async fn receive_whole(&self) -> Result<(), Break> {
        let from = self.part_map().parts.first().map_or(0, |part| part.done);
        let end = self.part_map().parts.first().map_or(u64::MAX, |part| part.end);
        if from == end && self.part_map().validator.is_some() {
            return Ok(());
        }
        let download = self.get((from > 0).then(|| ByteRange::from(from))).await?;
        self.receive_one(download, from).await
    }

    /// Takes a download as the whole file, or as the rest of it from `from` on.
    async fn receive_one(&self, download: Download, from: u64) -> Result<(), Break> {
        let mut from = from;
        if download.offset != from {
            if download.offset != 0 {
                let message = format!("asked for byte {from}, got byte {}", download.offset);
                return Err(self.protocol(message));
            }
            // Ranges are ignored, or the content has changed: what comes is the whole file.
            from = 0;
        } else if from > 0 && self.part_map().is_other(download.validator.as_deref()) {
            return Err(Break::Changed);
        }
        let size = self.expected.or(download.total);
        if from == 0 {
            self.empty().map_err(Break::Store)?;
            let mut part_map = self.part_map();
            part_map.begin_anew(size, self.target.digester());
            part_map.validator.clone_from(&download.validator);
        }
        if self.expected.is_none() {
            self.reserve(size).await?;
        }
        if self.is_on_disk() && size.is_some_and(|size| size >= RECORD_FROM) {
            self.save_record().await?;
        }
        self.in_flight.set_total(size.unwrap_or(0));
        let piece = Piece {
            index: 0,
            from,
            end: size.unwrap_or(u64::MAX),
        };
        let never = CancellationToken::new();
        self.copy_body(download, piece, &never).await?;
        self.close_whole()
    }

    /// At the end of a file of unknown length, what has come is all.
    fn close_whole(&self) -> Result<(), Break> {
        let mut part_map = self.part_map();
        if let Some(part) = part_map.parts.first_mut() {
            if part.end == u64::MAX {
                part.end = part.done;
            } else if part.done < part.end {
                return Err(Break::WrongLength(part.done));
            }
        }
        Ok(())
    }

    async fn reserve(&self, size: Option<u64>) -> Result<(), Break> {
        let (store, key) = (Arc::clone(&self.inner.store), self.in_flight.key.clone());
        let size = size.unwrap_or(self.likely);
        if size > self.limit {
            let limit = self.limit;
            return Err(self.protocol(format!(
                "the server says that the file has {size} bytes, more than the {limit} that it may have"
            )));
        }
        let reserved = tokio::task::spawn_blocking(move || store.reserve(&key, size)).await;
        match reserved {
            Ok(result) => result.map_err(Break::Store),
            Err(error) => Err(Break::Store(self.write_error(std::io::Error::other(error)))),
        }
    }

    /// Writes what a download brings for a piece. Whatever happens, no write is under way when this returns.
    async fn copy_body(
        &self,
        download: Download,
        piece: Piece,
        halt: &CancellationToken,
    ) -> Result<Ended, Break> {
        let Download {
            body, total, length, ..
        } = download;
        let mut body = body;
        let mut writer = Writer::new(self, piece);
        let mut heard = Instant::now();
        let ended = loop {
            if writer.received == piece.end {
                break Ok(Ended::Done);
            }
            let patience = match self.patience(heard) {
                Ok(patience) => patience,
                Err(stop) => break Err(stop),
            };
            let behind = writer.is_behind();
            let wait = if behind {
                patience.min(GATHER_TIME)
            } else {
                patience
            };
            let next = tokio::select! {
                biased;
                () = halt.cancelled() => break Ok(Ended::Halted),
                next = self.hear(wait, body.next()) => next,
            };
            match next {
                Some(Some(Ok(bytes))) => {
                    heard = Instant::now();
                    self.note_bytes(&bytes, piece.end - writer.received);
                    if let Err(stop) = writer.take(bytes).await {
                        break Err(stop);
                    }
                }
                Some(Some(Err(error))) => break Err(self.broken(error)),
                Some(None) if piece.end == u64::MAX => break Ok(Ended::Done),
                Some(None) if total.is_none() && length.is_none() => {
                    break Err(Break::WrongLength(writer.received));
                }
                Some(None) => {
                    let message = format!("the data ended at byte {} of {}", writer.received, piece.end);
                    let error = RemoteError::new(RemoteErrorKind::Interrupted, &self.url, message);
                    break Err(self.broken(error));
                }
                None if behind => {
                    if let Err(stop) = writer.catch_up().await {
                        break Err(stop);
                    }
                }
                // At the beginning of the loop it is seen whether that was too long.
                None => {}
            }
        };
        let written = writer.catch_up().await;
        match ended {
            Err(stop) => Err(stop),
            Ok(ended) => written.map(|()| ended),
        }
    }

    /// Counts bytes that have come, of which `room` belong to the piece.
    fn note_bytes(&self, bytes: &Bytes, room: u64) {
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.inner.metrics.bytes.add(count);
        self.slot.lane().note_move();
        self.part_map().progress.note(count.min(room), Instant::now());
        self.note_pace(count);
    }

    /// Bytes of a piece are in the file up to `done`.
    async fn wrote(&self, piece: Piece, done: u64) -> Result<(), Break> {
        let due = {
            let mut part_map = self.part_map();
            if let Some(part) = part_map.parts.get_mut(piece.index) {
                part.done = part.done.max(done);
            }
            let arrived = part_map.arrived();
            part_map.advance();
            self.in_flight.set_done(arrived);
            let (when, bytes) = part_map.recorded;
            // One stream needs no more than its first record: the length of the partial file tells the rest.
            part_map.parts.len() > 1 && (arrived >= bytes + RECORDED || when.elapsed() >= RECORD_TIME)
        };
        if due { self.save_record().await } else { Ok(()) }
    }

    async fn save_record(&self) -> Result<(), Break> {
        let record = {
            let mut part_map = self.part_map();
            if part_map.validator.is_none() {
                return Ok(());
            }
            part_map.recorded = (Instant::now(), part_map.arrived());
            part_map.record(self.url.as_str())
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
