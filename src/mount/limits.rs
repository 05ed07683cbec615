//! The limit on descriptors of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More than any kernel gives.
const UNLIMITED: u64 = 1 << 30;

/// Raises the limit of open descriptors as far as this process may, and returns it.
///
/// Every file that is open in the mount is open here as well. Programs that are started from here have the higher limit,
/// too, so a process that starts the user's programs must not call this.
pub(crate) fn raise_descriptors() -> usize {
    let found = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: found.maximum,
        maximum: found.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => found.maximum,
        Err(error) => {
            log::debug!("the limit of descriptors stays as it is: {error}");
            found.current
        }
    };
    usize::try_from(current.unwrap_or(UNLIMITED)).unwrap_or(usize::MAX)
}
