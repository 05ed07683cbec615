//! Copies that have come and that the kernel was not told of yet.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::ops::Ino;

/// The time after which the kernel is told of a copy that has come, whoever reads it.
pub(super) const DELAY: Duration = Duration::from_millis(20);

/// The copies that have come and that the kernel was not told of, by their inodes, each with the time when it came.
#[derive(Debug, Default)]
pub(super) struct Untold(Mutex<HashMap<Ino, Instant>>);

impl Untold {
    pub(super) fn insert(&self, ino: Ino, now: Instant) {
        self.0.lock().insert(ino, now);
    }

    /// Removes an inode; whether it was there.
    pub(super) fn remove(&self, ino: Ino) -> bool {
        self.0.lock().remove(&ino).is_some()
    }

    /// Removes the inodes that have been there for [`DELAY`].
    pub(super) fn due(&self, now: Instant) -> Vec<Ino> {
        let is_due = |_: &Ino, since: &mut Instant| now.saturating_duration_since(*since) >= DELAY;
        let mut untold = self.0.lock();
        untold.extract_if(is_due).map(|(ino, _)| ino).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_told_of_once() {
        let (untold, begun) = (Untold::default(), Instant::now());
        untold.insert(1, begun);
        untold.insert(2, begun);
        assert!(untold.due(begun).is_empty());
        assert!(untold.remove(1) && !untold.remove(1), "closed by two readers");
        untold.insert(3, begun + DELAY / 2);
        assert_eq!(untold.due(begun + DELAY), [2]);
        assert!(!untold.is_empty());
        assert_eq!(untold.due(begun + DELAY * 2), [3]);
        assert!(untold.is_empty());
    }
}
