//! Taking possession of a store: alone where it can be written, else by as many as want to read it.
//!
//! What must be remembered of a store that cannot be written (which of its files were verified, catalogs, answers) is kept in
//! a directory of the user's, and for as long as the process lives where there is none either.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt as _};

use super::StoreError;
use super::own::{self, Durable};

/// A store that was taken possession of.
pub(super) struct Possession {
    /// Where our own files are.
    pub(super) own: Dir,
    /// Where there are more of them, for reading: those that the owner of a store that cannot be written has left there.
    pub(super) theirs: Option<Dir>,
    /// Held for its lock as long as the store is in use; none where it cannot be written.
    pub(super) owner: Option<File>,
    /// Whether anything can be kept in `own`.
    pub(super) remembers: bool,
}

/// Takes possession of an open directory. `state` is where directories for stores that cannot be written are made.
pub(super) fn take(root: &Dir, state: Option<&Path>) -> Result<Possession, StoreError> {
    let why = match take_alone(root) {
        Err(StoreError::Io { source, .. }) if is_refusal(source.kind()) => source,
        Err(error) => return Err(error),
        Ok((own, owner)) => {
            return Ok(Possession {
                own,
                theirs: None,
                owner: Some(owner),
                remembers: true,
            });
        }
    };
    let theirs = root.open_dir(own::OWN).ok();
    if let Some(theirs) = &theirs {
        own::check_format(theirs, own::Missing::Leave)?;
    }
    let kept = state.and_then(|state| match own_directory(root, state) {
        Ok(own) => Some(own),
        Err(error) => {
            log::debug!("{error}");
            None
        }
    });
    log::warn!(
        "the cache cannot be written ({why}): what is in it can be read, nothing is fetched into it; what is learnt of it is \
         remembered {}",
        if kept.is_some() {
            "in a directory of yours (--state)"
        } else {
            "until the unmount"
        }
    );
    let remembers = kept.is_some();
    let own = match kept {
        Some(own) => own,
        // Nothing is written to it.
        None => root
            .try_clone()
            .map_err(|source| StoreError::io("open", ".", source))?,
    };
    Ok(Possession {
        own,
        theirs,
        owner: None,
        remembers,
    })
}

fn take_alone(root: &Dir) -> Result<(Dir, File), StoreError> {
    if is_protected(root) {
        let protected = ErrorKind::ReadOnlyFilesystem.into();
        return Err(StoreError::io("write to", ".", protected));
    }
    let own = own::open(root)?;
    let owner = own::lock(&own)?;
    own::check_format(&own, own::Missing::Make)?;
    Ok((own, owner))
}

/// Whether it is a cache whose directory nobody may write to: what is meant for all holds for root as well.
pub(super) fn is_protected(root: &Dir) -> bool {
    let mode = root.dir_metadata().map_or(0o200, |metadata| metadata.mode());
    mode & 0o222 == 0
        && ["config", "mappings", "references"]
            .iter()
            .any(|area| root.exists(area))
}

fn is_refusal(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// The directory for one store below `state`, made when it is missing, if something can be written there.
pub(super) fn own_directory(root: &Dir, state: &Path) -> Result<Dir, StoreError> {
    let metadata = root
        .dir_metadata()
        .map_err(|source| StoreError::io("look at", ".", source))?;
    let path = state.join(format!("{:x}-{:x}", metadata.dev(), metadata.ino()));
    let failed = |source| StoreError::io("make", &path, source);
    std::fs::create_dir_all(&path).map_err(failed)?;
    let own = Dir::open_ambient_dir(&path, ambient_authority()).map_err(failed)?;
    own::replace(&own, Path::new(own::TAG_NAME), own::TAG.as_bytes(), Durable::No)?;
    Ok(own)
}
