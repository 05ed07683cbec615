//! `crds-fs umount`: detaches a file system and leaves the ordinary cache behind.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Failure;
use crate::mount::health::{self, Server};
use crate::mount::unmount;

/// So long its process gets to put transfers away. It needs no more than moments, unless the disk is very slow.
const PATIENCE: Duration = Duration::from_secs(15);

/// Unmount a CRDS file system.
///
/// What remains in the directory is an ordinary CRDS cache with what was fetched.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where it is mounted.
    mountpoint: PathBuf,
    /// Detach it even while it is in use; it ends when the last user leaves.
    #[arg(short, long)]
    lazy: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if args.lazy {
        return Ok(unmount::unmount(&args.mountpoint, unmount::How::Lazy)?);
    }
    let server = unmount::find(&args.mountpoint)?.server();
    unmount::unmount(&args.mountpoint, unmount::How::Plain)?;
    // The cache is free for others, or for the next mount, when the process has let go of it.
    if let Server::Lives(process) = server {
        wait_for_end(process);
    }
    Ok(())
}

fn wait_for_end(process: u32) {
    let limit = Instant::now() + PATIENCE;
    while health::runs(process) && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(10));
    }
}
