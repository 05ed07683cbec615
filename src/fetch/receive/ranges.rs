//! A large file over several ranged requests at a time.

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::part_map::Piece;
use super::{Break, Ended, Receiver};
use crate::remote::{ByteRange, Download};

impl Receiver {
    /// Receives all parts, several at a time, or the whole file where the server ignores ranges.
    pub(super) async fn receive_parts(&self) -> Result<(), Break> {
        let Some(first) = self.part_map().next_piece(&[]) else {
            return Ok(());
        };
        let download = self.get_piece(first).await?;
        let size = self.expected.unwrap_or_default();
        let length = download.length.or(download.total).unwrap_or(u64::MAX);
        if download.offset != first.from || (first.from == 0 && length > first.end) {
            if download.offset != 0 {
                return Err(self.protocol(format!(
                    "asked for byte {}, got byte {}",
                    first.from, download.offset
                )));
            }
            if self.part_map().arrived() > 0 && self.part_map().is_other(download.validator.as_deref()) {
                return Err(Break::Changed);
            }
            log::debug!(
                "{} comes in one stream: its server ignores ranges",
                self.in_flight.key
            );
            return self.receive_one(download, 0).await;
        }
        if self.part_map().is_other(download.validator.as_deref()) {
            return Err(Break::Changed);
        }
        {
            let mut part_map = self.part_map();
            if part_map.validator.is_none() {
                part_map.validator.clone_from(&download.validator);
            }
        }
        self.in_flight.set_total(size);
        self.save_record().await?;
        let (halt, taken) = (CancellationToken::new(), Mutex::new(vec![first.index]));
        let mut begun = Some((download, first));
        let streams =
            (0..self.inner.settings.streams.max(1)).map(|_| self.stream(begun.take(), &taken, &halt));
        join_all(streams)
            .await
            .into_iter()
            .find(Result::is_err)
            .unwrap_or(Ok(()))
    }

    /// One of several streams: takes one piece after the other. Its failure halts the others, which put away what they
    /// have; none is cut off in the middle of a write.
    async fn stream(
        &self,
        begun: Option<(Download, Piece)>,
        taken: &Mutex<Vec<usize>>,
        halt: &CancellationToken,
    ) -> Result<(), Break> {
        let mut begun = begun;
        loop {
            let result = match begun.take() {
                Some((download, piece)) => self.copy_body(download, piece, halt).await,
                None => match self.take_piece(taken).filter(|_| !halt.is_cancelled()) {
                    Some(piece) => self.fetch_part(piece, halt).await,
                    None => return Ok(()),
                },
            };
            match result {
                Ok(Ended::Done) => {}
                Ok(Ended::Halted) => return Ok(()),
                Err(stop) => {
                    halt.cancel();
                    return Err(stop);
                }
            }
        }
    }

    fn take_piece(&self, taken: &Mutex<Vec<usize>>) -> Option<Piece> {
        let mut taken = taken.lock();
        let piece = self.part_map().next_piece(&taken)?;
        taken.push(piece.index);
        Some(piece)
    }

    async fn fetch_part(&self, piece: Piece, halt: &CancellationToken) -> Result<Ended, Break> {
        let download = tokio::select! {
            () = halt.cancelled() => return Ok(Ended::Halted),
            asked = self.get_piece(piece) => asked?,
        };
        if download.offset != piece.from || self.part_map().is_other(download.validator.as_deref()) {
            return Err(Break::Changed);
        }
        self.copy_body(download, piece, halt).await
    }

    async fn get_piece(&self, piece: Piece) -> Result<Download, Break> {
        let range = ByteRange {
            start: piece.from,
            end: Some(piece.end),
        };
        self.get(Some(range)).await
    }
}
