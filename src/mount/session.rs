//! A mounted file system, from INIT to the last request.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::{Config, Session, SessionACL};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::adapter::{Adapter, Core};
use super::mountpoint::{self, Appearance, Mountpoint};
use super::notify::Invalidator;
use super::superblock::{Mounts, Superblock};
use super::unmount::{self, How};
use super::{Error, mountinfo, passthrough, server, superblock};
use crate::machine::{Advice, as_root};
use crate::tree::ops::{FileSystem, MAY_WAIT};

/// Threads that read requests. None waits for the network, and of those that wait for a disk there are always fewer.
const THREADS: usize = 8;
const _: () = assert!(
    MAY_WAIT + 2 <= THREADS,
    "somebody takes requests, whatever the disk does"
);

/// Readahead of what is not passed through, in KiB; the kernel's own default is 128.
const READ_AHEAD_KIB: u32 = 1024;

/// A file system that is mounted and served by threads of this process. Dropping it detaches it.
pub(crate) struct Mounted {
    mount: Option<Mount>,
    stop: Box<dyn Fn() + Send + Sync>,
    invalidator: Invalidator,
    passthrough: bool,
    ended: watch::Receiver<Option<End>>,
}

/// The end of a session; an error here is one of reading requests.
type End = Result<(), Arc<io::Error>>;

/// A mount that this process made.
struct Mount {
    path: PathBuf,
    /// The number of the connection, which tells our mount from a later one at the same path.
    minor: u32,
    superblock: Superblock,
}

impl Mounted {
    /// Mounts `tree` and serves it. Answers that come later are made by tasks on `runtime`.
    pub(crate) fn start<F: FileSystem>(
        tree: Arc<F>,
        mountpoint: Mountpoint,
        appearance: &Appearance,
        runtime: &Handle,
    ) -> Result<Self, Error> {
        warn_of_timeouts();
        let core = Core::new(Arc::clone(&tree), runtime.clone()).map_err(Error::Session)?;
        let (device, path) = match mountpoint {
            Mountpoint::Device(device) => (device, None),
            Mountpoint::Directory(path) => (mountpoint::mount(&path, appearance)?, Some(path)),
        };
        let mount = path.map(Mount::find).transpose()?;
        if let Some(mount) = &mount
            && let Err(error) = server::announce(mount.minor, superblock::mark(mount.minor), runtime)
        {
            log::debug!("commands cannot ask for this process: {error}");
        }
        let started = Self::serve(&tree, &core, device);
        let (invalidator, ended, passthrough) = started.map_err(|error| {
            if let Some(mount) = &mount
                && let Err(left) = mount.unmount(How::Lazy)
            {
                log::warn!("{left}");
            }
            Error::Session(error)
        })?;
        if let Some(mount) = &mount {
            mount.raise_readahead();
        }
        let stop = Box::new(move || {
            core.end();
            tree.shutdown();
        });
        Ok(Self {
            mount,
            stop,
            invalidator,
            passthrough,
            ended,
        })
    }

    fn serve<F: FileSystem>(
        tree: &Arc<F>,
        core: &Arc<Core<F>>,
        device: OwnedFd,
    ) -> io::Result<(Invalidator, watch::Receiver<Option<End>>, bool)> {
        let mut config = Config::default();
        config.n_threads = Some(THREADS);
        // The kernel alone decides which users may enter, by the mount's options.
        let session = Session::from_fd(Adapter::new(Arc::clone(core)), device, SessionACL::All, config)?;
        if core.passes_through()
            && let Err(error) = passthrough::probe(&session)
        {
            log::info!("no passthrough ({error}): cached files are read through crds-fs, at a lower speed");
            core.forbid_passthrough();
        }
        let passthrough = core.passes_through();
        let (invalidator, changes) = Invalidator::start(session.notifier())?;
        tree.listen(changes);
        let op_counters = core.op_counters();
        tree.count_operations(Box::new(move || op_counters.counts()));
        let (end, ended) = watch::channel(None);
        std::thread::Builder::new()
            .name("session".into())
            .spawn(move || {
                let result = match session.run() {
                    // The connection was aborted, by hand or by a forced unmount: an end like any other.
                    Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => Ok(()),
                    other => other.map_err(Arc::new),
                };
                end.send_replace(Some(result));
            })?;
        Ok((invalidator, ended, passthrough))
    }

    /// Whether the kernel reads complete files itself.
    pub(crate) fn passes_through(&self) -> bool {
        self.passthrough
    }

    /// Waits until the file system is unmounted, by any process, and the last request is answered.
    pub(crate) async fn ended(&self) -> Result<(), Error> {
        let mut ended = self.ended.clone();
        let end = ended.wait_for(Option::is_some).await;
        match end.as_deref() {
            Ok(Some(Err(error))) => Err(Error::Session(io::Error::new(error.kind(), Arc::clone(error)))),
            // A channel closed without a word is a thread that panicked, after all requests.
            Ok(Some(Ok(())) | None) | Err(_) => Ok(()),
        }
    }

    /// Answers ESHUTDOWN to all waiting requests, stops transfers where they can be resumed, and sends the kernel no
    /// more notifications.
    pub(crate) fn stop_waiting(&self) {
        self.invalidator.disarm();
        (self.stop)();
    }

    /// Takes the mount away, unless it is gone already.
    pub(crate) fn unmount(&self, how: How) -> Result<(), Error> {
        self.mount.as_ref().map_or(Ok(()), |mount| mount.unmount(how))
    }

    /// The other mounts that keep the file system after this one was unmounted. Waits for its end a moment.
    pub(super) fn kept(&self) -> Option<Mounts> {
        let superblock = self.mount.as_ref()?.superblock;
        unmount::is_kept(superblock).then(|| superblock.mounts())
    }

    /// The mount point; `None` when another process made the mount.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.mount.as_ref().map(|mount| mount.path.as_path())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.stop_waiting();
        // Also after the end: an aborted connection leaves a dead mount behind.
        if let Err(error) = self.unmount(How::Lazy) {
            log::warn!("{error}");
        }
    }
}

impl Mount {
    fn find(path: PathBuf) -> Result<Self, Error> {
        let entry = mountinfo::at(&path)?.filter(mountinfo::MountEntry::is_ours);
        match entry {
            Some(entry) => Ok(Self {
                path,
                minor: entry.minor,
                superblock: Superblock::of(&entry),
            }),
            None => Err(Error::NotMounted(path)),
        }
    }

    fn unmount(&self, how: How) -> Result<(), Error> {
        match mountinfo::at(&self.path)? {
            Some(entry) if entry.is_ours() && entry.minor == self.minor => unmount::detach(&entry, how),
            _ => Ok(()),
        }
    }

    fn raise_readahead(&self) {
        let setting = format!("/sys/class/bdi/0:{}/read_ahead_kb", self.minor);
        if let Err(error) = std::fs::write(&setting, READ_AHEAD_KIB.to_string()) {
            log::debug!("readahead stays as it is: {setting}: {error}");
        }
    }
}

fn warn_of_timeouts() {
    for advice in request_timeouts() {
        log::warn!("{advice}");
    }
}

/// The advice on settings by which the kernel cuts the whole connection if one request takes too long, as a download does
/// (Linux 6.15 and later).
pub(crate) fn request_timeouts() -> Vec<Advice> {
    let settings = ["default_request_timeout", "max_request_timeout"].into_iter();
    let seconds = settings.filter_map(|name| {
        let text = std::fs::read_to_string(format!("/proc/sys/fs/fuse/{name}")).ok()?;
        Some((name, text.trim().parse::<u64>().ok()?))
    });
    let set = seconds.filter(|(_, seconds)| *seconds > 0);
    set.map(|(name, seconds)| {
        Advice::new(
            format!("fs.fuse.{name} is {seconds}: a download that takes longer ends the mount"),
            as_root(&format!("sysctl -w fs.fuse.{name}=0")),
        )
    })
    .collect()
}
