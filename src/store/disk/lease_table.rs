//! The leases that this mount holds, in memory.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::crds::FileKey;
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

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) held: HashMap<FileKey, Held>,
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

    /// Ends a lease a while after its file has been published.
    pub(super) fn note_published(&self, key: &FileKey, term: Duration) {
        if let Some(held) = self.state.lock().held.get_mut(key) {
            held.over = Some(Instant::now() + term);
            held.file = None;
        }
    }
}
