//! The cache on disk: layout, partial files, verification, eviction.
//!
//! Everything goes through one directory handle, so no name, link or `..` leads out of the store. What crds-fs needs for
//! itself lives under `.crds-fs/`; the rest is an ordinary CRDS cache that other clients can use.
//!
//! A file under its final name is complete and verified: [`Transfers::publish`] makes the bytes durable before it gives them
//! their name, and a file that somebody else put there is hashed before its first use.

use std::fs::File;
use std::sync::Arc;
use std::time::SystemTime;

mod disk;
mod error;
mod files;
mod layout;
mod ledger;
#[cfg(test)]
mod memory;
mod partial;
mod state;
mod transfers;
mod verified;

pub(crate) use disk::{Digests, DiskStore, StoreOptions, digest};
pub(crate) use error::{StoreError, is_disk_full};
pub(crate) use files::Files;
pub(crate) use layout::{ReferenceLayout, file_path};
#[cfg(test)]
pub(crate) use memory::MemoryStore;
pub(crate) use partial::{Part, Partial, Record};
pub(crate) use state::State;
pub(crate) use transfers::Transfers;

#[cfg(test)]
mod conformance;

/// How a file in the store came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldingKind {
    /// A copy whose digest was compared with the catalog's.
    Catalogued,
    /// Found there and not yet hashed.
    Unverified,
    /// The user's own file, which stands in for the catalogued one.
    Local,
}

/// What the store knows of a file that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holding {
    /// How it came there.
    pub kind: HoldingKind,
    /// Its length in bytes.
    pub size: u64,
    /// Blocks of 512 bytes that it takes on the disk.
    pub blocks: u64,
    /// When its contents changed last.
    pub modified: SystemTime,
}

/// What [`Files::open`] found.
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
    /// When it was written.
    pub written: SystemTime,
}

/// Space, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Usage {
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
pub(crate) struct Evicted {
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

/// The cache, as the layers above see it: what has [`Files`], [`Transfers`] and [`State`] is a store.
pub(crate) trait Store: Files + Transfers + State {}

impl<T: Files + Transfers + State> Store for T {}
