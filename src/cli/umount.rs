//! `crds-fs umount`: detaches a file system and leaves the ordinary cache behind.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Failure, status};
use crate::mount::{mountinfo, unmount};

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
    let place = mountinfo::locate(&args.mountpoint)?;
    let process = mountinfo::at(&place)?
        .filter(mountinfo::MountEntry::is_ours)
        .and_then(|_| status::pid(&place));
    unmount::unmount(&place, unmount::How::Plain)?;
    // The cache is free for others, or for the next mount, when the process has let go of it.
    if let Some(process) = process {
        wait_for_end(process);
    }
    Ok(())
}

fn wait_for_end(process: u32) {
    let limit = Instant::now() + PATIENCE;
    while lives(process) && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process runs; one that has ended and that nobody has asked about yet does not.
fn lives(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Behind the name in parentheses, which may hold anything, comes the state (proc(5)).
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use super::lives;

    #[test]
    fn a_process_that_has_ended_does_not_live() {
        assert!(lives(std::process::id()));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(lives(child.id()));
        child.kill().unwrap();
        // Not asked about yet: a zombie.
        while lives(child.id()) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!lives(child.id()));
    }
}
