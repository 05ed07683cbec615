//! Facts of directories. A path is looked at only when the file system that it lies in answers.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use rustix::fs::{Access, access};

use super::{LOCAL, within};
use crate::cli::directories;
use crate::cli::doctor::cache::{CacheFacts, DirectoryFacts, Found};
use crate::cli::doctor::mounts::MountFacts;
use crate::cli::doctor::variables::{CENTRAL_STORE, CacheDirectory, Place, directories, is_misspelt};
use crate::cli::settings::{self, Environment, Settings};
use crate::crds::{ContextSpec, FileKey, Observatory};
use crate::dataset::{open_regular, read_text};
use crate::mount::health::Health;
use crate::mount::mountinfo::{self, MountEntry};
use crate::mount::user_name;
use crate::store::{ReferenceLayout, file_path};

/// The directories of a cache in which crds-fs writes.
const WRITTEN: [&str; 4] = [".crds-fs", "config", "mappings", "references"];

/// The most bytes of the file that says how references lie.
const LONGEST_TAG: u64 = 100;

/// The mount of ours that a path is.
fn mount_at<'a>(mounts: &'a [MountFacts], path: &Path) -> Option<&'a MountFacts> {
    let spelt = std::path::absolute(path).ok()?;
    mounts.iter().find(|mount| spelt.starts_with(&mount.mountpoint))
}

/// The entry of the file system that a path lies in, other than those of ours.
fn below(path: &Path) -> Option<MountEntry> {
    let spelt = std::path::absolute(path).ok()?;
    let table = mountinfo::read().ok()?;
    let others: Vec<MountEntry> = table.into_iter().filter(|entry| !entry.is_ours()).collect();
    mountinfo::covering(&others, &spelt).cloned()
}

/// Whether the file system that a path lies in answers. Local ones are not asked.
fn answers(path: &Path) -> bool {
    let Ok(spelt) = std::path::absolute(path) else {
        return true;
    };
    let table = mountinfo::read().unwrap_or_default();
    match mountinfo::covering(&table, &spelt) {
        Some(entry)
            if entry.fstype.starts_with("fuse") || crate::cli::doctor::cache::is_network(&entry.fstype) =>
        {
            entry.health_within(LOCAL) == Health::Answers
        }
        _ => true,
    }
}

/// The facts of the cache: of the directory of the settings, else of the place that is mounted on.
pub(super) async fn cache(
    place: Option<&str>,
    settings: &Settings,
    environment: &Environment,
    mounts: &[MountFacts],
) -> Option<CacheFacts> {
    let is_by_variable =
        settings.cache.is_none() && place.is_some() && place == settings::variable(environment, "CRDS_PATH");
    // A misspelt path is not looked up: it would be another one than the user means.
    let place = place.filter(|place| !(is_by_variable && is_misspelt(place)));
    let place = place.map(PathBuf::from);
    let mount = place.as_deref().and_then(|place| mount_at(mounts, place));
    let report = mount.and_then(|mount| mount.report.as_ref());
    let directory = match (report, &settings.cache) {
        (Some(report), _) => PathBuf::from(&report.store),
        (None, Some(cache)) => cache.clone(),
        (None, None) => place.clone()?,
    };
    let is_mount = mount.is_some_and(|mount| directory.starts_with(&mount.mountpoint));
    let found = match (is_mount, report) {
        (true, Some(report)) => {
            let directory = directory.clone();
            let (is_writable, is_removed) = (report.store_writable, report.store_removed);
            within(LOCAL, move || {
                Found::Directory(DirectoryFacts {
                    is_writable,
                    is_removed,
                    ..facts_of(&directory)
                })
            })
            .await
        }
        // The mounts say what is the matter.
        (true, None) => return None,
        (false, _) => {
            let directory = directory.clone();
            let is_over = settings.over || settings.cache.is_some() || mount.is_some();
            let found = within(LOCAL * 2, move || look(&directory, is_over)).await;
            match found {
                Some(Found::Nothing { .. }) if mount.is_some() => Some(Found::Directory(DirectoryFacts {
                    is_removed: true,
                    is_writable: true,
                    ..DirectoryFacts::default()
                })),
                other => other,
            }
        }
    };
    Some(CacheFacts {
        directory,
        found: found.unwrap_or(Found::Silence),
        is_by_variable,
        read_only: settings.read_only,
        keep_free: settings.keep_free,
        limit: settings.cache_size,
    })
}

/// Finds what is at the path of a cache that is not mounted over.
fn look(directory: &Path, is_over: bool) -> Found {
    if !answers(directory) {
        return Found::Silence;
    }
    let metadata = match fs::metadata(directory) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Found::Nothing {
                above: has_above(directory),
            };
        }
        Err(error) => return Found::Refusal(error.to_string()),
    };
    if !metadata.is_dir() {
        return Found::NoDirectory;
    }
    let can_enter = Access::WRITE_OK | Access::EXEC_OK;
    let closed = WRITTEN.iter().map(|name| directory.join(name));
    let closed = closed.filter(|path| path.is_dir() && access(path, can_enter).is_err());
    let refusal = || directories::must_be_cache(directory, None).err();
    Found::Directory(DirectoryFacts {
        is_writable: access(directory, can_enter).is_ok(),
        other_owner: (metadata.uid() != geteuid().as_raw()).then(|| user_name(metadata.uid())),
        closed: closed.collect(),
        refusal: (!is_over)
            .then(refusal)
            .flatten()
            .map(|failure| failure.to_string()),
        ..facts_of(directory)
    })
}

/// File system and disk.
fn facts_of(directory: &Path) -> DirectoryFacts {
    let disk = rustix::fs::statvfs(directory).ok();
    DirectoryFacts {
        file_system: below(directory).map(|entry| entry.fstype).unwrap_or_default(),
        is_writable: true,
        disk: disk.map(|disk| {
            let size = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
            (size(disk.f_blocks), size(disk.f_bavail))
        }),
        ..DirectoryFacts::default()
    }
}

fn has_above(path: &Path) -> bool {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    above.unwrap_or(Path::new(".")).is_dir()
}

/// Finds what is at the paths of variables, whether there is a central store, and whether the context is a file of the user's.
pub(super) async fn places(
    environment: &Environment,
    settings: &Settings,
    mounts: &[MountFacts],
) -> (BTreeMap<String, Place>, bool, bool) {
    let variables = std::iter::once("CRDS_PATH").chain(directories());
    let named = variables.filter_map(|name| Some((name, settings::variable(environment, name)?)));
    let looks = named.map(|(name, path)| {
        let path = PathBuf::from(path);
        let mount = mount_at(mounts, &path).map(|mount| (mount.mountpoint.clone(), mount.health));
        async move {
            let place = match mount {
                Some((mountpoint, Health::Answers)) => Some(Place::Mount(mountpoint)),
                Some(_) => None,
                None => within(LOCAL * 2, move || place(&path)).await,
            };
            (name.to_owned(), place.unwrap_or(Place::Silence))
        }
    });
    let central = within(LOCAL, || Path::new(CENTRAL_STORE).is_dir());
    let own = own_context(environment, settings);
    let (places, central, own) = tokio::join!(futures_util::future::join_all(looks), central, own);
    (places.into_iter().collect(), central.unwrap_or_default(), own)
}

fn place(path: &Path) -> Place {
    if !answers(path) {
        return Place::Silence;
    }
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Place::Directory(directory(path)),
        Ok(_) => Place::NoDirectory,
        Err(_) => Place::Nothing {
            above: has_above(path),
        },
    }
}

fn directory(path: &Path) -> CacheDirectory {
    let config =
        |observatory: &Observatory, name: &str| path.join("config").join(observatory.as_str()).join(name);
    let all = Observatory::ALL.iter();
    let tag = |observatory: &Observatory| {
        let file = open_regular(&config(observatory, "ref_cache_subdir_mode")).ok()?;
        let text = read_text(&file, LONGEST_TAG).ok()?;
        Some((*observatory, text.trim().to_owned()))
    };
    CacheDirectory {
        described: all
            .clone()
            .filter(|observatory| config(observatory, "server_config").is_file())
            .copied()
            .collect(),
        tags: all.filter_map(tag).collect(),
    }
}

/// Whether `CRDS_CONTEXT` is a file in the cache, as the user's own rules are.
async fn own_context(environment: &Environment, settings: &Settings) -> bool {
    let named = settings::variable(environment, "CRDS_CONTEXT").and_then(|value| value.parse().ok());
    let Some(ContextSpec::Literal(name)) = named else {
        return false;
    };
    let root = settings.cache.clone();
    let root = root.or_else(|| Some(PathBuf::from(settings::variable(environment, "CRDS_PATH")?)));
    let (Some(root), Some(observatory)) = (root, Observatory::of_name(name.as_str())) else {
        return false;
    };
    let path = root.join(file_path(ReferenceLayout::Flat, &FileKey { observatory, name }));
    let look = move || answers(&root) && path.is_file();
    within(LOCAL * 2, look).await.unwrap_or_default()
}
