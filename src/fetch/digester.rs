//! Hashing behind the bytes that arrive: the digest is nearly done when the last byte comes.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt as _;
use sha1::{Digest as _, Sha1};
use tokio::task::JoinHandle;

use crate::crds::Sha1Sum;

/// Bytes read at a time.
const BUFFER: u64 = 1 << 20;

/// Follows the frontier of a file, below which no byte is missing, and hashes what lies behind it on a blocking thread.
/// The bytes are read back from the page cache, so that they may arrive over several connections.
pub(super) struct Digester {
    file: Arc<File>,
    frontier: Arc<AtomicU64>,
    stage: Stage,
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

impl Digester {
    pub(super) fn new(file: Arc<File>) -> Self {
        Self {
            file,
            frontier: Arc::default(),
            stage: Stage::Idle(Progress {
                hasher: Sha1::new(),
                hashed: 0,
                buffer: Vec::new(),
            }),
        }
    }

    /// There are no gaps below `frontier` any more. Does not wait.
    pub(super) fn advance(&mut self, frontier: u64) {
        self.frontier.fetch_max(frontier, Ordering::Release);
        if let Stage::Busy(job) = &mut self.stage {
            match job.now_or_never() {
                None => return,
                Some(Ok(Ok(progress))) => self.stage = Stage::Idle(progress),
                // Reading back what was just written has failed; `finish` tries again and reports it.
                Some(_) => self.stage = Stage::Broken,
            }
        }
        if matches!(&self.stage, Stage::Idle(progress) if frontier >= progress.hashed + BUFFER) {
            self.start();
        }
    }

    /// The digest of the first `size` bytes, which have all arrived.
    pub(super) async fn finish(mut self, size: u64) -> io::Result<Sha1Sum> {
        self.frontier.store(size, Ordering::Release);
        loop {
            match std::mem::replace(&mut self.stage, Stage::Broken) {
                Stage::Idle(progress) if progress.hashed >= size => {
                    return Ok(Sha1Sum::from_bytes(progress.hasher.finalize().into()));
                }
                idle @ Stage::Idle(_) => {
                    self.stage = idle;
                    self.start();
                }
                Stage::Busy(job) => {
                    let progress = job.await.map_err(io::Error::other)??;
                    self.stage = Stage::Idle(progress);
                }
                Stage::Broken => return Err(io::Error::other("the file could not be read back")),
            }
        }
    }

    fn start(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Broken) {
            Stage::Idle(mut progress) => {
                let (file, frontier) = (Arc::clone(&self.file), Arc::clone(&self.frontier));
                let job = tokio::task::spawn_blocking(move || {
                    progress.follow(&file, &frontier)?;
                    Ok(progress)
                });
                self.stage = Stage::Busy(job);
            }
            other => self.stage = other,
        }
    }
}

impl Progress {
    /// Hashes until it has caught up with the frontier.
    fn follow(&mut self, file: &File, frontier: &AtomicU64) -> io::Result<()> {
        loop {
            let missing = frontier.load(Ordering::Acquire).saturating_sub(self.hashed);
            if missing == 0 {
                return Ok(());
            }
            let wanted = usize::try_from(missing.min(BUFFER)).unwrap_or(usize::MAX);
            if self.buffer.len() < wanted {
                self.buffer.resize(wanted, 0);
            }
            let room = self.buffer.get_mut(..wanted).unwrap_or_default();
            match file.read_at(room, self.hashed) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.hasher.update(room.get(..count).unwrap_or_default());
                    self.hashed += u64::try_from(count).unwrap_or_default();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hashes_in_any_rhythm() {
        let bytes: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
        let expected = Sha1Sum::from_bytes(Sha1::digest(&bytes).into());
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
            assert_eq!(digester.finish(5_000_000).await.unwrap(), expected, "{steps:?}");
        }
    }

    #[tokio::test]
    async fn says_when_bytes_are_missing() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        file.write_all_at(&[1; 10], 0).unwrap();
        assert!(Digester::new(file).finish(11).await.is_err());
    }
}
