//! Whether the kernel reads backing files itself for us.
//!
//! It agrees to the feature when the mount begins, but takes a file only from a process with `CAP_SYS_ADMIN` in the first
//! user namespace. So one is tried.
#![expect(unsafe_code, reason = "nix makes unsafe functions of ioctls")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use fuser::BackingId;
use nix::sys::memfd::{MFdFlags, memfd_create};

nix::ioctl_write_ptr!(backing_close, 229, 2, u32);

/// Registers a file of no consequence with the FUSE connection `device`, and takes it back.
pub(super) fn probe(device: impl AsFd) -> io::Result<()> {
    let file = memfd_create(c"crds-fs-probe", MFdFlags::MFD_CLOEXEC)?;
    let id = BackingId::create_raw(device.as_fd(), &file)?;
    // SAFETY: the descriptor is open, and `id` was given for it just now and is used nowhere else.
    unsafe { backing_close(device.as_fd().as_raw_fd(), &raw const id) }?;
    Ok(())
}
