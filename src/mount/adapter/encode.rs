//! The tree's values in the kernel's terms.

use std::time::{Duration, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};

use crate::tree::ops::{Attr, CacheTtl, NodeKind, StatFs};

/// The unit of the sizes of the file system, in bytes.
const BLOCK: u64 = 4096;

/// "For good": longer than any mount lives, and well within the kernel's arithmetic.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The lifetime in the kernel of what only the mount changes.
const MINUTE: Duration = Duration::from_secs(60);

/// The lifetime in the kernel of a name that is absent until a new catalog brings it: long enough for a program that
/// looks for it in several ways, short enough for a person who waits for it.
const BRIEFLY: Duration = Duration::from_secs(1);

pub(super) fn lifetime(keep: CacheTtl) -> Duration {
    match keep {
        CacheTtl::Forever => FOREVER,
        CacheTtl::Minute => MINUTE,
        CacheTtl::Briefly => BRIEFLY,
        CacheTtl::Never => Duration::ZERO,
    }
}

pub(super) fn kind(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::Directory => FileType::Directory,
        NodeKind::File => FileType::RegularFile,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::Fifo => FileType::NamedPipe,
        NodeKind::Socket => FileType::Socket,
    }
}

pub(super) fn attributes(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.blocks,
        atime: attr.atime,
        mtime: attr.mtime,
        ctime: attr.ctime,
        crtime: attr.mtime,
        kind: kind(attr.kind),
        perm: attr.perm,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// The attributes of "there is no such name": the kernel reads only the inode number, 0.
pub(super) fn absent() -> FileAttr {
    attributes(&Attr {
        ino: 0,
        kind: NodeKind::File,
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
    })
}

pub(super) fn file_system(size: StatFs, reply: fuser::ReplyStatfs) {
    let block = 4096;
    reply.statfs(
        size.total / BLOCK,
        size.free / BLOCK,
        size.available / BLOCK,
        size.files,
        size.files_free,
        block,
        255,
        block,
    );
}
