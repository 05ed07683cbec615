//! The ledger of bytes: the sizes of files, the reservations of transfers, and the choice of what is removed to make
//! room.
//!
//! Pure: it decides, the store removes. It counts *copies* of catalogued files, some of which may be evicted; *kept*
//! files (local, or not yet verified); *partial* files of interrupted transfers; *reservations* for files that are
//! being transferred; and files set *aside* (quarantine). Copies of names that are *held* ([`super::holds`])
//! are not evicted.
//!
//! A reservation says that there will be room. Nothing is removed for it before it is *claimed*, when the first byte
//! has come.

use std::collections::{BTreeSet, HashMap};
use std::time::SystemTime;

use lru::LruCache;

use crate::crds::FileKey;

#[cfg(test)]
mod tests;

/// There is no room, and evicting does not make any.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no room for {needed} bytes: {why}")]
pub(crate) struct Full {
    /// The bytes that were to be stored.
    pub needed: u64,
    /// The obstacle and, where there is one, the remedy.
    pub why: String,
}

/// Bytes set aside for a transfer.
#[derive(Debug, Clone, Copy)]
struct Reservation {
    size: u64,
    /// The bytes of it that the disk has already allocated, so that they are not in its free space any more.
    taken: u64,
    /// Whether its bytes arrive, so that other files have to make room now.
    claimed: bool,
}

/// A copy of a catalogued file.
#[derive(Debug, Clone, Copy)]
struct Copy {
    size: u64,
    evictable: bool,
    used: SystemTime,
}

/// A file that is never evicted.
#[derive(Debug, Clone, Copy)]
struct Kept {
    size: u64,
    used: SystemTime,
}

/// The files to remove so that a reservation fits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Victims {
    /// Partial files of interrupted transfers, oldest first; these go before copies.
    pub partials: Vec<FileKey>,
    /// Copies, least recently used first.
    pub copies: Vec<FileKey>,
}

impl Victims {
    /// Whether nothing has to go.
    pub(crate) fn is_empty(&self) -> bool {
        self.partials.is_empty() && self.copies.is_empty()
    }
}

/// The sizes in bytes of files and reservations, and the order in which copies and partial files were last used.
#[derive(Debug)]
pub(crate) struct Ledger {
    limit: Option<u64>,
    floor: u64,
    copies: LruCache<FileKey, Copy>,
    kept: HashMap<FileKey, Kept>,
    /// By their last use, like copies.
    partials: LruCache<FileKey, u64>,
    /// Names whose copies are not evicted, whether or not there is one.
    held: BTreeSet<FileKey>,
    reserved: HashMap<FileKey, Reservation>,
    /// Sums of the four.
    copied_bytes: u64,
    kept_bytes: u64,
    partial_bytes: u64,
    reserved_bytes: u64,
    aside_bytes: u64,
    /// Grows with every change of the order of use.
    order_version: u64,
}

impl Ledger {
    /// An empty ledger for a store of at most `limit` bytes that leaves `floor` bytes of its disk free.
    pub(crate) fn new(limit: Option<u64>, floor: u64) -> Self {
        Self {
            limit,
            floor,
            copies: LruCache::unbounded(),
            kept: HashMap::new(),
            partials: LruCache::unbounded(),
            held: BTreeSet::new(),
            reserved: HashMap::new(),
            copied_bytes: 0,
            kept_bytes: 0,
            partial_bytes: 0,
            reserved_bytes: 0,
            aside_bytes: 0,
            order_version: 0,
        }
    }

    /// Bytes in files and reservations.
    pub(crate) fn used(&self) -> u64 {
        self.files_bytes() + self.reserved_bytes
    }

    /// Bytes in files, finished or not.
    fn files_bytes(&self) -> u64 {
        self.copied_bytes + self.kept_bytes + self.partial_bytes + self.aside_bytes
    }

    /// Bytes that are reserved and that the disk has not allocated yet.
    pub(super) fn untaken(&self) -> u64 {
        let untaken = self.reserved.values().map(|one| one.size - one.taken);
        untaken.fold(0, u64::saturating_add)
    }

    /// Bytes that interrupted transfers have left.
    pub(crate) fn partial_bytes(&self) -> u64 {
        self.partial_bytes
    }

    /// Number of files.
    pub(crate) fn files(&self) -> usize {
        self.copies.len() + self.kept.len()
    }

    /// The size limit in bytes, if there is one.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Bytes of the disk to leave free.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Reserves `size` bytes for `key`; the partial file of an interrupted transfer of it becomes part of them. `free`
    /// is the free space of the disk in bytes, `busy` tells which files must stay. On failure nothing changes.
    pub(crate) fn reserve(
        &mut self,
        key: &FileKey,
        size: u64,
        free: u64,
        busy: impl Fn(&FileKey) -> bool,
    ) -> Result<(), Full> {
        let earlier = self.take_reservation(key);
        let partial = self.remove_partial(key);
        let reservation = Reservation {
            size,
            taken: earlier.map_or(partial, |earlier| earlier.taken).min(size),
            claimed: earlier.is_some_and(|earlier| earlier.claimed),
        };
        self.put_reservation(key, reservation);
        let enough = self.victims(size, free, |_| true, |other| other == key || busy(other));
        if let Err(full) = enough {
            self.take_reservation(key);
            if partial > 0 {
                self.add_partial(key, partial);
            }
            if let Some(earlier) = earlier {
                self.put_reservation(key, earlier);
            }
            return Err(full);
        }
        Ok(())
    }

    /// Claims the reservation of `key`, whose bytes arrive, and returns the files to remove for it now. To be called
    /// again after they were removed, until there are none.
    pub(crate) fn claim(
        &mut self,
        key: &FileKey,
        free: u64,
        busy: impl Fn(&FileKey) -> bool,
    ) -> Result<Victims, Full> {
        let Some(reservation) = self.reserved.get_mut(key) else {
            return Ok(Victims::default());
        };
        reservation.claimed = true;
        let size = reservation.size;
        self.victims(
            size,
            free,
            |other| other.claimed,
            |other| other == key || busy(other),
        )
    }

    /// The files to remove so that at least `bytes` become free, least recently used first; all that may go when those
    /// are fewer.
    pub(crate) fn oldest(&self, bytes: u64, busy: impl Fn(&FileKey) -> bool) -> Victims {
        self.choose(bytes, busy).0
    }

    /// Notes that the disk has allocated `taken` bytes to the transfer of `key`.
    pub(crate) fn took(&mut self, key: &FileKey, taken: u64) {
        if let Some(reservation) = self.reserved.get_mut(key) {
            reservation.taken = taken.min(reservation.size);
        }
    }

    /// The bytes reserved for `key`; `None` without a reservation.
    pub(crate) fn reservation(&self, key: &FileKey) -> Option<u64> {
        self.reserved.get(key).map(|reservation| reservation.size)
    }

    /// Ends the reservation of `key`.
    pub(crate) fn release(&mut self, key: &FileKey) {
        self.take_reservation(key);
    }

    /// Counts a copy that was last used at `used`, as the most recently used.
    pub(crate) fn add_copy(&mut self, key: &FileKey, size: u64, evictable: bool, used: SystemTime) {
        self.remove(key);
        let copy = Copy {
            size,
            evictable,
            used,
        };
        self.copies.put(key.clone(), copy);
        self.order_version += 1;
        self.copied_bytes += size;
    }

    /// Counts the partial file of an interrupted transfer, as the most recent.
    pub(crate) fn add_partial(&mut self, key: &FileKey, size: u64) {
        self.remove_partial(key);
        self.partials.put(key.clone(), size);
        self.partial_bytes += size;
    }

    /// Stops counting a partial file, which was removed or is resumed; returns its bytes, 0 if there was none.
    pub(crate) fn remove_partial(&mut self, key: &FileKey) -> u64 {
        let size = self.partials.pop(key).unwrap_or_default();
        self.partial_bytes -= size;
        size
    }

    /// Whether an interrupted transfer has left a partial file of `key`.
    pub(crate) fn has_partial(&self, key: &FileKey) -> bool {
        self.partials.contains(key)
    }

    /// Sets the size of quarantine.
    pub(crate) fn set_aside(&mut self, bytes: u64) {
        self.aside_bytes = bytes;
    }

    /// Counts a file that must not be evicted, and was last used at `used`.
    pub(crate) fn add_kept(&mut self, key: &FileKey, size: u64, used: SystemTime) {
        self.remove(key);
        self.kept.insert(key.clone(), Kept { size, used });
        self.kept_bytes += size;
    }

    /// Stops counting a copy or a kept file.
    pub(crate) fn remove(&mut self, key: &FileKey) {
        if let Some(copy) = self.copies.pop(key) {
            self.copied_bytes -= copy.size;
        }
        if let Some(kept) = self.kept.remove(key) {
            self.kept_bytes -= kept.size;
        }
    }

    /// A copy was used at `now`.
    pub(crate) fn touch(&mut self, key: &FileKey, now: SystemTime) {
        if let Some(copy) = self.copies.get_mut(key) {
            copy.used = now;
        }
        self.order_version += 1;
    }

    /// The time of a file's last use.
    pub(crate) fn last_used(&self, key: &FileKey) -> Option<SystemTime> {
        let copy = self.copies.peek(key).map(|copy| copy.used);
        copy.or_else(|| self.kept.get(key).map(|kept| kept.used))
    }

    /// The names whose copies are not evicted.
    pub(crate) fn held(&self) -> &BTreeSet<FileKey> {
        &self.held
    }

    /// The copies that are held: their number and their bytes.
    pub(crate) fn held_copies(&self) -> (u64, u64) {
        let copies = self.held.iter().filter_map(|key| self.copies.peek(key));
        copies.fold((0, 0), |(files, bytes), copy| (files + 1, bytes + copy.size))
    }

    /// From now on the copies of these names, and no others, are not evicted.
    pub(crate) fn set_held(&mut self, held: BTreeSet<FileKey>) {
        self.held = held;
    }

    /// A number that changes with the order of use.
    pub(crate) fn order_version(&self) -> u64 {
        self.order_version
    }

    /// The copies and when they were used, least recently used first.
    pub(crate) fn order(&self) -> impl Iterator<Item = (&FileKey, SystemTime)> {
        self.copies.iter().rev().map(|(key, copy)| (key, copy.used))
    }

    fn put_reservation(&mut self, key: &FileKey, reservation: Reservation) {
        self.reserved_bytes += reservation.size;
        self.reserved.insert(key.clone(), reservation);
    }

    fn take_reservation(&mut self, key: &FileKey) -> Option<Reservation> {
        let reservation = self.reserved.remove(key)?;
        self.reserved_bytes -= reservation.size;
        Some(reservation)
    }

    /// The files to remove so that all reservations that `counted` selects fit. `size` is that of the reservation in
    /// question, for the error.
    fn victims(
        &self,
        size: u64,
        free: u64,
        counted: impl Fn(&Reservation) -> bool,
        busy: impl Fn(&FileKey) -> bool,
    ) -> Result<Victims, Full> {
        let full = |why: String| Full { needed: size, why };
        let (mut promised, mut untaken) = (0_u64, 0_u64);
        for reservation in self.reserved.values().filter(|reservation| counted(reservation)) {
            promised = promised.saturating_add(reservation.size);
            untaken = untaken.saturating_add(reservation.size - reservation.taken);
        }
        let over = self.limit.map_or(0, |limit| {
            self.files_bytes().saturating_add(promised).saturating_sub(limit)
        });
        let short = untaken.saturating_add(self.floor).saturating_sub(free);
        let needed = over.max(short);
        let (victims, freed) = self.choose(needed, busy);
        if freed >= needed {
            return Ok(victims);
        }
        let in_the_way = self.in_the_way();
        if freed < over {
            return Err(full(format!(
                "the cache size is {} bytes, of which {} are free or can be freed; raise --cache-size{in_the_way}",
                self.limit.unwrap_or(u64::MAX),
                size.saturating_add(freed).saturating_sub(over)
            )));
        }
        Err(full(format!(
            "the disk has {free} bytes free, {} of which stay free (--keep-free), and {freed} bytes can be \
             evicted{in_the_way}",
            self.floor
        )))
    }

    /// The bytes that are held or in quarantine, as words for an error.
    fn in_the_way(&self) -> String {
        let held = match self.held_copies() {
            (0, _) => String::new(),
            (_, held) => format!("; {held} bytes are held: 'crds-fs release' lets them go"),
        };
        let aside = match self.aside_bytes {
            0 => String::new(),
            aside => format!("; {aside} bytes lie in .crds-fs/quarantine in the store: look through them"),
        };
        held + &aside
    }

    fn choose(&self, bytes: u64, busy: impl Fn(&FileKey) -> bool) -> (Victims, u64) {
        let mut victims = Victims::default();
        let mut freed = 0;
        for (key, size) in self.partials.iter().rev() {
            if freed < bytes && !busy(key) {
                victims.partials.push(key.clone());
                freed += size;
            }
        }
        for (key, copy) in self.copies.iter().rev() {
            if freed >= bytes {
                break;
            }
            if copy.evictable && !self.held.contains(key) && !busy(key) {
                victims.copies.push(key.clone());
                freed += copy.size;
            }
        }
        (victims, freed)
    }
}
