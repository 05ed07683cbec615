//! Checks of the directory of the cache: that it is there, whose it is, and how much room it has.

use std::path::PathBuf;

use super::check::Check;
use crate::cli::output;
use crate::machine::{as_root, shell_word};

/// File systems over a network, as the kernel names them.
const NETWORKS: [&str; 13] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "afs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "glusterfs",
    "9p",
    "fuse.sshfs",
];

/// Whether this is a file system over a network.
pub(super) fn is_network(file_system: &str) -> bool {
    NETWORKS.contains(&file_system)
}

/// The facts.
#[derive(Debug, Clone)]
pub(super) struct CacheFacts {
    pub(super) directory: PathBuf,
    pub(super) found: Found,
    /// Whether only `CRDS_PATH` names it, which has a check of its own.
    pub(super) is_by_variable: bool,
    /// Whether nothing is to be written into it.
    pub(super) read_only: bool,
    /// The space that is to be left free, in bytes.
    pub(super) keep_free: u64,
    /// The most bytes in it.
    pub(super) limit: Option<u64>,
}

/// The thing at the path of the cache.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// Nothing; the directory in which it would be made is there, or not.
    Nothing { above: bool },
    /// Something else.
    NoDirectory,
    /// No answer in time.
    Silence,
    /// It cannot be looked at.
    Refusal(String),
    /// A directory.
    Directory(DirectoryFacts),
}

/// The directory of a cache.
#[derive(Debug, Clone, Default)]
pub(super) struct DirectoryFacts {
    pub(super) file_system: String,
    /// Whether this user may write in it.
    pub(super) is_writable: bool,
    /// The user that it belongs to, where that is another one.
    pub(super) other_owner: Option<String>,
    /// Directories in it in which this user may not write.
    pub(super) closed: Vec<PathBuf>,
    /// Size of the disk and what is free of it for this user, in bytes.
    pub(super) disk: Option<(u64, u64)>,
    /// The reason why a mount would not take it.
    pub(super) refusal: Option<String>,
    /// Whether it has been removed below a mount that uses it.
    pub(super) is_removed: bool,
}

pub(super) fn checks(facts: Option<&CacheFacts>) -> Vec<Check> {
    let name = "directory";
    let Some(facts) = facts else {
        return vec![Check::ok(name, "none is named (CRDS_PATH, --cache)")];
    };
    let shown = facts.directory.display();
    let word = shell_word(&shown.to_string());
    match &facts.found {
        Found::Nothing { above: false } | Found::NoDirectory | Found::Silence if facts.is_by_variable => {
            Vec::new()
        }
        Found::Nothing { above: true } => vec![Check::ok(
            name,
            format!("'{shown}' will be made by 'crds-fs mount'"),
        )],
        Found::Nothing { above: false } => vec![
            Check::wrong(
                name,
                format!("'{shown}' is not there, nor the directory above it"),
            )
            .mended_by(format!("mkdir -p {word}")),
        ],
        Found::NoDirectory => vec![
            Check::wrong(name, format!("'{shown}' is not a directory"))
                .mended_by("export CRDS_PATH=\"$HOME/crds_cache\""),
        ],
        Found::Silence => vec![
            Check::wrong(name, format!("'{shown}' does not answer: its file system hangs"))
                .mended_by("findmnt"),
        ],
        Found::Refusal(why) => vec![
            Check::wrong(name, format!("'{shown}' cannot be looked at: {why}"))
                .mended_by(as_root(&format!("chown -R \"$(id -un)\" {word}"))),
        ],
        Found::Directory(directory) => {
            let mut checks = vec![place(facts, directory), rights(facts, directory)];
            checks.extend(file_system(directory));
            checks.extend(room(facts, directory));
            checks
        }
    }
}

fn place(facts: &CacheFacts, directory: &DirectoryFacts) -> Check {
    let shown = facts.directory.display();
    let name = "directory";
    if directory.is_removed {
        let word = shell_word(&shown.to_string());
        return Check::wrong(
            name,
            format!("'{shown}' was removed below the mount that uses it: what is fetched goes nowhere"),
        )
        .mended_by(format!("crds-fs umount {word} && crds-fs mount {word}"));
    }
    match &directory.refusal {
        Some(why) => Check::wrong(name, why.as_str()).mended_by("export CRDS_PATH=\"$HOME/crds_cache\""),
        None => Check::ok(name, format!("'{shown}'")),
    }
}

fn rights(facts: &CacheFacts, directory: &DirectoryFacts) -> Check {
    let name = "rights";
    let word = shell_word(&facts.directory.display().to_string());
    let owner = match &directory.other_owner {
        Some(owner) => format!("; it belongs to {owner}"),
        None => String::new(),
    };
    if facts.read_only {
        return Check::ok(name, format!("nothing is to be written{owner}"));
    }
    if !directory.is_writable {
        return Check::note(
            name,
            format!("you may not write in it{owner}: what is in it can be read, nothing is fetched into it"),
        )
        .mended_by("crds-fs mount --cache \"$HOME/crds_cache\" MOUNTPOINT");
    }
    match &directory.closed[..] {
        [] => Check::ok(name, format!("you may write in it{owner}")),
        [first, ..] => Check::wrong(
            name,
            format!(
                "you may write in it, but not in '{}', which belongs to somebody else",
                first.display()
            ),
        )
        .mended_by(as_root(&format!("chown -R \"$(id -un)\" {word}"))),
    }
}

fn file_system(directory: &DirectoryFacts) -> Option<Check> {
    let name = "file system";
    let kind = directory.file_system.as_str();
    if kind.is_empty() {
        return None;
    }
    Some(if is_network(kind) {
        Check::note(
            name,
            format!("{kind}, over a network: only one mount may write to the cache, and a disk of this machine is faster"),
        )
        .mended_by("crds-fs mount --cache /LOCAL/DISK/crds_cache MOUNTPOINT")
    } else {
        Check::ok(name, kind)
    })
}

fn room(facts: &CacheFacts, directory: &DirectoryFacts) -> Option<Check> {
    let name = "room";
    let (total, free) = directory.disk?;
    let (keep_free, shown) = (facts.keep_free, output::size(facts.keep_free));
    if facts.read_only || !directory.is_writable {
        return None;
    }
    // A small disk cannot keep the default free: a twentieth of it, 1 MiB at least.
    let fitting = (total / 20).max(1 << 20) >> 20;
    let mended = format!("export CRDS_FS_KEEP_FREE={fitting}M");
    Some(if keep_free >= total {
        Check::wrong(
            name,
            format!(
                "{shown} are to be left free (--keep-free), but the disk has only {}: nothing can be fetched",
                output::size(total)
            ),
        )
        .mended_by(mended)
    } else if free <= keep_free {
        Check::wrong(
            name,
            format!(
                "{} are free, and {shown} are to be left free (--keep-free): nothing can be fetched",
                output::size(free)
            ),
        )
        .mended_by(format!(
            "crds-fs evict --cache {} --unused-for 30d --dry-run",
            shell_word(&facts.directory.display().to_string())
        ))
    } else if facts
        .limit
        .is_some_and(|limit| limit.saturating_add(keep_free) > total)
    {
        Check::note(
            name,
            format!(
                "the disk of {} is smaller than --cache-size and --keep-free together: it fills before the limit is reached",
                output::size(total)
            ),
        )
    } else {
        Check::ok(
            name,
            format!("{} of {} are free", output::size(free), output::size(total)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::check::{State, assert_found};
    use super::*;

    fn well() -> DirectoryFacts {
        DirectoryFacts {
            file_system: "ext4".into(),
            is_writable: true,
            disk: Some((100 << 30, 50 << 30)),
            ..DirectoryFacts::default()
        }
    }

    fn facts(found: Found) -> CacheFacts {
        CacheFacts {
            directory: "/crds".into(),
            found,
            is_by_variable: false,
            read_only: false,
            keep_free: 1 << 30,
            limit: None,
        }
    }

    #[track_caller]
    fn finds(facts: &CacheFacts, name: &str, state: State, remedy: &str) {
        assert_found(&checks(Some(facts)), name, state, remedy);
    }

    #[test]
    fn a_directory_of_ones_own_is_well() {
        assert!(
            checks(Some(&facts(Found::Directory(well()))))
                .iter()
                .all(|check| check.state == State::Ok)
        );
        assert_eq!(checks(None).len(), 1);
        finds(&facts(Found::Nothing { above: true }), "directory", State::Ok, "");
    }

    #[test]
    fn paths_that_lead_nowhere() {
        finds(
            &facts(Found::Nothing { above: false }),
            "directory",
            State::Wrong,
            "mkdir -p /crds",
        );
        finds(&facts(Found::NoDirectory), "directory", State::Wrong, "CRDS_PATH");
        finds(&facts(Found::Silence), "directory", State::Wrong, "findmnt");
        finds(
            &facts(Found::Refusal("no".into())),
            "directory",
            State::Wrong,
            "chown",
        );
        let removed = DirectoryFacts {
            is_removed: true,
            ..well()
        };
        finds(
            &facts(Found::Directory(removed)),
            "directory",
            State::Wrong,
            "crds-fs umount /crds",
        );
        let refused = DirectoryFacts {
            refusal: Some("it has a thesis in it".into()),
            ..well()
        };
        finds(
            &facts(Found::Directory(refused)),
            "directory",
            State::Wrong,
            "CRDS_PATH",
        );
    }

    #[test]
    fn rights_to_write() {
        let closed = DirectoryFacts {
            is_writable: false,
            other_owner: Some("root".into()),
            ..well()
        };
        finds(
            &facts(Found::Directory(closed.clone())),
            "rights",
            State::Note,
            "--cache",
        );
        let reading = CacheFacts {
            read_only: true,
            ..facts(Found::Directory(closed))
        };
        finds(&reading, "rights", State::Ok, "");
        let partly = DirectoryFacts {
            closed: vec!["/crds/.crds-fs".into()],
            ..well()
        };
        finds(
            &facts(Found::Directory(partly)),
            "rights",
            State::Wrong,
            "chown -R",
        );
    }

    #[test]
    fn file_systems_over_a_network() {
        let shared = DirectoryFacts {
            file_system: "nfs4".into(),
            ..well()
        };
        finds(
            &facts(Found::Directory(shared)),
            "file system",
            State::Note,
            "--cache",
        );
    }

    #[test]
    fn room_for_files() {
        let small = DirectoryFacts {
            disk: Some((500 << 20, 400 << 20)),
            ..well()
        };
        finds(
            &facts(Found::Directory(small)),
            "room",
            State::Wrong,
            "CRDS_FS_KEEP_FREE=25M",
        );
        let full = DirectoryFacts {
            disk: Some((100 << 30, 1 << 20)),
            ..well()
        };
        finds(
            &facts(Found::Directory(full)),
            "room",
            State::Wrong,
            "crds-fs evict",
        );
        let limited = CacheFacts {
            limit: Some(200 << 30),
            ..facts(Found::Directory(well()))
        };
        finds(&limited, "room", State::Note, "");
    }
}
