//! The conditions on the machine for tests of the mount.

use std::fs::File;

/// Without FUSE there is nothing to test here, and a test that tests nothing must not pass.
pub(crate) fn require() {
    if let Err(error) = File::options().read(true).write(true).open("/dev/fuse") {
        panic!(
            "/dev/fuse cannot be opened ({error}): 'modprobe fuse' as root, or give the container --device /dev/fuse"
        );
    }
}
