//! The system calls that make bytes and names survive a power failure, in one place: on a running machine their effect
//! cannot be seen, so that tests look at the calls.

#[cfg(test)]
use std::collections::BTreeMap;
#[cfg(test)]
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
#[cfg(test)]
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cap_std::fs::Dir;
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// The number of files from which the whole file system is synced at once, which costs one commit of its journal:
/// measured with 2,000 files of 16 KiB in batches of 100, a third of the time that fdatasync by 16 threads takes.
const MANY: usize = 16;
/// The number of files that are synced at the same time else.
const THREADS: usize = 8;
/// A file system whose sync takes longer than `LONG` has more to write than our files: for the next `PATIENCE` batches
/// files are synced one by one.
const LONG: Duration = Duration::from_secs(1);
const PATIENCE: usize = 100;

/// Makes bytes and names durable.
#[derive(Debug, Default)]
pub(super) struct Durability {
    /// The number of batches for which files are still synced one by one.
    one_by_one: AtomicUsize,
    #[cfg(test)]
    done: Mutex<Vec<Sync>>,
}

/// Bytes or names that were made durable.
#[cfg(test)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Sync {
    /// The bytes of a file, by its inode.
    Data(u64, Vec<u8>),
    /// The names in a directory, by its inode, and theirs.
    Names(u64, BTreeMap<OsString, u64>),
}

#[cfg(test)]
impl Sync {
    fn data(file: &File) -> Self {
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        Self::Data(file.metadata().unwrap().ino(), bytes)
    }

    fn names(dir: &Dir) -> Self {
        let inode = cap_std::fs::MetadataExt::ino(&dir.dir_metadata().unwrap());
        let names = dir.entries().unwrap().map(Result::unwrap);
        let names = names.map(|entry| {
            let metadata = entry.metadata().unwrap();
            (entry.file_name(), cap_std::fs::MetadataExt::ino(&metadata))
        });
        Self::Names(inode, names.collect())
    }
}

impl Durability {
    /// Makes the bytes of a file durable.
    pub(super) fn data(&self, file: &File) -> io::Result<()> {
        file.sync_data()?;
        self.note_data(file);
        Ok(())
    }

    /// Makes the bytes of many files durable, with a result for each. `file_system` is a file of the same file system
    /// that was opened before these were written.
    pub(super) fn data_of(&self, files: &[&File], file_system: Option<&File>) -> Vec<io::Result<()>> {
        if let Some(file_system) = file_system
            && files.len() >= MANY
            && self.sync_all(file_system)
        {
            for file in files {
                self.note_data(file);
            }
            return files.iter().map(|_| Ok(())).collect();
        }
        self.sync_each(files)
    }

    /// Syncs a whole file system; false if that failed, cannot report errors, or is slower for now.
    fn sync_all(&self, file_system: &File) -> bool {
        let lower = |left: usize| left.checked_sub(1);
        let skipped = self
            .one_by_one
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, lower);
        if skipped.is_ok() || !tells_errors() {
            return false;
        }
        let begun = Instant::now();
        // It reports an error of any file since the last call; syncing each file then shows of which.
        let synced = rustix::fs::syncfs(file_system);
        if begun.elapsed() > LONG {
            self.one_by_one.store(PATIENCE, Ordering::Relaxed);
        }
        synced.is_ok()
    }

    fn sync_each(&self, files: &[&File]) -> Vec<io::Result<()>> {
        if let [file] = files {
            return vec![self.data(file)];
        }
        let left = Mutex::new(files.iter().enumerate());
        let results = Mutex::new(Vec::with_capacity(files.len()));
        std::thread::scope(|scope| {
            for _ in 0..THREADS.min(files.len()) {
                scope.spawn(|| {
                    loop {
                        let next = left.lock().next();
                        let Some((at, file)) = next else { return };
                        let result = self.data(file);
                        results.lock().push((at, result));
                    }
                });
            }
        });
        let mut results = results.into_inner();
        results.sort_by_key(|(at, _)| *at);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// Makes the names in a directory durable. A `Dir` is only a place; to be synced it has to be opened for reading.
    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, reason = "tests write down what was done")
    )]
    pub(super) fn names(&self, dir: &Dir) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::openat(dir.as_fd(), ".", flags, Mode::empty())?;
        match rustix::fs::fsync(open) {
            // Some network file systems know no such thing: their servers make names durable as they see fit.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
        #[cfg(test)]
        self.done.lock().push(Sync::names(dir));
        Ok(())
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests write down what was done")]
    const fn note_data(&self, _: &File) {}

    #[cfg(test)]
    fn note_data(&self, file: &File) {
        self.done.lock().push(Sync::data(file));
    }

    /// The syncs so far, in order.
    #[cfg(test)]
    pub(super) fn done(&self) -> Vec<Sync> {
        self.done.lock().clone()
    }
}

/// Whether `syncfs` reports bytes that could not be written: from Linux 5.8 on.
fn tells_errors() -> bool {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|byte: char| !byte.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse::<u32>().ok());
    (next(), next()) >= (Some(5), Some(8))
}
