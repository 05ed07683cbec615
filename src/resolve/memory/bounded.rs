//! A memory of limited number and limited size; the least recently used goes first. Pure.

use std::hash::Hash;
use std::num::NonZeroUsize;

use lru::LruCache;

/// Values by key, as many as fit.
pub(super) struct Bounded<K: Hash + Eq, V> {
    kept: LruCache<K, Weighed<V>>,
    /// The bytes of all, and the most that they may be.
    bytes: usize,
    most: usize,
}

struct Weighed<V> {
    value: V,
    bytes: usize,
}

impl<K: Hash + Eq, V> Bounded<K, V> {
    /// An empty memory for `count` values that have `most` bytes together.
    pub(super) fn new(count: NonZeroUsize, most: usize) -> Self {
        Self {
            kept: LruCache::new(count),
            bytes: 0,
            most,
        }
    }

    /// The value of a key, which counts as used.
    pub(super) fn get(&mut self, key: &K) -> Option<&V> {
        self.kept.get(key).map(|kept| &kept.value)
    }

    /// The value of a key, which does not count as used.
    pub(super) fn peek(&self, key: &K) -> Option<&V> {
        self.kept.peek(key).map(|kept| &kept.value)
    }

    /// Keeps a value of so many bytes in place of the one that the key had. One that is larger than a quarter of all is not
    /// kept: it would drive out all others.
    pub(super) fn put(&mut self, key: K, value: V, bytes: usize) {
        if bytes > self.most / 4 {
            self.pop(&key);
            return;
        }
        self.bytes += bytes;
        let replaced = self.kept.push(key, Weighed { value, bytes });
        self.forget(replaced.map(|(_, old)| old));
        while self.bytes > self.most
            && let Some((_, oldest)) = self.kept.pop_lru()
        {
            self.forget(Some(oldest));
        }
    }

    /// Forgets the value of a key, and returns it.
    pub(super) fn pop(&mut self, key: &K) -> Option<V> {
        let kept = self.kept.pop(key);
        self.forget(kept)
    }

    /// The most recently used first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.kept.iter().map(|(key, kept)| (key, &kept.value))
    }

    /// As [`Bounded::iter`]; the values may change, but not their size.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.kept.iter_mut().map(|(key, kept)| (key, &mut kept.value))
    }

    /// The number of values.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    fn forget(&mut self, kept: Option<Weighed<V>>) -> Option<V> {
        let kept = kept?;
        self.bytes -= kept.bytes;
        Some(kept.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_goes_first_when_there_is_too_much() {
        let mut memory = Bounded::new(NonZeroUsize::new(5).unwrap(), 100);
        for number in 0..4 {
            memory.put(number, "x", 25);
            memory.get(&0);
        }
        memory.put(4, "x", 10);
        assert_eq!(
            (memory.peek(&0), memory.peek(&1), memory.bytes),
            (Some(&"x"), None, 85)
        );
        memory.put(0, "y", 5);
        assert_eq!((memory.peek(&0), memory.bytes), (Some(&"y"), 65));
        for number in 5..9 {
            memory.put(number, "x", 0);
        }
        assert_eq!((memory.len(), memory.bytes), (5, 5), "the number counts as well");
        memory.put(8, "x", 26);
        assert_eq!(memory.peek(&8), None, "too large");
        assert_eq!(memory.pop(&0), Some("y"));
        assert_eq!((memory.len(), memory.bytes), (3, 0));
    }
}
