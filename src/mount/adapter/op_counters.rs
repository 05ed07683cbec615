//! Counts of the kernel's requests and of those that ended with an error, by kind.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::tree::ops::OpCount;

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

/// Counts of the requests of one mount.
#[derive(Debug, Default)]
pub(crate) struct OpCounters {
    requests: [AtomicU64; KINDS],
    errors: [AtomicU64; KINDS],
}

impl OpCounters {
    /// All counts at this moment.
    pub(in crate::mount) fn counts(&self) -> Vec<OpCount> {
        Op::ALL
            .iter()
            .map(|&op| OpCount {
                op: op.as_str(),
                requests: read(&self.requests, op),
                errors: read(&self.errors, op),
            })
            .collect()
    }

    pub(super) fn count(&self, op: Op) {
        add(&self.requests, op);
    }

    pub(super) fn count_error(&self, op: Op) {
        add(&self.errors, op);
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
