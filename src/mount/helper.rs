//! The set-user-id helper `fusermount3`, with which ordinary users mount, and its settings.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::Error;
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

/// The error for what the helper says when it does not mount, with the remedy where the cause is known.
pub(super) fn refusal(said: &str, mountpoint: &Path, allow_other: bool) -> Error {
    let said = said.trim().trim_start_matches("fusermount3: ");
    if allow_other && said.contains("user_allow_other") {
        return Error::NoHelper(Helper::keeps_others_out());
    }
    if said.contains("no write access") || said.contains("failed to chdir to mountpoint") {
        return Error::NotWritable(mountpoint.to_owned());
    }
    if said.contains("Operation not permitted") {
        if has_no_new_rights() {
            return Error::NoHelper(Advice::cause(
                "programs started here get no rights (no_new_privs), so fusermount3 cannot mount",
            ));
        }
        if let Some(helper) = Helper::find().filter(|helper| !helper.is_set_uid) {
            return Error::NoHelper(Helper::without_rights(&helper.path));
        }
    }
    Error::Helper(said.to_owned())
}

/// Whether programs that are started from here get no rights by their files (prctl(2), `PR_SET_NO_NEW_PRIVS`).
pub(crate) fn has_no_new_rights() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .any(|line| line.starts_with("NoNewPrivs:") && line.ends_with('1'))
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
    fn refusals_have_their_remedy() {
        let told = |said, allow_other| refusal(said, Path::new("/m"), allow_other).to_string();
        let others =
            "fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf";
        assert!(
            told(others, true).contains("echo user_allow_other"),
            "{}",
            told(others, true)
        );
        let not_his = "fusermount3: user has no write access to mountpoint /m\n";
        assert!(
            told(not_his, false).contains("name a directory of your own"),
            "{}",
            told(not_his, false)
        );
        assert_eq!(
            told("fusermount3: something else\n", false),
            "fusermount3 says: something else"
        );
    }

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
