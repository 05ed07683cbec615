//! Holding, evicting and checking the files of an open target. In a mount the file system is the way: what is held stands in
//! `.crds-fs/hold`, removing a catalogued name drops its copy, and files are read as the mount shows them.
//!
//! All of it waits for disks, and belongs on threads where that disturbs nobody.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

use super::mounted::{described, flat, open_in_mount};
use super::{Opened, Place};
use crate::cli::Failure;
use crate::cli::target::find::STATUS;
use crate::crds::{CatalogEntry, FileKey, Observatory};
use crate::fetch::FileState;
use crate::store::{Eviction, Finding, Found, HoldChange, HoldingKind, Leftover, Store, digest, holds};
use crate::tree::report::{FileReport, StatusReport};

/// The file of a mount that tells what is held, and takes changes of it.
const HOLD: &str = ".crds-fs/hold";

/// The most bytes that are written to it at a time, in whole lines.
const PIECE: usize = 64 << 10;

/// The longest time for which a file that is open is looked at again: the kernel tells a mount of a close in the background, so
/// that who closes a file and goes on may be ahead of it.
const CLOSING: Duration = Duration::from_secs(2);

/// The time between two looks.
const AGAIN: Duration = Duration::from_millis(10);

/// The state of a copy, from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::cli) struct CopyStatus {
    /// The size in bytes of the user's own file, if one stands in for it.
    pub(in crate::cli) local: Option<u64>,
    /// Whether its name is held.
    pub(in crate::cli) is_held: bool,
    /// Whether somebody has it open.
    pub(in crate::cli) is_open: bool,
    /// The time of its last use, if that is known.
    pub(in crate::cli) last_used: Option<SystemTime>,
}

/// The contents of a store besides files under their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::cli) struct Aside {
    /// Bytes in files, all told.
    pub(in crate::cli) used: u64,
    /// Bytes that interrupted transfers have left, to go on with.
    pub(in crate::cli) partial: u64,
    /// Files in quarantine.
    pub(in crate::cli) quarantined: u64,
    /// Bytes in them.
    pub(in crate::cli) quarantined_bytes: u64,
    /// Unused files of killed processes; a mount does not tell of them.
    pub(in crate::cli) leftovers: Vec<Leftover>,
}

impl Opened {
    fn store(&self) -> Option<&dyn Store> {
        match &self.place {
            Place::Cache(cache) => Some(&**cache.fetcher().store()),
            Place::Mount(_) => None,
        }
    }

    fn mountpoint(&self) -> &Path {
        match &self.place {
            Place::Mount(mount) => &mount.mountpoint,
            // Only asked for where there is no store.
            Place::Cache(_) => Path::new(""),
        }
    }

    /// The names that are held.
    pub(in crate::cli) fn held(&self) -> Result<BTreeSet<FileKey>, Failure> {
        if let Some(store) = self.store() {
            return Ok(store.held());
        }
        let path = self.mountpoint().join(HOLD);
        let text = fs::read_to_string(&path).map_err(|error| hold_failure("read", &path, error))?;
        Ok(holds::read(&text).0)
    }

    /// Holds and releases names.
    pub(in crate::cli) fn change_holds(&self, changes: Vec<HoldChange>) -> Result<(), Failure> {
        if let Some(store) = self.store() {
            return Ok(store.change_holds(changes)?);
        }
        let path = self.mountpoint().join(HOLD);
        write_lines(&path, &changes).map_err(|error| hold_failure("write", &path, error))
    }

    /// The files of an observatory whose bytes are here, in no order.
    pub(in crate::cli) fn here(&self, observatory: Observatory) -> Result<Vec<FileKey>, Failure> {
        if let Some(store) = self.store() {
            let holdings = store.holdings(observatory)?;
            return Ok(holdings.into_iter().map(|(key, _)| key).collect());
        }
        let mut found = Vec::new();
        for area in ["mappings", "references"] {
            let directory = self.mountpoint().join(area).join(observatory.as_str());
            let failed = |error| Failure::because(format!("cannot list '{}'", directory.display()), error);
            collect(observatory, &directory, true, &mut found).map_err(failed)?;
        }
        Ok(found)
    }

    /// The state of the copy, or local file, under a name; `None` if there is none.
    pub(in crate::cli) fn copy(&self, key: &FileKey) -> Option<CopyStatus> {
        if let Some(store) = self.store() {
            let holding = store.holding(key)?;
            return Some(CopyStatus {
                local: (holding.kind == HoldingKind::Local).then_some(holding.size),
                is_held: store.is_held(key),
                is_open: store.is_open(key),
                last_used: store.last_used(key),
            });
        }
        let report = described(self.mountpoint(), key)?;
        is_here(&report).then(|| CopyStatus {
            local: report.local_size,
            is_held: report.held,
            is_open: report.open,
            last_used: report.last_used.as_deref().and_then(time),
        })
    }

    /// The states of the copies, or local files, under names, with what belongs to each; names without any are left out. Those
    /// that are open are looked at again for up to [`CLOSING`], in all.
    pub(in crate::cli) fn copies<T>(
        &self,
        names: impl IntoIterator<Item = (FileKey, T)>,
    ) -> Vec<(CopyStatus, FileKey, T)> {
        let until = Instant::now() + CLOSING;
        let is_open = |copy: &CopyStatus| copy.is_open;
        let look = |(key, of)| Some((once_closed(until, || self.copy(&key), is_open)?, key, of));
        names.into_iter().filter_map(look).collect()
    }

    /// Evicts the copy under a name, unless it has to stay.
    pub(in crate::cli) fn evict(&self, key: &FileKey, entry: CatalogEntry) -> Result<Eviction, Failure> {
        match self.store() {
            Some(store) => Ok(store.evict(key, entry)?),
            None => evict_in_mount(self.mountpoint(), key),
        }
    }

    /// Returns when evicted copies are gone: a mount drops a copy when another thread looks its name up.
    pub(in crate::cli) fn settle<'a>(&self, evicted: impl IntoIterator<Item = &'a FileKey>) {
        if self.store().is_some() {
            return;
        }
        for key in evicted {
            // A lookup makes the mount carry out the removal; without one it does so within a second.
            let _ = fs::symlink_metadata(path_in_mount(self.mountpoint(), key));
        }
    }

    /// Reads and hashes the file under a name. Nothing is fetched, unless a mount finds on opening a file that it is wrong.
    pub(in crate::cli) fn examine(&self, key: &FileKey, entry: CatalogEntry) -> Result<Finding, Failure> {
        match self.store() {
            Some(store) => Ok(store.examine(key, entry)?),
            None => examine_in_mount(self.mountpoint(), key, entry),
        }
    }

    /// Sets a wrong file aside, so that it is fetched at its next open. In a mount the copy is dropped: a copy that the mount does
    /// not find to be wrong by itself is one that it has verified before, so that it is nobody's work.
    pub(in crate::cli) fn reject(&self, key: &FileKey, entry: CatalogEntry) -> Result<(), Failure> {
        match self.store() {
            Some(store) => match store.verify(key, entry)? {
                Found::Absent => Ok(()),
                _ => Err(Failure::new("it is something else by now: try again")),
            },
            None => match evict_in_mount(self.mountpoint(), key)? {
                Eviction::Gone(_) | Eviction::Absent => Ok(()),
                Eviction::Held => {
                    // It is held again at once: what is held cannot be removed.
                    self.change_holds(vec![HoldChange::Release(key.clone())])?;
                    let dropped = drop_in_mount(self.mountpoint(), key);
                    self.change_holds(vec![HoldChange::Hold(key.clone())])?;
                    dropped
                }
                Eviction::Open => Err(Failure::new("somebody has it open")),
                Eviction::Local | Eviction::Wrong => {
                    Err(Failure::new("it is something else by now: try again"))
                }
            },
        }
    }

    /// The contents of the store besides files under their names, and the bytes in use.
    pub(in crate::cli) fn aside(&self) -> Result<Aside, Failure> {
        if let Some(store) = self.store() {
            for observatory in Observatory::ALL {
                store.list(observatory)?;
            }
            let usage = store.usage()?;
            return Ok(Aside {
                used: usage.used,
                partial: usage.partial,
                quarantined: usage.quarantined_files,
                quarantined_bytes: usage.quarantined,
                leftovers: store.leftovers(),
            });
        }
        let path = self.mountpoint().join(STATUS);
        let text = fs::read(&path)
            .map_err(|error| Failure::because(format!("cannot read '{}'", path.display()), error))?;
        let space = serde_json::from_slice::<StatusReport>(&text)?.space;
        Ok(Aside {
            used: space.used,
            partial: space.partial,
            quarantined: space.quarantined_files,
            quarantined_bytes: space.quarantined_bytes,
            leftovers: Vec::new(),
        })
    }

    /// Removes an unused file of a killed process.
    pub(in crate::cli) fn remove_leftover(&self, leftover: &Leftover) -> Result<(), Failure> {
        match self.store() {
            Some(store) => Ok(store.remove_leftover(leftover)?),
            None => Ok(()),
        }
    }
}

/// The failure to read or write what is held.
fn hold_failure(doing: &str, path: &Path, error: io::Error) -> Failure {
    let remedy = match error.kind() {
        ErrorKind::NotFound => "; the mount is of an older crds-fs: unmount it, and mount it again",
        ErrorKind::ReadOnlyFilesystem => {
            "; nothing is evicted from a mount or cache that cannot be written, held or not"
        }
        _ => "",
    };
    Failure::because(format!("cannot {doing} '{}'{remedy}", path.display()), error)
}

fn write_lines(path: &Path, changes: &[HoldChange]) -> io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    let mut piece = String::new();
    for change in changes {
        piece += &change.line();
        if piece.len() >= PIECE {
            file.write_all(piece.as_bytes())?;
            piece.clear();
        }
    }
    file.write_all(piece.as_bytes())
}

/// Finds the files that take room in a directory of a mount, and in the directories of instruments below it.
fn collect(
    observatory: Observatory,
    directory: &Path,
    with_instruments: bool,
    found: &mut Vec<FileKey>,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() && with_instruments {
            collect(observatory, &entry.path(), false, found)?;
        }
        let name = entry.file_name();
        if metadata.is_file()
            && metadata.blocks() > 0
            && let Some(name) = name.to_str().and_then(|name| name.parse().ok())
        {
            found.push(FileKey { observatory, name });
        }
    }
    Ok(())
}

/// The path of a file in a mount, whatever its layout.
fn path_in_mount(mountpoint: &Path, key: &FileKey) -> PathBuf {
    match described(mountpoint, key) {
        Some(report) if !report.path.is_empty() => mountpoint.join(report.path),
        _ => flat(mountpoint, key),
    }
}

/// The moment that a report tells.
fn time(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().map(SystemTime::from)
}

fn is_here(report: &FileReport) -> bool {
    report.state == FileState::Cached.as_str() || report.state == FileState::Local.as_str()
}

/// Looks until nothing is open, until a time at most.
fn once_closed<T>(until: Instant, look: impl Fn() -> Option<T>, is_open: impl Fn(&T) -> bool) -> Option<T> {
    let mut seen = look()?;
    while is_open(&seen) && Instant::now() < until {
        std::thread::sleep(AGAIN);
        seen = look()?;
    }
    Some(seen)
}

fn evict_in_mount(mountpoint: &Path, key: &FileKey) -> Result<Eviction, Failure> {
    let look = || described(mountpoint, key).filter(is_here);
    let Some(report) = once_closed(Instant::now() + CLOSING, look, |report| report.open) else {
        return Ok(Eviction::Absent);
    };
    if report.state == FileState::Local.as_str() {
        return Ok(Eviction::Local);
    }
    if report.held {
        return Ok(Eviction::Held);
    }
    if report.open {
        return Ok(Eviction::Open);
    }
    if !report.verified {
        // The mount hashes it at its first open: what is not the catalogued file may be somebody's, and is set aside.
        open_in_mount(mountpoint, key)?;
    }
    drop_in_mount(mountpoint, key)?;
    Ok(Eviction::Gone(report.size.unwrap_or_default()))
}

fn drop_in_mount(mountpoint: &Path, key: &FileKey) -> Result<(), Failure> {
    let path = path_in_mount(mountpoint, key);
    fs::remove_file(&path)
        .map_err(|error| Failure::because(format!("cannot remove '{}'", path.display()), error))
}

fn examine_in_mount(mountpoint: &Path, key: &FileKey, entry: CatalogEntry) -> Result<Finding, Failure> {
    let Some(report) = described(mountpoint, key).filter(is_here) else {
        return Ok(Finding::Absent);
    };
    if report.state == FileState::Local.as_str() {
        return Ok(Finding::Local(report.local_size.unwrap_or_default()));
    }
    let file = open_in_mount(mountpoint, key).map_err(|error| {
        let told = described(mountpoint, key).and_then(|report| report.error);
        told.map_or_else(|| Failure::from(error), |failure| Failure::new(failure.message))
    })?;
    let size = file.metadata()?.len();
    if entry.size.is_some_and(|expected| expected != size) {
        return Ok(Finding::WrongLength(size));
    }
    let Some(expected) = entry.sha1 else {
        return Ok(Finding::Right);
    };
    let found = digest(&file)?;
    Ok(if found == expected {
        Finding::Right
    } else {
        Finding::WrongDigest(found)
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_is_being_closed_is_looked_at_again_and_what_stays_open_not_for_ever() {
        let looks = Cell::new(0);
        let look = || Some(looks.replace(looks.get() + 1));
        let far = Instant::now() + Duration::from_secs(600);
        assert_eq!(once_closed(far, look, |seen| *seen < 3), Some(3));
        assert_eq!(once_closed(Instant::now(), look, |_| true), Some(4));
        assert_eq!(once_closed(far, || None::<u32>, |_| true), None);
    }
}
