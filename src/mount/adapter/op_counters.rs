//! Counts of the kernel's requests and of those that ended with an error, by kind.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::tree::ops::{OpCount, Operations};

macro_rules! ops {
    ($($op:ident => $name:literal),* $(,)?) => {
        /// A kind of request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Op {
            $($op),*
        }

        impl Op {
            const ALL: &[Self] = &[$(Self::$op),*];

            /// The name in metrics.
            const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$op => $name),*
                }
            }
        }
    };
}

ops! {
    Lookup => "lookup",
    Forget => "forget",
    Getattr => "getattr",
    Setattr => "setattr",
    Readlink => "readlink",
    Open => "open",
    Create => "create",
    Read => "read",
    Write => "write",
    Flush => "flush",
    Fsync => "fsync",
    Fallocate => "fallocate",
    Release => "release",
    Opendir => "opendir",
    Readdir => "readdir",
    Readdirplus => "readdirplus",
    Releasedir => "releasedir",
    Fsyncdir => "fsyncdir",
    Mknod => "mknod",
    Mkdir => "mkdir",
    Symlink => "symlink",
    Link => "link",
    Unlink => "unlink",
    Rmdir => "rmdir",
    Rename => "rename",
    Getxattr => "getxattr",
    Setxattr => "setxattr",
    Listxattr => "listxattr",
    Removexattr => "removexattr",
    Statfs => "statfs",
}

const KINDS: usize = Op::ALL.len();

/// The numbers of errors: errno(3) has none beyond 133 on Linux, and a larger one is counted as 0.
const ERRNOS: usize = 134;

/// Counts of the requests of one mount.
#[derive(Debug)]
pub(crate) struct OpCounters {
    requests: [AtomicU64; KINDS],
    errors: [AtomicU64; KINDS],
    by_errno: [AtomicU64; ERRNOS],
}

impl Default for OpCounters {
    fn default() -> Self {
        Self {
            requests: Default::default(),
            errors: Default::default(),
            by_errno: std::array::from_fn(|_| AtomicU64::default()),
        }
    }
}

impl OpCounters {
    /// All counts at this moment.
    pub(in crate::mount) fn counts(&self) -> Operations {
        let by_kind = Op::ALL.iter().map(|&op| OpCount {
            op: op.as_str(),
            requests: read(&self.requests, op),
            errors: read(&self.errors, op),
        });
        let by_errno = (0..).zip(&self.by_errno);
        let errors = by_errno.map(|(errno, count)| (errno, count.load(Ordering::Relaxed)));
        Operations {
            by_kind: by_kind.collect(),
            errors: errors.filter(|(_, count)| *count > 0).collect(),
        }
    }

    pub(super) fn count(&self, op: Op) {
        add(&self.requests, op);
    }

    pub(super) fn count_error(&self, op: Op, errno: i32) {
        add(&self.errors, op);
        let number = usize::try_from(errno).ok().filter(|number| *number < ERRNOS);
        if let Some(count) = self.by_errno.get(number.unwrap_or_default()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn read(counts: &[AtomicU64; KINDS], op: Op) -> u64 {
    counts
        .get(op as usize)
        .map_or(0, |count| count.load(Ordering::Relaxed))
}

fn add(counts: &[AtomicU64; KINDS], op: Op) {
    if let Some(count) = counts.get(op as usize) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}
