//! The files of the store, counted for the status.

use std::collections::BTreeMap;

use crate::crds::{FileKey, Observatory};
use crate::store::{Holding, HoldingKind};

use super::core::Core;
use super::report::StoredReport;

/// The files of one observatory in the store.
pub(super) struct StoredFiles {
    observatory: Observatory,
    files: Vec<(FileKey, Holding)>,
}

impl Core {
    /// The files of an observatory in the store, from memory: none before they are counted.
    pub(super) fn stored_files(&self, observatory: Observatory) -> StoredFiles {
        let counted = self.scan.is_done() || self.view(observatory).is_some();
        let files = counted.then(|| self.fetcher.store().holdings(observatory).unwrap_or_default());
        StoredFiles {
            observatory,
            files: files.unwrap_or_default(),
        }
    }

    /// Those of these files that the user has put in the place of catalogued ones, as `OBSERVATORY/NAME`.
    pub(super) fn overrides_among(&self, stored: &StoredFiles) -> Vec<String> {
        let Some(view) = self.view(stored.observatory) else {
            return Vec::new();
        };
        let local = stored.files.iter().filter(|(key, holding)| {
            holding.kind == HoldingKind::Local && view.catalog().contains(key.name.as_str())
        });
        local.map(|(key, _)| key.to_string()).collect()
    }
}

impl StoredFiles {
    /// Their number and bytes: rules first, then references by instrument, then those of which the name tells none.
    pub(super) fn groups(&self) -> Vec<StoredReport> {
        let mut groups: BTreeMap<(u8, &'static str), StoredReport> = BTreeMap::new();
        for (key, holding) in &self.files {
            let place = if key.name.kind().is_mapping() {
                (0, "mappings")
            } else {
                let instrument = self.observatory.instrument_of(key.name.as_str());
                instrument.map_or((2, "other"), |instrument| (1, instrument))
            };
            let group = groups.entry(place).or_default();
            group.files += 1;
            group.bytes = group.bytes.saturating_add(holding.size);
        }
        let named = |((_, name), group)| StoredReport {
            group: str::to_owned(name),
            ..group
        };
        groups.into_iter().map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn files_are_counted_by_what_their_names_tell() {
        let holding = |size| Holding {
            kind: HoldingKind::Catalogued,
            size,
            blocks: 8,
            modified: SystemTime::UNIX_EPOCH,
        };
        let file = |name: &str, size| {
            let (observatory, name) = (Observatory::Hst, name.parse().unwrap());
            (FileKey { observatory, name }, holding(size))
        };
        let files = vec![
            file("hst_acs_biasfile_0001.fits", 10),
            file("hst.pmap", 1),
            file("hst_acs_0001.imap", 2),
            file("hst_wfc3_biasfile_0001.fits", 100),
            file("nobody_knows_what.fits", 1000),
            file("hst_acs_darkfile_0001.fits", 20),
        ];
        let stored = StoredFiles {
            observatory: Observatory::Hst,
            files,
        };
        let groups: Vec<_> = stored
            .groups()
            .into_iter()
            .map(|group| (group.group, group.files, group.bytes))
            .collect();
        let expected = [
            ("mappings", 2, 3),
            ("acs", 2, 30),
            ("wfc3", 1, 100),
            ("other", 1, 1000),
        ];
        let expected = expected.map(|(group, files, bytes)| (group.to_owned(), files, bytes));
        assert_eq!(groups, expected);
    }
}
