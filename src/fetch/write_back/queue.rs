//! The queue of files to be written to the tier: which is written next, and when none is. Pure; times are given.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::crds::{CatalogEntry, FileKey};
use crate::remote::{RemoteError, Retry};

#[cfg(test)]
mod tests;

/// The most files that wait, and the most bytes that they have; one that is alone may have more.
const MOST: usize = 10_000;
const MOST_BYTES: u64 = 64 << 30;

/// The most files that are written at a time, and the most while files are fetched, which come first.
const AT_ONCE: usize = 4;
const AT_ONCE_BESIDE_TRANSFERS: usize = 1;

/// The tries that a file gets.
const TRIES: u32 = 3;

/// The time for which nothing is written after a failure: at first, and at most, as it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// The time for which nothing is written to a place that is full, and to one that lets nobody write.
const FULL_PAUSE: Duration = Duration::from_secs(600);
const REFUSED_PAUSE: Duration = Duration::from_secs(3600);

/// A file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) key: FileKey,
    pub(super) entry: CatalogEntry,
    /// Its length in bytes.
    pub(super) size: u64,
    /// Tries that failed.
    failures: u32,
}

impl Item {
    pub(super) fn new(key: FileKey, entry: CatalogEntry, size: u64) -> Self {
        Self {
            key,
            entry,
            size,
            failures: 0,
        }
    }
}

/// The answer to a file that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// It waits; nobody writes yet.
    First,
    /// It waits.
    Taken,
    /// It waits already, or is being written.
    Known,
    /// Too many wait.
    NoRoom,
    /// The place cannot be written to for now, or the end has come.
    NotWritable,
}

/// The next thing to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Write this.
    Write(Item),
    /// Wait for a change.
    Wait,
    /// Wait for a change, but no longer.
    WaitUntil(Instant),
    /// Nothing, ever again.
    End,
}

/// The end of writing a file.
#[derive(Debug, Clone)]
pub(super) enum Ended {
    Written,
    /// The same file was there.
    Exists,
    /// It is not in the store any more.
    Gone,
    /// The copy in the store is not the file.
    Damaged,
    /// Another file is there in its place.
    Wrong,
    /// The place lets nobody write.
    Refused(RemoteError),
    /// The place has no room.
    Full(RemoteError),
    /// The place fails, or cannot be reached.
    Failed(RemoteError),
    /// It was stopped.
    Stopped,
}

/// Whether files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteBackState {
    /// They are, if there are any.
    Ready,
    /// The place fails: the next one is tried later.
    Failing,
    /// The place is full.
    Full,
    /// The place cannot be written to, and is only read.
    ReadOnly,
}

impl WriteBackState {
    /// The state in a word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Failing => "failing",
            Self::Full => "full",
            Self::ReadOnly => "read-only",
        }
    }
}

/// The counts of files since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WriteBackCounts {
    /// Files that were written.
    pub written_files: u64,
    /// Bytes of files that were written.
    pub written_bytes: u64,
    /// Files that were there already.
    pub existing_files: u64,
    /// Files that were not written: no room in the queue, the place fails, is full or cannot be written to, or the file is
    /// gone.
    pub unwritten_files: u64,
    /// Files in whose place another file is, which was left there.
    pub wrong_files: u64,
    /// Files that were not written because what is in the store is not what the catalog says.
    pub damaged_files: u64,
}

/// The state of writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WriteBackStatus {
    /// Whether files are written.
    pub state: WriteBackState,
    /// The reason why none are.
    pub error: Option<String>,
    /// The time since which none are.
    pub since: Option<SystemTime>,
    /// The time until that is tried again.
    pub retry_in: Option<Duration>,
    /// Files that wait, or are being written.
    pub queued_files: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// The counts.
    pub counts: WriteBackCounts,
}

/// A time in which nothing is written.
#[derive(Debug)]
struct Pause {
    state: WriteBackState,
    error: RemoteError,
    since: SystemTime,
    length: Duration,
    until: Instant,
    /// Whether one file is tried, for all others.
    is_tried: bool,
}

/// The files that wait and those that are written.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Item>,
    under_way: usize,
    /// All of both.
    keys: HashSet<FileKey>,
    bytes: u64,
    pause: Option<Pause>,
    is_begun: bool,
    is_closed: bool,
    counts: WriteBackCounts,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            under_way: 0,
            keys: HashSet::new(),
            bytes: 0,
            pause: None,
            is_begun: false,
            is_closed: false,
            counts: WriteBackCounts::default(),
        }
    }

    /// Takes a file, if it can.
    pub(super) fn offer(&mut self, item: Item, now: Instant) -> Offer {
        if self.keys.contains(&item.key) {
            return Offer::Known;
        }
        let refuses = |pause: &Pause| pause.state != WriteBackState::Failing && now < pause.until;
        let offer = if self.is_closed || self.pause.as_ref().is_some_and(refuses) {
            Offer::NotWritable
        } else if self.keys.len() >= MOST
            || (!self.keys.is_empty() && self.bytes.saturating_add(item.size) > MOST_BYTES)
        {
            Offer::NoRoom
        } else if self.is_begun {
            Offer::Taken
        } else {
            self.is_begun = true;
            Offer::First
        };
        if matches!(offer, Offer::NotWritable | Offer::NoRoom) {
            self.counts.unwritten_files += 1;
        } else {
            self.keys.insert(item.key.clone());
            self.bytes += item.size;
            self.waiting.push_back(item);
        }
        offer
    }

    /// The next step. Fewer files are written while others are fetched.
    pub(super) fn next(&mut self, now: Instant, is_busy: bool) -> Next {
        if self.is_closed {
            return Next::End;
        }
        let most = match &self.pause {
            Some(pause) if pause.is_tried => 0,
            Some(pause) if now < pause.until && !self.waiting.is_empty() => {
                return Next::WaitUntil(pause.until);
            }
            Some(_) => 1,
            None if is_busy => AT_ONCE_BESIDE_TRANSFERS,
            None => AT_ONCE,
        };
        if self.under_way >= most {
            return Next::Wait;
        }
        let Some(item) = self.waiting.pop_front() else {
            return Next::Wait;
        };
        if let Some(pause) = &mut self.pause {
            pause.is_tried = true;
        }
        self.under_way += 1;
        Next::Write(item)
    }

    /// Notes the end of writing a file. Gives what is to be told of it once.
    pub(super) fn end(&mut self, item: Item, ended: Ended, now: Instant) -> Option<String> {
        self.under_way = self.under_way.saturating_sub(1);
        let mut item = Some(item);
        let told = match ended {
            Ended::Written | Ended::Exists | Ended::Wrong => {
                let size = item.as_ref().map_or(0, |item| item.size);
                self.count(&ended, size);
                let paused = self.pause.take();
                paused.map(|_| "the tier is written to again".to_owned())
            }
            Ended::Gone | Ended::Damaged => {
                self.count(&ended, 0);
                if let Some(pause) = &mut self.pause {
                    pause.is_tried = false;
                }
                None
            }
            Ended::Stopped => {
                if self.is_closed {
                    // Counted when it was closed.
                    return None;
                }
                self.counts.unwritten_files += 1;
                if let Some(pause) = &mut self.pause {
                    pause.is_tried = false;
                }
                None
            }
            Ended::Refused(error) => self.pause(WriteBackState::ReadOnly, error, REFUSED_PAUSE, now),
            Ended::Full(error) => self.pause(WriteBackState::Full, error, FULL_PAUSE, now),
            Ended::Failed(error) => {
                let again = item.take_if(|item| {
                    item.failures += 1;
                    item.failures < TRIES
                });
                if let Some(again) = again {
                    self.waiting.push_front(again);
                } else {
                    self.counts.unwritten_files += 1;
                }
                self.pause(WriteBackState::Failing, error, FIRST_PAUSE, now)
            }
        };
        if let Some(item) = item {
            self.forget(&item);
        }
        told
    }

    fn count(&mut self, ended: &Ended, size: u64) {
        match ended {
            Ended::Written => {
                self.counts.written_files += 1;
                self.counts.written_bytes += size;
            }
            Ended::Exists => self.counts.existing_files += 1,
            Ended::Wrong => self.counts.wrong_files += 1,
            Ended::Damaged => self.counts.damaged_files += 1,
            _ => self.counts.unwritten_files += 1,
        }
    }

    fn forget(&mut self, item: &Item) {
        self.keys.remove(&item.key);
        self.bytes = self.bytes.saturating_sub(item.size);
    }

    /// Begins a pause, or a longer one. Where nothing can be written nothing goes on waiting.
    fn pause(
        &mut self,
        state: WriteBackState,
        error: RemoteError,
        length: Duration,
        now: Instant,
    ) -> Option<String> {
        if state != WriteBackState::Failing {
            self.counts.unwritten_files += 1;
            for item in std::mem::take(&mut self.waiting) {
                self.counts.unwritten_files += 1;
                self.forget(&item);
            }
        }
        let patience = match error.retry {
            Retry::After(least) => least,
            Retry::No | Retry::Soon => Duration::ZERO,
        };
        if let Some(pause) = self.pause.as_mut().filter(|pause| pause.state == state) {
            // Others that were under way when it began tell nothing new.
            if pause.is_tried {
                pause.length = pause.length.saturating_mul(2).min(LONGEST_PAUSE.max(length));
                pause.until = now + pause.length.max(patience);
                pause.is_tried = false;
            }
            pause.error = error;
            return None;
        }
        let told = match state {
            WriteBackState::ReadOnly => {
                format!("the tier cannot be written to, and is only read from: {error}")
            }
            WriteBackState::Full => format!("the tier is full, and is only read from for a while: {error}"),
            _ => format!("the tier cannot be written to for now: {error}"),
        };
        self.pause = Some(Pause {
            state,
            error,
            since: SystemTime::now(),
            length,
            until: now + length.max(patience),
            is_tried: false,
        });
        Some(told)
    }

    /// Notes a file in whose place another one is.
    pub(super) fn note_wrong(&mut self) {
        self.counts.wrong_files += 1;
    }

    /// Whether nothing is to be written now.
    pub(super) fn is_at_rest(&self) -> bool {
        self.keys.is_empty() || (self.under_way == 0 && self.pause.is_some())
    }

    /// Ends it; gives the number of files that were not written, and their bytes.
    pub(super) fn close(&mut self) -> (usize, u64) {
        self.is_closed = true;
        let left = self.keys.len();
        self.counts.unwritten_files += u64::try_from(left).unwrap_or(u64::MAX);
        self.waiting.clear();
        self.keys.clear();
        (left, std::mem::take(&mut self.bytes))
    }

    pub(super) fn status(&self, now: Instant) -> WriteBackStatus {
        let pause = self.pause.as_ref();
        WriteBackStatus {
            state: pause.map_or(WriteBackState::Ready, |pause| pause.state),
            error: pause.map(|pause| pause.error.to_string()),
            since: pause.map(|pause| pause.since),
            retry_in: pause.map(|pause| pause.until.saturating_duration_since(now)),
            queued_files: u64::try_from(self.keys.len()).unwrap_or(u64::MAX),
            queued_bytes: self.bytes,
            counts: self.counts,
        }
    }
}
