//! The body of a response: copying it, and the time that it may take.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::part_map::Piece;
use super::writer::Writer;
use super::{Break, Ended, Receiver};
use crate::fetch::lanes::PACE_TIME;
use crate::fetch::sources::TIER_PATIENCE;
use crate::remote::{Download, RemoteError, RemoteErrorKind};

/// The longest time that bytes wait for others before they are written.
const GATHER_TIME: Duration = Duration::from_millis(200);
/// A write that takes longer than this is left out of the time that the server has.
const SLOW_WRITE: Duration = Duration::from_millis(20);
/// The bytes in [`PACE_TIME`] below which a transfer leaves its slot to others.
const PACE: u64 = 1 << 10;

impl Receiver {
    /// The longest time to wait now for the next byte, after the last one came at `heard`. Fails when there is none
    /// left.
    pub(super) fn patience(&self, heard: Instant) -> Result<Duration, Break> {
        let settings = &self.inner.settings;
        let now = Instant::now();
        let (idle, farthest) = {
            let part_map = self.part_map();
            (part_map.progress.idle(now), part_map.progress.farthest())
        };
        let left = settings.timeout.saturating_sub(idle);
        let silent = now.saturating_duration_since(heard);
        let longest = if self.is_of_tier() {
            settings.stall_timeout.min(TIER_PATIENCE)
        } else {
            settings.stall_timeout
        };
        let patience = longest.saturating_sub(silent).min(left);
        if !patience.is_zero() {
            return Ok(patience);
        }
        let message = if left.is_zero() {
            let timeout = settings.timeout.as_secs_f64();
            format!("no progress beyond byte {farthest} for {timeout:.1} s")
        } else {
            format!("no byte has come for {:.1} s", silent.as_secs_f64())
        };
        Err(self.broken(RemoteError::new(RemoteErrorKind::TimedOut, self.url(), message)))
    }

    /// Waits for `next`, an event of the server, for `longest` at most; `None` when it did not come. A transfer that
    /// stands still gives up its slot.
    pub(super) async fn hear<T>(&self, longest: Duration, next: impl Future<Output = T>) -> Option<T> {
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
        let due = self.part_map().note_pace(count, now);
        self.end_interval(due, now);
    }

    /// Ends an interval of the pace with these bytes, if it is over.
    fn end_interval(&self, due: Option<u64>, now: Instant) {
        let Some(bytes) = due else { return };
        self.in_flight.note_rate(bytes, now);
        if bytes < PACE {
            self.slot.step_aside();
        }
    }

    /// Leaves a wait for a slot, or for the disk, out of the time without progress.
    pub(in crate::fetch) fn excuse(&self, waited: Duration) {
        self.part_map().progress.excuse(waited, Instant::now());
    }

    /// Leaves a write that has begun at `begun` out of the time without progress, if it was slow; returns the present time.
    fn excuse_since(&self, begun: Instant) -> Instant {
        let now = Instant::now();
        let waited = now.saturating_duration_since(begun);
        if waited >= SLOW_WRITE {
            self.excuse(waited);
        }
        now
    }

    /// Writes the body of a download into a piece. No write is under way when this returns, with an error either.
    pub(super) async fn copy_body(
        &self,
        download: Download,
        piece: Piece,
        halt: &CancellationToken,
    ) -> Result<Ended, Break> {
        let mut writer = Writer::new(self, piece);
        let ended = self.read_body(download, piece, halt, &mut writer).await;
        let written = writer.catch_up().await;
        match ended {
            Err(stop) => Err(stop),
            Ok(ended) => written.map(|()| ended),
        }
    }

    async fn read_body(
        &self,
        download: Download,
        piece: Piece,
        halt: &CancellationToken,
        writer: &mut Writer<'_>,
    ) -> Result<Ended, Break> {
        let Download {
            body, total, length, ..
        } = download;
        let mut body = body;
        let mut heard = Instant::now();
        let mut end = self.part_map().end_of(piece);
        while writer.received < end {
            if halt.is_cancelled() {
                return Ok(Ended::Halted);
            }
            // Bytes that are there already need no timer.
            let mut next = body.next().now_or_never();
            if next.is_none() {
                let patience = self.patience(heard)?;
                let wait = if writer.is_behind() {
                    patience.min(GATHER_TIME)
                } else {
                    patience
                };
                next = tokio::select! {
                    biased;
                    () = halt.cancelled() => return Ok(Ended::Halted),
                    next = self.hear(wait, body.next()) => next,
                };
            }
            match next {
                Some(Some(Ok(bytes))) => {
                    heard = Instant::now();
                    end = self.note_bytes(piece, writer.received, bytes.len(), heard)?;
                    writer.take(bytes, end).await?;
                    heard = self.excuse_since(heard);
                }
                Some(Some(Err(error))) => return Err(self.broken(error)),
                Some(None) if end == u64::MAX => return Ok(Ended::Done),
                Some(None) if total.is_none() && length.is_none() => {
                    return Err(Break::WrongLength(writer.received));
                }
                Some(None) => {
                    let message = format!("the data ended at byte {} of {end}", writer.received);
                    let error = RemoteError::new(RemoteErrorKind::Interrupted, self.url(), message);
                    return Err(self.broken(error));
                }
                None if writer.is_behind() => {
                    let begun = Instant::now();
                    writer.catch_up().await?;
                    heard += self.excuse_since(begun).saturating_duration_since(begun);
                }
                // The loop checks before the next wait if that was too long.
                None => {}
            }
            // Another stream may have taken over the end of the part.
            end = self.part_map().end_of(piece);
        }
        Ok(Ended::Done)
    }

    /// Counts bytes that a stream has read from offset `read` on; returns the end of its part. Fails when the time
    /// limit is over.
    fn note_bytes(&self, piece: Piece, read: u64, count: usize, now: Instant) -> Result<u64, Break> {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.inner.metrics.bytes.add(count);
        self.slot.lane().note_bytes();
        let (end, due, idle) = {
            let mut part_map = self.part_map();
            let end = part_map.note_read(piece, read, count, now);
            (end, part_map.note_pace(count, now), part_map.progress.idle(now))
        };
        self.end_interval(due, now);
        if idle >= self.inner.settings.timeout {
            self.patience(now)?;
        }
        Ok(end)
    }
}
