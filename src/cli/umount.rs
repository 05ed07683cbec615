//! `crds-fs umount`: detaches a file system and leaves the ordinary cache behind.

use std::path::PathBuf;
use std::time::Duration;

use super::Failure;
use crate::mount::unmount;

/// The time that the disk may take to write the files that were fetched.
const END_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Unmount a CRDS file system.
///
/// The directory is an ordinary CRDS cache afterwards, with the files that were fetched.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory that it is mounted on.
    mountpoint: PathBuf,
    /// Detach it even while it is in use; it ends when the last user leaves.
    #[arg(short, long)]
    lazy: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if args.lazy {
        return Ok(unmount::unmount(&args.mountpoint, unmount::How::Lazy)?);
    }
    let entry = unmount::find(&args.mountpoint)?;
    let server = entry.server();
    unmount::unmount(&args.mountpoint, unmount::How::Plain)?;
    // The cache is free for others, or for the next mount, when the process has let go of it; before that it makes durable
    // what was fetched.
    if entry.await_end(server, END_TIMEOUT) {
        Ok(())
    } else {
        let mountpoint = args.mountpoint.display();
        Err(Failure::new(format!(
            "'{mountpoint}' is unmounted, but its process has not ended yet: the disk of the cache takes long to write"
        )))
    }
}
