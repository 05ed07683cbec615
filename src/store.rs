//! The cache on disk: layout, partial files, verification, eviction.
//!
//! Everything goes through one directory handle, so no name, link or `..` leads out of the store. What crds-fs needs for
//! itself lives under `.crds-fs/`; the rest is an ordinary CRDS cache that other clients can use.
//!
//! A file under its final name is complete and verified: [`Store::publish`] makes the bytes durable before it gives them
//! their name, and a file that somebody else put there is hashed before its first use.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::SystemTime;

use cap_std::fs::Dir;

use crate::crds::{CatalogEntry, FileKey, Observatory, Sha1Sum};

mod disk;
mod error;
mod layout;
mod ledger;
mod memory;
mod partial;
mod verified;

pub use disk::{Digests, DiskStore, StoreOptions, digest};
pub use error::{StoreError, is_disk_full};
pub use layout::{ReferenceLayout, file_path};
pub use ledger::{Full, Ledger, Victims};
pub use memory::MemoryStore;
pub use partial::{Part, Partial, Record};

/// How a file in the store came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldingKind {
    /// A copy whose digest was compared with the catalog's.
    Catalogued,
    /// Found there and not yet hashed.
    Unverified,
    /// The user's own file, which stands in for the catalogued one.
    Local,
}

/// What the store knows of a file that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// How it came there.
    pub kind: HoldingKind,
    /// Its length in bytes.
    pub size: u64,
    /// Blocks of 512 bytes that it takes on the disk.
    pub blocks: u64,
    /// When its contents changed last.
    pub modified: SystemTime,
}

/// What [`Store::open`] found.
#[derive(Debug, Clone)]
pub enum Found {
    /// Nothing of that name, or something that did not match and is now in quarantine.
    Absent,
    /// A verified copy. The handle is shared: read with positions only.
    Catalogued(Arc<File>),
    /// The user's own file. The handle is shared: read with positions only.
    Local(Arc<File>),
    /// Something is there that has to be hashed first: call [`Store::verify`], off the threads that must not wait.
    Unverified,
}

/// A server description kept in the store.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The Python literal.
    pub text: String,
    /// When it was written.
    pub written: SystemTime,
}

/// Space, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// What the store may hold: the cache size, else the size of its file system.
    pub total: u64,
    /// What can still be stored without evicting anything.
    pub available: u64,
    /// What files in the store take.
    pub used: u64,
    /// How many files are in the store.
    pub files: u64,
    /// Inodes that its file system can still make.
    pub files_free: u64,
    /// How many bytes the store may hold, where that is limited (`--cache-size`).
    pub limit: Option<u64>,
    /// What was evicted since the store was opened.
    pub evicted: Evicted,
    /// What interrupted transfers have left, to go on with; part of `used`.
    pub partial: u64,
    /// What lies in quarantine, until somebody looks through it; part of `used`.
    pub quarantined: u64,
    /// How many files are there.
    pub quarantined_files: u64,
}

/// Copies that had to make room for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evicted {
    /// How many.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

impl Evicted {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// The cache, as the layers above see it.
///
/// Methods answer from memory or with a few system calls unless they say that they may take long.
pub trait Store: Send + Sync + 'static {
    /// How references are laid out.
    fn layout(&self) -> ReferenceLayout;

    /// The directory of the store, for the files that users write; `None` when there is none on a disk.
    fn directory(&self) -> Option<&Dir>;

    /// Whether files can be brought into the store. One that cannot be written is used as it is.
    fn is_writable(&self) -> bool {
        true
    }

    /// Learns what the store holds of an observatory. Takes long the first time (one scan), then nothing.
    fn load_index(&self, observatory: Observatory) -> Result<(), StoreError>;

    /// What the store holds under this name, from memory once the observatory is indexed.
    fn holding(&self, key: &FileKey) -> Option<Holding>;

    /// Sends the name of every file that comes, goes or changes from now on. Also while locks are held: the receiver
    /// belongs into a thread of its own. A store that no kernel looks at may stay silent.
    fn watch(&self, changes: mpsc::Sender<FileKey>) {
        drop(changes);
    }

    /// Everything the store holds of an observatory. May take long, see [`Store::load_index`].
    fn holdings(&self, observatory: Observatory) -> Result<Vec<(FileKey, Holding)>, StoreError>;

    /// Opens a file if the store holds it and its length is right.
    fn open(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Found, StoreError>;

    /// Hashes a file that was found in the store and opens it if it is the catalogued one; else it goes to quarantine.
    /// Takes as long as reading the file.
    fn verify(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Found, StoreError>;

    /// Sets bytes aside for a file before the first one is asked for. Nothing is evicted yet, but it is certain that what
    /// would have to go can. Called again for the same file it changes the amount.
    fn reserve(&self, key: &FileKey, size: u64) -> Result<(), StoreError>;

    /// The first bytes of a file have come, or the first since its partial file was emptied: evicts others where its
    /// reservation needs that, and takes the room. May take long.
    fn claim(&self, key: &FileKey, partial: &Partial) -> Result<(), StoreError>;

    /// The disk turned out to be full all the same: evicts at least `bytes`, if there is anything to evict.
    fn make_room(&self, key: &FileKey, bytes: u64) -> Result<(), StoreError>;

    /// Opens the partial file of a transfer, with what is known of an earlier attempt at it.
    fn begin(&self, key: &FileKey) -> Result<Partial, StoreError>;

    /// Remembers how far a transfer came, so that it can go on after a restart.
    fn record(&self, key: &FileKey, record: &Record) -> Result<(), StoreError>;

    /// Gives the partial file, whose bytes hash to `sha1`, its final name: makes it durable, renames it, opens it.
    /// Where a local file took the name meanwhile, that one stays.
    fn publish(&self, key: &FileKey, partial: &Partial, sha1: Sha1Sum) -> Result<Arc<File>, StoreError>;

    /// Ends a transfer without publication. What has arrived stays for the next attempt if `keep` says so.
    fn abandon(&self, key: &FileKey, keep: bool) -> Result<(), StoreError>;

    /// Removes what interrupted transfers have left of files that `is_named` does not know, or that nobody has gone on with
    /// for thirty days. To be called before the first transfer of the observatory; may take long. Nothing is lost by it
    /// that cannot be fetched again.
    fn sweep(&self, observatory: Observatory, is_named: &dyn Fn(&str) -> bool) {
        let _ = (observatory, is_named);
    }

    /// Makes the names that were published since the last call durable. May take long.
    fn sync_dirs(&self) -> Result<(), StoreError>;

    /// From now on what lies under this name is the user's own file.
    fn set_local(&self, key: &FileKey) -> Result<(), StoreError>;

    /// Renames the user's file at `from` (a path below the root of the store) to this name, replacing a copy that is
    /// there; from now on it is a local file. A transfer that ends at the same moment does not touch it.
    fn move_in(&self, from: &Path, key: &FileKey) -> Result<(), StoreError>;

    /// The user's file under this name becomes a copy like any other, if it is the catalogued one: false if it is not, or
    /// not as far as can be told. Takes as long as reading the file.
    fn adopt(&self, key: &FileKey, wanted: CatalogEntry) -> Result<bool, StoreError> {
        let _ = (key, wanted);
        Ok(false)
    }

    /// The user's file under this name was renamed to somewhere else. What has taken the name meanwhile stays.
    fn moved_out(&self, key: &FileKey) -> Result<(), StoreError>;

    /// Removes the copy under this name; false when there is none, and where the user's own file is.
    fn remove_copy(&self, key: &FileKey) -> Result<bool, StoreError>;

    /// Removes the copy or the local file under this name; false when there is none.
    fn remove(&self, key: &FileKey) -> Result<bool, StoreError>;

    /// The last server description of an observatory.
    fn snapshot(&self, observatory: Observatory) -> Result<Option<Snapshot>, StoreError>;

    /// Keeps a server description (as a Python literal), its bad files (one name a line) and the layout tag.
    fn save_snapshot(
        &self,
        observatory: Observatory,
        literal: &str,
        bad_files: &str,
    ) -> Result<(), StoreError>;

    /// Moves a server description that cannot be read out of the way.
    fn set_aside_snapshot(&self, observatory: Observatory) -> Result<(), StoreError>;

    /// A note kept for a higher layer, as it was saved; `name` is `[a-z0-9_-]+`.
    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keeps a note, replacing an older one atomically.
    fn save_note(&self, name: &str, contents: &[u8]) -> Result<(), StoreError>;

    /// Space used and left.
    fn usage(&self) -> Result<Usage, StoreError>;

    /// Writes down what the next start wants to know (the order of last use). The store stays usable.
    fn close(&self) -> Result<(), StoreError>;
}
