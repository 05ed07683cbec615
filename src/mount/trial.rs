//! Tries what mounts need of the kernel: a namespace, a FUSE mount in it, and files that the kernel reads itself.
//!
//! A child process does so in a namespace of its own, so that nothing of it is seen outside or outlasts it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use fuser::{Config, InitFlags, KernelConfig, Request, Session, SessionACL};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, Pid};

use super::mountpoint::{Appearance, directly};
use super::namespace::{self, Rights};
use super::remount::Flags;
use super::{Error, daemon, device, passthrough};

/// The result of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Step {
    /// It works.
    Works,
    /// It is refused, with this error.
    Refused(Errno),
    /// It was not tried: a step before it failed, or it took too long.
    #[default]
    NotTried,
}

/// The results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Trial {
    /// Whether a private namespace can be entered.
    pub namespace: Step,
    /// Whether it was entered by the rights of an administrator, which mount anywhere.
    pub is_administrator: bool,
    /// Whether a FUSE file system can be mounted in it.
    pub mount: Step,
    /// Whether the kernel reads backing files itself.
    pub passthrough: Step,
}

/// A trial that is being made.
#[derive(Debug)]
pub(crate) struct Running {
    child: Pid,
    results: File,
}

/// Begins a trial. There must be no other thread in this process.
pub(crate) fn begin() -> Result<Running, Error> {
    if !daemon::is_single_threaded() {
        return Err(Error::Threads);
    }
    let (receiver, sender) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(Error::fork)?;
    match daemon::fork().map_err(Error::fork)? {
        ForkResult::Child => {
            drop(receiver);
            // The results that could be written are all that there are.
            let _ = carry_out(sender);
            std::process::exit(0)
        }
        ForkResult::Parent { child } => Ok(Running {
            child,
            results: File::from(receiver),
        }),
    }
}

impl Running {
    /// The results of the steps that are done by then, or when all are.
    pub(crate) fn finish(mut self, within: Duration) -> Trial {
        let limit = Instant::now() + within;
        let mut told = Vec::new();
        loop {
            let left = limit.saturating_duration_since(Instant::now()).as_millis();
            let left = PollTimeout::from(u16::try_from(left).unwrap_or(u16::MAX));
            let ready = poll(&mut [PollFd::new(self.results.as_fd(), PollFlags::POLLIN)], left);
            let mut buffer = [0; 64];
            match ready {
                Err(Errno::EINTR) => {}
                Ok(1..) => match self.results.read(&mut buffer) {
                    Ok(length @ 1..) => told.extend(buffer.iter().take(length)),
                    _ => break,
                },
                _ => break,
            }
        }
        // It may be stuck in the kernel, so it is not waited for.
        let _ = kill(self.child, Signal::SIGKILL);
        let _ = waitpid(self.child, Some(WaitPidFlag::WNOHANG));
        Trial::read(&told)
    }
}

/// The steps as they are told, each by one of these bytes and the error, 0 for none.
const NAMESPACE: u8 = b'n';
const ADMINISTRATOR: u8 = b'a';
const MOUNT: u8 = b'm';
const PASSTHROUGH: u8 = b'p';

impl Trial {
    fn read(told: &[u8]) -> Self {
        let mut trial = Self::default();
        for record in told.chunks_exact(2) {
            let &[step, error] = record else { continue };
            let result = match error {
                0 => Step::Works,
                number => Step::Refused(Errno::from_raw(number.into())),
            };
            match step {
                NAMESPACE => trial.namespace = result,
                ADMINISTRATOR => trial.is_administrator = true,
                MOUNT => trial.mount = result,
                PASSTHROUGH => trial.passthrough = result,
                _ => {}
            }
        }
        trial
    }
}

/// Goes from step to step, until one fails.
fn carry_out(results: OwnedFd) -> io::Result<()> {
    let mut results = File::from(results);
    let mut tell = |step: u8, error: Option<io::Error>| {
        let number = error.map(|error| error.raw_os_error().unwrap_or(libc::EIO));
        let number = number.map_or(0, |number| u8::try_from(number).unwrap_or(u8::MAX));
        results.write_all(&[step, number])
    };
    match namespace::enter() {
        Ok(rights) => {
            tell(NAMESPACE, None)?;
            if rights == Rights::Administrator {
                tell(ADMINISTRATOR, None)?;
            }
        }
        Err(error) => return tell(NAMESPACE, Some(cause(error))),
    }
    let device = match mount() {
        Ok(device) => device,
        Err(error) => return tell(MOUNT, Some(error)),
    };
    tell(MOUNT, None)?;
    tell(PASSTHROUGH, read_by_kernel(device).err())
}

/// The error of the system call.
fn cause(error: Error) -> io::Error {
    match error {
        Error::Namespace { source, .. } | Error::Device { source, .. } | Error::Io { source, .. } => source,
        other => io::Error::other(other),
    }
}

/// Mounts over the root of the namespace, where this process looks at nothing.
fn mount() -> io::Result<OwnedFd> {
    let device = device::open().map_err(cause)?;
    let appearance = Appearance {
        source: "crds-fs-trial".to_owned(),
        flags: Flags {
            read_only: true,
            no_exec: true,
        },
        allow_other: false,
    };
    directly(&device, Path::new("/"), &appearance)?;
    Ok(device)
}

fn read_by_kernel(device: OwnedFd) -> io::Result<()> {
    let mut config = Config::default();
    config.n_threads = Some(1);
    let session = Session::from_fd(Nothing, device, SessionACL::All, config)?;
    passthrough::probe(&session)
}

/// A file system that does nothing but agree to passthrough.
struct Nothing;

impl fuser::Filesystem for Nothing {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let missing = || io::Error::from_raw_os_error(libc::ENOSYS);
        config
            .add_capabilities(InitFlags::FUSE_PASSTHROUGH)
            .map_err(|_| missing())?;
        config.set_max_stack_depth(1).map(drop).map_err(|_| missing())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_as_far_as_they_came() {
        assert_eq!(Trial::read(b"").namespace, Step::NotTried);
        // 1 is EPERM.
        let trial = Trial::read(&[b'n', 0, b'a', 0, b'm', 1, b'p']);
        assert_eq!(
            trial,
            Trial {
                namespace: Step::Works,
                is_administrator: true,
                mount: Step::Refused(Errno::EPERM),
                passthrough: Step::NotTried,
            }
        );
    }
}
