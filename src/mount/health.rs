//! The health of a mount, checked in a way that cannot hang.
//!
//! A mount whose process died with a thread stuck in the kernel, or was stopped, answers nothing, and a call that waits for
//! it cannot always be interrupted. So the question is put by a process of its own, which is left alone when it takes too
//! long, and whether the mount's process lives is asked of the process, not of the mount.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, getuid};

use super::mountinfo::MountEntry;
use super::server::Server;
use super::{Error, user_name};

/// The longest wait for an answer. A living file system answers in milliseconds, on a very busy machine in seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The wait after which a silent mount is checked for a process that has ended.
const SUSPECT_AFTER: Duration = Duration::from_secs(1);

/// A directory that every mount has. Syncing it makes all copies durable.
const SYNCED: &str = "references";

/// The size, in bytes, from which on a file is not read further.
const MAX_FILE: usize = 64 << 20;

/// The health of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// It answers.
    Answers,
    /// Its process has ended, and the kernel has cut the connection: every call fails at once.
    Dead,
    /// Its process has ended, but not quite: a thread of it, or another holder of the connection, keeps the kernel waiting
    /// for answers that will never come. Every call on it hangs.
    Hanging,
    /// It does not answer; its process, where that can be seen, lives.
    Unresponsive {
        /// The process.
        pid: Option<u32>,
    },
}

impl MountEntry {
    /// The health of this mount. Takes up to [`ANSWER_TIMEOUT`] when it does not answer, and never hangs.
    pub(crate) fn health(&self) -> Health {
        self.health_within(ANSWER_TIMEOUT)
    }

    /// The health of this mount, for whoever waits no longer than this for an answer.
    pub(crate) fn health_within(&self, timeout: Duration) -> Health {
        let mut early = Vec::new();
        let question = |_: &OwnedFd| {
            nix::sys::stat::stat(&self.mountpoint)?;
            // Attributes may be remembered by the kernel; the size of the file system never is.
            nix::sys::statvfs::statvfs(&self.mountpoint).map(drop)
        };
        match in_child(&mut early, self, timeout, question) {
            Ok(Err(Errno::ENOTCONN | Errno::ECONNABORTED)) => Health::Dead,
            // Such as no permission to look.
            Ok(_) | Err(Unanswered::NotAsked) => Health::Answers,
            Err(Unanswered::TimedOut(_)) => match self.server() {
                Server::Exiting(_) | Server::Gone => Health::Hanging,
                Server::Running(pid) => Health::Unresponsive { pid: Some(pid) },
                Server::Unknown => Health::Unresponsive { pid: None },
            },
        }
    }

    /// Fails with an error that says what is wrong, unless the mount answers.
    pub(crate) fn must_answer(&self) -> Result<(), Error> {
        match self.health() {
            Health::Answers => Ok(()),
            Health::Dead | Health::Hanging => Err(Error::Dead(self.mountpoint.clone())),
            Health::Unresponsive { pid } => Err(Error::silent(&self.mountpoint, pid)),
        }
    }

    /// The contents of a file in it, by its path below the mount point.
    pub(crate) fn read(&self, file: &str) -> Result<Vec<u8>, Error> {
        self.read_within(ANSWER_TIMEOUT, file)
    }

    /// The contents of a file in it, for whoever waits no longer than this for them.
    pub(crate) fn read_within(&self, timeout: Duration, file: &str) -> Result<Vec<u8>, Error> {
        Reader::default().read(self, file, timeout)
    }

    /// Waits until what was read through it so far is durable, and has its final names in the cache.
    pub(super) fn sync(&self, timeout: Duration) -> Result<(), Error> {
        let path = self.mountpoint.join(SYNCED);
        let sync = |_: &OwnedFd| {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            nix::unistd::fsync(nix::fcntl::open(&path, flags, Mode::empty())?)
        };
        match in_child(&mut Vec::new(), self, timeout, sync) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(errno)) => Err(Error::io("syncing", &path, errno)),
            Err(Unanswered::NotAsked) => Err(Error::io("syncing", &path, Errno::EAGAIN)),
            Err(Unanswered::TimedOut(_)) => Err(self.no_answer()),
        }
    }

    /// The error that it does not answer.
    fn no_answer(&self) -> Error {
        match self.server() {
            Server::Exiting(_) | Server::Gone => Error::Dead(self.mountpoint.clone()),
            Server::Running(pid) => Error::silent(&self.mountpoint, Some(pid)),
            Server::Unknown => Error::silent(&self.mountpoint, None),
        }
    }
}

/// Reads files of mounts, one after the other, and leaves at most one process behind that hangs: as long as there is one, no
/// other file is asked for.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// A process that was told to end, and may hang in a system call.
    left: Option<Pid>,
}

impl Reader {
    /// As [`MountEntry::read`], with a limit of time for the answer.
    pub(crate) fn read(
        &mut self,
        entry: &MountEntry,
        file: &str,
        timeout: Duration,
    ) -> Result<Vec<u8>, Error> {
        let path = entry.mountpoint.join(file);
        if self.is_left() {
            return Err(entry.no_answer());
        }
        let mut contents = Vec::new();
        match in_child(&mut contents, entry, timeout, |out| copy(&path, out)) {
            Ok(Ok(())) => Ok(contents),
            Ok(Err(Errno::ENOTCONN | Errno::ECONNABORTED)) => Err(Error::Dead(entry.mountpoint.clone())),
            Ok(Err(Errno::EACCES)) if entry.owner.is_some_and(|owner| owner != getuid().as_raw()) => {
                Err(Error::Closed {
                    path: entry.mountpoint.clone(),
                    owner: entry.owner.map_or_else(String::new, user_name),
                })
            }
            Ok(Err(errno)) => Err(Error::io("reading", &path, errno)),
            Err(Unanswered::NotAsked) => Err(Error::io("reading", &path, Errno::EAGAIN)),
            Err(Unanswered::TimedOut(child)) => {
                self.left = Some(child);
                Err(entry.no_answer())
            }
        }
    }

    /// Whether the process that was left behind is still there.
    fn is_left(&mut self) -> bool {
        let is_there = |child| {
            matches!(
                waitpid(child, Some(WaitPidFlag::WNOHANG)),
                Ok(WaitStatus::StillAlive)
            )
        };
        self.left = self.left.filter(|child| is_there(*child));
        self.left.is_some()
    }
}

/// The reason why there is no answer.
enum Unanswered {
    /// It takes too long. The process that asks was told to end.
    TimedOut(Pid),
    /// The process that asks could not be made.
    NotAsked,
}

/// Does `work` in a process of its own, and collects what it writes. `work` may do nothing but system calls: other threads
/// of this process may hold any lock.
fn in_child(
    written: &mut Vec<u8>,
    entry: &MountEntry,
    timeout: Duration,
    work: impl FnOnce(&OwnedFd) -> nix::Result<()>,
) -> Result<nix::Result<()>, Unanswered> {
    let Ok((receiver, sender)) = nix::unistd::pipe2(OFlag::O_CLOEXEC) else {
        return Err(Unanswered::NotAsked);
    };
    match fork() {
        Err(_) => Err(Unanswered::NotAsked),
        Ok(ForkResult::Child) => {
            let sender = close_all_but(sender);
            let status = work(&sender).map_or_else(|errno| errno as i32, |()| 0);
            exit(status)
        }
        Ok(ForkResult::Parent { child }) => {
            drop(sender);
            let answer = collect(receiver, written, child, entry, timeout);
            if answer.is_none() {
                // It ends when the system call that it hangs in ends; it is not waited for.
                let _ = kill(child, Signal::SIGKILL);
            }
            answer.ok_or(Unanswered::TimedOut(child))
        }
    }
}

/// Reads until the end, and waits for the exit status. `None` when that takes too long.
fn collect(
    receiver: OwnedFd,
    written: &mut Vec<u8>,
    child: Pid,
    entry: &MountEntry,
    timeout: Duration,
) -> Option<nix::Result<()>> {
    let begun = Instant::now();
    let mut pipe = File::from(receiver);
    let mut suspected = false;
    let mut open = true;
    loop {
        if open {
            let slice = PollTimeout::from(200_u8);
            let ready = poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], slice);
            if matches!(ready, Ok(1..)) {
                let mut buffer = [0; 16 << 10];
                match pipe.read(&mut buffer) {
                    Ok(length @ 1..) if written.len() < MAX_FILE => {
                        written.extend(buffer.iter().take(length));
                        continue;
                    }
                    _ => open = false,
                }
            }
        } else {
            match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(WaitStatus::Exited(_, 0)) => return Some(Ok(())),
                Ok(WaitStatus::Exited(_, errno)) => return Some(Err(Errno::from_raw(errno))),
                _ => return Some(Err(Errno::EIO)),
            }
        }
        if !suspected && begun.elapsed() > SUSPECT_AFTER {
            suspected = true;
            if matches!(entry.server(), Server::Exiting(_)) {
                return None;
            }
        }
        if begun.elapsed() > timeout {
            return None;
        }
    }
}

/// Copies a file to a pipe.
fn copy(path: &Path, out: &OwnedFd) -> nix::Result<()> {
    let file = nix::fcntl::open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut buffer = [0; 16 << 10];
    loop {
        let length = nix::unistd::read(&file, &mut buffer)?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        while !rest.is_empty() {
            let sent = nix::unistd::write(out, rest)?;
            rest = rest.get(sent..).unwrap_or_default();
        }
    }
}

#[expect(unsafe_code, reason = "fork is unsafe where other threads exist")]
fn fork() -> nix::Result<ForkResult> {
    // SAFETY: the child makes system calls only, takes no lock and allocates nothing, and ends without running anything
    // that was left to be done at the end of this process.
    unsafe { nix::unistd::fork() }
}

/// Closes every other descriptor of the new process: if it comes to hang, it must not keep locks, pipes or connections of
/// this one with it.
#[expect(
    unsafe_code,
    reason = "descriptors of the parent are closed under their owners"
)]
fn close_all_but(keep: OwnedFd) -> OwnedFd {
    let number = keep.as_raw_fd().unsigned_abs();
    // SAFETY: nothing in this process uses any of them any more.
    unsafe {
        if let Some(below) = number.checked_sub(1) {
            libc::syscall(libc::SYS_close_range, 0_u32, below, 0_u32);
        }
        libc::syscall(libc::SYS_close_range, number + 1, u32::MAX, 0_u32);
    }
    keep
}

#[expect(
    unsafe_code,
    reason = "the usual way out would run what belongs to the parent"
)]
fn exit(status: i32) -> ! {
    // SAFETY: it ends this process, and nothing else.
    unsafe { libc::_exit(status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(mountpoint: &Path) -> MountEntry {
        MountEntry {
            id: 0,
            // No connection has this number.
            minor: 1 << 20,
            mountpoint: mountpoint.to_owned(),
            fstype: String::new(),
            source: "".into(),
            owner: None,
        }
    }

    #[test]
    fn what_answers_is_well() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(entry(directory.path()).health(), Health::Answers);
        let long = vec![b'x'; 300_000];
        std::fs::write(directory.path().join("file"), &long).unwrap();
        assert!(entry(directory.path()).read("file").unwrap() == long);
        let missing = entry(directory.path()).read("missing").unwrap_err();
        assert!(matches!(missing, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound));
        assert_eq!(entry(directory.path()).server(), Server::Gone);
    }

    /// Opening a FIFO waits for a writer, as a look at a hanging mount waits.
    #[test]
    fn what_hangs_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&directory.path().join("fifo"), Mode::S_IRWXU).unwrap();
        let hanging = entry(directory.path()).read("fifo").unwrap_err();
        assert!(matches!(hanging, Error::Dead(_)), "{hanging}");
    }

    /// A process that is left behind hangs until its system call ends.
    #[test]
    fn a_reader_leaves_one_process_behind() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file"), "text").unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut reader = Reader {
            left: Some(Pid::from_raw(i32::try_from(child.id()).unwrap())),
        };
        let mut read = || reader.read(&entry(directory.path()), "file", ANSWER_TIMEOUT);
        assert!(matches!(read(), Err(Error::Dead(_))), "nothing is asked");
        child.kill().unwrap();
        while read().is_err() {
            std::thread::yield_now();
        }
        assert_eq!(read().unwrap(), b"text");
        // The reader has asked how it ended.
        assert!(child.wait().is_err());
    }
}
