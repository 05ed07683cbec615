//! The mount or the cache directory that a command works on.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

pub(super) mod find;
mod open;

use std::io;
use std::path::{Path, PathBuf};

use super::flags::MountFlags;
use super::settings::{self, Environment, Settings};
use super::{Failure, directories};
use crate::mount::health::Server;
use crate::mount::{Error, mountinfo};
use crate::store::DiskStore;
use crate::tree::report::StatusReport;
use find::Chosen;
pub(super) use open::Opened;
pub(super) use open::upkeep::{Aside, CopyStatus};

/// The file of a mount that tells how it is, a [`StatusReport`].
pub(super) const STATUS: &str = ".crds-fs/status.json";

/// The flags that name a target.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct TargetFlags {
    /// The mount to work on, by any path in it [default: the mount that the working directory is in, else $CRDS_PATH,
    /// else the only one there is].
    #[arg(long, value_name = "M", conflicts_with = "cache")]
    pub(super) mount: Option<PathBuf>,
    /// The cache directory to work on, without a mount [default: $CRDS_FS_CACHE].
    #[arg(long, value_name = "DIR")]
    pub(super) cache: Option<PathBuf>,
}

/// The mount or the cache directory of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A mount, by its mount point.
    Mount(PathBuf),
    /// A cache directory that nothing is mounted over.
    Cache(PathBuf),
}

/// The treatment of a cache directory that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is made, if only its last part is missing.
    Make,
    /// That is an error.
    Refuse,
}

impl Target {
    /// The mount or cache that was named, else the mount that the working directory is in, else `CRDS_PATH`, which may be
    /// either, else the user's only mount.
    pub(super) fn choose(
        flags: &TargetFlags,
        environment: &Environment,
        missing: Missing,
    ) -> Result<Self, Failure> {
        if let Some(mount) = &flags.mount {
            return find::over(mount).map(Self::Mount).map_err(|failure| {
                Failure::new(format!(
                    "{failure}; for a cache that is not mounted say --cache {}",
                    mount.display()
                ))
            });
        }
        if let Some(directory) = &flags.cache {
            return Self::at(directory, missing);
        }
        let named = |name: &str| settings::variable(environment, name).map(Path::new);
        let by = |variable: &str, directory: &Path| {
            Self::at(directory, missing)
                .map_err(|failure| Failure::new(format!("{variable} is {}: {failure}", directory.display())))
        };
        if let Some(directory) = named("CRDS_FS_CACHE") {
            return by("CRDS_FS_CACHE", directory);
        }
        if let Some(mount) = find::here()? {
            return Ok(Self::Mount(mount));
        }
        if let Some(directory) = named("CRDS_PATH") {
            return by("CRDS_PATH", directory);
        }
        match find::choose(None, None) {
            Ok(Chosen::One(mount)) => Ok(Self::Mount(mount)),
            Ok(Chosen::Several(mounts)) => {
                let places: Vec<String> = mounts
                    .iter()
                    .map(|entry| entry.mountpoint.display().to_string())
                    .collect();
                Err(Failure::usage(format!(
                    "which of the mounts {} is meant? Name one with --mount",
                    places.join(", ")
                )))
            }
            Err(_) => Err(Failure::usage(
                "which cache is meant? Name a mount with --mount M, a directory with --cache DIR, or either in CRDS_PATH",
            )),
        }
    }

    /// A directory that is a mount, the store of one, or a cache that nothing is mounted over.
    fn at(directory: &Path, missing: Missing) -> Result<Self, Failure> {
        let place = match mountinfo::locate(directory) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                if missing == Missing::Refuse {
                    return Err(Failure::new(format!(
                        "there is no directory '{}'; give that of a CRDS cache or of a mount",
                        directory.display()
                    )));
                }
                directories::make(directory)?;
                mountinfo::locate(directory)?
            }
            other => other?,
        };
        if mountinfo::at(&place)?.is_some_and(|entry| entry.is_ours()) {
            return Ok(Self::Mount(place));
        }
        if !place.is_dir() {
            return Err(Failure::new(format!(
                "'{}' is no directory; give that of a CRDS cache or of a mount",
                directory.display()
            )));
        }
        Ok(match mount_with_store(&place) {
            Some(mount) => Self::Mount(mount),
            None => Self::Cache(place),
        })
    }

    /// The settings to work on it with.
    pub(super) fn settings(
        &self,
        flags: &MountFlags,
        environment: &Environment,
    ) -> Result<Settings, Failure> {
        let (Self::Mount(directory) | Self::Cache(directory)) = self;
        Settings::new(Some(&directory.to_string_lossy()), flags, environment)
    }
}

/// The mount of this user whose store is this directory: it has the store for itself, and is asked instead.
fn mount_with_store(directory: &Path) -> Option<PathBuf> {
    // No other mount is looked into, which would keep that in use for the time.
    let owner = Server::Running(DiskStore::last_owner(directory)?);
    let ours = find::own().unwrap_or_default();
    ours.into_iter()
        .filter(|entry| entry.server() == owner)
        .find_map(|entry| {
            let report: StatusReport = serde_json::from_slice(&entry.read(STATUS).ok()?).ok()?;
            let has_it = report.store_writable && Path::new(&report.store) == directory;
            has_it.then_some(entry.mountpoint)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &Path)]) -> Environment {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.display().to_string()))
            .collect()
    }

    #[test]
    fn a_flag_counts_more_than_a_variable() {
        let above = tempfile::tempdir().unwrap();
        let above = above.path().canonicalize().unwrap();
        let (one, other) = (above.join("one"), above.join("other"));
        for directory in [&one, &other] {
            std::fs::create_dir(directory).unwrap();
        }
        let by_flag = TargetFlags {
            cache: Some(one.clone()),
            mount: None,
        };
        let variables = environment(&[("CRDS_PATH", &other)]);
        let choose = |flags: &TargetFlags, variables: &Environment| {
            Target::choose(flags, variables, Missing::Refuse).map_err(|failure| failure.to_string())
        };
        assert_eq!(choose(&by_flag, &variables), Ok(Target::Cache(one.clone())));
        let nothing = TargetFlags::default();
        assert_eq!(choose(&nothing, &variables), Ok(Target::Cache(other.clone())));
        let both = environment(&[("CRDS_FS_CACHE", &one), ("CRDS_PATH", &other)]);
        assert_eq!(choose(&nothing, &both), Ok(Target::Cache(one)));
    }

    #[test]
    fn a_directory_that_is_not_there_is_made_or_refused() {
        let above = tempfile::tempdir().unwrap();
        let new = above.path().canonicalize().unwrap().join("new");
        let flags = TargetFlags {
            cache: Some(new.clone()),
            mount: None,
        };
        let refused = Target::choose(&flags, &Environment::new(), Missing::Refuse).unwrap_err();
        assert!(refused.to_string().contains("there is no directory"), "{refused}");
        assert_eq!(
            Target::choose(&flags, &Environment::new(), Missing::Make).unwrap(),
            Target::Cache(new)
        );
        let unmounted = TargetFlags {
            mount: Some(above.path().to_owned()),
            cache: None,
        };
        let refused = Target::choose(&unmounted, &Environment::new(), Missing::Refuse).unwrap_err();
        assert!(refused.to_string().contains("--cache"), "{refused}");
    }
}
