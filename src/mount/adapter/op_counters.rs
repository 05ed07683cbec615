//! How often the kernel asks for what: the numbers behind "a warm read never gets here".

use std::sync::atomic::{AtomicU64, Ordering};

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are named as the requests of fuse(4) are")]
pub enum Op {
    Lookup,
    Forget,
    Getattr,
    Setattr,
    Readlink,
    Open,
    Create,
    Read,
    Write,
    Flush,
    Fsync,
    Fallocate,
    Release,
    Opendir,
    Readdir,
    Readdirplus,
    Releasedir,
    Fsyncdir,
    Mknod,
    Mkdir,
    Symlink,
    Link,
    Unlink,
    Rmdir,
    Rename,
    Getxattr,
    Setxattr,
    Listxattr,
    Removexattr,
    Statfs,
    Other,
}

const KINDS: usize = Op::Other as usize + 1;

/// Counts of the requests of one mount.
#[derive(Debug, Default)]
pub struct OpCounters([AtomicU64; KINDS]);

impl OpCounters {
    /// How often there was such a request.
    pub fn of(&self, op: Op) -> u64 {
        self.0
            .get(op as usize)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    pub(super) fn count(&self, op: Op) {
        if let Some(count) = self.0.get(op as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
