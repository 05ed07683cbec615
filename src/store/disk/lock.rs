//! The lock of a directory of our own: a process that uses it alone holds it.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use cap_std::fs::{Dir, Metadata, MetadataExt as _, OpenOptions};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::StoreError;
use super::state_dir::{OWN, Plain, SMALL_LIMIT, is, is_absence, open_plain, open_writable, read_text};

/// The name of its file.
const NAME: &str = "lock";
/// The time that a process may take to give up its files once it has given up its memory, and the pause between two looks at it.
const ENDING_TIMEOUT: Duration = Duration::from_secs(5);
const ENDING_PAUSE: Duration = Duration::from_millis(10);

/// The lock of a store, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// A file on the store's file system.
    pub(super) fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for Lock {
    /// Gives the lock back by name, not by closing the file alone: a process that was forked meanwhile and has not yet
    /// called exec holds the same open file, and with it the lock.
    fn drop(&mut self) {
        if let Err(error) = flock(&self.0, FlockOperation::Unlock) {
            log::debug!("the lock of the store is not given back: {error}");
        }
    }
}

/// Takes the lock of the store and writes this process into its file. Fails with [`StoreError::InUse`]. A process that is just
/// ending, as one that was killed, is waited for a short while.
pub(super) fn take(own: &Dir) -> Result<Lock, StoreError> {
    take_pausing(own, || std::thread::sleep(ENDING_PAUSE))
}

/// As [`take`], with `pause` between two looks at a process that is ending.
fn take_pausing(own: &Dir, mut pause: impl FnMut()) -> Result<Lock, StoreError> {
    let limit = Instant::now() + ENDING_TIMEOUT;
    let path = Path::new(NAME);
    let failed = |error| StoreError::io("lock", Path::new(OWN).join(path), error);
    let mut file = loop {
        let file = open_writable(own, path, OpenOptions::new().read(true).write(true)).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let holder = holder(&file);
                if Instant::now() < limit && process_in(&holder).is_some_and(is_ending) {
                    pause();
                    continue;
                }
                return Err(StoreError::InUse { holder });
            }
            Err(error) => return Err(failed(error.into())),
        }
        let metadata = Metadata::from_file(&file).map_err(failed)?;
        if metadata.nlink() == 1 {
            break file;
        }
        // A lock file with further hard links is not written to, but replaced.
        own.remove_file(path).map_err(failed)?;
    };
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_name).unwrap_or_default();
    file.set_len(0).map_err(failed)?;
    let (id, host) = (std::process::id(), host());
    writeln!(file, "process {id} ({}) on {host}", program.display()).map_err(failed)?;
    Ok(Lock(file))
}

/// Whether a process has ended, or has given up its memory already, which comes before its files.
fn is_ending(process: u32) -> bool {
    std::fs::read_link(format!("/proc/{process}/exe")).is_err_and(|error| is_absence(&error))
}

/// The name of this node.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The process that is named in the text of a lock, if it is one of this node.
fn process_in(text: &str) -> Option<u32> {
    let text = text.trim();
    if text.rsplit_once(" on ").is_some_and(|(_, there)| there != host()) {
        return None;
    }
    text.split_whitespace().find_map(|word| word.parse().ok())
}

/// A lock of a directory, as far as the file system has locks.
pub(super) enum Truthful {
    /// Nobody else has it.
    Locked(Lock),
    /// Locks exclude nobody there, or there are none.
    Unknown,
}

/// Takes the lock as [`take`] does, and finds out whether a second one would be refused.
pub(super) fn take_truthfully(own: &Dir) -> Result<Truthful, StoreError> {
    let held = match take(own) {
        Ok(held) => held,
        Err(StoreError::Io { source, .. }) if has_no_locks(&source) => return Ok(Truthful::Unknown),
        Err(error) => return Err(error),
    };
    let path = Path::new(NAME);
    let failed = |error| StoreError::io("lock", Path::new(OWN).join(path), error);
    // NFS gives exclusive locks to files that are open for writing only.
    let second = open_writable(own, path, OpenOptions::new().read(true).write(true)).map_err(failed)?;
    Ok(match flock(&second, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Truthful::Locked(held),
        _ => Truthful::Unknown,
    })
}

/// Whether the error says that the file system has no locks.
fn has_no_locks(error: &io::Error) -> bool {
    [Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOLCK, Errno::INVAL]
        .into_iter()
        .any(|errno| is(error, errno))
}

/// Fails with [`StoreError::InUse`] if a process has the store for itself, as far as its lock can be seen from here.
pub(super) fn refuse_owner(own: &Dir) -> Result<(), StoreError> {
    let Ok(Plain::File(file, _)) = open_plain(own, Path::new(NAME)) else {
        return Ok(());
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => Err(StoreError::InUse {
            holder: holder(&file),
        }),
        Ok(()) => {
            let _ = flock(&file, FlockOperation::Unlock);
            Ok(())
        }
        Err(_) => Ok(()),
    }
}

/// The holder of a lock, as its file names it; without the node where that is this one.
fn holder(mut file: &File) -> String {
    let mut holder = String::new();
    let _ = Read::by_ref(&mut file)
        .take(SMALL_LIMIT)
        .read_to_string(&mut holder);
    let here = format!(" on {}", host());
    match holder.trim() {
        "" => "another process".to_owned(),
        text => text.strip_suffix(&here).unwrap_or(text).to_owned(),
    }
}

/// The process of this node that took the lock of the store in `root` last, as is written in the lock's file.
pub(super) fn last_owner(root: &Dir) -> Option<u32> {
    let text = read_text(root, &Path::new(OWN).join(NAME), SMALL_LIMIT).ok()??;
    process_in(&text)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use cap_std::ambient_authority;

    use super::*;

    /// A store whose lock another open file has, in the name of this process on a node.
    fn locked_by(holder: u32, host: &str) -> (tempfile::TempDir, Dir, File) {
        let place = tempfile::tempdir().unwrap();
        let own = Dir::open_ambient_dir(place.path(), ambient_authority()).unwrap();
        own.write("lock", format!("process {holder} (crds-fs) on {host}\n"))
            .unwrap();
        let held = own.open("lock").unwrap().into_std();
        flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        (place, own, held)
    }

    #[test]
    fn a_process_that_is_ending_is_waited_for() {
        let mut child = Command::new("true").spawn().unwrap();
        // It has given up its memory when it has ended, and is there until it is asked how.
        while !is_ending(child.id()) {
            std::thread::yield_now();
        }
        let (_place, own, held) = locked_by(child.id(), &host());
        let mut pauses = 0;
        let lock = take_pausing(&own, || {
            pauses += 1;
            if pauses == 3 {
                flock(&held, FlockOperation::Unlock).unwrap();
            }
        });
        child.wait().unwrap();
        assert!(lock.is_ok(), "{lock:?}");
        assert_eq!(pauses, 3);
        let text = own.read_to_string("lock").unwrap();
        assert_eq!(process_in(&text), Some(std::process::id()));
    }

    #[test]
    fn a_process_that_lives_is_not_waited_for() {
        let own_number = std::process::id();
        assert!(!is_ending(own_number));
        let (_place, own, _held) = locked_by(own_number, &host());
        let refused = take_pausing(&own, || panic!("it waits")).unwrap_err();
        let expected = format!("process {own_number} (crds-fs)");
        assert!(
            matches!(&refused, StoreError::InUse { holder } if *holder == expected),
            "{refused}"
        );
    }

    #[test]
    fn a_process_of_another_node_is_not_waited_for_and_the_node_is_told() {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let (_place, own, _held) = locked_by(child.id(), "elsewhere");
        let refused = take_pausing(&own, || panic!("it waits")).unwrap_err();
        assert!(
            refused.to_string().contains("(crds-fs) on elsewhere;"),
            "{refused}"
        );
    }
}
