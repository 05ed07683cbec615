//! The FUSE device, and the remedy when it cannot be opened.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::Error;
use crate::machine::{Advice, CONTAINER_WITH_FUSE, as_root, is_container};

const DEVICE: &str = "/dev/fuse";

/// Opens the device for a mount of our own.
pub(crate) fn open() -> Result<OwnedFd, Error> {
    open_at(Path::new(DEVICE))
}

fn open_at(path: &Path) -> Result<OwnedFd, Error> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|source| Error::Device {
            path: path.to_owned(),
            advice: advice(&source),
            source,
        })?;
    Ok(device.into())
}

/// The advice where it cannot be opened.
fn advice(error: &io::Error) -> Advice {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) if is_container() => {
            Advice::new("this container was started without FUSE", CONTAINER_WITH_FUSE)
        }
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            Advice::new("this kernel has no FUSE at hand", as_root("modprobe fuse"))
        }
        Some(libc::EPERM) if is_container() => {
            Advice::new("this container may not use FUSE", CONTAINER_WITH_FUSE)
        }
        Some(libc::EACCES | libc::EPERM) => {
            Advice::new("it is not open to you", as_root("chmod 666 /dev/fuse"))
        }
        _ => Advice::cause("FUSE does not work on this machine"),
    }
}

/// The descriptor behind a mount point of the form `/dev/fd/N`: a device that another process has mounted already.
/// `None` for any other mount point.
pub(super) fn handed_over(mountpoint: &Path) -> Option<Result<OwnedFd, Error>> {
    Some(adopt(number(mountpoint)?, mountpoint))
}

/// Whether a mount point is of that form.
pub(crate) fn is_handed_over(mountpoint: &Path) -> bool {
    number(mountpoint).is_some()
}

fn number(mountpoint: &Path) -> Option<RawFd> {
    mountpoint.to_str()?.strip_prefix("/dev/fd/")?.parse().ok()
}

#[expect(unsafe_code, reason = "a descriptor that was inherited has no owner yet")]
fn adopt(number: RawFd, path: &Path) -> Result<OwnedFd, Error> {
    let what = std::fs::metadata(path).map_err(|source| Error::io("looking at", path, source))?;
    if !what.file_type().is_char_device() || number < 3 {
        return Err(Error::NotADevice(path.to_owned()));
    }
    // SAFETY: the descriptor is open, as was just seen. The caller of this program named it as the one to take over,
    // and it is none of the standard streams, so nothing else here owns it.
    let device = unsafe { File::from_raw_fd(number) };
    Ok(device.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn a_missing_device_is_told_with_the_advice() {
        let error = open_at(Path::new("/nonexistent/fuse")).unwrap_err();
        let text = error.to_string();
        let remedy = if is_container() {
            "--device /dev/fuse"
        } else {
            "modprobe fuse"
        };
        assert!(
            text.contains("/nonexistent/fuse") && text.contains(remedy),
            "{text}"
        );
        assert!(error.source().is_some());
        let closed = advice(&io::Error::from_raw_os_error(libc::EACCES));
        assert!(closed.to_string().contains("chmod 666 /dev/fuse"), "{closed}");
    }

    #[test]
    fn only_device_descriptors_are_taken_over() {
        assert!(handed_over(Path::new("/mnt/x")).is_none());
        assert!(handed_over(Path::new("/dev/fd/x")).is_none());
        assert!(matches!(handed_over(Path::new("/dev/fd/0")), Some(Err(_))));
        assert!(matches!(
            handed_over(Path::new("/dev/fd/12345")),
            Some(Err(Error::Io { .. }))
        ));
    }
}
