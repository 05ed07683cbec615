//! `crds-fs umount`: detaches a file system and leaves the ordinary cache behind.

use std::path::PathBuf;

use super::Failure;
use crate::mount::unmount;

/// Unmount a CRDS file system.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where it is mounted.
    mountpoint: PathBuf,
    /// Detach it even while it is in use; it ends when the last user leaves.
    #[arg(short, long)]
    lazy: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let how = if args.lazy {
        unmount::How::Lazy
    } else {
        unmount::How::Plain
    };
    unmount::unmount(&args.mountpoint, how)?;
    Ok(())
}
