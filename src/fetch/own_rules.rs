//! Which rules are the user's own: files under names that no catalog has, or in the place of catalogued ones.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::crds::{Catalog, FileKey};
use crate::store::{HoldingKind, Store};

/// A version of a rule of the user's: when it was changed, and its size.
pub type OwnVersion = (SystemTime, u64);

/// The version of a rule, if it is the user's own. From memory for catalogued names; else one look at the store.
pub fn own_version(store: &dyn Store, catalog: Option<&Catalog>, key: &FileKey) -> Option<OwnVersion> {
    if let Some(holding) = store.holding(key) {
        match holding.kind {
            HoldingKind::Local => return Some((holding.modified, holding.size)),
            HoldingKind::Catalogued => return None,
            HoldingKind::Unverified => {}
        }
    }
    if !key.name.kind().is_mapping() || catalog.is_none_or(|catalog| catalog.contains(key.name.as_str())) {
        return None;
    }
    let metadata = store.directory()?.metadata(own_path(key)).ok()?;
    let modified = metadata.modified().ok()?.into_std();
    metadata.is_file().then_some((modified, metadata.len()))
}

/// Where a rule of the user's own lies in the store.
pub fn own_path(key: &FileKey) -> PathBuf {
    ["mappings", key.observatory.as_str(), key.name.as_str()]
        .iter()
        .collect()
}
