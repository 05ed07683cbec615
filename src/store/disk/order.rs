//! The times and the order of last use, kept over restarts.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cap_std::fs::{Dir, MetadataExt as _};

use super::state_dir::{self, Durable};
use super::{Disk, StoreError};
use crate::crds::{FileName, Observatory};

/// The file with the order: a line for each file, least recently used first, with observatory, name and time of last use
/// (nanoseconds since 1970), separated by tabs.
const ORDER: &str = "order";

impl Disk {
    /// Saves the order of last use, if it has changed. Observatories that were not indexed in this run keep their
    /// earlier order.
    pub(super) fn save_order(&self) -> Result<(), StoreError> {
        let path = Path::new(ORDER);
        let (version, known) = {
            let index = self.index();
            let known: Vec<Observatory> = index.observatories.keys().copied().collect();
            (index.ledger.order_version(), known)
        };
        if !self.remembers || version == self.index().saved_order {
            return Ok(());
        }
        let mut order = String::new();
        if known.len() < Observatory::ALL.len() {
            let before =
                state_dir::read_text(&self.state_dir, path, state_dir::MEMORY_LIMIT)?.unwrap_or_default();
            let unknown = before.lines().filter(|line| {
                let owner = line.split_once('\t').map(|(owner, _)| owner);
                !known
                    .iter()
                    .any(|observatory| Some(observatory.as_str()) == owner)
            });
            order.extend(unknown.flat_map(|line| [line, "\n"]));
        }
        for (key, used) in self.index().ledger.order() {
            let used = used.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            // Writing to a String cannot fail.
            let _ = writeln!(order, "{}\t{}\t{used}", key.observatory, key.name);
        }
        state_dir::replace(&self.state_dir, path, order.as_bytes(), Durable::Yes)?;
        self.index().saved_order = version;
        Ok(())
    }
}

/// The last use of files, as the last run wrote it down.
#[derive(Debug, Default)]
pub(super) struct LastUse {
    /// The time when it was written, in nanoseconds since 1970 (mtime of the file).
    written: i128,
    /// The number of files, of all observatories, that were used after each, and the time of its own last use, if written.
    known: HashMap<FileName, (i128, Option<SystemTime>)>,
}

/// The last use of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    /// A number that orders files by their last use, and has no other meaning.
    pub(super) rank: i128,
    /// The time.
    pub(super) when: SystemTime,
}

impl LastUse {
    /// The last use of a file: as it was written, unless its own times (`seen`, nanoseconds since 1970) are later than that.
    pub(super) fn of(&self, name: &FileName, seen: i128) -> Used {
        let here = |rank| Used {
            rank,
            when: time(seen),
        };
        match self.known.get(name) {
            Some((later, when)) if seen <= self.written => {
                let here = here(self.written - later);
                let when = when.unwrap_or(here.when);
                Used { when, ..here }
            }
            _ => here(seen),
        }
    }
}

/// The time so many nanoseconds after 1970; times before that count as its beginning.
fn time(nanoseconds: i128) -> SystemTime {
    let since = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default());
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

/// Reads the last use of an observatory's files.
pub(super) fn last_use(dir: &Dir, observatory: Observatory) -> LastUse {
    let path = Path::new(ORDER);
    let (Ok(Some(text)), Ok(metadata)) = (
        state_dir::read_text(dir, path, state_dir::MEMORY_LIMIT),
        dir.metadata(path),
    ) else {
        return LastUse::default();
    };
    let lines = (0_i128..).zip(text.lines().rev());
    LastUse {
        written: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
        known: lines
            .filter_map(|(later, line)| {
                let mut fields = line.split('\t');
                (fields.next()? == observatory.as_str()).then_some(())?;
                let name = fields.next()?.parse().ok()?;
                let when = fields.next().and_then(|text| text.parse().ok()).map(time);
                Some((name, (later, when)))
            })
            .collect(),
    }
}
