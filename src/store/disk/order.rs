//! The order of last use, kept over restarts.

use std::collections::HashMap;
use std::path::Path;

use cap_std::fs::{Dir, MetadataExt as _};

use super::state_dir::{self, Durable};
use super::{Disk, StoreError};
use crate::crds::{FileName, Observatory};

/// The file with the order: a line for each file, least recently used first.
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
        for key in self.index().ledger.order() {
            order.extend([key.observatory.as_str(), "\t", key.name.as_str(), "\n"]);
        }
        state_dir::replace(&self.state_dir, path, order.as_bytes(), Durable::Yes)?;
        self.index().saved_order = version;
        Ok(())
    }
}

/// The order of last use, as the last run wrote it down.
#[derive(Debug, Default)]
pub(super) struct LastUse {
    /// The time when it was written, in nanoseconds since 1970 (mtime of the file).
    written: i128,
    /// The number of files, of all observatories, that were used after each.
    later: HashMap<FileName, i128>,
}

impl LastUse {
    /// The time of a file's last use: by the written order, unless its own times (`seen`) are later than that. Only the
    /// order of these numbers has a meaning.
    pub(super) fn of(&self, name: &FileName, seen: i128) -> i128 {
        match self.later.get(name) {
            Some(later) if seen <= self.written => self.written - later,
            _ => seen,
        }
    }
}

/// Reads the order of last use of an observatory's files.
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
        later: lines
            .filter_map(|(later, line)| {
                let (owner, name) = line.split_once('\t')?;
                (owner == observatory.as_str()).then_some(())?;
                Some((name.parse().ok()?, later))
            })
            .collect(),
    }
}
