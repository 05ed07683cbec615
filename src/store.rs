//! The cache on disk: layout, partial files, verification, eviction.
//!
//! Everything goes through one directory handle, so no name, link or `..` leads out of the store. What crds-fs needs for
//! itself lives under `.crds-fs/`; the rest is an ordinary CRDS cache that other clients can use.
//!
//! A file under its final name is complete and verified: the bytes of a published file are durable before it gets its
//! name, and a file that another program or a user has put there is hashed before its first use.

use std::fs::File;
use std::sync::Arc;
use std::time::SystemTime;

mod disk;
mod error;
mod files;
pub(crate) mod holds;
mod layout;
mod leases;
mod ledger;
#[cfg(test)]
mod memory;
mod partial;
mod state;
mod transfers;
mod upkeep;
mod verified;

pub(crate) use disk::{Digests, DiskStore, Sharing, StoreOptions, digest};
pub(crate) use error::{StoreError, is_disk_full};
pub(crate) use files::Files;
pub(crate) use holds::HoldChange;
pub(crate) use layout::{ReferenceLayout, file_path};
pub(crate) use leases::Sought;
#[cfg(test)]
pub(crate) use memory::MemoryStore;
pub(crate) use partial::{Part, Partial, Record};
pub(crate) use state::State;
pub(crate) use transfers::LeaseSeeker;
pub(crate) use transfers::Transfers;
pub(crate) use upkeep::{Eviction, Finding, Leftover, Upkeep};

use crate::crds::FileKey;

#[cfg(test)]
mod conformance;

/// The kind of a file in the store: a verified copy, an unverified file, or the user's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldingKind {
    /// A copy whose digest was compared with the catalog's.
    Catalogued,
    /// A file that was found in the store and is not yet hashed.
    Unverified,
    /// The user's own file, which stands in for the catalogued one.
    Local,
}

/// The kind, size and time of a file that the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holding {
    /// Its kind.
    pub kind: HoldingKind,
    /// Its length in bytes.
    pub size: u64,
    /// Blocks of 512 bytes that it takes on the disk.
    pub blocks: u64,
    /// The time of its last modification (mtime).
    pub modified: SystemTime,
}

/// The result of [`Files::open`] and [`Files::verify`].
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// Nothing of that name, or something that did not match and is now in quarantine.
    Absent,
    /// A verified copy. The handle is shared: read with positions only.
    Catalogued(Arc<File>),
    /// The user's own file. The handle is shared: read with positions only.
    Local(Arc<File>),
    /// Something is there that has to be hashed first: call [`Files::verify`], off the threads that must not wait.
    Unverified,
}

/// A server description kept in the store.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// The Python literal.
    pub text: String,
    /// The time of the last modification of its file.
    pub written: SystemTime,
}

/// The space that a store uses and has left; sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Usage {
    /// The most that the store may hold: the size of its file system, or the cache size if that is smaller.
    pub total: u64,
    /// The space for further files without evicting anything; 0 in a store that cannot be written.
    pub available: u64,
    /// The size of all files, partial ones and quarantine included, and of what is reserved for transfers.
    pub used: u64,
    /// The number of files under their final names.
    pub files: u64,
    /// Inodes that its file system can still make.
    pub files_free: u64,
    /// Whether its directory has been removed, so that nothing in it has a name any more.
    pub removed: bool,
    /// The cache size (`--cache-size`), if there is one.
    pub limit: Option<u64>,
    /// The copies evicted since the store was opened.
    pub evicted: Evicted,
    /// The leases of this mount, where the store is shared.
    pub leases: Option<LeaseCounts>,
    /// The size of the partial files of interrupted transfers; part of `used`.
    pub partial: u64,
    /// The size of the files in quarantine, which only the user removes; part of `used`.
    pub quarantined: u64,
    /// The number of files in quarantine.
    pub quarantined_files: u64,
}

/// The leases of a mount on files of a shared store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LeaseCounts {
    /// Leases that it holds now.
    pub held: u64,
    /// Files that others were fetching when it wanted them.
    pub waited: u64,
    /// Leases of others that it has taken over, because they showed no sign of life.
    pub taken_over: u64,
    /// Files that others brought, and that it has verified.
    pub found: u64,
}

/// A published file that openers have got and that could not be kept: it was not made durable, or did not get its name.
#[derive(Debug, Clone)]
pub(crate) struct Unkept {
    /// The time at which that turned out.
    pub when: SystemTime,
    /// The file; `None` for the names of a directory.
    pub key: Option<FileKey>,
    /// The reason.
    pub error: StoreError,
}

/// Copies that were removed to make room for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Evicted {
    /// The number of copies.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

impl Evicted {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// The cache as the layers above see it: every type with [`Files`], [`Transfers`], [`State`] and [`Upkeep`] is a store.
pub(crate) trait Store: Files + Transfers + State + Upkeep {}

impl<T: Files + Transfers + State + Upkeep> Store for T {}
