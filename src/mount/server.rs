//! The process that serves a mount, found without touching the mount: by the name of the connection, an abstract socket, which goes
//! with the last thread of the process.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The process that had the number of the connection before may take its time to end. The clock stands still, and jumps.
    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_taken_is_waited_for() {
        let minor = (1 << 21) + std::process::id();
        let before = UnixListener::bind_addr(&address(minor).unwrap()).unwrap();
        announce(minor, &Handle::current()).unwrap();
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
