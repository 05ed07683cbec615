//! A process of its own for a file system: forked before any thread exists, it tells its parent when it is ready, or why
//! not, and serves until it is unmounted or told to stop.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid};
use tokio::signal::unix::{SignalKind, signal};

use super::service_manager::ServiceManager;
use super::unmount::{self, How};
use super::{Error, Mounted, device};

/// The time in which a new process has to be ready, in milliseconds. Mounting needs no network: a process that takes
/// longer never will be.
const READY_WITHIN: u16 = 60_000;

/// The time between two attempts to unmount a busy file system after SIGTERM.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// The time that the users of the file system have to leave it; then it is detached, and ends with the last of them.
const USERS_TIMEOUT: Duration = Duration::from_secs(20);

/// The status of a file system that is not mounted any more, but in use.
const DETACHED: &str = "detached; it ends with the last who has something of it open";

/// The time for which a thread that was joined may still be listed.
const THREAD_END: Duration = Duration::from_millis(500);

/// The relation of the new process to its parent.
#[derive(Debug)]
pub(crate) enum DaemonMode {
    /// It outlives its parent, in a session of its own; what it prints goes here.
    Detached(File),
    /// It is told to stop when its parent dies, and prints where its parent does.
    Attached,
}

/// The way to those who wait for the file system: a pipe to the parent, which waits for one message, or the service manager.
#[derive(Debug)]
pub(crate) struct Ready {
    parent: Option<File>,
    /// Whether this process leaves the session of its parent when it is ready.
    leaves: bool,
    manager: ServiceManager,
}

/// A process made by [`launch`].
#[derive(Debug)]
pub(crate) struct Daemon {
    pid: Pid,
    message: String,
}

impl Ready {
    /// For a process in the foreground: its parent does not wait, but a service manager may.
    pub(crate) fn foreground() -> Self {
        Self {
            parent: None,
            leaves: false,
            manager: ServiceManager::of_environment(),
        }
    }

    /// For a process made by [`launch`]. A service manager waits for the parent, not for it.
    fn parent(pipe: File, leaves: bool) -> Self {
        Self {
            parent: Some(pipe),
            leaves,
            manager: ServiceManager::nobody(),
        }
    }

    /// Tells that the file system answers: the parent with a message for the user, which is cut at [`MAX_MESSAGE`] bytes, the
    /// service manager with a status. The service manager wants to hear of the end as well. Fails when the parent has died
    /// meanwhile.
    pub(crate) fn ready(mut self, message: &str, status: &str) -> io::Result<ServiceManager> {
        if self.leaves
            && let Err(errno) = nix::unistd::setsid()
        {
            log::warn!("it stays in the session of who mounted: {errno}");
        }
        let text = [&[READY], message.as_bytes()].concat();
        self.tell(text.get(..MAX_MESSAGE).unwrap_or(&text))?;
        self.manager.ready(status);
        Ok(self.manager)
    }

    /// Tells the reason why the file system could not be started.
    pub(crate) fn failed(mut self, reason: &str) {
        self.manager.status(reason);
        // A parent that has died needs no message.
        let _ = self.tell(reason.as_bytes().get(..MAX_MESSAGE).unwrap_or(reason.as_bytes()));
    }

    fn tell(&mut self, message: &[u8]) -> io::Result<()> {
        self.parent
            .take()
            .map_or(Ok(()), |mut pipe| pipe.write_all(message))
    }
}

/// The byte that says "ready"; no text of an error begins with it.
const READY: u8 = 1;

/// The longest message, in bytes. A pipe takes so much at once (pipe(7)), so that one write is one read.
const MAX_MESSAGE: usize = 4096;

/// Forks. The new process does `work`, whose result is its exit status; this one returns when the other is ready.
///
/// There must be no other thread in this process.
pub(crate) fn launch(mode: DaemonMode, work: impl FnOnce(Ready) -> u8) -> Result<Daemon, Error> {
    if !is_single_threaded() {
        return Err(Error::Threads);
    }
    let (receiver, sender) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(Error::fork)?;
    match fork().map_err(Error::fork)? {
        ForkResult::Child => {
            drop(receiver);
            let ready = Ready::parent(File::from(sender), matches!(mode, DaemonMode::Detached(_)));
            let status = match enter(mode) {
                Ok(()) => work(ready),
                Err(errno) => {
                    ready.failed(&format!("cannot detach from the terminal: {errno}"));
                    1
                }
            };
            std::process::exit(status.into())
        }
        ForkResult::Parent { child } => {
            drop(sender);
            let mut daemon = Daemon {
                pid: child,
                message: String::new(),
            };
            daemon.message = daemon.await_message(receiver)?;
            Ok(daemon)
        }
    }
}

#[expect(unsafe_code, reason = "fork is unsafe where other threads exist")]
pub(super) fn fork() -> nix::Result<ForkResult> {
    // SAFETY: the caller has seen that this is the only thread, so the child inherits no lock that another holds.
    unsafe { nix::unistd::fork() }
}

pub(super) fn is_single_threaded() -> bool {
    let limit = Instant::now() + THREAD_END;
    loop {
        match std::fs::read_dir("/proc/self/task").map(Iterator::count) {
            Ok(1) => return true,
            Ok(_) if Instant::now() < limit => std::thread::sleep(Duration::from_millis(1)),
            _ => return false,
        }
    }
}

/// Makes the new process independent of its parent, as far as the mode says.
fn enter(mode: DaemonMode) -> nix::Result<()> {
    match mode {
        DaemonMode::Detached(output) => {
            // It leaves the session when it is ready, not before: an automounter lets nobody past its trap but the process
            // group that mounts.
            let nothing = File::open("/dev/null")
                .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
            nix::unistd::dup2_stdin(&nothing)?;
            nix::unistd::dup2_stdout(&output)?;
            nix::unistd::dup2_stderr(&output)?;
        }
        DaemonMode::Attached => {
            // Signals of the terminal are not for it: its parent tells it to stop.
            nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
            nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
        }
    }
    // The working directory must not keep any file system busy, and least of all lie on our own.
    nix::unistd::chdir("/")
}

impl Daemon {
    /// The message that it sent when it was ready.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) fn stop(&self) -> Result<ExitStatus, Error> {
        match kill(self.pid, Signal::SIGTERM) {
            Ok(()) | Err(Errno::ESRCH) => self.wait(),
            Err(errno) => Err(Error::fork(errno)),
        }
    }

    /// Waits for its end.
    pub(crate) fn wait(&self) -> Result<ExitStatus, Error> {
        loop {
            match waitpid(self.pid, None) {
                Ok(nix::sys::wait::WaitStatus::Exited(_, status)) => {
                    return Ok(ExitStatus::from_raw(status << 8));
                }
                Ok(nix::sys::wait::WaitStatus::Signaled(_, signal, _)) => {
                    return Ok(ExitStatus::from_raw(signal as i32));
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::fork(errno)),
            }
        }
    }

    fn await_message(&self, pipe: OwnedFd) -> Result<String, Error> {
        let mut waiting = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        let answered = loop {
            match poll(&mut waiting, PollTimeout::from(READY_WITHIN)) {
                Err(Errno::EINTR) => {}
                other => break other.map_err(Error::fork)?,
            }
        };
        if answered == 0 {
            // It may be stuck in the kernel, so it is not waited for.
            let _ = kill(self.pid, Signal::SIGKILL);
            return Err(Error::NotReady {
                seconds: READY_WITHIN / 1000,
            });
        }
        // One read, not to the end: processes that the other one has made hold the pipe as well.
        let mut text = vec![0; MAX_MESSAGE];
        match File::from(pipe).read(&mut text) {
            Ok(0) => Err(Error::Died(self.wait()?)),
            Ok(length) if text.first() == Some(&READY) => {
                let message = text.get(1..length).unwrap_or_default();
                Ok(String::from_utf8_lossy(message).into_owned())
            }
            Ok(length) => {
                text.truncate(length);
                self.wait()?;
                Err(Error::Told(String::from_utf8_lossy(&text).into_owned()))
            }
            Err(source) => Err(Error::fork(source)),
        }
    }
}

/// Ignores SIGINT and SIGQUIT from now on, in a process that waits for another one, which they are meant for.
#[expect(
    unsafe_code,
    reason = "changing what a signal does is unsafe where a handler is set"
)]
pub(crate) fn leave_terminal_signals_to_others() {
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        // SAFETY: ignoring a signal runs no code.
        let ignored = unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) };
        if let Err(errno) = ignored {
            log::debug!("{signal} is not ignored: {errno}");
        }
    }
}

/// Asks a file system that was mounted by another process for its root and its size: it is ready when it answers.
pub(crate) fn answers(mountpoint: &Path) -> Result<(), Error> {
    if device::is_handed_over(mountpoint) {
        // Mounted by another process, at a path that is not known here.
        return Ok(());
    }
    unmount::find(mountpoint)?.must_answer()
}

/// The signals that tell a file system to go.
#[derive(Debug)]
pub(crate) struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    /// SIGHUP, when there is nothing to reopen on it.
    hangup: Option<tokio::signal::unix::Signal>,
    /// SIGUSR1 and SIGUSR2: received so that they do not end the process, and never waited for.
    _others: [tokio::signal::unix::Signal; 2],
}

impl StopSignals {
    /// Receives SIGTERM and SIGINT from now on. SIGHUP calls `reopen`, for logs that were rotated; without `reopen` it
    /// is a signal to stop like the others. SIGUSR1 and SIGUSR2 do nothing. To be called within the runtime, and before
    /// mounting, so that at no moment a signal ends the process with the mount in place.
    pub(crate) fn listen(reopen: Option<Box<dyn Fn() + Send + Sync>>) -> io::Result<Self> {
        let mut hangups = signal(SignalKind::hangup())?;
        let hangup = match reopen {
            None => Some(hangups),
            Some(reopen) => {
                tokio::spawn(async move {
                    while hangups.recv().await.is_some() {
                        reopen();
                    }
                });
                None
            }
        };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup,
            _others: [
                signal(SignalKind::user_defined1())?,
                signal(SignalKind::user_defined2())?,
            ],
        })
    }

    async fn next(&mut self) {
        let Self {
            terminate,
            interrupt,
            hangup,
            ..
        } = self;
        let hung_up = async {
            match hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hung_up => {}
        }
    }
}

/// Serves until the file system is unmounted, by any process. The first signal unmounts it as soon as its users have
/// left; the second one detaches it at once and serves those that have it open until they leave; the third one ends
/// that too.
pub(crate) async fn serve(
    mounted: &Arc<Mounted>,
    signals: &mut StopSignals,
    manager: &ServiceManager,
) -> Result<(), Error> {
    tokio::select! {
        end = mounted.ended() => {
            manager.stopping("unmounted");
            mounted.stop_waiting();
            return end;
        }
        () = signals.next() => {}
    }
    log::info!("told to stop");
    manager.stopping("unmounting");
    mounted.stop_waiting();
    tokio::select! {
        end = unmount_when_free(mounted, manager) => end,
        () = signals.next() => {
            log::warn!("told to stop again: detaching the file system, it ends with the last who has something of it open");
            manager.status(DETACHED);
            take_away(mounted, How::Lazy).await?;
            tokio::select! {
                end = mounted.ended() => end,
                () = signals.next() => {
                    log::warn!("told to stop a third time: not waiting for anybody");
                    Ok(())
                }
            }
        }
    }
}

/// Unmounts as soon as the file system is not in use. After [`USERS_TIMEOUT`] it is only detached, and served to its
/// last user.
async fn unmount_when_free(mounted: &Arc<Mounted>, manager: &ServiceManager) -> Result<(), Error> {
    if mounted.path().is_none() {
        // Another process mounted it, and unmounts it when the device is closed.
        return Ok(());
    }
    let mut told = false;
    let patient = async {
        loop {
            match take_away(mounted, How::Plain).await {
                Err(error @ Error::Busy { .. }) => {
                    if !told {
                        log::warn!("{error}");
                        manager.status(&error.to_string());
                        told = true;
                    }
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                other => break other,
            }
        }
    };
    if let Ok(gone) = tokio::time::timeout(USERS_TIMEOUT, patient).await {
        gone?;
    } else {
        log::warn!("still in use: detaching it; it ends when its last user leaves");
        manager.status(DETACHED);
        take_away(mounted, How::Lazy).await?;
        return mounted.ended().await;
    }
    tokio::select! {
        end = mounted.ended() => return end,
        kept = who_keeps(mounted) => if let Some(kept) = kept {
            log::warn!("{kept}");
            manager.status(&kept);
        },
    }
    mounted.ended().await
}

/// The processes that have the file system mounted after it was unmounted here, and keep this process from its end.
async fn who_keeps(mounted: &Arc<Mounted>) -> Option<String> {
    let mounted = Arc::clone(mounted);
    let kept = tokio::task::spawn_blocking(move || mounted.kept()).await.ok()??;
    Some(format!(
        "unmounted here, and going on {kept}; it ends with the last of them"
    ))
}

/// Unmounts on a thread that answers no requests, because the call may wait for requests that this process answers.
async fn take_away(mounted: &Arc<Mounted>, how: How) -> Result<(), Error> {
    let mounted = Arc::clone(mounted);
    match tokio::task::spawn_blocking(move || mounted.unmount(how)).await {
        Ok(result) => result,
        Err(error) => Err(Error::Session(io::Error::other(error))),
    }
}
