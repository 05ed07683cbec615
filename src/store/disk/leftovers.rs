//! Unused files that killed processes have left in the store's own directories: temporary files that were about to replace
//! others, and finished uploads that did not get their name.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cap_std::fs::Metadata;

use super::Disk;
use super::leases::LEASES;
use super::shared::INCOMING;
use super::state_dir::{OWN, TEMPORARY};
use crate::crds::Observatory;
use crate::store::Leftover;

/// The age from which on a temporary file is a leftover: nothing takes so long between two writes.
const UNUSED: Duration = Duration::from_secs(60 * 60);

/// The leftovers that have not changed for an hour, sorted by path.
pub(super) fn find(disk: &Disk) -> Vec<Leftover> {
    let mut found = Vec::new();
    let own = Path::new(OWN);
    let mut directories = vec![own.to_owned()];
    directories.extend(["notes", "verified", "digests"].map(|name| own.join(name)));
    for observatory in Observatory::ALL {
        directories.push(own.join("partial").join(observatory.as_str()));
        directories.push(Path::new("config").join(observatory.as_str()));
    }
    for directory in directories {
        let is_temporary = |name: &str| name.starts_with(TEMPORARY);
        collect(disk, &directory, is_temporary, &mut found);
    }
    for directory in ["uploads", INCOMING] {
        collect(disk, &own.join(directory), |_| true, &mut found);
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

impl Disk {
    /// Removes what killed mounts have left in the directories of a shared store for temporary files and leases.
    pub(super) fn remove_leftovers(&self, observatory: Observatory) {
        let own = Path::new(OWN);
        let leases = own.join(LEASES).join(observatory.as_str());
        let mut found = Vec::new();
        for directory in [own.join(INCOMING), leases] {
            collect(self, &directory, |_| true, &mut found);
        }
        for leftover in found {
            match self.root.remove_file(&leftover.path) {
                Ok(()) => log::info!(
                    "removed {}, which a killed mount has left",
                    leftover.path.display()
                ),
                Err(error) => log::debug!("{} is not removed: {error}", leftover.path.display()),
            }
        }
    }
}

fn collect(disk: &Disk, directory: &PathBuf, is_meant: impl Fn(&str) -> bool, found: &mut Vec<Leftover>) {
    let now = disk.clock();
    for entry in disk.root.read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let (Some(text), Ok(metadata)) = (name.to_str(), entry.metadata()) else {
            continue;
        };
        if metadata.is_file() && is_meant(text) && is_old(&metadata, now) {
            found.push(Leftover {
                path: directory.join(&name),
                bytes: metadata.len(),
            });
        }
    }
}

/// Whether it has not changed for long. A time in the future is that of a wrong clock.
fn is_old(metadata: &Metadata, now: SystemTime) -> bool {
    let modified = metadata.modified().map(cap_std::time::SystemTime::into_std);
    let age = modified.ok().and_then(|time| now.duration_since(time).ok());
    age.is_some_and(|age| age >= UNUSED)
}
