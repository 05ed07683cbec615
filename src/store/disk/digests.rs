//! Remembered digests of a cache's files, for users that do not take possession of it: the SHA-1 of each file, by its
//! identity. They have the format of [`verified`]; files that a mount has verified are known as well.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, OpenOptions};

use super::naming::make_dirs;
use super::possession;
use super::state_dir::{self, Durable};
use crate::crds::{FileKey, FileName, Observatory, Sha1Sum};
use crate::store::StoreError;
use crate::store::verified::{self, Identity, Mark, Origin};

/// The directory of these files in the directory of our own.
const DIRECTORY: &str = "digests";

/// Remembered digests of the files of a cache.
#[derive(Debug)]
pub(crate) struct Digests {
    observatories: BTreeMap<Observatory, Remembered>,
}

/// The remembered digests of one observatory's files.
#[derive(Debug, Default)]
struct Remembered {
    known: HashMap<FileName, Vec<(Identity, Sha1Sum)>>,
    /// The file that new digests are appended to; `None` where they are not remembered.
    log: Option<File>,
}

impl Digests {
    /// Reads the remembered digests of a cache. New ones are kept in the cache, or where that cannot be written in a
    /// directory for it below `state`, or not at all.
    pub(crate) fn open(cache: &Path, state: Option<&Path>, observatories: &[Observatory]) -> Self {
        let (owns, writable) = match Dir::open_ambient_dir(cache, ambient_authority()) {
            Ok(root) => places(&root, state),
            Err(error) => {
                log::debug!("cannot open {}: {error}", cache.display());
                (Vec::new(), false)
            }
        };
        let observatories = observatories
            .iter()
            .map(|observatory| {
                let mut remembered = Remembered::default();
                let name = observatory.as_str();
                let digests = Path::new(DIRECTORY).join(name);
                let mut untidy = false;
                for own in &owns {
                    remembered.read(own, &Path::new("verified").join(name));
                    untidy = remembered.read(own, &digests);
                }
                let written = owns.last().filter(|_| writable);
                remembered.log = written.and_then(|own| open_log(own, &digests, untidy));
                (*observatory, remembered)
            })
            .collect();
        Self { observatories }
    }

    /// The digest of the file with this metadata, if it is known.
    pub(crate) fn of(&self, key: &FileKey, metadata: &Metadata) -> Option<Sha1Sum> {
        let identity = Identity::of(metadata);
        let known = self.observatories.get(&key.observatory)?.known.get(&key.name)?;
        known
            .iter()
            .find_map(|(of, sha1)| (*of == identity).then_some(*sha1))
    }

    /// Remembers the digest of a file whose metadata was the same before its bytes were read and after. A failure costs
    /// no more than hashing it again.
    pub(crate) fn remember(&self, key: &FileKey, metadata: &Metadata, sha1: Sha1Sum) {
        let log = self
            .observatories
            .get(&key.observatory)
            .and_then(|it| it.log.as_ref());
        let Some(mut log) = log else { return };
        let line = line(&key.name, Identity::of(metadata), sha1);
        if let Err(error) = log.write_all(line.as_bytes()) {
            log::debug!("cannot remember the digest of {key}: {error}");
        }
    }

    /// Whether two looks at an open file found the same.
    pub(crate) fn is_same(before: &Metadata, after: &Metadata) -> bool {
        Identity::of(before) == Identity::of(after)
    }
}

impl Remembered {
    /// Adds the digests in a file; returns whether that should be rewritten. A file that cannot be read counts as
    /// empty.
    fn read(&mut self, directory: &Dir, path: &Path) -> bool {
        let text = state_dir::read_text(directory, path, state_dir::MEMORY_LIMIT);
        let (digests, untidy) = parse(&text.ok().flatten().unwrap_or_default());
        for (name, digest) in digests {
            self.known.entry(name).or_default().push(digest);
        }
        untidy
    }
}

/// The digests in a file, and whether it should be rewritten.
fn parse(
    text: &str,
) -> (
    impl Iterator<Item = (FileName, (Identity, Sha1Sum))> + use<>,
    bool,
) {
    let (names, untidy) = verified::read(text);
    let digests = names.into_iter().filter_map(|(name, known)| {
        let (identity, sha1, _) = known.copy?;
        Some((name, (identity, sha1?)))
    });
    (digests, untidy)
}

/// The line that remembers a digest.
fn line(name: &FileName, identity: Identity, sha1: Sha1Sum) -> String {
    verified::line(name, &Mark::Copy(identity, Some(sha1), Origin::Found))
}

/// The directories of our own for a cache, and whether digests can be written to the last of them.
fn places(root: &Dir, state: Option<&Path>) -> (Vec<Dir>, bool) {
    match here(root) {
        Ok(own) => return (vec![own], true),
        Err(error) => log::debug!("digests are not remembered in the cache: {error}"),
    }
    let mut owns = Vec::from_iter(root.open_dir(state_dir::OWN));
    let other = state.and_then(|state| {
        let made = possession::own_directory(root, state).and_then(with_digests);
        made.inspect_err(|error| log::debug!("digests are not remembered: {error}"))
            .ok()
    });
    let writable = other.is_some();
    owns.extend(other);
    (owns, writable)
}

/// `.crds-fs` in a cache, made when it is missing, if the cache may be written.
fn here(root: &Dir) -> Result<Dir, StoreError> {
    if possession::is_protected(root) {
        let protected = std::io::ErrorKind::ReadOnlyFilesystem.into();
        return Err(StoreError::io("write to", ".", protected));
    }
    let own = state_dir::open(root)?;
    state_dir::check_format(&own, state_dir::Missing::Make)?;
    with_digests(own)
}

fn with_digests(own: Dir) -> Result<Dir, StoreError> {
    let made = make_dirs(&own, Path::new(DIRECTORY));
    made.map_err(|error| StoreError::io("make", DIRECTORY, error))?;
    Ok(own)
}

/// Opens a file of digests for appending, after writing it anew where it is mostly outdated.
fn open_log(directory: &Dir, path: &Path, untidy: bool) -> Option<File> {
    if untidy && let Ok(Some(text)) = state_dir::read_text(directory, path, state_dir::MEMORY_LIMIT) {
        let (digests, _) = parse(&text);
        let lines: String = digests
            .map(|(name, (identity, sha1))| line(&name, identity, sha1))
            .collect();
        // As long as it cannot be written anew the old one does.
        let _ = state_dir::replace(directory, path, lines.as_bytes(), Durable::No);
    }
    state_dir::open_writable(directory, path, OpenOptions::new().append(true)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_known_to_the_next_as_long_as_the_file_stays() {
        let cache = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let path = cache.path().join("x.fits");
        std::fs::write(&path, "1").unwrap();
        let key = FileKey {
            observatory: Observatory::Hst,
            name: "x.fits".parse().unwrap(),
        };
        let metadata = || Metadata::from_file(&File::open(&path).unwrap()).unwrap();
        let open = || Digests::open(cache.path(), Some(elsewhere.path()), &[Observatory::Hst]);
        let sha1 = Sha1Sum::from_bytes([7; 20]);
        let digests = open();
        assert_eq!(digests.of(&key, &metadata()), None);
        digests.remember(&key, &metadata(), sha1);
        assert_eq!(open().of(&key, &metadata()), Some(sha1));
        assert!(cache.path().join(".crds-fs/digests/hst").is_file());
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        std::fs::write(&path, "22").unwrap();
        assert_eq!(open().of(&key, &metadata()), None);
    }
}
