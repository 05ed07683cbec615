//! A view of the file system that only one command and its children have: a mount namespace, for ordinary users together
//! with a user namespace in which they may mount.

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use super::Error;

/// Moves this process into a namespace of its own. Mounts that it and its children make from now on are seen by them
/// alone, and go away with the last of them. User and group stay what they are.
///
/// There must be no other thread in this process.
pub(crate) fn enter() -> Result<(), Error> {
    // Root keeps its privileges by not changing the user namespace.
    match unshare(CloneFlags::CLONE_NEWNS) {
        Ok(()) => {}
        Err(Errno::EPERM) => enter_as_user()?,
        Err(errno) => return Err(Error::namespace(errno)),
    }
    // Otherwise mounts would propagate to the namespace that this process came from.
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).map_err(Error::namespace)
}

fn enter_as_user() -> Result<(), Error> {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).map_err(Error::namespace)?;
    for (file, text) in [
        // The kernel wants this promise before an ordinary user may name a group.
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{user} {user} 1")),
        ("/proc/self/gid_map", format!("{group} {group} 1")),
    ] {
        std::fs::write(file, text).map_err(Error::namespace)?;
    }
    Ok(())
}
