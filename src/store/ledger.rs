//! The ledger of bytes: what copies take, what is set aside for transfers, and who has to go when there is no room.
//!
//! Pure: it decides, the store does. Three kinds of bytes are told apart: *copies* of catalogued files, which can be
//! evicted because they can be fetched again; *kept* files, which cannot (local, or not yet verified); and *reservations*
//! for files that are on their way.

use std::collections::HashMap;

use lru::LruCache;

use crate::crds::FileKey;

#[cfg(test)]
mod tests;

/// There is no room, and evicting does not make any.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no room for {needed} bytes: {why}")]
pub struct Full {
    /// How many bytes were asked for.
    pub needed: u64,
    /// What is in the way, and what to do about it.
    pub why: String,
}

/// Bytes set aside for a transfer.
#[derive(Debug, Clone, Copy)]
struct Reservation {
    size: u64,
    /// How many of them the disk has already given, so that they are not in its free space any more.
    taken: u64,
}

/// Who takes how many bytes, and in which order they were last used.
#[derive(Debug)]
pub struct Ledger {
    limit: Option<u64>,
    floor: u64,
    copies: LruCache<FileKey, u64>,
    kept: HashMap<FileKey, u64>,
    reserved: HashMap<FileKey, Reservation>,
    /// Sums of the three.
    copied_bytes: u64,
    kept_bytes: u64,
    reserved_bytes: u64,
}

impl Ledger {
    /// An empty ledger for a store of at most `limit` bytes that leaves `floor` bytes of its disk free.
    pub fn new(limit: Option<u64>, floor: u64) -> Self {
        Self {
            limit,
            floor,
            copies: LruCache::unbounded(),
            kept: HashMap::new(),
            reserved: HashMap::new(),
            copied_bytes: 0,
            kept_bytes: 0,
            reserved_bytes: 0,
        }
    }

    /// Bytes in files and reservations.
    pub fn used(&self) -> u64 {
        self.copied_bytes + self.kept_bytes + self.reserved_bytes
    }

    /// Number of files.
    pub fn files(&self) -> usize {
        self.copies.len() + self.kept.len()
    }

    /// The size limit in bytes, if there is one.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Bytes of the disk to leave free.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Sets `size` bytes aside for `key` and names the copies that must be evicted first; they are struck out here and
    /// now. `free` is what the disk has left, `busy` says who must not go. On failure nothing changes, except that an
    /// earlier reservation for `key` stays as it was.
    pub fn reserve(
        &mut self,
        key: &FileKey,
        size: u64,
        free: u64,
        busy: impl Fn(&FileKey) -> bool,
    ) -> Result<Vec<FileKey>, Full> {
        let earlier = self.reserved.remove(key);
        let taken = earlier.map_or(0, |earlier| earlier.taken);
        self.reserved_bytes -= earlier.map_or(0, |earlier| earlier.size);
        let outcome = self.victims(size, free.saturating_add(taken.min(size)), |other| {
            other == key || busy(other)
        });
        match outcome {
            Ok(victims) => {
                for victim in &victims {
                    self.remove(victim);
                }
                self.put_reservation(key, Reservation { size, taken });
                Ok(victims)
            }
            Err(full) => {
                if let Some(earlier) = earlier {
                    self.put_reservation(key, earlier);
                }
                Err(full)
            }
        }
    }

    /// Names copies of together at least `bytes`, least recently used first, and strikes them out. Fewer when there are
    /// not so many.
    pub fn evict(&mut self, bytes: u64, busy: impl Fn(&FileKey) -> bool) -> Vec<FileKey> {
        let (victims, _) = self.oldest(bytes, busy);
        for victim in &victims {
            self.remove(victim);
        }
        victims
    }

    /// The disk has given `taken` bytes to the transfer of `key`.
    pub fn took(&mut self, key: &FileKey, taken: u64) {
        if let Some(reservation) = self.reserved.get_mut(key) {
            reservation.taken = taken.min(reservation.size);
        }
    }

    /// How many bytes are set aside for `key`.
    pub fn reservation(&self, key: &FileKey) -> Option<u64> {
        self.reserved.get(key).map(|reservation| reservation.size)
    }

    /// The transfer has ended with a copy of `size` bytes.
    pub fn commit(&mut self, key: &FileKey, size: u64) {
        self.release(key);
        self.add_copy(key, size);
    }

    /// The transfer has ended without a copy.
    pub fn release(&mut self, key: &FileKey) {
        if let Some(reservation) = self.reserved.remove(key) {
            self.reserved_bytes -= reservation.size;
        }
    }

    /// Counts a copy that may be evicted, as the most recently used.
    pub fn add_copy(&mut self, key: &FileKey, size: u64) {
        self.remove(key);
        self.copies.put(key.clone(), size);
        self.copied_bytes += size;
    }

    /// Counts a file that must not be evicted.
    pub fn add_kept(&mut self, key: &FileKey, size: u64) {
        self.remove(key);
        self.kept.insert(key.clone(), size);
        self.kept_bytes += size;
    }

    /// A file is gone.
    pub fn remove(&mut self, key: &FileKey) {
        if let Some(size) = self.copies.pop(key) {
            self.copied_bytes -= size;
        }
        if let Some(size) = self.kept.remove(key) {
            self.kept_bytes -= size;
        }
    }

    /// A copy was used.
    pub fn touch(&mut self, key: &FileKey) {
        self.copies.promote(key);
    }

    /// The copies, least recently used first.
    pub fn order(&self) -> impl Iterator<Item = &FileKey> {
        self.copies.iter().rev().map(|(key, _)| key)
    }

    fn put_reservation(&mut self, key: &FileKey, reservation: Reservation) {
        self.reserved_bytes += reservation.size;
        self.reserved.insert(key.clone(), reservation);
    }

    /// Who must go so that `size` more bytes fit.
    fn victims(&self, size: u64, free: u64, busy: impl Fn(&FileKey) -> bool) -> Result<Vec<FileKey>, Full> {
        let full = |why: String| Full { needed: size, why };
        let over = self
            .limit
            .map_or(0, |limit| self.used().saturating_add(size).saturating_sub(limit));
        let untaken: u64 = self.reserved.values().map(|other| other.size - other.taken).sum();
        let short = size
            .saturating_add(untaken)
            .saturating_add(self.floor)
            .saturating_sub(free);
        let needed = over.max(short);
        let (victims, freed) = self.oldest(needed, busy);
        if freed >= needed {
            Ok(victims)
        } else if freed < over {
            Err(full(format!(
                "the cache size is {} bytes, of which {} are free or can be freed; raise --cache-size",
                self.limit.unwrap_or(u64::MAX),
                (size + freed).saturating_sub(over)
            )))
        } else {
            Err(full(format!(
                "the disk has {free} bytes free, {} of which stay free (--keep-free), and {freed} bytes can be evicted",
                self.floor
            )))
        }
    }

    fn oldest(&self, bytes: u64, busy: impl Fn(&FileKey) -> bool) -> (Vec<FileKey>, u64) {
        let mut victims = Vec::new();
        let mut freed = 0;
        for (key, size) in self.copies.iter().rev() {
            if freed >= bytes {
                break;
            }
            if !busy(key) {
                victims.push(key.clone());
                freed += size;
            }
        }
        (victims, freed)
    }
}
