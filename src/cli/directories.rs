//! The directories of a mount before anything is mounted: made where only their last part is missing, and refused where
//! the mount would hide what is in them.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use super::Failure;
use crate::crds::Observatory;
use crate::mount::{Error, Mountpoint, mountinfo};

/// The directories of a CRDS cache.
const CACHE: [&str; 6] = [
    "config",
    "mappings",
    "references",
    "pickles",
    "bestrefs",
    ".crds-fs",
];

/// Names that file systems and desktops put into directories by themselves.
const BYSTANDERS: [&str; 5] = [
    "lost+found",
    ".DS_Store",
    ".directory",
    ".snapshot",
    ".Trash-1000",
];

/// The most names in a message.
const TOLD: usize = 3;

/// Prepares the mount point: takes a dead mount away, and makes the directory when only its last part is missing.
pub(super) fn mountpoint(path: &Path) -> Result<Mountpoint, Failure> {
    match Mountpoint::prepare(path) {
        Err(Error::NoMountpoint(_)) => {
            must_lead_somewhere(path)?;
            make(path)?;
            Ok(Mountpoint::prepare(path)?)
        }
        other => Ok(other?),
    }
}

/// Refuses a directory in a mount of ours for a cache: what is fetched would be fetched by that mount, and kept there.
pub(super) fn must_be_outside_mounts(cache: &Path) -> Result<(), Failure> {
    mountinfo::must_answer(cache)?;
    // One that is still to be made is where its parent is.
    let place = cache.canonicalize().or_else(|_| std::path::absolute(cache));
    let table = mountinfo::read()?;
    let over = place
        .ok()
        .and_then(|place| mountinfo::covering(&table, &place).cloned());
    match over.filter(mountinfo::MountEntry::is_ours) {
        None => Ok(()),
        Some(entry) => Err(Failure::new(format!(
            "--cache: '{}' is in the file system mounted at '{}', which has a cache of its own: use that mount, unmount it \
             first, or name another directory",
            cache.display(),
            entry.mountpoint.display()
        ))),
    }
}

/// Refuses a symbolic link to a directory that is not there.
fn must_lead_somewhere(path: &Path) -> Result<(), Failure> {
    let Ok(target) = fs::read_link(path) else {
        return Ok(());
    };
    let target = path.parent().unwrap_or(path).join(target);
    Err(Failure::new(format!(
        "'{}' is a link to '{target}', and there is no such directory: make it with 'mkdir {target}'",
        path.display(),
        target = target.display()
    )))
}

/// Whether a name is that of a variable or a home that a shell did not expand.
fn is_unexpanded(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b"~") || name.starts_with(b"$")
}

/// Makes a directory unless it is there. What is above it must be: a path that is missing in several parts is mistyped.
pub(super) fn make(path: &Path) -> Result<(), Failure> {
    mountinfo::must_answer(path)?;
    match fs::create_dir(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let missing = path.ancestors().take_while(|above| !above.exists()).last();
            let missing = missing.unwrap_or(path);
            if let Some(name) = missing.file_name().filter(|name| is_unexpanded(name)) {
                return Err(Failure::new(format!(
                    "there is no directory '{}': '{}' was not expanded, as in single quotes; write it without, or the \
                     path in full",
                    missing.display(),
                    name.display()
                )));
            }
            let missing = missing.display();
            Err(Failure::new(format!(
                "there is no directory '{missing}', so '{path}' is not made; if it is right, make it with 'mkdir -p {path}'",
                path = path.display()
            )))
        }
        Err(error) => Err(Failure::because(
            format!("cannot make the directory '{}'", path.display()),
            error,
        )),
    }
}

/// Refuses a directory in which the mount would hide files that it does not show. Such files beside a CRDS cache are
/// only logged.
pub(super) fn must_be_cache(directory: &Path, log: Option<&Path>) -> Result<(), Failure> {
    let others = others(directory, log);
    if others.is_empty() {
        return Ok(());
    }
    let told = tell(&others);
    if is_cache(directory) {
        log::warn!(
            "{told} in '{}' cannot be seen while it is mounted over",
            directory.display()
        );
        return Ok(());
    }
    Err(Failure::new(format!(
        "'{}' is no CRDS cache, and what is in it ({told}) would be hidden: name an empty directory, keep the cache \
         elsewhere with '--cache DIR', or mount over it all the same with '--over'",
        directory.display()
    )))
}

/// Refuses a directory that holds something else than a CRDS cache, which nothing may be fetched into.
pub(super) fn must_not_be_another(directory: &Path) -> Result<(), Failure> {
    let others = others(directory, None);
    if others.is_empty() || is_cache(directory) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "'{}' is no CRDS cache, and has other things in it ({}): name the directory of one, or a new or empty one",
        directory.display(),
        tell(&others)
    )))
}

/// The names in a directory, sorted, that belong to no CRDS cache.
fn others(directory: &Path, log: Option<&Path>) -> Vec<String> {
    let mut others = Vec::new();
    // A directory that cannot be listed fails when it is used, with a better message.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if log.is_some_and(|log| log == entry.path()) {
            continue;
        }
        let name = entry.file_name();
        let known = name.to_str().is_some_and(|name| {
            CACHE.contains(&name) || BYSTANDERS.contains(&name) || name.starts_with(".nfs")
        });
        if !known {
            others.push(name.to_string_lossy().into_owned());
        }
    }
    others.sort();
    others
}

/// Whether a directory has rules, references or settings of an observatory.
fn is_cache(directory: &Path) -> bool {
    ["config", "mappings", "references"].iter().any(|area| {
        Observatory::ALL
            .iter()
            .any(|observatory| directory.join(area).join(observatory.as_str()).is_dir())
    })
}

fn tell(names: &[String]) -> String {
    let more = names.len().saturating_sub(TOLD);
    let mut told: Vec<String> = names.iter().take(TOLD).map(|name| format!("'{name}'")).collect();
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(paths: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for path in paths {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        directory
    }

    #[test]
    fn caches_and_empty_directories_are_mounted_over() {
        for paths in [
            &[][..],
            &["lost+found/x", ".DS_Store"],
            &["pickles/hst/x", "config/jwst/server_config"],
            &["mappings/jwst/jwst_0001.pmap", "notes.txt"],
        ] {
            assert!(must_be_cache(directory(paths).path(), None).is_ok(), "{paths:?}");
        }
        for paths in [
            &["thesis.tex"][..],
            &["references/papers/a.pdf", "a", "b", "c", "d"],
        ] {
            let refused = must_be_cache(directory(paths).path(), None)
                .unwrap_err()
                .to_string();
            assert!(
                refused.contains("--cache") && refused.contains("--over"),
                "{refused}"
            );
        }
        let refused = must_be_cache(directory(&["a", "b", "c", "d"]).path(), None).unwrap_err();
        assert!(
            refused.to_string().contains("'a', 'b', 'c', and 1 more"),
            "{refused}"
        );
    }

    #[test]
    fn only_the_last_part_is_made() {
        let above = tempfile::tempdir().unwrap();
        make(&above.path().join("new")).unwrap();
        make(&above.path().join("new")).unwrap();
        let missing = above.path().join("mistyped");
        let refused = make(&missing.join("further/new")).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("'{}',", missing.display())),
            "{refused}"
        );
        assert!(!missing.exists());
        for name in ["~", "$HOME", "~me"] {
            let refused = make(&above.path().join(name).join("crds"))
                .unwrap_err()
                .to_string();
            assert!(
                refused.contains(&format!("'{name}' was not expanded")),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_link_that_leads_nowhere_is_told() {
        let above = tempfile::tempdir().unwrap();
        let link = above.path().join("link");
        std::os::unix::fs::symlink("there", &link).unwrap();
        let refused = mountpoint(&link).unwrap_err().to_string();
        let target = above.path().join("there").display().to_string();
        assert!(refused.contains(&format!("mkdir {target}")), "{refused}");
        fs::create_dir(&target).unwrap();
        assert_eq!(
            mountpoint(&link).unwrap().path(),
            above
                .path()
                .canonicalize()
                .ok()
                .map(|above| above.join("there"))
                .as_deref()
        );
    }
}
