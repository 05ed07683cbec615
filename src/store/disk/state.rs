//! The state that is kept beside the files: server descriptions, notes, and the count of what is used.

use std::io::ErrorKind;

use super::possession::Access;
use super::state_dir::{self, Tag};
use super::{DiskStore, tags};
use crate::crds::Observatory;
use crate::store::{Snapshot, State, StoreError, Transfers as _, Usage};

impl State for DiskStore {
    fn snapshot(&self, observatory: Observatory) -> Result<Option<Snapshot>, StoreError> {
        let there = state_dir::snapshot(&self.disk.root, observatory);
        if matches!(self.disk.access, Access::Alone(_)) {
            return there;
        }
        let there = match there {
            // Another user's, who keeps it to himself.
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied => None,
            other => other?,
        };
        let here = state_dir::snapshot(&self.disk.state_dir, observatory)?;
        // Whoever asks how old it is has the clock of this node.
        let there = there.map(|snapshot| Snapshot {
            written: self.disk.own_time(snapshot.written),
            ..snapshot
        });
        Ok(here.into_iter().chain(there).max_by_key(|one| one.written))
    }

    fn save_snapshot(
        &self,
        observatory: Observatory,
        literal: &str,
        bad_files: &str,
    ) -> Result<(), StoreError> {
        if !self.disk.remembers {
            return Ok(());
        }
        let layout = self.disk.layout;
        let save = |root, tag| state_dir::save_snapshot(root, observatory, literal, bad_files, layout, tag);
        match &self.disk.access {
            Access::Alone(_) => save(&self.disk.root, Tag::Ours),
            Access::Reading => save(&self.disk.state_dir, Tag::Ours),
            // Its directory may be another user's, who has not let others write to it.
            Access::Shared(shared) => {
                let (root, beside) = (&self.disk.root, shared.temporary("tag"));
                let settled = tags::settle_one(root, shared.own(), &beside, observatory, layout);
                let saved = settled.and_then(|()| save(root, Tag::Theirs));
                saved.or_else(|error| {
                    log::debug!("{error}");
                    save(&self.disk.state_dir, Tag::Ours)
                })
            }
        }
    }

    fn set_aside_snapshot(&self, observatory: Observatory) -> Result<(), StoreError> {
        let path = state_dir::config_path(observatory, "server_config");
        if !matches!(self.disk.access, Access::Alone(_)) {
            // Either of the two may be damaged: without the one here that in the store counts.
            let _ = self.disk.state_dir.remove_file(&path);
        }
        if !self.disk.can_write() {
            return Ok(());
        }
        let name = format!("{observatory}-server_config");
        self.disk
            .quarantine(&path, &name, "cannot be read", None)
            .map(drop)
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match (state_dir::note(&self.disk.state_dir, name)?, &self.disk.theirs) {
            (None, Some(theirs)) => state_dir::note(theirs, name),
            (note, _) => Ok(note),
        }
    }

    fn save_note(&self, name: &str, contents: &[u8]) -> Result<(), StoreError> {
        if !self.disk.remembers {
            return Ok(());
        }
        state_dir::save_note(&self.disk.state_dir, name, contents)
    }

    fn usage(&self) -> Result<Usage, StoreError> {
        let disk = self.disk.disk_space()?;
        let quarantined = self.disk.count_quarantine();
        self.disk.measure_running();
        let leases = self.disk.shared().map(|shared| shared.leases().counts());
        let index = self.disk.index();
        let (used, files) = (index.ledger.used(), index.ledger.files());
        let taken = index.ledger.floor().saturating_add(index.ledger.untaken());
        let free = disk.free.saturating_sub(taken);
        let free = if self.disk.can_write() { free } else { 0 };
        let within = index.ledger.limit().map(|limit| limit.saturating_sub(used));
        Ok(Usage {
            total: index
                .ledger
                .limit()
                .map_or(disk.total, |limit| limit.min(disk.total)),
            available: within.map_or(free, |within| within.min(free)),
            used,
            files: u64::try_from(files).unwrap_or(u64::MAX),
            files_free: disk.files_free,
            removed: disk.removed,
            limit: index.ledger.limit(),
            evicted: index.evicted,
            leases,
            partial: index.ledger.partial_bytes(),
            quarantined: quarantined.bytes,
            quarantined_files: quarantined.files,
        })
    }

    fn close(&self) -> Result<(), StoreError> {
        let durable = self.flush();
        self.disk.end_leases_on_published();
        self.disk.save_order()?;
        durable
    }
}
