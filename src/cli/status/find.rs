//! The choice of the mount that a command is about.

use std::path::{Path, PathBuf};

use rustix::process::getuid;

use crate::cli::Failure;
use crate::mount::mountinfo::MountEntry;
use crate::mount::{Error, mountinfo};

/// The mount that is meant, or all that may be.
pub(super) enum Chosen {
    /// This one.
    One(PathBuf),
    /// Any of these.
    Several(Vec<MountEntry>),
}

/// The mount that was named, else that of the working directory, else that of `CRDS_PATH`, else the user's mounts. No
/// mount is touched.
pub(super) fn choose(named: Option<&Path>, variable: Option<&Path>) -> Result<Chosen, Failure> {
    if let Some(path) = named {
        return over(path).map(Chosen::One);
    }
    let table = mountinfo::read()?;
    // The kernel tells the name of the working directory without asking its file system.
    let here = std::env::current_dir().ok();
    if let Some(entry) = here.and_then(|here| mountinfo::covering(&table, &here).cloned())
        && entry.is_ours()
    {
        return Ok(Chosen::One(entry.mountpoint));
    }
    if let Some(path) = variable {
        return over(path)
            .map(Chosen::One)
            .map_err(|failure| Failure::new(format!("CRDS_PATH is {}: {failure}", path.display())));
    }
    let me = getuid();
    let mut ours: Vec<MountEntry> = table
        .into_iter()
        .filter(|entry| entry.is_ours() && (me.is_root() || entry.owner == Some(me.as_raw())))
        .collect();
    match ours.len() {
        0 => Err(Failure::new(
            "no crds-fs file system is mounted; 'crds-fs mount' makes one",
        )),
        1 => Ok(Chosen::One(ours.remove(0).mountpoint)),
        _ => Ok(Chosen::Several(ours)),
    }
}

/// The mount of ours that `path` is in.
fn over(path: &Path) -> Result<PathBuf, Failure> {
    let table = mountinfo::read()?;
    let ours = |path: &Path| {
        let entry = mountinfo::covering(&table, path)?;
        entry.is_ours().then(|| entry.mountpoint.clone())
    };
    // As it is spelt first: links are resolved by looking, and the mount may be dead.
    let spelt = std::path::absolute(path).ok();
    if let Some(mountpoint) = spelt.as_deref().and_then(ours) {
        return Ok(mountpoint);
    }
    let mountpoint = mountinfo::locate(path)?;
    ours(&mountpoint).ok_or_else(|| {
        let error = Error::NotMounted(mountpoint);
        Failure::new(format!(
            "{error}; 'crds-fs status' in another directory and without CRDS_PATH lists what is"
        ))
    })
}
