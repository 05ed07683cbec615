//! A large file over several ranged requests at a time, as many as help.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::part_map::Piece;
use super::{Break, Ended, RECORD_TIME, Receiver};
use crate::remote::{ByteRange, Download, RemoteErrorKind, Retry};

/// The end of a stream, and the piece that it received.
struct Over {
    piece: Piece,
    result: Result<Ended, Break>,
    /// Whether the server answered its request with data.
    answered: bool,
}

impl Receiver {
    /// Receives all parts, several at a time, or the whole file where the server ignores ranges.
    pub(super) async fn receive_parts(&self) -> Result<(), Break> {
        let Some(first) = self.take_piece() else {
            return Ok(());
        };
        let validator = self.validator();
        let download = self.get_piece(first, validator.as_deref()).await?;
        let size = self.expected.unwrap_or_default();
        let length = download.length.or(download.total).unwrap_or(u64::MAX);
        let end = self.part_map().end_of(first);
        if download.offset != first.from || (first.from == 0 && length > end) {
            if download.offset != 0 {
                return Err(self.protocol(format!(
                    "asked for byte {}, got byte {}",
                    first.from, download.offset
                )));
            }
            if self.part_map().arrived() > 0 && self.is_other(&download) {
                return Err(Break::Changed);
            }
            log::debug!(
                "{} comes in one stream: its server ignores ranges",
                self.in_flight.key
            );
            return self.receive_one(download, 0).await;
        }
        if self.is_other(&download) {
            return Err(Break::Changed);
        }
        self.note_version(&download);
        self.in_flight.set_total(size);
        self.save_record().await?;
        self.run_streams(first, download).await
    }

    /// Runs as many streams as are wanted, the first of which has begun. The failure of one halts the others, which
    /// write the bytes that they have; none is cut off in the middle of a write. Where the server only wants fewer, the
    /// others go on.
    async fn run_streams(&self, first: Piece, download: Download) -> Result<(), Break> {
        let halt = CancellationToken::new();
        let mut result = Ok(());
        let mut streams = FuturesUnordered::new();
        streams.push(self.stream(first, Some(download), &halt));
        let about_to_end = Arc::clone(&self.part_map().about_to_end);
        loop {
            while !halt.is_cancelled() && streams.len() < self.part_map().wanted(Instant::now()) {
                let Some(piece) = self.take_piece() else { break };
                streams.push(self.stream(piece, None, &halt));
            }
            let look_at = self.part_map().stream_count.due(Instant::now());
            let record_at = self.part_map().recorded.0 + RECORD_TIME;
            tokio::select! {
                biased;
                over = streams.next() => {
                    let Some(over) = over else { return result };
                    self.part_map().put_back(over.piece, Instant::now());
                    match (refusal(&over), over.result) {
                        (_, Ok(Ended::Done | Ended::Halted)) => {}
                        (Some(pause), Err(_)) if !streams.is_empty() && !halt.is_cancelled() => {
                            self.inner.metrics.retries.add(1);
                            let now = Instant::now();
                            self.part_map().stream_count.refused(now, pause, streams.len());
                        }
                        (_, Err(stop)) => {
                            halt.cancel();
                            result = result.and(Err(stop));
                        }
                    }
                }
                () = about_to_end.notified() => {}
                () = tokio::time::sleep_until(look_at) => self.part_map().look_at_streams(Instant::now()),
                // A record of the progress also when all streams have stopped: they write none then.
                () = tokio::time::sleep_until(record_at) => result = result.and(self.save_progress().await),
            }
        }
    }

    /// A stream that receives one piece, from the download `begun` if there is one.
    async fn stream(&self, piece: Piece, begun: Option<Download>, halt: &CancellationToken) -> Over {
        let over = |result, answered| Over {
            piece,
            result,
            answered,
        };
        let download = if let Some(download) = begun {
            download
        } else {
            let asked = tokio::select! {
                () = halt.cancelled() => return over(Ok(Ended::Halted), false),
                // The version is compared in the reply; a condition makes some caches read the file from its start.
                asked = self.get_piece(piece, None) => asked,
            };
            match asked {
                Err(stop) => return over(Err(stop), false),
                Ok(other) if other.offset != piece.from || self.is_other(&other) => {
                    return over(Err(Break::Changed), true);
                }
                Ok(download) => download,
            }
        };
        over(self.copy_body(download, piece, halt).await, true)
    }

    fn take_piece(&self) -> Option<Piece> {
        self.part_map()
            .take_piece(self.inner.settings.least, Instant::now())
    }

    async fn get_piece(&self, piece: Piece, if_range: Option<&str>) -> Result<Download, Break> {
        let range = ByteRange {
            start: piece.from,
            end: Some(self.part_map().end_of(piece)),
        };
        self.get(Some(range), if_range).await
    }
}

/// The time for which the server wants fewer streams, as it is busy or did not answer one of several; `None` for any
/// other end.
fn refusal(over: &Over) -> Option<Duration> {
    let Err(Break::Remote { error, .. }) = &over.result else {
        return None;
    };
    if over.answered || (error.kind != RemoteErrorKind::Busy && error.retry == Retry::No) {
        return None;
    }
    Some(match error.retry {
        Retry::After(pause) => pause,
        Retry::Soon | Retry::No => Duration::ZERO,
    })
}
