//! A file over one connection.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::part_map::Piece;
use super::{Break, Receiver};
use crate::remote::{ByteRange, Download};

/// Files from this size on have a record from the first byte on, so that they go on after a crash.
const RECORD_FROM: u64 = 256 << 10;

impl Receiver {
    pub(super) async fn receive_whole(&self) -> Result<(), Break> {
        let validator = self.validator();
        let (from, end) = {
            let part_map = self.part_map();
            let part = part_map.parts.first();
            (
                part.map_or(0, |part| part.done),
                part.map_or(u64::MAX, |part| part.end),
            )
        };
        if from == end && validator.is_some() {
            return Ok(());
        }
        let (range, validator) = if from > 0 {
            (Some(ByteRange::from(from)), validator)
        } else {
            (None, None)
        };
        let download = self.get(range, validator.as_deref()).await?;
        self.receive_one(download, from).await
    }

    /// Takes a download as the whole file, or as the rest of it from `from` on.
    pub(super) async fn receive_one(&self, download: Download, from: u64) -> Result<(), Break> {
        let mut from = from;
        if download.offset != from {
            if download.offset != 0 {
                let message = format!("asked for byte {from}, got byte {}", download.offset);
                return Err(self.protocol(message));
            }
            // Ranges are ignored, or the content has changed: the whole file comes.
            from = 0;
        } else if from > 0 && self.is_other(&download) {
            return Err(Break::Changed);
        }
        let size = self.expected.or(download.total);
        if from == 0 {
            self.empty().map_err(Break::Store)?;
            self.part_map().begin_anew(size, self.target.digester());
        }
        self.note_version(&download);
        if self.expected.is_none() {
            self.reserve(size).await?;
        }
        if self.is_on_disk() && size.is_some_and(|size| size >= RECORD_FROM) {
            self.save_record().await?;
        }
        self.in_flight.set_total(size.unwrap_or(0));
        let never = CancellationToken::new();
        self.copy_body(download, Piece { start: 0, from }, &never).await?;
        self.close_whole()
    }

    /// Ends the file: one of unknown length has the bytes that have come; another one fails if it is too short.
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
}
