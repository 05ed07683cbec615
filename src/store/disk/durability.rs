//! What makes bytes and names survive a power failure, in one place: on a machine that runs nobody can tell whether it was
//! done, so tests look here.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;

use cap_std::fs::Dir;
use rustix::fs::{Mode, OFlags};

/// Waits for the disk.
#[derive(Debug, Default)]
pub(super) struct Durability {
    #[cfg(test)]
    done: parking_lot::Mutex<Vec<Sync>>,
}

/// What is durable from now on.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Sync {
    /// The bytes of a file.
    Data,
    /// The names in a directory.
    Names,
}

impl Durability {
    /// Makes the bytes of a file durable.
    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, reason = "tests write down what was done")
    )]
    pub(super) fn data(&self, file: &File) -> io::Result<()> {
        file.sync_data()?;
        #[cfg(test)]
        self.done.lock().push(Sync::Data);
        Ok(())
    }

    /// Makes the names in a directory durable. A `Dir` is only a place; to be synced it has to be opened for reading.
    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, reason = "tests write down what was done")
    )]
    pub(super) fn names(&self, dir: &Dir) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::openat(dir.as_fd(), ".", flags, Mode::empty())?;
        rustix::fs::fsync(open)?;
        #[cfg(test)]
        self.done.lock().push(Sync::Names);
        Ok(())
    }

    /// What was done so far, in order.
    #[cfg(test)]
    pub(super) fn done(&self) -> Vec<Sync> {
        self.done.lock().clone()
    }
}
