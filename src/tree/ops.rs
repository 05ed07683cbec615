//! The seam to FUSE: the operations of a file system as values, so that the adapter only decodes and encodes, and the
//! tree is tested without a kernel.
//!
//! Every operation answers with an [`Outcome`]. `Ready` is computed on the calling thread, from memory or with system calls on
//! a disk that is well; `Later` is a future that the adapter runs as a task.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

pub(crate) use crate::fetch::Outcome;

/// An inode number; [`ROOT`] is the root directory.
pub(crate) type Ino = u64;

/// The root directory's inode number.
pub(crate) const ROOT: Ino = 1;

/// The number of threads calling a file system that may wait for its disk at the same time. A server of requests must
/// have more threads than that.
pub(crate) const MAY_WAIT: usize = 3;

/// A number that stands for an open file or directory until it is released.
pub(crate) type Handle = u64;

/// The caller of an operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    /// The *thread* id in the daemon's pid namespace; 0 when the caller is outside of it.
    pub tid: u32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// The kind of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A FIFO; what goes through it is the kernel's business.
    Fifo,
    /// A socket; as for FIFOs.
    Socket,
}

/// The attributes of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attr {
    /// Its number.
    pub ino: Ino,
    /// Its kind.
    pub kind: NodeKind,
    /// Size in bytes; for a catalogued file the catalog's.
    pub size: u64,
    /// Blocks of 512 bytes that are on this disk.
    pub blocks: u64,
    /// Last access.
    pub atime: SystemTime,
    /// Last change of the contents; the same before and after a download.
    pub mtime: SystemTime,
    /// Last change of contents or attributes.
    pub ctime: SystemTime,
    /// Permission bits, the umask applied.
    pub perm: u16,
    /// Number of names; 0 once an open file is unlinked.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Attr {
    /// The same attributes with all times set to `time`, where their differences mean nothing.
    #[must_use]
    pub(crate) fn dated(mut self, time: SystemTime) -> Self {
        (self.atime, self.mtime, self.ctime) = (time, time, time);
        self
    }
}

/// The time for which the kernel may keep an answer without asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheTtl {
    /// For good: it changes only with an invalidation (see [`InvalidationSink`]).
    Forever,
    /// For a minute: it changes through the mount alone, but for details that the store's file system settles later.
    Minute,
    /// For a second: it may change with a new catalog, or in the store behind the back of the mount, of which the kernel
    /// is not told.
    Briefly,
    /// Not at all: it may change at any moment.
    Never,
}

/// The answer to a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The name is there; the kernel now holds one reference to the inode, given back by [`FileSystem::forget`].
    Found {
        /// Its attributes.
        attr: Attr,
        /// The time for which the name and the attributes hold.
        keep: CacheTtl,
    },
    /// The name is not there, and the kernel may remember that.
    Absent {
        /// The time for which it stays absent.
        keep: CacheTtl,
    },
}

/// The source of an open file's bytes.
#[derive(Debug, Clone)]
pub(crate) enum Backing {
    /// A complete, verified catalogued file; all handles of an inode that are open together are of the same one.
    /// Passthrough is allowed.
    Stored(Arc<File>),
    /// A local file that may be written; read and written through the page cache.
    Local,
    /// Bytes made at open that do not change while open (`bestrefs.json`, `status.json`).
    Generated,
}

/// An open file.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    /// Its handle.
    pub handle: Handle,
    /// Its size in bytes at open.
    pub size: u64,
    /// Its bytes.
    pub backing: Backing,
    /// Whether pages the kernel kept from an earlier open still hold; false for live generated text, and for another copy
    /// than that of the last open.
    pub keep_cache: bool,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DirEntry {
    /// The name.
    pub name: OsString,
    /// Its inode number.
    pub ino: Ino,
    /// Its kind.
    pub kind: NodeKind,
    /// The offset from which reading goes on behind this entry.
    pub next: u64,
}

/// A new value for a time of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewTime {
    /// The store's own clock at that moment, by which it also dates what it changes itself.
    Now,
    /// A given time.
    At(SystemTime),
}

/// The attributes to change; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SetAttr {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// New length in bytes.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<NewTime>,
    /// Last change.
    pub mtime: Option<NewTime>,
    /// The open file through which the change was asked for.
    pub handle: Option<Handle>,
}

/// The size of the file system, in bytes and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatFs {
    /// Bytes in all.
    pub total: u64,
    /// Bytes free for the owner of the store.
    pub free: u64,
    /// Bytes free for ordinary users, within the cache size.
    pub available: u64,
    /// Inodes in all.
    pub files: u64,
    /// Inodes free.
    pub files_free: u64,
}

/// A change that the kernel has to be told of: a new catalog came, or the tree changed behind its back.
///
/// There is none for a name: the kernel would take the lock of its directory, which a caller may hold while it waits
/// for an answer of the tree. A name that came was absent only [briefly](CacheTtl::Briefly). The attributes of one that
/// went are forgotten, so that the tree is asked for them and answers that the inode is stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Invalidation {
    /// Attributes changed (blocks after a download or an eviction, the time of a directory), or the name has gone:
    /// forget them, keep cached pages. An inode that the kernel does not know is no error.
    Attributes {
        /// The inode.
        ino: Ino,
    },
}

/// Receives [`Invalidation`]s; must not block and must not call back into the tree.
pub(crate) type InvalidationSink = Box<dyn Fn(Invalidation) + Send + Sync>;

/// The number of the kernel's requests for one kind of operation since the mount was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpCount {
    /// The kind, in lower case as fuse(4) names it without `FUSE_`.
    pub op: &'static str,
    /// The number of requests.
    pub requests: u64,
    /// The number of requests that were answered with an error. A lookup that finds nothing is none.
    pub errors: u64,
}

/// The kernel's requests since the mount was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Operations {
    /// Their numbers, for every kind of operation.
    pub by_kind: Vec<OpCount>,
    /// The errors that were answered, by errno; those that were never answered are not there.
    pub errors: Vec<(i32, u64)>,
}

/// Reads the counts of all operations at the moment of the call.
pub(crate) type OpCounts = Box<dyn Fn() -> Operations + Send + Sync>;

/// A file system. Names are as the kernel gives them and may be anything.
///
/// `Self::Error` is turned into a number by [`FileSystem::errno`], and nowhere else.
pub(crate) trait FileSystem: Send + Sync + 'static {
    /// The error of its operations.
    type Error: std::error::Error + Send + Sync + 'static;
    /// The attributes of some entries of an open directory, looked up before they are read.
    type Ahead: Send + 'static;

    /// The errno that tells the caller about this error.
    fn errno(&self, error: &Self::Error) -> i32;

    /// Sets the receiver of changes that the kernel has to be told of; called once, before the first request.
    fn listen(&self, changes: InvalidationSink);

    /// Sets the source of the counts of operations, for a file system that shows them; called once, as
    /// [`FileSystem::listen`] is.
    fn count_operations(&self, counts: OpCounts) {
        drop(counts);
    }

    /// Finds `name` in `parent`.
    fn lookup(&self, caller: Caller, parent: Ino, name: &OsStr) -> Outcome<Lookup, Self::Error>;
    /// Takes back `count` of the kernel's references to `ino`.
    fn forget(&self, ino: Ino, count: u64);
    /// Attributes, and how long they hold.
    fn getattr(
        &self,
        caller: Caller,
        ino: Ino,
        handle: Option<Handle>,
    ) -> Outcome<(Attr, CacheTtl), Self::Error>;
    /// Changes attributes.
    fn setattr(&self, caller: Caller, ino: Ino, change: SetAttr) -> Outcome<(Attr, CacheTtl), Self::Error>;
    /// The target of a symbolic link.
    fn readlink(&self, ino: Ino) -> Outcome<OsString, Self::Error>;

    /// Opens a file; `flags` are those of open(2). For a catalogued file that is not in the store this is the download.
    fn open(&self, caller: Caller, ino: Ino, flags: i32) -> Outcome<Opened, Self::Error>;
    /// Creates (unless it exists and `flags` lack `O_EXCL`) and opens a file.
    fn create(
        &self,
        caller: Caller,
        parent: Ino,
        name: &OsStr,
        mode: u32,
        flags: i32,
    ) -> Outcome<(Lookup, Opened), Self::Error>;
    /// Reads up to `size` bytes at `offset`; shorter only at the end of the file.
    fn read(&self, handle: Handle, offset: u64, size: u32) -> Outcome<Bytes, Self::Error>;
    /// Writes all of `data` at `offset` (at the end with `O_APPEND`), and says how much was written.
    fn write(&self, handle: Handle, offset: u64, data: &[u8]) -> Outcome<u32, Self::Error>;
    /// Called at each close of a descriptor of an open file; reports the errors that must reach close(2).
    fn flush(&self, handle: Handle) -> Outcome<(), Self::Error>;
    /// Makes what was written durable.
    fn fsync(&self, handle: Handle, data_only: bool) -> Outcome<(), Self::Error>;
    /// Allocates or frees a part of an open file, with the modes of fallocate(2).
    fn fallocate(&self, handle: Handle, mode: i32, offset: u64, length: u64) -> Outcome<(), Self::Error>;
    /// Closes an open file, whose last descriptor is gone.
    fn release(&self, handle: Handle);

    /// Opens a directory for listing. The listing may be kept by the kernel as [`CacheTtl`] says.
    fn opendir(&self, caller: Caller, ino: Ino) -> Outcome<(Handle, CacheTtl), Self::Error>;
    /// Prepares an open directory for being read from its start. Entries that were read before are not shown again: its
    /// names are the present ones, as rewinddir(3) promises.
    fn rewind(&self, handle: Handle) -> Outcome<(), Self::Error>;
    /// Calls `each` for the entries from `offset` on until it returns false; `.` and `..` included. Always on the spot:
    /// [`FileSystem::opendir`] and [`FileSystem::rewind`] have done what may take time.
    fn readdir(
        &self,
        handle: Handle,
        offset: u64,
        each: &mut dyn FnMut(DirEntry) -> bool,
    ) -> Result<(), Self::Error>;
    /// Prepares an open directory for being read with attributes from `offset` on: does everything that may take time,
    /// at the start also what [`FileSystem::rewind`] does.
    fn look_ahead(&self, handle: Handle, offset: u64) -> Outcome<Self::Ahead, Self::Error>;
    /// As [`FileSystem::readdir`], with attributes. Each entry that `each` accepts counts as one lookup, except `.` and
    /// `..`. It may end early, but not before the first entry.
    fn readdirplus(
        &self,
        ahead: Self::Ahead,
        offset: u64,
        each: &mut dyn FnMut(DirEntry, Attr, CacheTtl) -> bool,
    ) -> Result<(), Self::Error>;
    /// Closes a directory.
    fn releasedir(&self, handle: Handle);
    /// Makes the names of a directory durable.
    fn fsyncdir(&self, ino: Ino) -> Outcome<(), Self::Error>;

    /// Makes a file, a FIFO or a socket without opening it.
    fn mknod(
        &self,
        caller: Caller,
        parent: Ino,
        name: &OsStr,
        kind: NodeKind,
        mode: u32,
    ) -> Outcome<Lookup, Self::Error>;
    /// Makes a directory.
    fn mkdir(&self, caller: Caller, parent: Ino, name: &OsStr, mode: u32) -> Outcome<Lookup, Self::Error>;
    /// Makes a symbolic link.
    fn symlink(
        &self,
        caller: Caller,
        parent: Ino,
        name: &OsStr,
        target: &OsStr,
    ) -> Outcome<Lookup, Self::Error>;
    /// Makes a second name for a file.
    fn link(&self, caller: Caller, ino: Ino, parent: Ino, name: &OsStr) -> Outcome<Lookup, Self::Error>;
    /// Removes a file's name.
    fn unlink(&self, caller: Caller, parent: Ino, name: &OsStr) -> Outcome<(), Self::Error>;
    /// Removes an empty directory.
    fn rmdir(&self, caller: Caller, parent: Ino, name: &OsStr) -> Outcome<(), Self::Error>;
    /// Renames, with the flags of renameat2(2).
    fn rename(
        &self,
        caller: Caller,
        parent: Ino,
        name: &OsStr,
        new_parent: Ino,
        new_name: &OsStr,
        flags: u32,
    ) -> Outcome<(), Self::Error>;

    /// The value of an extended attribute.
    fn getxattr(&self, ino: Ino, name: &OsStr) -> Outcome<Vec<u8>, Self::Error>;
    /// Sets an extended attribute, with the flags of setxattr(2).
    fn setxattr(&self, ino: Ino, name: &OsStr, value: &[u8], flags: i32) -> Outcome<(), Self::Error>;
    /// The names of the extended attributes, each with a zero behind it.
    fn listxattr(&self, ino: Ino) -> Outcome<Vec<u8>, Self::Error>;
    /// Removes an extended attribute.
    fn removexattr(&self, ino: Ino, name: &OsStr) -> Outcome<(), Self::Error>;
    /// The size of the file system.
    fn statfs(&self) -> Outcome<StatFs, Self::Error>;
    /// Whether the files of [`Backing::Stored`] lie on a file system that itself lies on another one, as an overlay does.
    fn store_is_stacked(&self) -> bool;
    /// Ends the service: requests that wait are answered, and transfers stop where they can be resumed.
    fn shutdown(&self);
}
