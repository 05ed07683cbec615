//! Checks of variables that name directories.

use std::path::Path;

use super::{CacheDirectory, Place, Variables};
use crate::cli::client::{self, misleading};
use crate::cli::doctor::check::Check;
use crate::machine::shell_word;
use crate::mount::health::Health;

/// The directory in which clients look when nothing is set.
pub(in crate::cli::doctor) const CENTRAL_STORE: &str = "/grp/crds/cache";

/// A directory of one's own, as a shell reads it.
const OWN: &str = "\"$HOME/crds_cache\"";

/// The variables that name directories, beside `CRDS_PATH`.
pub(in crate::cli::doctor) fn directories() -> impl Iterator<Item = &'static str> {
    client::DIRECTORIES
        .into_iter()
        .chain(["CRDS_FS_CACHE", "CRDS_FS_STATE"])
}

/// The directory of the clients' cache.
pub(super) fn crds_path(variables: &Variables<'_>) -> Check {
    let name = "CRDS_PATH";
    let Some(value) = variables.get(name) else {
        return unset(variables);
    };
    if let Some(check) = spelling(name, value) {
        return check;
    }
    let word = shell_word(value);
    match variables.place(name) {
        None => Check::ok(name, format!("'{value}'")),
        Some(Place::Mount(_)) => Check::ok(name, format!("'{value}', a mount of crds-fs")),
        Some(Place::Silence) => silent(variables, name, value),
        Some(Place::NoDirectory) => Check::wrong(name, format!("'{value}' is not a directory"))
            .mended_by(format!("export {name}={OWN}")),
        Some(Place::Nothing { .. }) if value.starts_with("/grp/") => Check::wrong(
            name,
            format!("'{value}' is the central store of the institute, which this machine does not have"),
        )
        .mended_by(format!("export {name}={OWN}; crds-fs mount")),
        Some(Place::Nothing { above: true }) => {
            Check::wrong(name, format!("'{value}' is not there; 'crds-fs mount' makes it"))
                .mended_by(format!("crds-fs mount {word}"))
        }
        Some(Place::Nothing { above: false }) => Check::wrong(
            name,
            format!("'{value}' is not there, nor the directory above it"),
        )
        .mended_by(format!("mkdir -p {word} && crds-fs mount {word}")),
        Some(Place::Directory(directory)) => not_mounted(variables, value, directory),
    }
}

/// A mount whose process has died, or a file system that hangs.
fn silent(variables: &Variables<'_>, name: &str, value: &str) -> Check {
    let mut mounts = variables.mounts.iter();
    let mount = mounts.find(|mount| Path::new(value).starts_with(&mount.mountpoint));
    let word = |path: &Path| shell_word(&path.display().to_string());
    match mount {
        Some(mount) if matches!(mount.health, Health::Dead | Health::Hanging) => Check::wrong(
            name,
            format!("'{value}' is the mount whose process has died; 'crds-fs mount' mends it"),
        )
        .mended_by(format!("crds-fs mount {}", word(&mount.mountpoint))),
        _ => Check::wrong(name, format!("'{value}' does not answer"))
            .mended_by(format!("crds-fs umount --lazy {}", word(Path::new(value)))),
    }
}

fn unset(variables: &Variables<'_>) -> Check {
    let name = "CRDS_PATH";
    let nowhere = if variables.has_central_store {
        ""
    } else {
        ", which is not there"
    };
    match (variables.use_of_mount(), variables.mounts) {
        (Some(command), _) => Check::wrong(
            name,
            format!("it is not set: clients do not look in the mount but in {CENTRAL_STORE}{nowhere}"),
        )
        .mended_by(command),
        (None, [first, ..]) => Check::wrong(
            name,
            format!("it is not set: clients look in no mount but in {CENTRAL_STORE}{nowhere}"),
        )
        .mended_by(format!(
            "eval \"$(crds-fs env {})\"",
            shell_word(&first.mountpoint.display().to_string())
        )),
        (None, []) if variables.has_central_store => {
            Check::ok(name, format!("it is not set: clients look in {CENTRAL_STORE}"))
        }
        (None, []) => Check::note(
            name,
            format!("it is not set: clients look in {CENTRAL_STORE}{nowhere}"),
        )
        .mended_by(format!("export {name}={OWN}; crds-fs mount")),
    }
}

/// A directory that is no mount: an ordinary cache, or nothing yet.
fn not_mounted(variables: &Variables<'_>, value: &str, directory: &CacheDirectory) -> Check {
    let name = "CRDS_PATH";
    let wanted = variables.observatory();
    let described = &directory.described;
    let has_it = match wanted {
        Some(wanted) => described.contains(&wanted),
        None => !described.is_empty(),
    };
    if has_it {
        let names: Vec<&str> = described.iter().map(|observatory| observatory.as_str()).collect();
        return Check::ok(
            name,
            format!("'{value}', a cache of {} (not mounted)", names.join(", ")),
        );
    }
    let missing = match wanted {
        Some(wanted) => format!("config/{wanted}/server_config"),
        None => "server_config".to_owned(),
    };
    if variables.clients_ask_nobody() {
        return Check::wrong(
            name,
            format!(
                "'{value}' has no {missing}, and without CRDS_SERVER_URL clients cannot get it: they fail"
            ),
        )
        .mended_by(format!("crds-fs mount {}", shell_word(value)));
    }
    Check::ok(
        name,
        format!("'{value}' has no {missing} yet: clients fetch it from CRDS_SERVER_URL (not mounted)"),
    )
}

/// Whether a path was not meant as it is spelt.
pub(in crate::cli::doctor) fn is_misspelt(path: &str) -> bool {
    spelling("CRDS_PATH", path).is_some()
}

/// A path that was meant otherwise than it is spelt.
fn spelling(name: &str, value: &str) -> Option<Check> {
    let wrong = |what: String, command: String| Some(Check::wrong(name, what).mended_by(command));
    let bare = value.trim();
    let unquoted = bare.trim_matches(['"', '\'']);
    if bare == "/path" || bare.starts_with("/path/") {
        return wrong(
            format!("'{value}' is the example of a manual, not a directory of this machine"),
            format!("export {name}={OWN}"),
        );
    }
    if unquoted != value {
        return wrong(
            format!("'{value}' has quotes or blanks around it"),
            format!("export {name}={}", shell_word(unquoted)),
        );
    }
    if value.contains('$') {
        return wrong(
            format!("'{value}' has a variable in it that no shell has replaced"),
            format!("export {name}=\"{}\"", value.replace(['"', '`', '\\'], "")),
        );
    }
    if let Some(rest) = value.strip_prefix('~') {
        let command = match rest.strip_prefix('/') {
            Some(rest) => format!(
                "export {name}=\"$HOME/{}\"",
                rest.replace(['"', '`', '\\', '$'], "")
            ),
            None => format!("export {name}={OWN}"),
        };
        return wrong(
            format!("'{value}' begins with a ~ that no shell has replaced"),
            command,
        );
    }
    if !value.starts_with('/') {
        return wrong(
            format!("'{value}' is another directory wherever a command runs"),
            format!(
                "export {name}=\"$PWD/{}\"",
                value.replace(['"', '`', '\\', '$'], "")
            ),
        );
    }
    None
}

/// The other variables that name directories: they lead past the mount, or nowhere.
pub(super) fn others(variables: &Variables<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    for name in directories() {
        let Some(value) = variables.get(name) else {
            continue;
        };
        let leads_past = variables.mount().is_some() && misleading().any(|one| one == name);
        let is_same = variables.place(name) == variables.place("CRDS_PATH");
        if let Some(check) = spelling(name, value) {
            checks.push(check);
        } else if leads_past && !is_same {
            checks.push(
                Check::wrong(
                    name,
                    format!("'{value}' leads clients past the mount that CRDS_PATH names"),
                )
                .mended_by(format!("unset {name}")),
            );
        } else {
            checks.push(match variables.place(name) {
                Some(Place::Silence) => Check::wrong(name, format!("'{value}' does not answer"))
                    .mended_by(format!("unset {name}")),
                Some(Place::Nothing { above: false }) => {
                    Check::wrong(name, format!("'{value}' is not there")).mended_by(format!("unset {name}"))
                }
                // A missing directory below one that is there; crds-fs makes its own by itself.
                Some(Place::Nothing { above: true }) if !name.starts_with("CRDS_FS_") => {
                    Check::wrong(name, format!("'{value}' is not there")).mended_by(format!("unset {name}"))
                }
                Some(Place::NoDirectory) => Check::wrong(name, format!("'{value}' is not a directory"))
                    .mended_by(format!("unset {name}")),
                _ => Check::ok(name, format!("'{value}'")),
            });
        }
    }
    checks
}
