//! The current catalog of each observatory as the tree shows it: with serials, and with the texts of its config files.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::crds::{Catalog, CatalogEntry, FileKey, Observatory, ServerInfo};

use super::serials::Serials;

/// A snapshot of one observatory's files: it does not change.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) observatory: Observatory,
    pub(super) info: Arc<ServerInfo>,
    /// The time at which the tree began to show it.
    pub(super) since: SystemTime,
    serials: Arc<Serials>,
    server_config: OnceLock<Bytes>,
    bad_files: OnceLock<Bytes>,
}

/// A catalogued file of a view.
#[derive(Debug, Clone)]
pub(super) struct Catalogued {
    pub(super) key: FileKey,
    pub(super) serial: u32,
    pub(super) entry: CatalogEntry,
}

impl View {
    fn new(info: Arc<ServerInfo>, serials: Arc<Serials>) -> Self {
        Self {
            observatory: info.observatory(),
            info,
            since: SystemTime::now(),
            serials,
            server_config: OnceLock::new(),
            bad_files: OnceLock::new(),
        }
    }

    pub(super) fn catalog(&self) -> &Catalog {
        self.info.catalog()
    }

    /// The file of this exact name.
    pub(super) fn named(&self, name: &str) -> Option<Catalogued> {
        self.at(self.catalog().index_of(name)?)
    }

    /// The file at an index of the catalog.
    pub(super) fn at(&self, index: usize) -> Option<Catalogued> {
        let item = self.catalog().at(index)?;
        Some(Catalogued {
            key: FileKey {
                observatory: self.observatory,
                name: item.name.parse().ok()?,
            },
            serial: self.serials.serial(index)?,
            entry: item.entry,
        })
    }

    /// The file with this serial; none when it is no longer in the catalog.
    pub(super) fn with_serial(&self, serial: u32) -> Option<Catalogued> {
        self.at(self.serials.place(serial)?)
    }

    /// The text of `server_config`.
    pub(super) fn server_config(&self) -> Bytes {
        self.server_config
            .get_or_init(|| self.info.to_literal().into())
            .clone()
    }

    /// The text of `bad_files.txt`.
    pub(super) fn bad_files(&self) -> Bytes {
        self.bad_files
            .get_or_init(|| self.info.bad_files_text().into())
            .clone()
    }
}

/// The views of all observatories.
#[derive(Debug, Default)]
pub(super) struct Views {
    current: Mutex<HashMap<Observatory, Arc<View>>>,
}

impl Views {
    /// The view of `info`, and the one that it takes the place of if that has another catalog.
    pub(super) fn show(&self, info: Arc<ServerInfo>) -> (Arc<View>, Option<Arc<View>>) {
        let mut current = self.current.lock();
        let old = current.get(&info.observatory()).cloned();
        let serials = match &old {
            Some(view) if Arc::ptr_eq(&view.info, &info) => return (Arc::clone(view), None),
            Some(view) if Arc::ptr_eq(view.info.catalog(), info.catalog()) => Arc::clone(&view.serials),
            Some(view) => Arc::new(view.serials.next(
                view.catalog().iter().map(|item| (item.name, item.entry)),
                info.catalog().iter().map(|item| (item.name, item.entry)),
            )),
            None => Arc::new(Serials::first(info.catalog().len())),
        };
        let view = Arc::new(View::new(info, serials));
        current.insert(view.observatory, Arc::clone(&view));
        (view, old)
    }

    /// Gives the name of a file another serial, unless it has one already.
    pub(super) fn renumber(&self, file: &Catalogued) {
        let mut current = self.current.lock();
        if let Some(view) = current.get_mut(&file.key.observatory)
            && let Some(serials) = view.serials.renumbered(file.serial)
        {
            *view = Arc::new(View {
                serials: Arc::new(serials),
                ..View::clone(view)
            });
        }
    }
}
