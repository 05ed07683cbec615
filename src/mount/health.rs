//! The health of a mount, checked in a way that cannot hang.
//!
//! A mount whose process died with a thread stuck in the kernel, or was stopped, answers nothing, and a call that waits for
//! it cannot always be interrupted. So the question is put by a process of its own, which is left alone when it takes too
//! long, and whether the mount's process lives is asked of the process, not of the mount.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use tokio::runtime::Handle;

use super::Error;
use super::mountinfo::MountEntry;

/// The longest wait for an answer. A living file system answers in milliseconds, on a very busy machine in seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The wait after which a silent mount is checked for a process that has ended.
const SUSPECT_AFTER: Duration = Duration::from_secs(1);

/// The time that a process may take to save its transfers and end. It needs moments, unless the disk is very slow.
pub(super) const EXIT_TIMEOUT: Duration = Duration::from_secs(15);

/// The pause between two looks at whether the name of a connection is free.
const BIND_PAUSE: Duration = Duration::from_millis(50);

/// The name of a connection in the table of abstract sockets, before its number.
const NAME: &str = "crds-fs/";

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

/// The process that serves a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// It runs.
    Running(u32),
    /// It has ended, but threads of it are still in the kernel.
    Exiting(u32),
    /// There is none.
    Gone,
    /// It cannot be seen from here.
    Unknown,
}

impl Server {
    /// Its number, where there is one.
    pub(crate) fn pid(self) -> Option<u32> {
        match self {
            Self::Running(pid) | Self::Exiting(pid) => Some(pid),
            Self::Gone | Self::Unknown => None,
        }
    }
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

    /// The process that serves it, found without touching it.
    pub(crate) fn server(&self) -> Server {
        server(self.minor)
    }

    /// The error that it does not answer.
    fn no_answer(&self) -> Error {
        match self.server() {
            Server::Exiting(_) | Server::Gone => Error::Dead(self.mountpoint.clone()),
            Server::Running(pid) => Error::silent(&self.mountpoint, Some(pid)),
            Server::Unknown => Error::silent(&self.mountpoint, None),
        }
    }

    /// Waits until the last thread of the process that serves it has ended, and the process's locks with it. False if
    /// that takes longer than `timeout`.
    pub(crate) fn await_end(&self, server: Server, timeout: Duration) -> bool {
        let (Server::Running(pid) | Server::Exiting(pid)) = server else {
            return true;
        };
        let limit = Instant::now() + timeout;
        // The number may serve another mount by then.
        while matches!(self.server(), Server::Running(other) | Server::Exiting(other) if other == pid) {
            if Instant::now() >= limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
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

/// The process that serves a connection.
fn server(minor: u32) -> Server {
    let connected = address(minor).and_then(|address| UnixStream::connect_addr(&address));
    let pid = match connected {
        Ok(socket) => getsockopt(&socket, sockopt::PeerCredentials).map(|peer| peer.pid()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Server::Gone,
        Err(_) => return Server::Unknown,
    };
    match pid.map(u32::try_from) {
        // 0 stands for a process outside of this pid namespace.
        Ok(Ok(pid @ 1..)) if runs(pid) => Server::Running(pid),
        Ok(Ok(pid @ 1..)) => Server::Exiting(pid),
        _ => Server::Unknown,
    }
}

/// The connections that are served, whether they are mounted or not: the numbers in the names that their processes have.
fn connections() -> Vec<u32> {
    let sockets = std::fs::read("/proc/net/unix").unwrap_or_default();
    let name = format!("@{NAME}");
    let numbers = sockets.split(|byte| *byte == b'\n').filter_map(|line| {
        let path = line.rsplit(|byte| *byte == b' ').next()?;
        std::str::from_utf8(path).ok()?.strip_prefix(&name)?.parse().ok()
    });
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The connection that a process serves.
pub(super) fn connection_of(process: u32) -> Option<u32> {
    let mut all = connections().into_iter();
    all.find(|minor| server(*minor).pid() == Some(process))
}

/// Whether a process runs; a zombie does not.
fn runs(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Behind the name in parentheses, which may hold anything, comes the state (proc(5)).
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// The name under which the process that serves a connection can be found: an abstract socket, which goes with the last
/// thread of the process and leaves nothing behind.
fn address(minor: u32) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("{NAME}{minor}"))
}

/// Lets others find this process as the one that serves a connection, as long as it lives.
///
/// The kernel gives the number of a connection to the next one while the process of the earlier one still saves what it has:
/// then the name is taken when that has ended.
pub(super) fn announce(minor: u32, runtime: &Handle) -> io::Result<()> {
    let address = address(minor)?;
    let first = match UnixListener::bind_addr(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
        bound => Some(bound?),
    };
    runtime.spawn(async move {
        let listener = match first {
            Some(listener) => Ok(listener),
            None => bind_later(&address).await,
        };
        match listener.and_then(to_tokio) {
            // A client only asks the kernel for the process id of this end.
            Ok(listener) => while listener.accept().await.is_ok() {},
            Err(error) => log::debug!("commands cannot ask for this process: {error}"),
        }
    });
    Ok(())
}

fn to_tokio(listener: UnixListener) -> io::Result<tokio::net::UnixListener> {
    listener.set_nonblocking(true)?;
    tokio::net::UnixListener::from_std(listener)
}

/// Binds a name as soon as it is free.
async fn bind_later(address: &SocketAddr) -> io::Result<UnixListener> {
    loop {
        tokio::time::sleep(BIND_PAUSE).await;
        match UnixListener::bind_addr(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound,
        }
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
        assert!(matches!(missing, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound));
        assert_eq!(entry(directory.path()).server(), Server::Gone);
    }

    /// Opening a FIFO waits for who writes into it, as a hanging mount lets wait.
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

    /// The process that had the number of the connection before may take its time to end.
    #[test]
    fn a_name_that_is_taken_is_waited_for() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mount = MountEntry {
            minor: (1 << 21) + std::process::id(),
            ..entry(directory.path())
        };
        let before = UnixListener::bind_addr(&address(mount.minor).unwrap()).unwrap();
        announce(mount.minor, runtime.handle()).unwrap();
        drop(before);
        let begun = Instant::now();
        while mount.server() == Server::Gone {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(mount.server(), Server::Running(std::process::id()));
        assert!(connections().contains(&mount.minor));
    }

    #[test]
    fn a_process_that_has_ended_does_not_run() {
        assert!(runs(std::process::id()));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(runs(child.id()));
        child.kill().unwrap();
        // Not asked about yet: a zombie.
        while runs(child.id()) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!runs(child.id()));
    }
}
