//! The guard of each file: whoever changes what lies under its name, or what is known of it, holds it meanwhile.
//!
//! It is held over the system calls of one change (rename, unlink, open), never while bytes are read or made durable. Nobody
//! holds two: names share guards, so that a second one might be the first.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use parking_lot::{Mutex, MutexGuard};

use crate::crds::FileKey;

/// So many files can be changed at the same time.
const GUARDS: usize = 256;

/// The guards of all files.
#[derive(Debug)]
pub(super) struct Guards([Mutex<()>; GUARDS]);

/// Held while a file changes.
pub(super) type Guard<'a> = MutexGuard<'a, ()>;

impl Default for Guards {
    fn default() -> Self {
        Self([const { Mutex::new(()) }; GUARDS])
    }
}

impl Guards {
    /// Waits for the guard of a file.
    pub(super) fn of(&self, key: &FileKey) -> Guard<'_> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let [first, second, ..] = hasher.finish().to_le_bytes();
        self.0[usize::from(first ^ second)].lock()
    }
}
