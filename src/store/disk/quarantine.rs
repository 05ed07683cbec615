//! Quarantine: files that should not be where they were found, moved out of the way, kept and counted.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use cap_std::fs::{Dir, MetadataExt as _};

use super::moments::Moment;
use super::naming::make_dirs;
use super::state_dir;
use super::{Disk, StoreError};
use crate::store::verified::Identity;

const QUARANTINE: &str = "quarantine";
/// Directories within directories are counted to this depth.
const DEPTH: usize = 8;

/// The number of files in quarantine and their size in bytes on the disk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Quarantined {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// The time of modification of the directory when it was counted, in seconds and nanoseconds; `None` without one.
    changed: Option<(i64, i64)>,
}

impl Disk {
    /// Moves something that should not be where it is out of the way; false when by now something else than `expected`
    /// lies there, which then stays.
    pub(super) fn quarantine(
        &self,
        path: &Path,
        name: &str,
        why: &str,
        expected: Option<Identity>,
    ) -> Result<bool, StoreError> {
        if !self.can_write() {
            return Err(StoreError::Wrong {
                path: path.display().to_string(),
                why: why.to_owned(),
            });
        }
        let failed = |error| StoreError::io("move to quarantine", path, error);
        make_dirs(self.aside(), Path::new(QUARANTINE)).map_err(failed)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let target = Path::new(QUARANTINE).join(format!("{name}.{}{}", now.as_nanos(), self.mark()));
        if self.take_aside(path, &target, expected).map_err(failed)? {
            log::warn!(
                "{} in the store: {why}; moved to {}",
                path.display(),
                Path::new(state_dir::OWN).join(target).display()
            );
            self.moments.reach(Moment::Quarantined);
            self.count_quarantine();
            return Ok(true);
        }
        Ok(expected.is_none())
    }

    /// The contents of quarantine, counted anew when its directory has changed: users may take files out at any time.
    pub(super) fn count_quarantine(&self) -> Quarantined {
        let metadata = self.aside().symlink_metadata(QUARANTINE).ok();
        let changed = metadata.map(|metadata| (metadata.mtime(), metadata.mtime_nsec()));
        let known = self.index().quarantined;
        if known.changed == changed {
            return known;
        }
        let mut counted = Quarantined {
            changed,
            ..Quarantined::default()
        };
        if changed.is_some()
            && let Ok(dir) = self.aside().open_dir(QUARANTINE)
        {
            count(&dir, &mut counted, DEPTH);
        }
        let mut index = self.index();
        index.quarantined = counted;
        index.ledger.set_aside(counted.bytes);
        counted
    }

    /// Whether its users have taken things out since it was counted last.
    pub(super) fn has_less_in_quarantine(&self) -> bool {
        let before = self.index().quarantined.bytes;
        before > 0 && self.count_quarantine().bytes < before
    }
}

fn count(dir: &Dir, counted: &mut Quarantined, depth: usize) {
    for entry in dir.entries().into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        counted.files += 1;
        counted.bytes += metadata.blocks().saturating_mul(512);
        if metadata.is_dir()
            && depth > 0
            && let Ok(dir) = entry.open_dir()
        {
            count(&dir, counted, depth - 1);
        }
    }
}
