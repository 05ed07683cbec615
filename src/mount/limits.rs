//! The limits of this process: on descriptors and on addresses.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Error;

/// The addresses that a mount has in use at its start are some 330 MiB, most of them reserved for stacks and replies; with many
/// downloads, and on a disk that is slow, it has more threads.
const LEAST_ADDRESSES: u64 = 512 << 20;
const GOOD_ADDRESSES: u64 = 2 << 30;

/// More than any kernel gives.
const UNLIMITED: u64 = 1 << 30;

/// Raises the limit of open descriptors as far as this process may, and returns it.
///
/// Every file that is open in the mount is open here as well. Programs that are started from here have the higher limit,
/// too, so a process that starts the user's programs must not call this.
pub(crate) fn raise_descriptors() -> usize {
    usize::try_from(raise(Resource::Nofile).unwrap_or(UNLIMITED)).unwrap_or(usize::MAX)
}

/// Raises the limit of addresses (`ulimit -v`) as far as this process may. Fails where that is too low for a mount, which would
/// end at the next allocation.
pub(crate) fn raise_addresses() -> Result<(), Error> {
    match raise(Resource::As) {
        Some(limit) if limit < LEAST_ADDRESSES => Err(Error::AddressSpace {
            needed: LEAST_ADDRESSES >> 10,
            limit: limit >> 10,
        }),
        Some(limit) if limit < GOOD_ADDRESSES => {
            log::warn!(
                "this process may have {} KiB of addresses (ulimit -v): with many files at a time that may be too few, and \
                 it would end",
                limit >> 10
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Raises a limit as far as this process may, and returns it; `None` if there is none.
fn raise(resource: Resource) -> Option<u64> {
    let found = getrlimit(resource);
    let raised = Rlimit {
        current: found.maximum,
        maximum: found.maximum,
    };
    match setrlimit(resource, raised) {
        Ok(()) => found.maximum,
        Err(error) => {
            log::debug!("a limit stays as it is: {error}");
            found.current
        }
    }
}
