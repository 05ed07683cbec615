//! The process that serves a mount, found without touching the mount: by the name of the connection, an abstract socket, which goes
//! with the last thread of the process.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, getsockopt, socket, sockopt};
use tokio::runtime::Handle;

use super::mountinfo::MountEntry;

/// The time that a process may take to save its transfers and end. It needs moments, unless the disk is very slow.
pub(super) const EXIT_TIMEOUT: Duration = Duration::from_secs(15);

/// The pause between two looks at whether the name of a connection is free.
const BIND_PAUSE: Duration = Duration::from_millis(50);

/// The name of a connection in the table of abstract sockets, before its number.
const NAME: &str = "crds-fs/";

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
    /// The process that serves it, found without touching it.
    pub(crate) fn server(&self) -> Server {
        server(self.minor)
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

/// The process that serves a connection.
fn server(minor: u32) -> Server {
    behind(&minor.to_string())
}

/// The process that has a name. Who does not answer, as a process that was stopped, is not waited for.
fn behind(name: &str) -> Server {
    let pid = match connect(name) {
        Ok(socket) => getsockopt(&socket, sockopt::PeerCredentials).map(|peer| peer.pid()),
        Err(Errno::ECONNREFUSED) => return Server::Gone,
        Err(_) => return Server::Unknown,
    };
    match pid.map(u32::try_from) {
        // 0 stands for a process outside of this pid namespace.
        Ok(Ok(pid @ 1..)) if runs(pid) => Server::Running(pid),
        Ok(Ok(pid @ 1..)) => Server::Exiting(pid),
        _ => Server::Unknown,
    }
}

fn connect(name: &str) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let address = UnixAddr::new_abstract(format!("{NAME}{name}").as_bytes())?;
    nix::sys::socket::connect(socket.as_raw_fd(), &address)?;
    Ok(socket)
}

/// The connections that are served, whether they are mounted or not: the numbers in the names that their processes have.
fn connections() -> Vec<u32> {
    let numbers = names().into_iter().filter_map(|name| name.parse().ok());
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The names that processes of ours have, without what all begin with.
fn names() -> Vec<String> {
    let sockets = std::fs::read("/proc/net/unix").unwrap_or_default();
    let begin = format!("@{NAME}");
    let names = sockets.split(|byte| *byte == b'\n').filter_map(|line| {
        let path = line.rsplit(|byte| *byte == b' ').next()?;
        Some(std::str::from_utf8(path).ok()?.strip_prefix(&begin)?.to_owned())
    });
    names.collect()
}

/// The connection that a process serves.
pub(super) fn connection_of(process: u32) -> Option<u32> {
    let mut all = connections().into_iter();
    all.find(|minor| server(*minor).pid() == Some(process))
}

/// The connection that a process serves, or has served until it was unmounted, with the mark of its superblock: no later one has
/// both. `None` where a process does not tell the mark.
pub(super) fn marked_connection_of(process: u32) -> Option<(u32, u64)> {
    names().into_iter().find_map(|name| {
        let (minor, mark) = name.split_once('/')?;
        let marked = (minor.parse().ok()?, mark.parse().ok()?);
        (behind(&name).pid() == Some(process)).then_some(marked)
    })
}

/// Whether a process runs; a zombie does not.
fn runs(process: u32) -> bool {
    state(process).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Whether a process was stopped by a signal, as by Ctrl-Z, and goes on when it is told to.
pub(super) fn is_stopped(process: u32) -> bool {
    state(process) == Some('T')
}

/// The state of a process (proc(5)).
fn state(process: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // It comes behind the name in parentheses, which may hold anything.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// An abstract socket, by which the process that serves a connection can be found. It goes with the last thread of the process and
/// leaves nothing behind.
fn address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("{NAME}{name}"))
}

/// Lets others find this process as the one that serves a connection, as long as it lives.
///
/// The kernel gives the number of a connection to the next one while the process of the earlier one still saves what it has:
/// then the name is taken when that has ended. The name with the mark of the superblock is never another's.
pub(super) fn announce(minor: u32, mark: Option<u64>, runtime: &Handle) -> io::Result<()> {
    if let Some(mark) = mark {
        let listener = UnixListener::bind_addr(&address(&format!("{minor}/{mark}"))?)?;
        runtime.spawn(answer(listener));
    }
    let address = address(&minor.to_string())?;
    let first = match UnixListener::bind_addr(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
        bound => Some(bound?),
    };
    runtime.spawn(async move {
        let listener = match first {
            Some(listener) => Ok(listener),
            None => bind_later(&address).await,
        };
        match listener {
            Ok(listener) => answer(listener).await,
            Err(error) => log::debug!("commands cannot ask for this process: {error}"),
        }
    });
    Ok(())
}

/// Accepts clients, who only ask the kernel for the process id of this end.
async fn answer(listener: UnixListener) {
    match to_tokio(listener) {
        Ok(listener) => while listener.accept().await.is_ok() {},
        Err(error) => log::debug!("commands cannot ask for this process: {error}"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The process that had the number of the connection before may take its time to end. The clock stands still, and jumps.
    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_taken_is_waited_for() {
        let minor = (1 << 21) + std::process::id();
        let before = UnixListener::bind_addr(&address(&minor.to_string()).unwrap()).unwrap();
        announce(minor, Some(7), &Handle::current()).unwrap();
        assert_eq!(marked_connection_of(std::process::id()), Some((minor, 7)));
        // It looks, and looks again.
        tokio::time::sleep(10 * BIND_PAUSE).await;
        drop(before);
        assert_eq!(server(minor), Server::Gone);
        tokio::time::sleep(2 * BIND_PAUSE).await;
        assert_eq!(server(minor), Server::Running(std::process::id()));
        assert!(connections().contains(&minor));
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
