//! The leases that this mount holds, in memory.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::crds::{FileKey, Observatory};
use crate::store::LeaseCounts;
use crate::store::verified::Identity;

/// Hashing and publication of a file count as signs of life for so long without any other.
const BUSY: Duration = Duration::from_secs(60);

/// The leases of this mount.
#[derive(Debug, Default)]
pub(super) struct Leases {
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
}

/// The leases of this mount, and the stamps of others.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) held: HashMap<FileKey, Held>,
    /// Leases of others, and the time since which each is known as it is.
    pub(super) others: HashMap<FileKey, (Identity, Duration)>,
    /// The observatories whose leases are to be looked at.
    pub(super) to_survey: BTreeSet<Observatory>,
    /// The times at which that was wanted last.
    surveyed: HashMap<Observatory, Duration>,
    pub(super) counts: LeaseCounts,
    /// The thread that renews them.
    pub(super) keeper: Option<JoinHandle<()>>,
    pub(super) is_over: bool,
}

/// A lease of this mount.
#[derive(Debug)]
pub(super) struct Held {
    /// Device and inode of its file.
    pub(super) identity: (u64, u64),
    /// The file, open as long as it is renewed.
    pub(super) file: Option<Arc<File>>,
    /// Its transfer is at work although no byte comes, until then.
    pub(super) busy_until: Option<Instant>,
    /// The partial file as it was seen last.
    pub(super) seen: Option<Identity>,
    /// The file is published, and the lease is to be removed then.
    pub(super) over: Option<Instant>,
}

impl Leases {
    /// The counts as they are now.
    pub(super) fn counts(&self) -> LeaseCounts {
        let state = self.state.lock();
        let held = state.held.values().filter(|held| held.over.is_none());
        LeaseCounts {
            held: u64::try_from(held.count()).unwrap_or(u64::MAX),
            ..state.counts
        }
    }

    pub(super) fn put(&self, key: &FileKey, file: File, identity: (u64, u64)) {
        let held = Held {
            identity,
            file: Some(Arc::new(file)),
            busy_until: None,
            seen: None,
            over: None,
        };
        self.state.lock().held.insert(key.clone(), held);
    }

    pub(super) fn has(&self, key: &FileKey) -> bool {
        self.state.lock().held.contains_key(key)
    }

    /// Counts a file that another has brought, and that was verified here.
    pub(super) fn note_found(&self) {
        self.state.lock().counts.found += 1;
    }

    /// Notes that the transfer of a file is at work although no byte comes.
    pub(super) fn note_busy(&self, key: &FileKey) {
        if let Some(held) = self.state.lock().held.get_mut(key) {
            held.busy_until = Some(Instant::now() + BUSY);
        }
    }

    /// Ends a lease a while after its file has been published. Gives its file, which is not renewed any more.
    pub(super) fn note_published(&self, key: &FileKey, term: Duration) -> Option<Arc<File>> {
        let mut state = self.state.lock();
        let held = state.held.get_mut(key)?;
        held.over = Some(Instant::now() + term);
        held.file.take()
    }

    /// Notes how a lease of another is, and gives the time since which it is known like that.
    pub(super) fn note_other(&self, key: &FileKey, identity: Identity, now: Duration) -> Duration {
        let mut state = self.state.lock();
        match state.others.get(key) {
            Some((known, since)) if *known == identity => *since,
            _ => {
                state.others.insert(key.clone(), (identity, now));
                now
            }
        }
    }

    /// Asks the thread to look at all leases on files of an observatory, unless that was done within `recently`.
    pub(super) fn want_survey(&self, observatory: Observatory, now: Duration, recently: Duration) {
        let mut state = self.state.lock();
        let last = state.surveyed.get(&observatory);
        if last.is_none_or(|last| now.saturating_sub(*last) >= recently) {
            state.surveyed.insert(observatory, now);
            state.to_survey.insert(observatory);
            self.changed.notify_all();
        }
    }

    /// Replaces what is known of the leases of others on files of an observatory.
    pub(super) fn note_others(&self, observatory: Observatory, seen: &[(FileKey, Identity)], now: Duration) {
        let mut state = self.state.lock();
        let known = std::mem::take(&mut state.others);
        let (of_it, mut others): (HashMap<_, _>, HashMap<_, _>) = known
            .into_iter()
            .partition(|(key, _)| key.observatory == observatory);
        for (key, identity) in seen {
            let known = of_it.get(key).filter(|(known, _)| known == identity);
            others.insert(key.clone(), (*identity, known.map_or(now, |(_, since)| *since)));
        }
        state.others = others;
    }
}
