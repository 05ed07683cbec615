//! The tags of a store that others write to as well: how its references lie, said before anybody asks.
//!
//! A client that finds no tag chooses by itself: by instrument, unless the store has many references already. Then it and a
//! mount would not find each other's files.

use std::path::Path;

use cap_std::fs::Dir;

use super::agreed::agree;
use super::state_dir;
use super::{ReferenceLayout, StoreError};
use crate::crds::Observatory;

/// The observatories that clients know.
const OBSERVATORIES: [Observatory; 3] = [Observatory::Hst, Observatory::Jwst, Observatory::Roman];

/// Makes the tags that are missing. Whoever makes one first decides. `beside` is a path in `own` that nobody else uses.
pub(super) fn settle(root: &Dir, own: &Dir, beside: &Path) -> Result<(), StoreError> {
    for observatory in OBSERVATORIES {
        if !state_dir::has_text(root, &state_dir::layout_tag(observatory))? {
            settle_one(root, own, beside, observatory, state_dir::find_layout(root))?;
        }
    }
    Ok(())
}

/// Makes the tag of an observatory if it is missing.
pub(super) fn settle_one(
    root: &Dir,
    own: &Dir,
    beside: &Path,
    observatory: Observatory,
    layout: ReferenceLayout,
) -> Result<(), StoreError> {
    let tag = state_dir::layout_tag(observatory);
    agree(own, beside, (root, &tag), layout.as_str()).map(drop)
}
