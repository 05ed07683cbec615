//! The conditions that hold after every step, and the errors with which an open may fail.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use libc::{EBADMSG, EHOSTUNREACH, ENETDOWN, ENOENT, EREMOTEIO, ESTALE};

use super::super::World;
use super::super::steps::{QUARANTINE, ROOM, path, version};
use super::{Bench, PATIENCE};
use crate::store::HoldingKind;
use crate::tree::Error;

impl Bench {
    /// The bytes left in the store of a name that the catalog does not have and the user has not written. Waits first
    /// until the copies have their final names.
    pub(super) fn left(&self, name: &str) -> Option<Vec<u8>> {
        // A failure to publish shows in the files that are there afterwards.
        drop(self.world.store.flush());
        std::fs::read(self.world.on_disk(&path(name))).ok()
    }

    pub(super) fn expect_bytes(&mut self, name: &'static str, bytes: &[u8]) {
        let model = &self.model;
        if let Some(mine) = model.user.get(name) {
            assert!(mine == bytes, "{name} is not what the user wrote");
        } else if let Some(number) = model.catalog.get(name) {
            let right = version(name, *number);
            assert!(
                right == bytes,
                "{name} is not what the catalog says: {}",
                text(bytes)
            );
        } else {
            let all = model.versions.get(name).copied().unwrap_or_default();
            assert!(
                (1..=all).any(|number| version(name, number) == bytes),
                "{name} is nowhere, and read: {}",
                text(bytes)
            );
        }
    }

    /// The files that are on their way, with their lengths.
    pub(super) fn arriving(&self) -> BTreeMap<String, u64> {
        let transfers = self.world.fetcher.transfers().into_iter();
        transfers
            .map(|transfer| (transfer.key.name.as_str().to_owned(), transfer.total))
            .collect()
    }

    pub(super) fn expect_error(&mut self, name: &'static str, error: &Error) {
        let errno = self.world.errno(error);
        assert!(!self.model.user.contains_key(name), "the user's {name}: {error}");
        if !self.model.catalog.contains_key(name) {
            // The kernel looks up a stale name once more, and finds it absent.
            assert!([ENOENT, ESTALE].contains(&errno), "{name}: {error}");
            return;
        }
        if self.model.offline {
            assert_eq!(errno, ENETDOWN, "{name}: {error}");
            return;
        }
        let budget = self.model.faults.get_mut(name).filter(|budget| **budget > 0);
        let Some(budget) = budget else {
            panic!("nothing fails, and {name} cannot be had: {error}");
        };
        *budget -= 1;
        assert!(
            [EHOSTUNREACH, EREMOTEIO, EBADMSG].contains(&errno),
            "{name}: {error}"
        );
    }

    /// Compares the room for a file with its length: an error says that copies could have gone for it. `arriving` tells what was
    /// on its way before or after its open.
    pub(super) fn compare_room(&self, name: &str, arriving: &BTreeMap<String, u64>) -> Result<(), String> {
        let model = &self.model;
        let must_stay = |other: &str, bytes: &[u8]| {
            let all = model.versions.get(other).copied().unwrap_or_default();
            model.open.iter().any(|(open, ..)| *open == other)
                || !(1..=all).any(|number| version(other, number) == bytes)
        };
        let staying: usize = self
            .on_disk()
            .iter()
            .filter(|(other, bytes)| other != name && must_stay(other, bytes))
            .map(|(_, bytes)| bytes.len())
            .sum();
        let wanted = version(name, model.catalog[name]).len();
        let others = arriving.iter().filter(|(other, _)| *other != name);
        let coming: u64 = others.map(|(_, bytes)| bytes).sum();
        if (staying + wanted) as u64 + self.quarantined() + coming > ROOM {
            return Ok(());
        }
        let usage = self.world.store.usage();
        Err(format!(
            "{staying} bytes stay, {coming} come, and {name} has {wanted}: {usage:?}"
        ))
    }

    /// The files under their final names.
    pub(super) fn on_disk(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        for area in ["mappings/hst", "references/hst"] {
            for (name, at) in files_in(&self.world.on_disk(area)) {
                // It may go at any moment.
                if let Ok(bytes) = std::fs::read(at) {
                    found.push((name, bytes));
                }
            }
        }
        found
    }

    pub(super) fn quarantine(&self) -> Vec<Vec<u8>> {
        let kept = files_in(&self.world.on_disk(QUARANTINE));
        kept.into_iter()
            .filter_map(|(_, at)| std::fs::read(at).ok())
            .collect()
    }

    /// The room that the quarantine takes, in bytes.
    pub(super) fn quarantined(&self) -> u64 {
        files_in(&self.world.on_disk(QUARANTINE))
            .iter()
            .map(|(_, at)| std::fs::metadata(at).map_or(0, |found| found.blocks() * 512))
            .sum()
    }
    pub(super) fn check(&self) {
        let model = &self.model;
        for (name, bytes) in self.on_disk() {
            let name = name.as_str();
            let mine = model.user.get(name).into_iter().chain(model.displaced.get(name));
            let all = model.versions.get(name).copied().unwrap_or_default();
            let catalogued = (1..=all).map(|number| version(name, number));
            assert!(
                mine.cloned().chain(catalogued).any(|right| right == bytes),
                "{name} in the store is: {}",
                text(&bytes)
            );
        }
        for (name, bytes) in &model.user {
            let found = std::fs::read(self.world.on_disk(&path(name))).ok();
            assert!(found.as_ref() == Some(bytes), "the user's {name} is lost");
        }
        for (name, bytes) in &model.displaced {
            let found = std::fs::read(self.world.on_disk(&path(name))).ok();
            let is_kept = found.as_ref() == Some(bytes) || self.quarantine().contains(bytes);
            assert!(is_kept, "the user's {name}, whose name the catalog took, is lost");
        }
        self.check_usage();
    }

    /// Checks that every byte is counted. Files that are removed in the background are on the disk for a moment longer.
    fn check_usage(&self) {
        let begun = Instant::now();
        while let Err(difference) = self.compare_usage() {
            assert!(begun.elapsed() < PATIENCE, "{difference}");
            std::thread::yield_now();
        }
    }

    fn compare_usage(&self) -> Result<(), String> {
        let usage = self.world.store.usage().unwrap();
        let on_disk = self.on_disk();
        // Hidden files are not counted.
        let files = on_disk.iter().filter(|(name, _)| !name.starts_with('.'));
        let files: usize = files.map(|(_, bytes)| bytes.len()).sum();
        let partial: u64 = files_in(&self.world.on_disk(".crds-fs/partial/hst"))
            .into_iter()
            .filter(|(name, _)| !name.contains('~'))
            .map(|(name, at)| self.partial(&name, &at))
            .sum();
        let bytes = files as u64 + self.quarantined() + partial;
        if bytes == usage.used || !self.world.fetcher.transfers().is_empty() {
            return Ok(());
        }
        Err(format!("{bytes} bytes are there: {usage:?}"))
    }

    /// The bytes that a partial file takes. A verified one is a copy, of its length, that has not got its name yet.
    fn partial(&self, name: &str, at: &Path) -> u64 {
        let holding = self.world.store.holding(&World::key(name));
        let is_copy = holding.is_some_and(|holding| holding.kind == HoldingKind::Catalogued);
        std::fs::metadata(at).map_or(0, |found| {
            if is_copy {
                found.len()
            } else {
                found.blocks() * 512
            }
        })
    }
}

pub(crate) fn files_in(directory: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .collect()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    format!(
        "{} bytes, {}...",
        bytes.len(),
        String::from_utf8_lossy(&bytes[..bytes.len().min(40)])
    )
}
