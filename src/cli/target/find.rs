//! The choice of the mount or cache directory that a command is about: one order of precedence for all of them.

use std::io;
use std::path::{Path, PathBuf};

use rustix::process::getuid;

use crate::cli::settings::{self, Environment};
use crate::cli::{Failure, directories};
use crate::mount::mountinfo::MountEntry;
use crate::mount::server::Server;
use crate::mount::{Error, mountinfo};
use crate::store::DiskStore;
use crate::tree::report::StatusReport;

/// The file of a mount that tells how it is, a [`StatusReport`].
pub(in crate::cli) const STATUS: &str = ".crds-fs/status.json";

/// A place that a command may be about although nothing on its command line names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Candidate {
    /// The directory that a variable of the environment names.
    Variable(&'static str, PathBuf),
    /// The mount that the working directory is in.
    WorkingDirectory(PathBuf),
    /// The user's only mount.
    OnlyMount(PathBuf),
}

/// The candidates, the strongest first: `CRDS_FS_CACHE`, the mount that the working directory is in, `CRDS_PATH`, the only
/// mount of the user. No mount is touched.
pub(super) fn candidates(environment: &Environment) -> Result<Vec<Candidate>, Failure> {
    let variable = |name: &'static str| {
        let directory = settings::variable(environment, name)?;
        Some(Candidate::Variable(name, PathBuf::from(directory)))
    };
    let mut own = own()?;
    let only = own.pop().filter(|_| own.is_empty());
    let only = only.map(|entry| Candidate::OnlyMount(entry.mountpoint));
    let found = [
        variable("CRDS_FS_CACHE"),
        here()?.map(Candidate::WorkingDirectory),
        variable("CRDS_PATH"),
        only,
    ];
    Ok(found.into_iter().flatten().collect())
}

/// The mount that is meant, or all that may be.
pub(in crate::cli) enum Chosen {
    /// This one.
    One(PathBuf),
    /// Any of these.
    Several(Vec<MountEntry>),
}

/// The mount that a command about mounts is about: that which was named, else the first of the candidates. `CRDS_FS_CACHE`
/// counts where a mount has that directory for its store.
pub(in crate::cli) fn choose(named: Option<&Path>, environment: &Environment) -> Result<Chosen, Failure> {
    if let Some(path) = named {
        return over(path).map(Chosen::One);
    }
    for candidate in candidates(environment)? {
        match candidate {
            Candidate::WorkingDirectory(mount) | Candidate::OnlyMount(mount) => {
                return Ok(Chosen::One(mount));
            }
            Candidate::Variable(variable @ "CRDS_PATH", path) => {
                let mount = over(&path);
                return mount
                    .map(Chosen::One)
                    .map_err(|failure| named_by(variable, &path, &failure));
            }
            Candidate::Variable(_, path) => {
                if let Ok(Some(Found::Mount(mount))) = look(&path) {
                    return Ok(Chosen::One(mount));
                }
            }
        }
    }
    let own = own()?;
    let ours = if own.is_empty() { seen()? } else { own };
    if ours.is_empty() {
        return Err(Failure::new(
            "no crds-fs file system is mounted; 'crds-fs mount' makes one",
        ));
    }
    Ok(Chosen::Several(ours))
}

/// A directory as it was found.
pub(super) enum Found {
    /// A mount, or the store of one, which has it for itself and is asked instead.
    Mount(PathBuf),
    /// A directory that nothing is mounted over.
    Directory(PathBuf),
}

/// Looks at a directory; `None` if there is none.
pub(super) fn look(directory: &Path) -> Result<Option<Found>, Failure> {
    let place = match mountinfo::locate(directory) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if mountinfo::at(&place)?.is_some_and(|entry| entry.is_ours()) {
        return Ok(Some(Found::Mount(place)));
    }
    if !place.is_dir() {
        return Err(Failure::new(format!(
            "'{}' is no directory; give that of a CRDS cache or of a mount",
            directory.display()
        )));
    }
    Ok(Some(match mount_with_store(&place) {
        Some(mount) => Found::Mount(mount),
        None => Found::Directory(place),
    }))
}

/// Makes a directory, if only its last part is missing, and looks at it.
pub(super) fn make(directory: &Path) -> Result<Option<Found>, Failure> {
    directories::make(directory)?;
    look(directory)
}

/// A failure with the variable that led to it.
pub(super) fn named_by(variable: &str, directory: &Path, failure: &Failure) -> Failure {
    let relative = if directory.is_absolute() {
        ""
    } else {
        ", which is looked for in the working directory (name it in full)"
    };
    Failure::new(format!(
        "{variable} is {}{relative}: {failure}",
        directory.display()
    ))
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

/// The mount of ours that the working directory is in.
fn here() -> Result<Option<PathBuf>, Failure> {
    let table = mountinfo::read()?;
    // The kernel tells the name of the working directory without asking its file system.
    let here = std::env::current_dir().ok();
    let entry = here.and_then(|here| mountinfo::covering(&table, &here).cloned());
    Ok(entry.filter(MountEntry::is_ours).map(|entry| entry.mountpoint))
}

/// The mounts of ours that this user has made, root as well.
fn own() -> Result<Vec<MountEntry>, Failure> {
    let mut seen = seen()?;
    seen.retain(is_own);
    Ok(seen)
}

/// The mounts of ours that this user has to do with: those that he has made, and of root all.
pub(in crate::cli) fn seen() -> Result<Vec<MountEntry>, Failure> {
    let is_root = getuid().is_root();
    let is_seen = |entry: &MountEntry| entry.is_ours() && (is_root || is_own(entry));
    Ok(mountinfo::read()?.into_iter().filter(is_seen).collect())
}

/// Whether this user has made a mount.
pub(in crate::cli) fn is_own(entry: &MountEntry) -> bool {
    entry.owner == Some(getuid().as_raw())
}

/// The mount whose store is this directory, among those that this user has to do with.
fn mount_with_store(directory: &Path) -> Option<PathBuf> {
    // No other mount is looked into, which would keep that in use for the time.
    let owner = Server::Running(DiskStore::last_owner(directory)?);
    let ours = seen().unwrap_or_default();
    ours.into_iter()
        .filter(|entry| entry.server() == owner)
        .find_map(|entry| {
            let report: StatusReport = serde_json::from_slice(&entry.read(STATUS).ok()?).ok()?;
            let has_it = report.store_writable && Path::new(&report.store) == directory;
            has_it.then_some(entry.mountpoint)
        })
}
