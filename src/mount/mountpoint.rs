//! The mount point: freed from a dead mount first, then mounted on with mount(2), or with the set-user-id helper
//! `fusermount3` where mount(2) is not allowed.

use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair,
};
use nix::unistd::{getgid, getuid};

use super::health::Health;
use super::remount::Flags;
use super::unmount;
use super::{Error, device, helper, mountinfo};

/// The properties of a mount that other processes see.
#[derive(Debug, Clone)]
pub(crate) struct Appearance {
    /// The source that `findmnt` shows.
    pub source: String,
    /// The operations that the kernel itself refuses.
    pub flags: Flags,
    /// Whether other users may enter, root included; the modes decide what they may do. Otherwise only the user who
    /// mounts may enter.
    pub allow_other: bool,
}

/// The target of a mount.
#[derive(Debug)]
pub(crate) enum Mountpoint {
    /// On this directory: absolute, without links, and with no mount of ours on it.
    Directory(PathBuf),
    /// A connection that another process has mounted, and whose device it hands over as `/dev/fd/N`.
    Device(OwnedFd),
}

impl Mountpoint {
    /// Finds the mount point, and takes away a mount of ours whose process has died. To be called before the store is
    /// opened, which may lie below the mount point.
    pub(crate) fn prepare(path: &Path) -> Result<Self, Error> {
        if let Some(device) = device::handed_over(path) {
            return device.map(Self::Device);
        }
        loop {
            let mountpoint = match mountinfo::locate(path) {
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    return Err(Error::NoMountpoint(path.to_owned()));
                }
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotADirectory => {
                    return Err(Error::NotADirectory(path.to_owned()));
                }
                other => other?,
            };
            let Some(entry) = mountinfo::at(&mountpoint)? else {
                return Self::directory(mountpoint);
            };
            match (entry.is_ours(), entry.health()) {
                (true, health @ (Health::Dead | Health::Hanging)) => {
                    log::warn!(
                        "taking away the mount at '{}', whose process has died",
                        mountpoint.display()
                    );
                    unmount::take_away_dead(&entry, health)?;
                }
                (true, Health::Answers) => return Err(Error::AlreadyMounted(mountpoint)),
                (true, Health::Unresponsive { pid }) => return Err(Error::silent(&mountpoint, pid)),
                (false, Health::Answers) => return Self::directory(mountpoint),
                (false, _) => {
                    return Err(Error::DeadForeign {
                        path: mountpoint,
                        fstype: entry.fstype,
                    });
                }
            }
        }
    }

    fn directory(path: PathBuf) -> Result<Self, Error> {
        let what = fs::metadata(&path).map_err(|source| Error::io("looking at", &path, source))?;
        if what.is_dir() {
            Ok(Self::Directory(path))
        } else {
            Err(Error::NotADirectory(path))
        }
    }

    /// The directory; `None` for a device that was handed over.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) => Some(path),
            Self::Device(_) => None,
        }
    }
}

/// Mounts on `mountpoint`, and returns the device of the connection.
pub(super) fn mount(mountpoint: &Path, appearance: &Appearance) -> Result<OwnedFd, Error> {
    let device = match device::open() {
        Ok(device) => device,
        // The helper may be allowed where we are not.
        Err(Error::Device { source, advice, path })
            if source.kind() == io::ErrorKind::PermissionDenied && !getuid().is_root() =>
        {
            return by_helper(mountpoint, appearance).map_err(|_| Error::Device { path, advice, source });
        }
        Err(error) => return Err(error),
    };
    match directly(&device, mountpoint, appearance) {
        Ok(()) => Ok(device),
        Err(Errno::EPERM) => {
            drop(device);
            by_helper(mountpoint, appearance)
        }
        Err(errno) => Err(Error::io("mounting on", mountpoint, errno)),
    }
}

pub(super) fn directly(device: &OwnedFd, mountpoint: &Path, appearance: &Appearance) -> nix::Result<()> {
    let data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions{}",
        device.as_raw_fd(),
        getuid(),
        getgid(),
        if appearance.allow_other {
            ",allow_other"
        } else {
            ""
        },
    );
    nix::mount::mount(
        Some(appearance.source.as_str()),
        mountpoint,
        Some(mountinfo::FSTYPE),
        appearance.flags.bits(),
        Some(data.as_str()),
    )
}

/// Lets `fusermount3` mount, which sends the device through a socket.
fn by_helper(mountpoint: &Path, appearance: &Appearance) -> Result<OwnedFd, Error> {
    // The helper's end is inherited, so it must not be closed on exec; ours must be.
    let (theirs, ours) =
        socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::empty()).map_err(Error::helper)?;
    fcntl(&ours, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(Error::helper)?;
    let child = Command::new(helper::PROGRAM)
        .arg("-o")
        .arg(helper_options(appearance))
        .arg("--")
        .arg(mountpoint)
        .env("_FUSE_COMMFD", theirs.as_raw_fd().to_string())
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NoHelper(helper::missing()));
        }
        Err(source) => return Err(Error::io("running fusermount3 for", mountpoint, source)),
    };
    drop(theirs);
    let device = receive(&ours);
    let output = child
        .wait_with_output()
        .map_err(|source| Error::io("waiting for fusermount3 on", mountpoint, source))?;
    match device {
        Ok(Some(device)) if output.status.success() => Ok(device),
        Err(errno) if output.status.success() => Err(Error::helper(errno)),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(helper::refusal(&said, mountpoint, appearance.allow_other))
        }
    }
}

fn helper_options(appearance: &Appearance) -> String {
    let mut options = format!(
        "fsname={},subtype=crds-fs,nosuid,nodev,noatime,default_permissions",
        escape(&appearance.source)
    );
    if appearance.allow_other {
        options.push_str(",allow_other");
    }
    if appearance.flags.read_only {
        options.push_str(",ro");
    }
    if appearance.flags.no_exec {
        options.push_str(",noexec");
    }
    options
}

/// Keeps commas in a value from being taken for the end of it.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,")
}

#[expect(
    unsafe_code,
    reason = "a descriptor that came through a socket has no owner yet"
)]
fn receive(socket: &OwnedFd) -> nix::Result<Option<OwnedFd>> {
    let mut byte = [0_u8];
    let mut buffers = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let message = loop {
        match recvmsg::<()>(
            socket.as_raw_fd(),
            &mut buffers,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control
            && let Some(&descriptor) = descriptors.first()
        {
            // SAFETY: the kernel has just made this descriptor for us; the buffer has room for no second one.
            return Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_cannot_smuggle_options_in() {
        let appearance = Appearance {
            source: r"http://x/,suid\".into(),
            flags: Flags {
                read_only: true,
                no_exec: true,
            },
            allow_other: false,
        };
        assert_eq!(
            helper_options(&appearance),
            r"fsname=http://x/\,suid\\,subtype=crds-fs,nosuid,nodev,noatime,default_permissions,ro,noexec"
        );
    }

    #[test]
    fn places_that_cannot_be_mounted_on() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        assert!(matches!(
            Mountpoint::prepare(&missing),
            Err(Error::NoMountpoint(_))
        ));
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(Mountpoint::prepare(&file), Err(Error::NotADirectory(_))));
        let mountpoint = Mountpoint::prepare(
            &directory
                .path()
                .join("../")
                .join(directory.path().file_name().unwrap()),
        );
        assert_eq!(
            mountpoint.unwrap().path(),
            Some(directory.path().canonicalize().unwrap().as_path())
        );
    }
}
