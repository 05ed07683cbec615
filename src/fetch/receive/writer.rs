//! Writing the bytes of a stream to the disk, or into memory.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rustix::io::{Errno, pwritev};
use tokio::task::JoinHandle;

use super::part_map::Piece;
use super::{Break, Receiver, Target};
use crate::store::{StoreError, is_disk_full};

/// Bytes gathered before they are written.
const GATHERED: usize = 1 << 20;

/// Chunks written by one system call at most.
const CHUNKS: usize = 256;

/// Gathers small chunks of data and writes them on a blocking thread, while the next ones arrive.
pub(super) struct Writer<'a> {
    receiver: &'a Receiver,
    piece: Piece,
    /// One past the last byte that has come, counted from the start of the file.
    pub(super) received: u64,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    /// The write under way, and where it ends.
    job: Option<(JoinHandle<Result<(), StoreError>>, u64)>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(receiver: &'a Receiver, piece: Piece) -> Self {
        Self {
            receiver,
            piece,
            received: piece.from,
            gathered: Vec::new(),
            gathered_bytes: 0,
            job: None,
        }
    }

    /// Whether any byte that has come is not known to be written.
    pub(super) fn is_behind(&self) -> bool {
        !self.gathered.is_empty() || self.job.is_some()
    }

    /// Takes bytes of a part that ends at `end`.
    pub(super) async fn take(&mut self, bytes: Bytes, end: u64) -> Result<(), Break> {
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let room = end.saturating_sub(self.received);
        if count > room && self.receiver.part_map().parts.len() == 1 {
            return Err(Break::WrongLength(self.received.saturating_add(count)));
        }
        let mut bytes = bytes;
        // A part ends where the next one begins, even if the server sends more.
        bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        if end == u64::MAX && self.received > self.receiver.limit {
            let message = format!(
                "the file does not end after the {} bytes that it may have",
                self.receiver.limit
            );
            return Err(self.receiver.protocol(message));
        }
        self.received += u64::try_from(bytes.len()).unwrap_or_default();
        if let Target::Memory(memory) = &self.receiver.target {
            memory.lock().extend_from_slice(&bytes);
            return self.receiver.wrote(self.piece, self.received).await;
        }
        self.gathered_bytes += bytes.len();
        self.gathered.push(bytes);
        if self.gathered_bytes >= GATHERED {
            self.flush().await?;
        }
        Ok(())
    }

    /// Begins to write the gathered bytes, when the write before is done.
    async fn flush(&mut self) -> Result<(), Break> {
        self.settle().await?;
        let Target::Disk(partial) = &self.receiver.target else {
            return Ok(());
        };
        if self.gathered.is_empty() {
            return Ok(());
        }
        let chunks = std::mem::take(&mut self.gathered);
        let from = self.received - u64::try_from(self.gathered_bytes).unwrap_or_default();
        self.gathered_bytes = 0;
        if let Some(digester) = &mut self.receiver.part_map().digester {
            digester.offer(from, &chunks);
        }
        let partial = partial.clone();
        let (store, key) = (
            Arc::clone(&self.receiver.inner.store),
            self.receiver.in_flight.key.clone(),
        );
        let is_first = !self.receiver.claimed.swap(true, Ordering::AcqRel);
        let job = tokio::task::spawn_blocking(move || {
            if is_first {
                store.claim(&key, &partial)?;
            }
            let failed = |error| StoreError::io("write", key.name.as_str(), error);
            match write(&partial.file, from, &chunks) {
                Err(error) if is_disk_full(&error) => {
                    let bytes = chunks.iter().map(Bytes::len).sum::<usize>().max(GATHERED);
                    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
                    store.make_room(&key, bytes).map_err(|_| failed(error))?;
                    write(&partial.file, from, &chunks).map_err(failed)
                }
                other => other.map_err(failed),
            }
        });
        self.job = Some((job, self.received));
        Ok(())
    }

    /// Waits for the write under way.
    async fn settle(&mut self) -> Result<(), Break> {
        let Some((job, done)) = self.job.take() else {
            return Ok(());
        };
        match job.await {
            Ok(Ok(())) => self.receiver.wrote(self.piece, done).await,
            Ok(Err(error)) => Err(Break::Store(error)),
            Err(error) => Err(Break::Store(self.receiver.write_error(io::Error::other(error)))),
        }
    }

    /// Writes all bytes that have come.
    pub(super) async fn catch_up(&mut self) -> Result<(), Break> {
        self.flush().await?;
        self.settle().await
    }
}

/// Writes chunks one after the other from `from` on, many with each system call.
fn write(file: &File, from: u64, chunks: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
    let (mut left, mut at) = (slices.as_mut_slice(), from);
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        let some = left.get(..CHUNKS.min(left.len())).unwrap_or_default();
        match pwritev(file, some, at) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                at += u64::try_from(count).unwrap_or_default();
                IoSlice::advance_slices(&mut left, count);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn writes_many_chunks() {
        let file = tempfile::tempfile().unwrap();
        let chunks: Vec<Bytes> = (0..700_u16)
            .map(|number| vec![number.to_le_bytes()[0]; usize::from(number % 50)].into())
            .collect();
        write(&file, 1000, &chunks).unwrap();
        let whole = chunks.concat();
        let mut read = vec![0; whole.len()];
        file.read_exact_at(&mut read, 1000).unwrap();
        assert_eq!(read, whole);
        assert_eq!(file.metadata().unwrap().len(), 1000 + whole.len() as u64);
        write(&file, 0, &[]).unwrap();
    }
}
