//! The file that keeps what is held, in the store's own directory.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path;

use cap_std::fs::Dir;

use super::Disk;
use super::state_dir::{self, Durable, OWN};
use crate::crds::FileKey;
use crate::store::{HoldChange, StoreError, holds};

/// The name of the file; [`holds`] has its format.
const HOLD: &str = "hold";
/// The number of times that a change is made if others make changes meanwhile.
const TURNS: usize = 10;
/// The most lines that are logged as wrong.
const TOLD: usize = 3;

/// The names that are held, by what is written down in these directories of our own.
pub(super) fn kept<'a>(owns: impl Iterator<Item = &'a Dir>) -> Result<BTreeSet<FileKey>, StoreError> {
    let mut held = BTreeSet::new();
    for own in owns {
        let text = state_dir::read_text(own, Path::new(HOLD), state_dir::MEMORY_LIMIT)?;
        let (names, wrong) = holds::read(&text.unwrap_or_default());
        for error in wrong.iter().take(TOLD) {
            log::warn!("{}/{HOLD} in the store: {error}: passed over", state_dir::OWN);
        }
        held.extend(names);
    }
    Ok(held)
}

/// Changes what is held, on the disk first.
pub(super) fn change(disk: &Disk, changes: &[HoldChange]) -> Result<(), StoreError> {
    if !disk.can_write() {
        return Err(Disk::protected());
    }
    let _one_at_a_time = disk.changing_holds.lock();
    // In a shared store others change it as well. Whoever does so at the same moment replaces the file: so it is read again.
    for _ in 0..TURNS {
        let mut held = current(disk)?;
        let mut is_other = false;
        for change in changes {
            is_other |= change.clone().apply(&mut held);
        }
        if is_other {
            let text = holds::text(&held);
            state_dir::replace(disk.aside(), Path::new(HOLD), text.as_bytes(), Durable::Yes)?;
        }
        disk.index().ledger.set_held(held);
        if !is_other || disk.shared().is_none() {
            return Ok(());
        }
    }
    let busy = io::Error::new(ErrorKind::ResourceBusy, "others change it all the time");
    Err(StoreError::io("write", Path::new(OWN).join(HOLD), busy))
}

/// The names that are held now: in a shared store others may have changed that.
pub(super) fn current(disk: &Disk) -> Result<BTreeSet<FileKey>, StoreError> {
    match disk.shared() {
        Some(shared) => kept(std::iter::once(shared.own())),
        None => Ok(disk.index().ledger.held().clone()),
    }
}
