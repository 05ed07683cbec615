//! The error of mounting, unmounting and serving a file system.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::machine::Advice;

/// A failure to mount, unmount or serve a file system, with the remedy where there is one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A system call on a path failed.
    #[error("{doing} '{path}'")]
    Io {
        /// The operation, such as `reading`.
        doing: &'static str,
        /// The path that it was done to.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// No file system of ours is mounted at this path.
    #[error("no crds-fs file system is mounted at '{0}'")]
    NotMounted(PathBuf),
    /// This process may not have the memory that a mount needs.
    #[error(
        "a mount needs {needed} KiB of addresses, and the limit here is {limit} KiB: raise it ('ulimit -v unlimited', or \
         'as' in /etc/security/limits.conf)"
    )]
    AddressSpace {
        /// The least that a mount can do with, in KiB.
        needed: u64,
        /// The limit that this process cannot raise, in KiB.
        limit: u64,
    },
    /// Something else is mounted there.
    #[error("what is mounted at '{path}' is not ours but of type {fstype}")]
    Foreign {
        /// The mount point.
        path: PathBuf,
        /// The type of what is there.
        fstype: String,
    },
    /// Processes still use the file system.
    #[error("'{path}' is in use{users}, or detach it with 'crds-fs umount --lazy'")]
    Busy {
        /// The mount point.
        path: PathBuf,
        /// Its users and the way to be rid of them, as the end of a sentence ([`Users`](super::users::Users)).
        users: String,
        /// Whether any of them is seen.
        are_seen: bool,
    },
    /// Another user has mounted it.
    #[error("'{path}' was mounted by {owner}: run 'crds-fs umount {path}' as that user, or as root")]
    NotOwner {
        /// The mount point.
        path: PathBuf,
        /// The name of the user.
        owner: String,
    },
    /// Another user has mounted it, and lets nobody in.
    #[error(
        "only {owner}, who mounted '{path}', may look into it: run this as that user, or have it mounted with \
         --allow-other"
    )]
    Closed {
        /// The mount point.
        path: PathBuf,
        /// The name of the user.
        owner: String,
    },
    /// The helper lets nobody mount on a directory that he may not write to.
    #[error("you may not mount on '{0}', since you may not write to it: name a directory of your own")]
    NotWritable(PathBuf),
    /// The set-user-id helper failed; the text is its message.
    #[error("fusermount3 says: {0}")]
    Helper(String),
    /// There is no helper, or none that may mount, and without it only root may.
    #[error("{0}")]
    NoHelper(Advice),
    /// The FUSE device cannot be opened.
    #[error("cannot open '{path}': {advice}")]
    Device {
        /// The device.
        path: PathBuf,
        /// The cause and the remedy.
        advice: Advice,
        /// The error of open(2).
        source: io::Error,
    },
    /// The descriptor handed over is no FUSE device.
    #[error("'{0}' is not a FUSE device")]
    NotADevice(PathBuf),
    /// There is nothing to mount on.
    #[error("there is no directory '{0}' to mount on: make it with mkdir")]
    NoMountpoint(PathBuf),
    /// A file is in the way.
    #[error("'{0}' is not a directory")]
    NotADirectory(PathBuf),
    /// A living file system of ours is there.
    #[error("a crds-fs file system is mounted at '{0}' already; 'crds-fs umount' takes it away")]
    AlreadyMounted(PathBuf),
    /// The process of a mount of ours has died.
    #[error(
        "the process of the file system at '{0}' has died; 'crds-fs mount' mends it, 'crds-fs umount' takes it away"
    )]
    Dead(PathBuf),
    /// A mount of ours does not answer, and may still do so.
    #[error("the file system at '{path}' does not answer{process}; 'crds-fs umount --lazy' takes it away")]
    Silent {
        /// The mount point.
        path: PathBuf,
        /// Its process, as `, though its process N lives`; empty when that cannot be seen.
        process: String,
    },
    /// The connection of a mount whose process has died cannot be ended by us.
    #[error(
        "the process of the file system at '{path}' has died, but the kernel still waits for its answers; an \
         administrator can end that with 'umount -f {path}'"
    )]
    Hanging {
        /// The mount point.
        path: PathBuf,
        /// The error of the attempt to end it.
        source: io::Error,
    },
    /// A dead mount that is not ours is in the way.
    #[error("the {fstype} file system mounted at '{path}' is dead, or does not answer; unmount it first")]
    DeadForeign {
        /// The mount point.
        path: PathBuf,
        /// The type of what is there.
        fstype: String,
    },
    /// The process for a file system could not be made or waited for.
    #[error("cannot start a process for the file system")]
    Fork(#[source] io::Error),
    /// A fork was asked for in a process with several threads.
    #[error("cannot start a process for the file system: this one has several threads")]
    Threads,
    /// The new process sent no message in time.
    #[error(
        "the file system is not ready after {seconds} s; something at the mount point or the cache does not answer"
    )]
    NotReady {
        /// The time that it was waited for.
        seconds: u16,
    },
    /// The new process ended before it was ready, and sent no message.
    #[error("the process for the file system ended without a word ({0})")]
    Died(ExitStatus),
    /// The new process failed; the text is its message.
    #[error("{0}")]
    Told(String),
    /// The kernel refuses a private namespace.
    #[error("there can be no namespace of your own here: {advice}")]
    Namespace {
        /// The cause and the remedy.
        advice: Advice,
        /// The error of the system call.
        source: io::Error,
    },
    /// The session with the kernel could not be started, or failed.
    #[error("cannot serve the file system")]
    Session(#[source] io::Error),
}

impl Error {
    /// Whether the cause is that mounting does not work on this machine, or not for this user.
    pub(crate) fn is_of_machine(&self) -> bool {
        matches!(
            self,
            Self::Helper(_) | Self::NoHelper(_) | Self::Device { .. } | Self::Namespace { .. }
        )
    }

    pub(super) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            doing,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    pub(super) fn silent(path: &Path, pid: Option<u32>) -> Self {
        Self::Silent {
            path: path.to_owned(),
            process: pid.map_or_else(String::new, |pid| format!(", though its process {pid} lives")),
        }
    }

    pub(super) fn helper(source: impl Into<io::Error>) -> Self {
        Self::io("running", Path::new("fusermount3"), source)
    }

    pub(super) fn fork(source: impl Into<io::Error>) -> Self {
        Self::Fork(source.into())
    }
}
