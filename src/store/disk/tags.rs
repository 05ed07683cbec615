//! The tags of a store that others write to as well: how its references lie, said before anybody asks.
//!
//! A client that finds no tag chooses by itself: by instrument, unless the store has many references already. Then it and a
//! mount would not find each other's files.

use std::io::ErrorKind;
use std::path::Path;

use cap_std::fs::Dir;

use super::StoreError;
use super::naming::{LATE, LOOKS, name_new};
use super::state_dir::{self, Durable};
use crate::crds::Observatory;

/// The observatories that clients know.
const OBSERVATORIES: [Observatory; 3] = [Observatory::Hst, Observatory::Jwst, Observatory::Roman];

/// Makes the tags that are missing. Whoever makes one first decides. `beside` is a path in `own` that nobody else uses.
pub(super) fn settle(root: &Dir, own: &Dir, beside: &Path) -> Result<(), StoreError> {
    for observatory in OBSERVATORIES {
        let tag = state_dir::layout_tag(observatory);
        let failed = |error| StoreError::io("write", &tag, error);
        for _ in 0..LOOKS {
            if state_dir::has_text(root, &tag)? {
                break;
            }
            if let Some(directory) = tag.parent() {
                root.create_dir_all(directory).map_err(failed)?;
            }
            let text = state_dir::find_layout(root).as_str();
            state_dir::replace(own, beside, text.as_bytes(), Durable::No)?;
            let named = name_new(own, beside, root, &tag);
            let _ = own.remove_file(beside);
            match named {
                Ok(()) => break,
                // Some file systems show names of other nodes late.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => std::thread::sleep(LATE),
                Err(error) => return Err(failed(error)),
            }
        }
    }
    Ok(())
}
