//! Changes of a mount's flags while it is mounted.

use nix::mount::MsFlags;

use super::Error;
use super::mountinfo::MountEntry;

/// The flags that can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags {
    /// Whether every write fails with EROFS.
    pub read_only: bool,
    /// Whether no program in it can be run.
    pub no_exec: bool,
}

impl Flags {
    /// The flags of mount(2), with those that every mount of ours has.
    pub(super) fn bits(self) -> MsFlags {
        let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
        flags.set(MsFlags::MS_RDONLY, self.read_only);
        flags.set(MsFlags::MS_NOEXEC, self.no_exec);
        flags
    }
}

/// Sets the flags of a mount. Only root may.
pub(crate) fn remount(entry: &MountEntry, flags: Flags) -> Result<(), Error> {
    nix::mount::mount(
        None::<&str>,
        &entry.mountpoint,
        None::<&str>,
        MsFlags::MS_REMOUNT | flags.bits(),
        None::<&str>,
    )
    .map_err(|errno| Error::io("remounting", &entry.mountpoint, errno))
}
