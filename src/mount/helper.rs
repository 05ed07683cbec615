//! The set-user-id helper `fusermount3`, with which ordinary users mount, and its settings.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::machine::{self, Advice, as_root};

/// Its name.
pub(super) const PROGRAM: &str = "fusermount3";

/// Its settings (fuse(8)).
pub(crate) const SETTINGS: &str = "/etc/fuse.conf";

/// The helper as it is installed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Helper {
    /// Its path.
    pub path: PathBuf,
    /// Whether it runs as root, whoever calls it.
    pub is_set_uid: bool,
    /// Whether its settings let users ask for `allow_other`.
    pub lets_others_in: bool,
}

impl Helper {
    /// The helper in the search path, as the mount would run it.
    pub(crate) fn find() -> Option<Self> {
        let search = std::env::var_os("PATH")?;
        let mut candidates = std::env::split_paths(&search).map(|directory| directory.join(PROGRAM));
        candidates.find_map(|path| {
            let metadata = path.metadata().ok()?;
            let mode = metadata.permissions().mode();
            let is_program = metadata.is_file() && mode & 0o111 != 0;
            is_program.then(|| Self {
                is_set_uid: mode & 0o4000 != 0 && metadata.uid() == 0,
                lets_others_in: lets_others_in(&std::fs::read_to_string(SETTINGS).unwrap_or_default()),
                path,
            })
        })
    }

    /// The advice where it has not the rights to mount.
    pub(crate) fn without_rights(path: &Path) -> Advice {
        let path = path.display();
        Advice::new(
            format!("'{path}' is not set-user-id root, so it may not mount"),
            as_root(&format!("sh -c 'chown root {path} && chmod u+s {path}'")),
        )
    }

    /// The advice where its settings keep other users out.
    pub(crate) fn keeps_others_out() -> Advice {
        Advice::new(
            format!("--allow-other needs the line user_allow_other in {SETTINGS}"),
            as_root(&format!("sh -c 'echo user_allow_other >> {SETTINGS}'")),
        )
    }
}

/// The advice where there is none.
pub(crate) fn missing() -> Advice {
    machine::install(
        "only root may mount by itself, and fusermount3 is not found",
        "fuse3",
    )
}

fn lets_others_in(settings: &str) -> bool {
    settings.lines().any(|line| line.trim() == "user_allow_other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_lines_of_their_own() {
        assert!(lets_others_in("mount_max = 10\n user_allow_other\n"));
        assert!(!lets_others_in("#user_allow_other\n"));
        assert!(
            Helper::keeps_others_out()
                .command
                .unwrap()
                .contains("/etc/fuse.conf")
        );
        let advice = missing().to_string();
        assert!(
            advice.contains("fusermount3") && advice.contains("fuse3"),
            "{advice}"
        );
    }
}
