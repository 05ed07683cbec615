//! The user's own rules: files under names that no catalog has, or in the place of catalogued ones.

use std::time::SystemTime;

use crate::crds::{Catalog, FileKey};
use crate::store::{HoldingKind, ReferenceLayout, Store, file_path};

/// A version of a rule of the user's: its time of modification, and its size in bytes.
pub(crate) type OwnVersion = (SystemTime, u64);

/// The version of a rule, if it is the user's own: by one look at the store, as the user may write to it at any time. Other
/// catalogued names are answered from memory.
pub(crate) fn own_version(store: &dyn Store, catalog: Option<&Catalog>, key: &FileKey) -> Option<OwnVersion> {
    let holding = store.holding(key);
    let noted = match holding {
        Some(holding) if holding.kind == HoldingKind::Catalogued => return None,
        Some(holding) if holding.kind == HoldingKind::Local => Some((holding.modified, holding.size)),
        _ if !key.name.kind().is_mapping() => return None,
        _ if catalog.is_none_or(|catalog| catalog.contains(key.name.as_str())) => return None,
        _ => None,
    };
    on_disk(store, key).or(noted)
}

fn on_disk(store: &dyn Store, key: &FileKey) -> Option<OwnVersion> {
    let metadata = store
        .directory()?
        .metadata(file_path(ReferenceLayout::Flat, key))
        .ok()?;
    let modified = metadata.modified().ok()?.into_std();
    metadata.is_file().then_some((modified, metadata.len()))
}
