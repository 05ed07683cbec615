//! Catalogued files that a thread has just tried in vain to move into the other layout.
//!
//! Python's `shutil.move`, with which the client reorganizes a cache (spec/crds-service 6.4), falls back to copying where a
//! rename is refused: it opens the file for reading, which would be its download, and only then finds that it may not write
//! the copy. So the same thread is refused that open as well.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::ops::Ino;

/// The time after a refused move during which an open counts as the beginning of a copy.
const RECENT: Duration = Duration::from_secs(5);

/// The last refused move of each thread.
#[derive(Debug, Default)]
pub(super) struct RefusedMoves {
    by_thread: Mutex<HashMap<u32, (Ino, Instant)>>,
}

impl RefusedMoves {
    /// Records that a thread was refused to move a file.
    pub(super) fn note(&self, tid: u32, ino: Ino) {
        let now = Instant::now();
        let mut moves = self.by_thread.lock();
        moves.retain(|_, (_, when)| now.duration_since(*when) < RECENT);
        moves.insert(tid, (ino, now));
    }

    /// Whether the thread has just been refused to move this file. The refusal is forgotten: true is answered once, and
    /// never after an open of another file.
    pub(super) fn begins_copy(&self, tid: u32, ino: Ino) -> bool {
        let mut moves = self.by_thread.lock();
        let Some((file, when)) = moves.remove(&tid) else {
            return false;
        };
        file == ino && when.elapsed() < RECENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_that_was_refused_and_only_that_file_once() {
        let moves = RefusedMoves::default();
        moves.note(7, 1);
        assert!(!moves.begins_copy(8, 1), "another thread");
        assert!(moves.begins_copy(7, 1));
        assert!(!moves.begins_copy(7, 1), "once");
        moves.note(7, 1);
        assert!(!moves.begins_copy(7, 2), "it has gone on");
        assert!(!moves.begins_copy(7, 1));
    }
}
