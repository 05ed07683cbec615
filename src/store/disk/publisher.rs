//! Publication in the background: verified files, which can be opened already, are made durable in batches and get
//! their final names.
//!
//! It runs on a thread of its own, begun with the first file. The number and size of files that are not yet durable are
//! bounded: beyond that publication waits. Files that come within [`GATHER`] are one batch, so that the file system's
//! journal is committed once for many of them.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use cap_std::fs::Dir;
use parking_lot::{Condvar, Mutex};
use rustix::process::{Resource, getrlimit};

use super::file_state::{Event, State};
use super::files::{digest, identity_at, is_young_part, opened_identity};
use super::index::Entry;
use super::moments::Moment;
use super::naming::make_dirs;
use super::partials::partial_path;
use super::possession::Access;
use super::{Disk, Guard};
use crate::crds::FileKey;
use crate::store::layout::place;
use crate::store::verified::{Identity, Mark};
use crate::store::{StoreError, Unkept};

/// The time that the first file of a batch waits for others.
const GATHER: Duration = Duration::from_millis(50);
/// The number of files, or bytes, from which a batch does not wait for more.
const BATCH_FILES: usize = 64;
const BATCH_BYTES: u64 = 32 << 20;
/// The most files, and bytes, that may be verified and not yet durable; one file is always admitted.
const PENDING_FILES: usize = 1_000;
/// The share of the limit of descriptors for one such file, which has two: all of them together take an eighth of it.
const DESCRIPTORS_FOR_ONE: u64 = 16;
const PENDING_BYTES: u64 = 512 << 20;
/// The time until publication is tried again after something else had the name, and the number of files that wait so.
const AGAIN: Duration = Duration::from_secs(5);
const POSTPONED: usize = 64;
/// So many of the last failures are remembered.
const LAST: usize = 20;

/// A file that is verified and not yet durable.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) key: FileKey,
    /// The partial file, open for writing.
    pub(super) partial: Arc<File>,
    /// The handle for reading that openers share.
    #[expect(dead_code, reason = "held, so that who comes next gets it as well")]
    pub(super) file: Arc<File>,
    pub(super) entry: Entry,
}

/// The files that wait for the publisher.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
    /// The most files that may be verified and not yet durable, found out with the first one.
    most: OnceLock<usize>,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: Vec<Pending>,
    /// The time when the first of them came.
    since: Option<Instant>,
    /// The number and bytes of files that are admitted and not yet durable or given up.
    files: usize,
    bytes: u64,
    /// The numbers of files that were handed over, and that have left, since the beginning.
    pushed: u64,
    left: u64,
    /// The number of threads that wait for an empty queue, or for a place in it.
    urgent: usize,
    /// No more batches after the last one.
    ending: bool,
    /// The first failure since the last flush.
    failure: Option<StoreError>,
    /// The last failures, oldest first.
    unkept: VecDeque<Unkept>,
    /// Files whose name something else had, and the time to try again. They count as left.
    postponed: Vec<(Instant, Pending)>,
}

impl QueueState {
    /// Lets files wait again that were postponed to a time.
    fn take_up(&mut self, is_due: impl Fn(Instant) -> bool) {
        let due: Vec<Pending> = self
            .postponed
            .extract_if(.., |(when, _)| is_due(*when))
            .map(|(_, one)| one)
            .collect();
        for one in due {
            self.files += 1;
            self.bytes = self.bytes.saturating_add(one.entry.bytes());
            self.pushed += 1;
            self.since.get_or_insert_with(Instant::now);
            self.waiting.push(one);
        }
    }

    /// Whether the files that wait are a batch without waiting for more.
    fn is_full(&self) -> bool {
        let bytes = self.waiting.iter().map(|one| one.entry.bytes());
        self.waiting.len() >= BATCH_FILES || bytes.sum::<u64>() >= BATCH_BYTES
    }
}

/// A place in the queue; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Admission<'a> {
    queue: &'a Queue,
    bytes: u64,
}

/// The number of files that this process can hold open until they are durable, from its limit of descriptors.
fn pending_files() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let files = usize::try_from(limit / DESCRIPTORS_FOR_ONE).unwrap_or(usize::MAX);
    files.clamp(1, PENDING_FILES)
}

impl Queue {
    /// Waits until there is room for a file of so many bytes.
    pub(super) fn admit(&self, bytes: u64) -> Admission<'_> {
        let most = *self.most.get_or_init(pending_files);
        let mut state = self.state.lock();
        let fits = |state: &QueueState| {
            state.files == 0 || (state.files < most && state.bytes.saturating_add(bytes) <= PENDING_BYTES)
        };
        if !fits(&state) {
            state.urgent += 1;
            self.changed.notify_all();
            self.changed.wait_while(&mut state, |state| !fits(state));
            state.urgent -= 1;
        }
        state.files += 1;
        state.bytes = state.bytes.saturating_add(bytes);
        Admission { queue: self, bytes }
    }

    /// Whether nothing waits to be made durable.
    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().files == 0
    }

    /// Waits, without a limit of time, until every file published so far is durable under its name or was given up.
    pub(super) fn wait(&self) {
        let mut state = self.state.lock();
        state.urgent += 1;
        self.changed.notify_all();
        let before = state.pushed;
        self.changed.wait_while(&mut state, |state| state.left < before);
        state.urgent -= 1;
    }

    /// Waits as [`Queue::wait`] does; fails with the first failure since the last flush.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        self.wait();
        self.state.lock().failure.take().map_or(Ok(()), Err)
    }

    /// The next batch; `None` at the end.
    fn next_batch(&self) -> Option<Vec<Pending>> {
        let mut state = self.state.lock();
        loop {
            if let Some(since) = state.since {
                if state.is_full() || state.urgent > 0 || state.ending || since.elapsed() >= GATHER {
                    state.since = None;
                    return Some(std::mem::take(&mut state.waiting));
                }
                self.changed.wait_until(&mut state, since + GATHER);
            } else if state.ending {
                return None;
            } else if let Some(due) = state.postponed.iter().map(|(due, _)| *due).min() {
                if due > Instant::now() {
                    self.changed.wait_until(&mut state, due);
                } else {
                    state.take_up(|when| when <= due);
                }
            } else {
                self.changed.wait(&mut state);
            }
        }
    }

    /// Whether another file can be tried again later.
    fn can_postpone(&self) -> bool {
        let state = self.state.lock();
        !state.ending && state.postponed.len() < POSTPONED
    }

    /// Tries a file of a batch again later.
    fn postpone(&self, one: Pending) {
        self.state.lock().postponed.push((Instant::now() + AGAIN, one));
    }

    fn leave(&self, files: usize, bytes: u64) {
        let mut state = self.state.lock();
        state.files -= files;
        state.bytes = state.bytes.saturating_sub(bytes);
        self.changed.notify_all();
    }

    fn failed(&self, key: Option<&FileKey>, error: StoreError) {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        log::error!(
            "what was fetched is not kept: {error}{}",
            cause.unwrap_or_default()
        );
        let mut state = self.state.lock();
        if state.unkept.len() == LAST {
            state.unkept.pop_front();
        }
        state.unkept.push_back(Unkept {
            when: SystemTime::now(),
            key: key.cloned(),
            error: error.clone(),
        });
        state.failure.get_or_insert(error);
    }

    /// The last failures, oldest first.
    pub(super) fn unkept(&self) -> Vec<Unkept> {
        self.state.lock().unkept.iter().cloned().collect()
    }

    fn end(&self) {
        let mut state = self.state.lock();
        state.ending = true;
        state.take_up(|_| true);
        drop(state);
        self.changed.notify_all();
    }
}

impl Admission<'_> {
    /// Hands the file over to the publisher.
    pub(super) fn push(self, pending: Pending) {
        let mut state = self.queue.state.lock();
        let is_first = state.since.is_none();
        state.since.get_or_insert_with(Instant::now);
        state.waiting.push(pending);
        state.pushed += 1;
        // Between the first file of a batch and its time or its size the publisher has nothing to do.
        if is_first || state.is_full() {
            self.queue.changed.notify_all();
        }
        drop(state);
        std::mem::forget(self);
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.queue.leave(1, self.bytes);
    }
}

/// The thread that publishes.
#[derive(Debug, Default)]
pub(super) struct Publisher(Mutex<Option<JoinHandle<()>>>);

impl Publisher {
    /// Begins the thread, if it does not run yet.
    pub(super) fn start(&self, disk: &Arc<Disk>) -> Result<(), StoreError> {
        let mut thread = self.0.lock();
        if thread.is_none() {
            let disk = Arc::clone(disk);
            let work = move || {
                while let Some(batch) = disk.queue.next_batch() {
                    disk.publish_batch(batch);
                }
            };
            let begun = std::thread::Builder::new()
                .name("crds-fs-publish".to_owned())
                .spawn(work);
            *thread = Some(begun.map_err(|error| StoreError::io("begin to publish", ".", error))?);
        }
        Ok(())
    }

    /// Ends the thread, after it has published the files that wait.
    pub(super) fn end(&self, disk: &Disk) {
        disk.queue.end();
        let thread = self.0.lock().take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id())
            && thread.join().is_err()
        {
            log::error!("the thread that publishes has panicked");
        }
    }
}

impl Disk {
    /// Makes a batch durable and gives its files their names.
    fn publish_batch(&self, batch: Vec<Pending>) {
        let files = batch.len();
        let bytes = batch.iter().map(|one| one.entry.bytes()).sum();
        let done = catch_unwind(AssertUnwindSafe(|| self.name_batch(batch)));
        if done.is_err() {
            let error = io::Error::other("a mistake in crds-fs, see the log");
            self.queue.failed(None, StoreError::io("publish", ".", error));
        }
        self.queue.state.lock().left += u64::try_from(files).unwrap_or_default();
        self.queue.leave(files, bytes);
    }

    fn name_batch(&self, mut batch: Vec<Pending>) {
        batch.retain(|one| self.index().is_pending(&one.key, &one.entry));
        let named = match &self.access {
            Access::Shared(shared) => self.share_batch(shared, &batch),
            Access::Alone(lock) => self.name_durable(&batch, Some(lock.file())),
            Access::Reading => self.name_durable(&batch, None),
        };
        let mut directories = BTreeSet::new();
        for (one, named) in batch.into_iter().zip(named) {
            match named {
                Ok(Named::In(directory)) => {
                    directories.insert(directory);
                }
                Ok(Named::Later) => self.queue.postpone(one),
                // What has come to its place meanwhile takes room as well.
                Ok(Named::Dropped) => {
                    if let Err(error) = self.recount_file(&one.key) {
                        log::debug!("{error}");
                    }
                }
                Err(error) => {
                    self.drop_pending(&one);
                    self.queue.failed(Some(&one.key), error);
                }
            }
        }
        for directory in directories {
            let synced = self
                .root
                .open_dir(&directory)
                .and_then(|dir| self.durability.names(&dir));
            if let Err(error) = synced {
                self.queue
                    .failed(None, StoreError::io("write", &directory, error));
            }
        }
        self.moments.reach(Moment::NamesSynced);
    }

    /// Makes the bytes of files durable and gives them their names.
    fn name_durable(&self, batch: &[Pending], file_system: Option<&File>) -> Vec<Result<Named, StoreError>> {
        let files: Vec<&File> = batch.iter().map(|one| &*one.partial).collect();
        let synced = self.durability.data_of(&files, file_system);
        self.moments.reach(Moment::DataSynced);
        let named = batch.iter().zip(synced).map(|(one, synced)| {
            synced
                .map_err(|error| StoreError::io("write", partial_path(&one.key), error))
                .and_then(|()| checked(one))
                .and_then(|now| self.give_name(one, now))
        });
        named.collect()
    }

    /// Renames a durable file to its final name, never over something that is there: that may be somebody's work.
    pub(super) fn give_name(&self, one: &Pending, now: Identity) -> Result<Named, StoreError> {
        let from = partial_path(&one.key);
        self.name_file(
            one,
            &Ready {
                dir: &self.state_dir,
                path: &from,
                now,
                is_copy: false,
            },
        )
    }

    /// As [`Disk::give_name`], for a file with the bytes of the pending one.
    pub(super) fn name_file(&self, one: &Pending, ready: &Ready<'_>) -> Result<Named, StoreError> {
        let guard = self.guards.of(&one.key);
        if !self.index().is_pending(&one.key, &one.entry) {
            return Ok(Named::Dropped);
        }
        let (from, now, to) = (ready.path, &ready.now, place(&one.key, one.entry.instrument));
        let failed = |error| StoreError::io("publish", &to, error);
        let there = identity_at(ready.dir, from).map_err(failed)?;
        if there.is_none_or(|there| !there.is_same_file(now)) {
            let message = "its partial file was replaced by somebody";
            return Err(failed(io::Error::new(ErrorKind::InvalidData, message)));
        }
        let directory = to.parent().unwrap_or(Path::new(""));
        let renamed = match self.rename_new(ready.dir, from, &self.root, &to) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make_dirs(&self.root, directory).map_err(failed)?;
                self.rename_new(ready.dir, from, &self.root, &to)
            }
            other => other,
        };
        match renamed {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return self.met_another(&guard, one, &to);
            }
            other => other.map_err(failed)?,
        }
        self.moments.reach(Moment::Named);
        let metadata = match self.root.symlink_metadata(&to) {
            // Others may replace and remove what has just come, as if it had been there before.
            Err(error) if error.kind() == ErrorKind::NotFound && self.shared().is_some() => {
                self.give_way(&guard);
                return Ok(Named::Dropped);
            }
            other => other.map_err(failed)?,
        };
        let mut entry = Entry::new(State::Held, &metadata, one.entry.instrument);
        (entry.sha1, entry.origin) = (one.entry.sha1, one.entry.origin);
        entry.twin = ready.is_copy.then_some(one.entry.identity);
        if !entry.identity.is_same_file(now) || !entry.identity.has_same_contents(now) {
            if self.shared().is_some() {
                self.give_way(&guard);
                return Ok(Named::Dropped);
            }
            let message = "something else has come to its place";
            return Err(failed(io::Error::new(ErrorKind::InvalidData, message)));
        }
        let entered = self.index().enter_with(&guard, Event::Name, entry);
        entered.map_err(|refused| refused.error(&one.key))?;
        self.remember(&one.key, &Mark::Copy(entry.identity, entry.sha1, entry.origin));
        self.moments.reach(Moment::Remembered);
        if ready.is_copy {
            self.remove_published(&one.key);
        } else {
            self.forget_record(&one.key);
        }
        Ok(Named::In(directory.to_owned()))
    }

    /// Leaves a name to what has come there meanwhile. In a shared store that may be a part of the file, which another
    /// client is still writing: then publication is tried again later.
    fn met_another(&self, guard: &Guard<'_>, one: &Pending, to: &Path) -> Result<Named, StoreError> {
        if self.shared().is_none() {
            log::warn!("{} has come to its place by other means meanwhile", one.key);
        } else if self
            .lies_there(to)?
            .is_some_and(|there| is_young_part(&there, one.entry.identity.size, self.clock()))
            && self.queue.can_postpone()
        {
            return Ok(Named::Later);
        }
        self.give_way(guard);
        Ok(Named::Dropped)
    }

    /// Drops a file that cannot be made durable, or cannot get its name: nobody gets it any more.
    fn drop_pending(&self, one: &Pending) {
        let guard = self.guards.of(&one.key);
        if self.index().is_pending(&one.key, &one.entry) {
            self.give_way(&guard);
        }
    }
}

/// The result of giving a file its name.
#[derive(Debug)]
pub(super) enum Named {
    /// It has its name, in this directory.
    In(PathBuf),
    /// It was dropped or overridden meanwhile, or something else has the name.
    Dropped,
    /// Something else has the name that may go.
    Later,
}

/// A durable file that is to get its name.
#[derive(Debug)]
pub(super) struct Ready<'a> {
    pub(super) dir: &'a Dir,
    /// Its path below `dir`.
    pub(super) path: &'a Path,
    pub(super) now: Identity,
    /// Whether it is a copy of the verified file, on another file system.
    pub(super) is_copy: bool,
}

/// The identity of a durable partial file. If it has changed since the file was verified, as on network file systems
/// that report times late, the bytes are hashed once more; fails if they are others.
pub(super) fn checked(one: &Pending) -> Result<Identity, StoreError> {
    let path = partial_path(&one.key);
    let now = opened_identity(&one.partial, &path)?;
    let failed = |error| StoreError::io("publish", &path, error);
    if now != one.entry.identity && Some(digest(&one.partial).map_err(failed)?) != one.entry.sha1 {
        let message = "its partial file was changed by somebody";
        return Err(failed(io::Error::new(ErrorKind::InvalidData, message)));
    }
    Ok(now)
}
