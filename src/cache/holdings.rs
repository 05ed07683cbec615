//! The files of an observatory that a cache directory holds, seen from outside: a mount's too, without fetching anything.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::crds::Observatory;
use crate::dataset::{open_regular, read_text};
use crate::rules::MAX_TEXT_BYTES;

/// The files of an observatory below a cache directory or a mount.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    /// The directory of its rules.
    mappings: PathBuf,
    /// Sizes by name, of rules and references alike: their names differ.
    sizes: BTreeMap<String, u64>,
}

impl Holdings {
    /// Lists what is there; a directory that does not exist holds nothing. In a mount every catalogued file is shown: here
    /// are those that take room.
    pub(crate) fn of(root: &Path, observatory: Observatory, is_mount: bool) -> io::Result<Self> {
        let mappings = root.join("mappings").join(observatory.as_str());
        let references = root.join("references").join(observatory.as_str());
        let mut listing = Listing {
            is_mount,
            sizes: BTreeMap::new(),
        };
        listing.read(&mappings)?;
        for directory in listing.read(&references)? {
            listing.read(&directory)?;
        }
        let sizes = listing.sizes;
        Ok(Self { mappings, sizes })
    }

    /// The names of all files.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.sizes.keys().map(String::as_str)
    }

    /// The size of a file that is here.
    pub(crate) fn size(&self, name: &str) -> Option<u64> {
        self.sizes.get(name).copied()
    }

    /// The text of a mapping that is here, as far as it can be read.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let path = self.mappings.join(name);
        let text = open_regular(&path).and_then(|file| read_text(&file, MAX_TEXT_BYTES));
        text.map_err(|error| log::warn!("{}: {error}", path.display()))
            .ok()
    }
}

struct Listing {
    is_mount: bool,
    sizes: BTreeMap<String, u64>,
}

enum Kind {
    Directory,
    File(u64),
}

impl Listing {
    /// Notes the files of a directory; gives its directories, symbolic links not among them.
    fn read(&mut self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let failed =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", directory.display()));
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut directories = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            match self.kind(&entry) {
                Some(Kind::Directory) => directories.push(entry.path()),
                Some(Kind::File(size)) => {
                    if let Ok(name) = entry.file_name().into_string() {
                        self.sizes.insert(name, size);
                    }
                }
                None => {}
            }
        }
        Ok(directories)
    }

    /// The kind of an entry; nothing for a file of which no byte is here. A link to a file counts as the file.
    fn kind(&self, entry: &DirEntry) -> Option<Kind> {
        let of_file = |metadata: &Metadata| {
            let is_here = !self.is_mount || metadata.len() == 0 || metadata.blocks() > 0;
            (metadata.is_file() && is_here).then_some(Kind::File(metadata.len()))
        };
        let metadata = entry.metadata().ok()?;
        if metadata.is_dir() {
            return Some(Kind::Directory);
        }
        if metadata.is_symlink() {
            return fs::metadata(entry.path())
                .ok()
                .and_then(|metadata| of_file(&metadata));
        }
        of_file(&metadata)
    }
}
