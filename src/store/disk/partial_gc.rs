//! Removal of partial files that no transfer will resume.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use cap_std::fs::DirEntry;

use super::Disk;
use super::file_state::State;
use super::partials::{PARTIAL, RECORD};
use crate::crds::{FileKey, Observatory};

/// The age from which a partial file is removed, by its time of modification.
const WANTED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

impl Disk {
    /// Removes the partial files of an observatory whose names `is_named` does not know, or that are older than
    /// [`WANTED`].
    pub(super) fn sweep_partials(&self, observatory: Observatory, is_named: &dyn Fn(&str) -> bool) {
        if !self.can_write() {
            return;
        }
        let directory = Path::new(PARTIAL).join(observatory.as_str());
        let entries = match self.state_dir.read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return log::warn!("cannot list {} in the store: {error}", directory.display()),
        };
        let (mut files, mut bytes) = (0_u64, 0);
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name
                .to_str()
                .map(|name| name.strip_suffix(RECORD).unwrap_or(name));
            let key = name.and_then(|name| {
                let name = name.parse().ok()?;
                Some(FileKey { observatory, name })
            });
            let _guard = key.as_ref().map(|key| self.guards.of(key));
            let in_use = |key| matches!(self.index().state(key), State::Arriving | State::Verified);
            if key.as_ref().is_some_and(in_use) {
                continue;
            }
            match remove_unwanted(&entry, is_named) {
                Ok(None) => {}
                Ok(Some(length)) => {
                    files += 1;
                    bytes += length;
                    if let Some(key) = &key {
                        self.index().ledger.remove_partial(key);
                    }
                }
                Err(error) => log::warn!(
                    "cannot remove {}: {error}",
                    directory.join(entry.file_name()).display()
                ),
            }
        }
        if files > 0 {
            log::info!("removed {files} old partial files of {observatory} ({bytes} bytes)");
        }
    }
}

/// Removes a partial file or record if it is unwanted; returns its length then.
fn remove_unwanted(entry: &DirEntry, is_named: &dyn Fn(&str) -> bool) -> io::Result<Option<u64>> {
    let metadata = entry.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let name = entry.file_name();
    let named = name
        .to_str()
        .is_some_and(|name| is_named(name.strip_suffix(RECORD).unwrap_or(name)));
    // A time in the future is that of a wrong clock, and no reason to remove anything.
    let age = SystemTime::now().duration_since(metadata.modified()?.into_std());
    if named && age.unwrap_or_default() < WANTED {
        return Ok(None);
    }
    entry.remove_file()?;
    Ok(Some(metadata.len()))
}
