//! The file system without FUSE: what every path means, in terms of the layers below.
//!
//! [`CrdsTree`] shows the tree of a CRDS cache: catalogued names with their true sizes, whether or not they are on this
//! disk, the user's own files between them, generated config files, and `/bestrefs`. Looking never touches the network
//! once an observatory's catalog is there; opening a file that is not in the store is its download.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use bytes::Bytes;

mod descriptors;
pub(crate) mod errno;
pub(crate) mod ops;

mod adoption;
mod attr;
mod bestrefs;
mod copies;
mod core;
mod described;
mod directory;
mod disk_calls;
mod entries;
mod error;
mod file_io;
mod find;
mod handles;
mod hold;
mod hold_lines;
mod holders;
mod ino;
mod inode;
mod invalidation;
mod listing;
mod local;
mod lookup;
mod metrics;
mod names;
mod nodes;
mod open;
mod opens;
mod options;
pub(crate) mod panics;
mod process;
mod refused_moves;
mod removals;
pub(crate) mod report;
mod room;
mod scan;
mod serials;
mod status;
mod stored;
mod unlink;
mod untold;
mod upload;
mod use_of_files;
mod views;
mod waiting;
mod xattr;

#[cfg(test)]
mod tests;

pub(crate) use error::Error;
pub(crate) use options::{BestrefsAs, TreeOptions, UseOfFiles};

use crate::fetch::Fetcher;
use crate::resolve::Resolver;
use crate::store::StoreError;

use self::core::{Core, ready};
use ops::{
    Attr, CacheTtl, Caller, DirEntry, FileSystem, Handle, Ino, InvalidationSink, Lookup, NodeKind, OpCounts,
    Opened, Outcome, SetAttr, StatFs,
};

/// A CRDS cache as a file system.
pub(crate) struct CrdsTree {
    core: Arc<Core>,
}

impl CrdsTree {
    /// The tree over a store, its transfers and the memory of best references.
    pub(crate) fn new(
        fetcher: Fetcher,
        resolver: Resolver,
        options: TreeOptions,
    ) -> Result<Self, StoreError> {
        let core = Arc::new(Core::new(fetcher, resolver, options)?);
        Ok(Self { core })
    }

    /// Counts what the store holds, in the background. To be called on the runtime. Without it the first look at the
    /// status does so.
    pub(crate) fn count_store(&self) {
        self.core.scan.start(self.core.fetcher.store());
    }
}

impl FileSystem for CrdsTree {
    type Error = Error;
    type Ahead = entries::Ahead;

    fn errno(&self, error: &Error) -> i32 {
        errno::errno(error)
    }

    fn listen(&self, changes: InvalidationSink) {
        self.core.listen(changes);
    }

    fn count_operations(&self, counts: OpCounts) {
        if self.core.operations.set(counts).is_err() {
            log::warn!("the tree already has counts of operations; the second ones are not shown");
        }
    }

    fn lookup(&self, caller: Caller, parent: Ino, name: &OsStr) -> Outcome<Lookup, Error> {
        let core = Arc::clone(&self.core);
        self.core.lookup(parent, name).then(move |found| match found {
            Ok(found) => core.after_lookup(caller, found),
            Err(error) => ready(Err(error)),
        })
    }

    fn forget(&self, ino: Ino, count: u64) {
        if let Some(held) = self.core.nodes.forget(ino, count) {
            self.core.close(held);
        }
    }

    fn getattr(&self, caller: Caller, ino: Ino, handle: Option<Handle>) -> Outcome<(Attr, CacheTtl), Error> {
        self.core.after_getattr(caller, ino, handle)
    }

    fn setattr(&self, caller: Caller, ino: Ino, change: SetAttr) -> Outcome<(Attr, CacheTtl), Error> {
        self.core.setattr(caller, ino, change)
    }

    fn readlink(&self, ino: Ino) -> Outcome<OsString, Error> {
        self.core.readlink(ino)
    }

    fn open(&self, caller: Caller, ino: Ino, flags: i32) -> Outcome<Opened, Error> {
        self.core.open(caller, ino, flags)
    }

    fn create(
        &self,
        caller: Caller,
        parent: Ino,
        name: &OsStr,
        mode: u32,
        flags: i32,
    ) -> Outcome<(Lookup, Opened), Error> {
        let (core, own) = (Arc::clone(&self.core), name.to_owned());
        self.core
            .prepared(&[(parent, name)], move |core| {
                core.create(caller, parent, &own, mode, flags)
            })
            .map(move |created| Ok(core.created(created?)))
    }

    fn read(&self, handle: Handle, offset: u64, size: u32) -> Outcome<Bytes, Error> {
        self.core.read(handle, offset, size)
    }

    fn write(&self, handle: Handle, offset: u64, data: &[u8]) -> Outcome<u32, Error> {
        self.core.write(handle, offset, data)
    }

    fn flush(&self, handle: Handle) -> Outcome<(), Error> {
        self.core.flush(handle)
    }

    fn fsync(&self, handle: Handle, data_only: bool) -> Outcome<(), Error> {
        self.core.fsync(handle, data_only)
    }

    fn fallocate(&self, handle: Handle, mode: i32, offset: u64, length: u64) -> Outcome<(), Error> {
        self.core.fallocate(handle, mode, offset, length)
    }

    fn release(&self, handle: Handle) {
        self.core.release(handle);
    }

    fn opendir(&self, _: Caller, ino: Ino) -> Outcome<(Handle, CacheTtl), Error> {
        self.core.opendir(ino)
    }

    fn rewind(&self, handle: Handle) -> Outcome<(), Error> {
        self.core.rewind(handle)
    }

    fn readdir(
        &self,
        handle: Handle,
        offset: u64,
        each: &mut dyn FnMut(DirEntry) -> bool,
    ) -> Result<(), Error> {
        self.core.readdir(handle, offset, each)
    }

    fn look_ahead(&self, handle: Handle, offset: u64) -> Outcome<Self::Ahead, Error> {
        self.core.look_ahead(handle, offset)
    }

    fn readdirplus(
        &self,
        ahead: Self::Ahead,
        offset: u64,
        each: &mut dyn FnMut(DirEntry, Attr, CacheTtl) -> bool,
    ) -> Result<(), Error> {
        self.core.readdirplus(&ahead, offset, each);
        Ok(())
    }

    fn releasedir(&self, handle: Handle) {
        self.core.listings.remove(handle);
    }

    fn fsyncdir(&self, ino: Ino) -> Outcome<(), Error> {
        self.core.fsyncdir(ino)
    }

    fn mknod(
        &self,
        caller: Caller,
        parent: Ino,
        name: &OsStr,
        kind: NodeKind,
        mode: u32,
    ) -> Outcome<Lookup, Error> {
        self.core.prepared_entry((parent, name), move |core, name| {
            core.mknod(caller, parent, name, kind, mode)
        })
    }

    fn mkdir(&self, caller: Caller, parent: Ino, name: &OsStr, mode: u32) -> Outcome<Lookup, Error> {
        self.core.prepared_entry((parent, name), move |core, name| {
            core.mkdir(caller, parent, name, mode)
        })
    }

    fn symlink(&self, caller: Caller, parent: Ino, name: &OsStr, target: &OsStr) -> Outcome<Lookup, Error> {
        let target = target.to_owned();
        self.core.prepared_entry((parent, name), move |core, name| {
            core.symlink(caller, parent, name, &target)
        })
    }

    fn link(&self, _: Caller, ino: Ino, parent: Ino, name: &OsStr) -> Outcome<Lookup, Error> {
        self.core
            .prepared_entry((parent, name), move |core, name| core.link(ino, parent, name))
    }

    fn unlink(&self, caller: Caller, parent: Ino, name: &OsStr) -> Outcome<(), Error> {
        let own = name.to_owned();
        self.core
            .prepared(&[(parent, name)], move |core| core.unlink(caller, parent, &own))
    }

    fn rmdir(&self, _: Caller, parent: Ino, name: &OsStr) -> Outcome<(), Error> {
        let own = name.to_owned();
        self.core
            .prepared(&[(parent, name)], move |core| core.rmdir(parent, &own))
    }

    fn rename(
        &self,
        caller: Caller,
        parent: Ino,
        name: &OsStr,
        new_parent: Ino,
        new_name: &OsStr,
        flags: u32,
    ) -> Outcome<(), Error> {
        let (own, new_own) = (name.to_owned(), new_name.to_owned());
        self.core
            .prepared_then(&[(parent, name), (new_parent, new_name)], move |core| {
                // An override is written down durably, for which every disk takes its time.
                let is_override = core.is_to_be_overridden(new_parent, &new_own);
                let rename = move |core: &Arc<Core>| {
                    core.rename(caller, (parent, &own), (new_parent, &new_own), flags)
                };
                if is_override {
                    core.on_pool(rename)
                } else {
                    core.on_disk(rename)
                }
            })
    }

    fn getxattr(&self, ino: Ino, name: &OsStr) -> Outcome<Vec<u8>, Error> {
        self.core.getxattr(ino, name)
    }

    fn setxattr(&self, ino: Ino, name: &OsStr, value: &[u8], flags: i32) -> Outcome<(), Error> {
        self.core.setxattr(ino, name, value, flags)
    }

    fn listxattr(&self, ino: Ino) -> Outcome<Vec<u8>, Error> {
        self.core.listxattr(ino)
    }

    fn removexattr(&self, ino: Ino, name: &OsStr) -> Outcome<(), Error> {
        self.core.removexattr(ino, name)
    }

    fn statfs(&self) -> Outcome<StatFs, Error> {
        self.core.on_disk(|core| core.statfs())
    }

    fn store_is_stacked(&self) -> bool {
        self.core.local.as_ref().is_some_and(local::Local::is_stacked)
    }

    fn shutdown(&self) {
        self.core.end_removals();
        self.core.fetcher.shutdown();
    }
}
