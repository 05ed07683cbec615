//! Small files with a text that is the same for all mounts of a shared store: the first one that writes it decides, also where
//! several start at the same moment.

use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use cap_std::fs::{Dir, OpenOptions};

use super::StoreError;
use super::naming::{self, has_no_links, link_new, make_dirs, until_seen};
use super::state_dir::{self, Durable, SMALL_LIMIT};

/// The number of times that a file is made, or seen, if it goes again.
const TURNS: usize = 4;

/// A text that is the same for all.
pub(super) struct Agreed {
    pub(super) text: String,
    /// Whether it was decided here just now.
    pub(super) is_new: bool,
}

/// The text of the file at a path, which is `text` if there is none. Anything but a regular file counts as an empty one.
/// `beside` is a path in `own` that nobody else uses.
pub(super) fn agree(
    own: &Dir,
    beside: &Path,
    (dir, path): (&Dir, &Path),
    text: &str,
) -> Result<Agreed, StoreError> {
    let failed = |error| StoreError::io("write", path, error);
    let found = |text| Agreed { text, is_new: false };
    for _ in 0..TURNS {
        if let Some(text) = state_dir::read_text(dir, path, SMALL_LIMIT)?.filter(|text| !text.is_empty()) {
            return Ok(found(text));
        }
        make_dirs(dir, path.parent().unwrap_or(Path::new(""))).map_err(failed)?;
        // With its text at once, and never over another's.
        state_dir::replace(own, beside, text.as_bytes(), Durable::Yes)?;
        let named = match link_new(own, beside, dir, path) {
            Err(error) if has_no_links(&error) => create(dir, path, text),
            other => other,
        };
        if let Err(error) = naming::remove(own, beside) {
            log::debug!("{} is left: {error}", beside.display());
        }
        match named {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => {
                other.map_err(failed)?;
                let text = text.to_owned();
                return Ok(Agreed { text, is_new: true });
            }
        }
        // It may come late, and others than mounts write the text after they have made the file.
        let text = until_seen(|| written(dir, path))?;
        match text {
            Some(text) => return Ok(found(text)),
            None if dir.symlink_metadata(path).is_ok() => return Ok(found(String::new())),
            None => {}
        }
    }
    let message = "it is said to be there and cannot be seen";
    Err(failed(io::Error::new(ErrorKind::NotFound, message)))
}

/// The text of a file, if there is one that is not empty. Something else than a regular file has none.
pub(super) fn written(dir: &Dir, path: &Path) -> Result<Option<String>, StoreError> {
    match dir.symlink_metadata(path) {
        Ok(there) if !there.is_file() => Ok(Some(String::new())),
        _ => Ok(state_dir::read_text(dir, path, SMALL_LIMIT)?.filter(|text| !text.is_empty())),
    }
}

/// Makes a file in its place, where a file has one name only. Others see it without its text for a moment.
fn create(dir: &Dir, path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let mut file = dir.open_with(path, &options)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
