//! The choice of the mount that a command is about.

use std::path::{Path, PathBuf};

use rustix::process::getuid;

use crate::cli::Failure;
use crate::mount::mountinfo::MountEntry;
use crate::mount::{Error, mountinfo};

/// The mount that is meant, or all that may be.
pub(in crate::cli) enum Chosen {
    /// This one.
    One(PathBuf),
    /// Any of these.
    Several(Vec<MountEntry>),
}

/// The mount that was named, else that of the working directory, else that of `CRDS_PATH`, else the user's mounts. No
/// mount is touched.
pub(in crate::cli) fn choose(named: Option<&Path>, variable: Option<&Path>) -> Result<Chosen, Failure> {
    if let Some(path) = named {
        return over(path).map(Chosen::One);
    }
    if let Some(place) = here()? {
        return Ok(Chosen::One(place));
    }
    if let Some(path) = variable {
        return over(path)
            .map(Chosen::One)
            .map_err(|failure| Failure::new(format!("CRDS_PATH is {}: {failure}", path.display())));
    }
    let mut ours = own()?;
    match ours.len() {
        0 => Err(Failure::new(
            "no crds-fs file system is mounted; 'crds-fs mount' makes one",
        )),
        1 => Ok(Chosen::One(ours.remove(0).mountpoint)),
        _ => Ok(Chosen::Several(ours)),
    }
}

/// The mount of ours that the working directory is in.
pub(super) fn here() -> Result<Option<PathBuf>, Failure> {
    let table = mountinfo::read()?;
    // The kernel tells the name of the working directory without asking its file system.
    let here = std::env::current_dir().ok();
    let entry = here.and_then(|here| mountinfo::covering(&table, &here).cloned());
    Ok(entry.filter(MountEntry::is_ours).map(|entry| entry.mountpoint))
}

/// The mounts of ours that this user has made; of root all.
pub(super) fn own() -> Result<Vec<MountEntry>, Failure> {
    let me = getuid();
    let is_own = |entry: &MountEntry| entry.is_ours() && (me.is_root() || entry.owner == Some(me.as_raw()));
    Ok(mountinfo::read()?.into_iter().filter(is_own).collect())
}

/// The mount of ours that `path` is in.
pub(super) fn over(path: &Path) -> Result<PathBuf, Failure> {
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
