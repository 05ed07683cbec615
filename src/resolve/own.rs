//! The user's own rules, as they are now.

use std::fs::File;
use std::io;

use crate::crds::{CatalogEntry, FileKey};
use crate::fetch::{Fetcher, OwnVersion, own_version};
use crate::store::{Found, HoldingKind, ReferenceLayout, file_path};

/// The version of a rule, if it is the user's own.
pub(super) fn version(fetcher: &Fetcher, key: &FileKey) -> Option<OwnVersion> {
    let info = fetcher.catalogs().current(key.observatory);
    let catalog = info.as_ref().map(|info| &**info.catalog());
    own_version(&**fetcher.store(), catalog, key)
}

/// Opens a rule of the user's own.
pub(super) fn open(fetcher: &Fetcher, key: &FileKey) -> io::Result<File> {
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let store = fetcher.store();
    if store.holding(key).map(|holding| holding.kind) == Some(HoldingKind::Local) {
        let any = CatalogEntry {
            size: None,
            sha1: None,
        };
        return match store.open(key, any) {
            Ok(Found::Local(file)) => file.try_clone(),
            Ok(_) => Err(gone()),
            Err(error) => Err(io::Error::other(error)),
        };
    }
    // The store would take it for a copy of its own.
    let file = store
        .directory()
        .ok_or_else(gone)?
        .open(file_path(ReferenceLayout::Flat, key))?;
    Ok(file.into_std())
}
