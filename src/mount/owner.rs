//! The user, the group and the umask of this process.

use nix::unistd::{Uid, User, getgid, getuid};

/// User, group and file mode mask of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Permission bits that its new files do not get.
    pub umask: u16,
}

impl Owner {
    /// Those of this process.
    pub(crate) fn current() -> Self {
        // umask(2) can only be read by changing it; proc(5) tells it as well.
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        let umask = mask
            .and_then(|mask| u16::from_str_radix(mask.trim(), 8).ok())
            .unwrap_or(0o022);
        Self {
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
            umask,
        }
    }
}

/// The name of a user, or the number where it has none.
pub(crate) fn user_name(user: u32) -> String {
    match User::from_uid(Uid::from_raw(user)) {
        Ok(Some(user)) => user.name,
        _ => format!("user {user}"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn is_that_of_new_files() {
        let directory = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(directory.path().join("new"))
            .unwrap()
            .metadata()
            .unwrap();
        let owner = super::Owner::current();
        assert_eq!(super::user_name(0), "root");
        assert_eq!(super::user_name(4_000_000_000), "user 4000000000");
        assert_eq!((owner.uid, owner.gid), (file.uid(), file.gid()));
        assert_eq!(0o666 & !u32::from(owner.umask), file.permissions().mode() & 0o777);
    }
}
