//! A view of the file system that only one command and its children have: a mount namespace, for ordinary users together
//! with a user namespace in which they may mount.

use std::io;

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use super::Error;
use crate::machine::{Advice, CONTAINER_WITH_FUSE, as_root, is_container};

/// The rights by which a namespace was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Those of an administrator, which stay.
    Administrator,
    /// Those that an ordinary user has in a user namespace.
    User,
}

/// Moves this process into a namespace of its own. Mounts that it and its children make from now on are seen by them
/// alone, and go away with the last of them. User and group stay what they are.
///
/// There must be no other thread in this process.
pub(crate) fn enter() -> Result<Rights, Error> {
    // Root keeps its privileges by not changing the user namespace.
    let rights = match unshare(CloneFlags::CLONE_NEWNS) {
        Ok(()) => Rights::Administrator,
        Err(Errno::EPERM) => {
            enter_as_user()?;
            Rights::User
        }
        Err(errno) => return Err(refused(errno)),
    };
    // Otherwise mounts would propagate to the namespace that this process came from.
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).map_err(refused)?;
    Ok(rights)
}

fn refused(source: impl Into<io::Error>) -> Error {
    Error::Namespace {
        advice: Restrictions::read().advice(),
        source: source.into(),
    }
}

fn enter_as_user() -> Result<(), Error> {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).map_err(refused)?;
    for (file, text) in [
        // The kernel wants this promise before an ordinary user may name a group.
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{user} {user} 1")),
        ("/proc/self/gid_map", format!("{group} {group} 1")),
    ] {
        std::fs::write(file, text).map_err(refused)?;
    }
    Ok(())
}

/// The settings of the kernel that keep ordinary users from having namespaces; each is `None` where the kernel has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Restrictions {
    /// The most user namespaces (`user.max_user_namespaces`).
    pub max_user_namespaces: Option<u64>,
    /// Whether ordinary users may have them (`kernel.unprivileged_userns_clone`, of Debian).
    pub unprivileged_clone: Option<u64>,
    /// Whether `AppArmor` takes all rights from them (`kernel.apparmor_restrict_unprivileged_userns`, of Ubuntu).
    pub apparmor: Option<u64>,
}

impl Restrictions {
    /// Those of this machine.
    pub(crate) fn read() -> Self {
        let number = |setting: &str| {
            let text = std::fs::read_to_string(format!("/proc/sys/{setting}")).ok()?;
            text.trim().parse().ok()
        };
        Self {
            max_user_namespaces: number("user/max_user_namespaces"),
            unprivileged_clone: number("kernel/unprivileged_userns_clone"),
            apparmor: number("kernel/apparmor_restrict_unprivileged_userns"),
        }
    }

    /// The advice where a namespace was refused.
    pub(crate) fn advice(&self) -> Advice {
        self.advice_in(is_container())
    }

    fn advice_in(&self, container: bool) -> Advice {
        let set = |cause: &str, setting: &str| Advice::new(cause, as_root(&format!("sysctl -w {setting}")));
        match (self.max_user_namespaces, self.unprivileged_clone, self.apparmor) {
            (Some(0), ..) => set(
                "this kernel allows no user namespaces",
                "user.max_user_namespaces=10000",
            ),
            (_, Some(0), _) => set(
                "this kernel allows user namespaces to root alone",
                "kernel.unprivileged_userns_clone=1",
            ),
            (_, _, Some(1..)) => set(
                "AppArmor keeps ordinary users from mounting in user namespaces",
                "kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            _ if container => Advice::new("this container may not make namespaces", CONTAINER_WITH_FUSE),
            _ => Advice::cause("the kernel refuses it, and none of its settings says why"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_refuses_is_named() {
        let free = Restrictions {
            max_user_namespaces: Some(10_000),
            unprivileged_clone: Some(1),
            apparmor: Some(0),
        };
        for (restrictions, container, words) in [
            (
                Restrictions {
                    max_user_namespaces: Some(0),
                    ..free
                },
                false,
                "user.max_user_namespaces=10000",
            ),
            (
                Restrictions {
                    unprivileged_clone: Some(0),
                    ..free
                },
                false,
                "kernel.unprivileged_userns_clone=1",
            ),
            (
                Restrictions {
                    apparmor: Some(1),
                    ..free
                },
                true,
                "kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            (free, true, "docker run"),
            (free, false, "none of its settings"),
        ] {
            let advice = restrictions.advice_in(container).to_string();
            assert!(advice.contains(words), "{advice}");
        }
    }
}
