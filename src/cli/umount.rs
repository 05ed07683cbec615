//! `crds-fs umount`: detaches a file system and leaves the ordinary cache behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Failure, output};
use crate::mount::unmount::{self, End, How, Served};

/// The time that the disk may take to write the files that were fetched.
const END_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Unmount a CRDS file system.
///
/// The directory is an ordinary CRDS cache afterwards, with the files that were fetched. Who has it in another mount namespace, as
/// a container, keeps it.
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
        return Ok(unmount::unmount(&args.mountpoint, How::Lazy)?);
    }
    // The cache is free for others, or for the next mount, when the process has let go of it; before that it makes durable
    // what was fetched.
    match unmount::unmount_and_wait(&args.mountpoint, END_TIMEOUT)? {
        End::Ended => Ok(()),
        End::Saving => Err(Failure::new(format!(
            "'{}' is unmounted, but its process has not ended yet: the disk of the cache takes long to write",
            args.mountpoint.display()
        ))),
        End::Stopped(process) => Err(Failure::new(format!(
            "'{}' is unmounted, but its process was stopped, and keeps the cache: 'kill -CONT {process}' lets it end",
            args.mountpoint.display()
        ))),
        End::Served(served) => {
            output::remark(&still_served(&args.mountpoint, served));
            Ok(())
        }
    }
}

/// Tells what is to be known of a file system that others have after it was unmounted.
fn still_served(mountpoint: &Path, served: Served) -> String {
    let process = served.process.map_or_else(String::new, |pid| format!(" {pid}"));
    let saved = match served.unsynced {
        None => "all that was fetched is on the disk".to_owned(),
        Some(error) => {
            let failure = Failure::from(error);
            format!("what was fetched last may not be on the disk yet ({failure})")
        }
    };
    let remedy = served.mounts.remedy();
    let sooner = remedy.map_or_else(String::new, |command| format!("; to end it sooner: {command}"));
    format!(
        "'{}' is unmounted here, and {saved}\n\
         its process{process} goes on, and keeps the cache, {}\n\
         it ends with the last of them{sooner}\n",
        mountpoint.display(),
        served.mounts
    )
}
