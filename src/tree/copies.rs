//! The copy behind the number of each catalogued file. For the kernel all handles of one number are of one file, and so are
//! the pages that it keeps: it reads the file that the first handle came with, whatever a later one comes with.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::fetch::Provided;

use super::ops::Ino;

/// The identity of a copy in the store, which stays the same as long as it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    dev: u64,
    ino: u64,
}

impl Identity {
    pub(super) fn of(copy: &Provided) -> Self {
        let (dev, ino) = copy.identity;
        Self { dev, ino }
    }
}

/// The copy that each number was opened with last.
#[derive(Debug, Default)]
pub(super) struct Copies {
    last: Mutex<HashMap<Ino, Identity>>,
}

impl Copies {
    /// Opens a copy under an inode number with `open`, which gets whether the pages that the kernel keeps are of this
    /// copy. `None`, without calling `open`, when the last copy was another one and `is_open`.
    pub(super) fn open<T>(
        &self,
        ino: Ino,
        copy: Identity,
        is_open: impl FnOnce() -> bool,
        open: impl FnOnce(bool) -> T,
    ) -> Option<T> {
        // Held until the handle is there, so that no other copy comes in between.
        let mut last = self.last.lock();
        let is_same = last.get(&ino).is_none_or(|last| *last == copy);
        if !is_same && is_open() {
            return None;
        }
        last.insert(ino, copy);
        Some(open(is_same))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Identity = Identity { dev: 1, ino: 1 };
    const NEW: Identity = Identity { dev: 1, ino: 2 };

    #[test]
    fn another_copy_is_not_opened_while_the_last_is_open() {
        let copies = Copies::default();
        assert_eq!(copies.open(7, OLD, || false, |keep| keep), Some(true));
        assert_eq!(copies.open(7, OLD, || true, |keep| keep), Some(true));
        assert_eq!(copies.open(7, NEW, || true, |keep| keep), None);
        assert_eq!(copies.open(7, OLD, || true, |keep| keep), Some(true));
        assert_eq!(copies.open(8, NEW, || true, |keep| keep), Some(true));
    }

    #[test]
    fn pages_of_another_copy_are_not_kept() {
        let copies = Copies::default();
        assert_eq!(copies.open(7, OLD, || false, |keep| keep), Some(true));
        assert_eq!(copies.open(7, NEW, || false, |keep| keep), Some(false));
        assert_eq!(copies.open(7, NEW, || false, |keep| keep), Some(true));
    }
}
