//! Hashing while bytes arrive, so that the digest is nearly done when the last byte comes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use sha1::{Digest as _, Sha1};
use tokio::task::JoinHandle;

use crate::crds::Sha1Sum;

/// Bytes hashed at a time.
const BUFFER: u64 = 1 << 20;

/// Bytes of a transfer that are kept in memory until they are hashed, at most.
const KEPT: usize = 4 << 20;

/// Follows the frontier of a file, below which no byte is missing, and hashes the bytes below it on a blocking thread.
///
/// Bytes that arrive at the frontier are hashed as they come. Others, which came over other connections before their time,
/// are read back from the page cache.
pub(super) struct Digester {
    file: Arc<File>,
    shared: Arc<Mutex<Shared>>,
    stage: Stage,
}

/// The input of the hashing thread, shared with it.
#[derive(Default)]
struct Shared {
    frontier: u64,
    /// Bytes in memory that are to be hashed, by their offset in the file. All bytes before them are on the disk or
    /// here as well.
    kept: BTreeMap<u64, Vec<Bytes>>,
    kept_bytes: usize,
    /// One past the last of them.
    kept_end: u64,
}

enum Stage {
    Idle(Progress),
    Busy(JoinHandle<io::Result<Progress>>),
    Broken,
}

struct Progress {
    hasher: Sha1,
    hashed: u64,
    buffer: Vec<u8>,
}

/// The next bytes to hash.
enum Next {
    Bytes(Vec<Bytes>),
    /// The number of bytes to read back from the file.
    File(u64),
    Nothing,
}

impl Digester {
    pub(super) fn new(file: Arc<File>) -> Self {
        Self {
            file,
            shared: Arc::default(),
            stage: Stage::Idle(Progress {
                hasher: Sha1::new(),
                hashed: 0,
                buffer: Vec::new(),
            }),
        }
    }

    /// Offers bytes that have arrived and will be written at offset `from`; if it is their turn they are hashed from
    /// memory.
    pub(super) fn offer(&mut self, from: u64, chunks: &[Bytes]) {
        {
            let mut shared = self.shared.lock();
            let in_turn = from == shared.frontier || from == shared.kept_end;
            let count: usize = chunks.iter().map(Bytes::len).sum();
            if !in_turn || from < shared.kept_end || shared.kept_bytes + count > KEPT {
                return;
            }
            shared.kept.insert(from, chunks.to_vec());
            shared.kept_bytes += count;
            shared.kept_end = from + u64::try_from(count).unwrap_or_default();
        }
        self.start_if_idle();
    }

    /// Raises the frontier, below which the file on the disk has no gaps. Does not wait.
    pub(super) fn advance(&mut self, frontier: u64) {
        {
            let mut shared = self.shared.lock();
            shared.frontier = shared.frontier.max(frontier);
        }
        self.start_if_idle();
    }

    /// The digest of the first `size` bytes, which have all arrived.
    pub(super) async fn finish(mut self, size: u64) -> io::Result<Sha1Sum> {
        self.shared.lock().frontier = size;
        loop {
            match std::mem::replace(&mut self.stage, Stage::Broken) {
                Stage::Idle(progress) if progress.hashed >= size => {
                    return Ok(Sha1Sum::from_bytes(progress.hasher.finalize().into()));
                }
                Stage::Idle(progress) => self.start(progress),
                Stage::Busy(job) => {
                    let progress = job.await.map_err(io::Error::other)??;
                    self.stage = Stage::Idle(progress);
                }
                Stage::Broken => return Err(io::Error::other("the file could not be read back")),
            }
        }
    }

    fn start_if_idle(&mut self) {
        if let Stage::Busy(job) = &mut self.stage {
            match job.now_or_never() {
                None => return,
                Some(Ok(Ok(progress))) => self.stage = Stage::Idle(progress),
                // The bytes could not be read back from the file; `finish` reports it.
                Some(_) => self.stage = Stage::Broken,
            }
        }
        match std::mem::replace(&mut self.stage, Stage::Broken) {
            Stage::Idle(progress) if self.shared.lock().is_worth_it(progress.hashed) => self.start(progress),
            other => self.stage = other,
        }
    }

    fn start(&mut self, mut progress: Progress) {
        let (file, shared) = (Arc::clone(&self.file), Arc::clone(&self.shared));
        let job = tokio::task::spawn_blocking(move || {
            progress.follow(&file, &shared)?;
            Ok(progress)
        });
        self.stage = Stage::Busy(job);
    }
}

impl Shared {
    /// Whether there is enough to hash to start a job on another thread.
    fn is_worth_it(&self, hashed: u64) -> bool {
        let in_memory = u64::try_from(self.kept_bytes).unwrap_or_default() >= BUFFER / 2
            && self
                .kept
                .first_key_value()
                .is_some_and(|(from, _)| *from <= self.frontier.max(hashed));
        in_memory || self.frontier >= hashed + BUFFER
    }

    /// The bytes to hash after the first `hashed` ones.
    fn next(&mut self, hashed: u64) -> Next {
        while let Some(first) = self.kept.first_entry() {
            let from = *first.key();
            if from > hashed {
                let count = from.min(self.frontier).saturating_sub(hashed).min(BUFFER);
                return if count > 0 {
                    Next::File(count)
                } else {
                    Next::Nothing
                };
            }
            let chunks = first.remove();
            self.kept_bytes -= chunks.iter().map(Bytes::len).sum::<usize>();
            if from == hashed {
                return Next::Bytes(chunks);
            }
        }
        match self.frontier.saturating_sub(hashed).min(BUFFER) {
            0 => Next::Nothing,
            count => Next::File(count),
        }
    }
}

impl Progress {
    /// Hashes until it has caught up.
    fn follow(&mut self, file: &File, shared: &Mutex<Shared>) -> io::Result<()> {
        loop {
            let next = shared.lock().next(self.hashed);
            match next {
                Next::Nothing => return Ok(()),
                Next::Bytes(chunks) => {
                    for chunk in chunks {
                        self.take(&chunk);
                    }
                }
                Next::File(count) => self.read_back(file, count)?,
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.hashed += u64::try_from(bytes.len()).unwrap_or_default();
    }

    fn read_back(&mut self, file: &File, count: u64) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let wanted = usize::try_from(count).unwrap_or(usize::MAX);
        if buffer.len() < wanted {
            buffer.resize(wanted, 0);
        }
        let room = buffer.get_mut(..wanted).unwrap_or_default();
        let read = match file.read_at(room, self.hashed) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.take(room.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        };
        self.buffer = buffer;
        read
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content() -> Vec<u8> {
        (0..5_000_000_u32).map(|at| (at % 251) as u8).collect()
    }

    fn sum(bytes: &[u8]) -> Sha1Sum {
        Sha1Sum::from_bytes(Sha1::digest(bytes).into())
    }

    #[tokio::test]
    async fn hashes_in_any_rhythm() {
        let bytes = content();
        for steps in [
            &[][..],
            &[1, 2, 3],
            &[4_000_000, 1_000_000, 5_000_000],
            &[2_000_000, 5_000_000],
        ] {
            let file = Arc::new(tempfile::tempfile().unwrap());
            file.write_all_at(&bytes, 0).unwrap();
            let mut digester = Digester::new(Arc::clone(&file));
            for step in steps {
                digester.advance(*step);
                tokio::task::yield_now().await;
            }
            assert_eq!(
                digester.finish(5_000_000).await.unwrap(),
                sum(&bytes),
                "{steps:?}"
            );
        }
    }

    #[tokio::test]
    async fn bytes_in_turn_are_not_read_back() {
        let bytes = content();
        let file = Arc::new(tempfile::tempfile().unwrap());
        let mut digester = Digester::new(Arc::clone(&file));
        for (number, chunk) in bytes.chunks(1_000_000).enumerate() {
            let from = number as u64 * 1_000_000;
            digester.offer(
                from,
                &[
                    Bytes::copy_from_slice(&chunk[..400_000]),
                    Bytes::copy_from_slice(&chunk[400_000..]),
                ],
            );
            // Nothing is written at all.
            digester.advance(from + 1_000_000);
            while matches!(&digester.stage, Stage::Busy(job) if !job.is_finished()) {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(digester.finish(5_000_000).await.unwrap(), sum(&bytes));
    }

    #[tokio::test]
    async fn says_when_bytes_are_missing() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        file.write_all_at(&[1; 10], 0).unwrap();
        assert!(Digester::new(file).finish(11).await.is_err());
    }

    /// Pieces come in any order from several streams, are offered, written and then counted.
    async fn follows(bytes: &[u8], order: Vec<usize>, piece: usize) -> Sha1Sum {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let mut digester = Digester::new(Arc::clone(&file));
        let mut here = vec![false; order.len()];
        for number in order {
            let from = number * piece;
            let chunk = &bytes[from..bytes.len().min(from + piece)];
            digester.offer(from as u64, &[Bytes::copy_from_slice(chunk)]);
            file.write_all_at(chunk, from as u64).unwrap();
            here[number] = true;
            let whole = here.iter().take_while(|here| **here).count();
            digester.advance((whole * piece).min(bytes.len()) as u64);
        }
        digester.finish(bytes.len() as u64).await.unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_order_of_arrival_does_not_matter(
            (count, order) in (1..24_usize).prop_flat_map(|count| {
                (Just(count), Just((0..count).collect::<Vec<_>>()).prop_shuffle())
            }),
            short in 0..1000_usize,
        ) {
            let piece = 300_000;
            let bytes = &content()[..(count * piece - short).min(5_000_000)];
            let order: Vec<usize> = order.into_iter().filter(|number| number * piece < bytes.len()).collect();
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
            prop_assert_eq!(runtime.block_on(follows(bytes, order, piece)), sum(bytes));
        }
    }
}
