//! Taking possession of a store: by one process where it can be written, by any number that share it, or that only read it.
//!
//! The state of a store that cannot be written (identities of verified files, catalogs, answers) is kept in a directory
//! of the user's, or only as long as the process lives where that cannot be written either.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt as _};

use super::lock::{self, Lock};
use super::naming::make_path;
use super::shared::{self, Shared};
use super::state_dir::{self, Durable};
use super::{Sharing, StoreError, StoreOptions};

/// A store that was taken possession of.
pub(super) struct Possession {
    /// The directory of our own files. Where they can be kept nowhere it is the root, to which nothing is written.
    pub(super) state_dir: Dir,
    /// The `.crds-fs` of a store that cannot be written, for reading.
    pub(super) theirs: Option<Dir>,
    pub(super) access: Access,
    /// Whether anything can be kept in `state_dir`.
    pub(super) remembers: bool,
}

/// The way in which a store is used.
#[derive(Debug)]
pub(super) enum Access {
    /// By this process alone; the lock is held as long as the store is in use.
    Alone(Lock),
    /// With others.
    Shared(Box<Shared>),
    /// As it is: it cannot be written.
    Reading,
}

/// Takes possession of an open directory, for sharing it as the options say; their `state` is the directory in which those
/// for shared stores, and for such as cannot be written, are made.
pub(super) fn take(root: &Dir, options: &StoreOptions) -> Result<Possession, StoreError> {
    let state = options.state.as_deref();
    let enters = match options.sharing {
        Sharing::Alone => false,
        Sharing::IfShared => shared::is_shared(root),
        Sharing::Shared => true,
    };
    let taken = if enters {
        enter(root, state, options.lease)
    } else {
        take_alone(root)
    };
    let why = match taken {
        Err(StoreError::Io { source, .. }) if is_refusal(source.kind()) => source,
        Err(error) => return Err(error),
        Ok((state_dir, access)) => {
            return Ok(Possession {
                state_dir,
                theirs: None,
                access,
                remembers: true,
            });
        }
    };
    let theirs = readable(root)?;
    let kept = state.and_then(|state| match own_directory(root, state) {
        Ok(state_dir) => Some(state_dir),
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
    let state_dir = match kept {
        Some(state_dir) => state_dir,
        // Nothing is written to it.
        None => root
            .try_clone()
            .map_err(|source| StoreError::io("open", ".", source))?,
    };
    Ok(Possession {
        state_dir,
        theirs,
        access: Access::Reading,
        remembers,
    })
}

/// The `.crds-fs` of a store that cannot be written, unless it is closed to this process.
fn readable(root: &Dir) -> Result<Option<Dir>, StoreError> {
    let Ok(own) = root.open_dir(state_dir::OWN) else {
        return Ok(None);
    };
    match state_dir::check_format(&own, state_dir::Missing::Leave) {
        Err(StoreError::Io { source, .. }) if is_refusal(source.kind()) => Ok(None),
        other => other.map(|()| Some(own)),
    }
}

fn take_alone(root: &Dir) -> Result<(Dir, Access), StoreError> {
    refuse_protected(root)?;
    let state_dir = state_dir::open(root)?;
    let owner = lock::take(&state_dir)?;
    shared::refuse_shared(&state_dir)?;
    state_dir::check_format(&state_dir, state_dir::Missing::Make)?;
    Ok((state_dir, Access::Alone(owner)))
}

fn enter(root: &Dir, state: Option<&Path>, term: Duration) -> Result<(Dir, Access), StoreError> {
    refuse_protected(root)?;
    let (state_dir, shared) = Shared::enter(root, state, term)?;
    Ok((state_dir, Access::Shared(Box::new(shared))))
}

fn refuse_protected(root: &Dir) -> Result<(), StoreError> {
    if is_protected(root) {
        let protected = ErrorKind::ReadOnlyFilesystem.into();
        return Err(StoreError::io("write to", ".", protected));
    }
    Ok(())
}

/// Whether it is a cache whose directory has no write permission for anybody, which is respected for root as well.
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
    make_path(&path).map_err(failed)?;
    let state_dir = Dir::open_ambient_dir(&path, ambient_authority()).map_err(failed)?;
    state_dir::replace(
        &state_dir,
        Path::new(state_dir::TAG_NAME),
        state_dir::TAG.as_bytes(),
        Durable::No,
    )?;
    Ok(state_dir)
}
