//! A double of a bad shared file system: NFS, Lustre or GPFS as they are met in life, on a kernel that has none of them.
//!
//! It passes a directory through. Each node mounts a view of its own, so that each has its own memory of names, listings and
//! attributes, and sees what others do only after a while. What holds on such file systems holds here:
//!
//! * exclusive creation, link, rename and removal are atomic, and are decided at the directory itself;
//! * data is right from close to open: what was written and closed on one node is what an open on another one reads;
//! * what a node does itself, it sees at once.
//!
//! Everything else is as [`Options`] say: absent names stay absent, listings and attributes are old, locks are given to
//! everybody, there are no links, a rename cannot be told to replace nothing, files that others have removed are stale, replies
//! are lost, a quota is noticed late.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "shared by several test binaries, each of which uses a part"
)]

#[path = "double/calls.rs"]
mod calls;
#[path = "double/filesystem.rs"]
mod filesystem;
#[path = "double/memory.rs"]
mod memory;
#[path = "double/requests.rs"]
mod requests;
#[path = "double/view.rs"]
mod view;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use serde::{Deserialize, Serialize};

pub use requests::{Counts, Requests};

/// The ways in which a view differs from a local file system. Times are in seconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Options {
    /// A name that was looked up in vain stays absent for so long, drawn anew each time, whoever else creates it.
    pub absent: (f64, f64),
    /// An exclusive creation or a link that finds the name there does not end that. NFS looks the name up anew.
    pub stubborn: bool,
    /// A listing is shown again for so long, drawn anew each time.
    pub listing: (f64, f64),
    /// Attributes, and names that are there, are remembered for so long.
    pub attributes: f64,
    /// So long after it was first seen that another node has removed an open file, reading it fails with ESTALE.
    pub stale: f64,
    /// `flock` and `fcntl` locks.
    pub locks: Locks,
    /// Hard links can be made; EPERM if false.
    pub links: bool,
    /// The clock of the server is so many seconds ahead of everybody else's.
    pub clock: i64,
    /// So many replies in a thousand are lost, and the request sent again: exclusive creations and links are done and fail with
    /// EEXIST, renames and removals with ENOENT.
    pub lost: u32,
    /// The bytes that can be written through this view. What goes beyond is lost, and only a sync or a close says so (EDQUOT).
    pub quota: Option<u64>,
    /// All files are nobody's, as servers have it for root, and none can be given away (EPERM).
    pub squashed: bool,
    /// Each call takes up to so long.
    pub delay: f64,
}

/// The way of locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Locks {
    /// Everybody gets every lock.
    Granted,
    /// They exclude others. As on NFS, an exclusive one needs a file that is open for writing.
    Honest,
    /// ENOLCK.
    Refused,
    /// ENOSYS.
    Unknown,
}

impl Default for Options {
    /// NFS without locks, with the times of its usual settings.
    fn default() -> Self {
        Self {
            absent: (1.0, 3.0),
            stubborn: false,
            listing: (1.0, 3.0),
            attributes: 1.0,
            stale: 1.0,
            locks: Locks::Granted,
            links: true,
            clock: 0,
            lost: 0,
            quota: None,
            squashed: false,
            delay: 0.0,
        }
    }
}

/// Threads of a view.
const THREADS: usize = 4;

/// The session of a view of `directory` at `mountpoint`, ready to be run.
fn session(
    directory: &Path,
    mountpoint: &Path,
    options: Options,
    requests: Arc<Requests>,
) -> io::Result<Session<view::View>> {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("shared".into()),
        MountOption::Subtype("double".into()),
    ];
    // The server knows whom it lets in.
    if !options.squashed {
        config.mount_options.push(MountOption::DefaultPermissions);
    }
    config.acl = SessionACL::Owner;
    config.n_threads = Some(THREADS);
    Session::new(
        view::View::new(directory, options, requests)?,
        mountpoint,
        &config,
    )
}

/// A view of `directory` at `mountpoint`, served by threads of this process until it is dropped.
pub fn mount(directory: &Path, mountpoint: &Path, options: Options) -> io::Result<BackgroundSession> {
    session(directory, mountpoint, options, Arc::default())?.spawn()
}

/// As [`mount`], with the requests that the node makes.
pub fn mount_counted(
    directory: &Path,
    mountpoint: &Path,
    options: Options,
) -> io::Result<(BackgroundSession, Arc<Requests>)> {
    let requests = Arc::new(Requests::default());
    let session = session(directory, mountpoint, options, Arc::clone(&requests))?;
    Ok((session.spawn()?, requests))
}

/// A number of seconds.
fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.max(0.0))
}

/// A time drawn between two numbers of seconds.
fn between((least, most): (f64, f64)) -> Duration {
    seconds(least + (most - least).max(0.0) * fastrand::f64())
}
