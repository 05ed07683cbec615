//! The digests of a cache's files, remembered by who only reads them: for each file, known by its identity, the SHA-1 of
//! its bytes. In the format of [`verified`], beside what a mount has verified, which counts too.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, MetadataExt as _, OpenOptions, OpenOptionsExt as _};
use rustix::fs::OFlags;

use super::own::{self, Durable};
use crate::crds::{FileKey, FileName, Observatory, Sha1Sum};
use crate::store::StoreError;
use crate::store::verified::{self, Identity, Mark, Origin};

/// Where they lie in the directory of our own.
const DIRECTORY: &str = "digests";

/// Remembered digests of the files of a cache.
#[derive(Debug)]
pub struct Digests {
    observatories: BTreeMap<Observatory, Remembered>,
}

/// What is remembered of one observatory's files.
#[derive(Debug, Default)]
struct Remembered {
    known: HashMap<FileName, Vec<(Identity, Sha1Sum)>>,
    /// Where more is written down, if anywhere.
    log: Option<File>,
}

impl Digests {
    /// Reads what is remembered of a cache. More is written down in the cache, or in the directory `elsewhere` where the
    /// cache cannot be written, or not at all.
    pub fn open(cache: &Path, elsewhere: Option<&Path>, observatories: &[Observatory]) -> Self {
        let (own, written) = match own_directory(cache) {
            Ok((own, digests)) => (Some(own), Some(digests)),
            Err((own, error)) => {
                log::debug!("digests are not remembered in {}: {error}", cache.display());
                (own, None)
            }
        };
        let other = elsewhere.filter(|_| written.is_none()).and_then(|path| {
            let opened =
                std::fs::create_dir_all(path).and_then(|()| Dir::open_ambient_dir(path, ambient_authority()));
            opened
                .inspect_err(|error| log::debug!("digests are not remembered in {}: {error}", path.display()))
                .ok()
        });
        let observatories = observatories
            .iter()
            .map(|observatory| {
                let mut remembered = Remembered::default();
                let name = Path::new(observatory.as_str());
                if let Some(own) = &own {
                    remembered.read(own, &Path::new("verified").join(name));
                }
                match (&written, &other, &own) {
                    (Some(place), ..) | (None, Some(place), _) => {
                        let untidy = remembered.read(place, name);
                        remembered.log = open_log(place, name, untidy);
                    }
                    (None, None, Some(own)) => drop(remembered.read(own, &Path::new(DIRECTORY).join(name))),
                    (None, None, None) => {}
                }
                (*observatory, remembered)
            })
            .collect();
        Self { observatories }
    }

    /// The digest of the file with this metadata, if it is known.
    pub fn of(&self, key: &FileKey, metadata: &Metadata) -> Option<Sha1Sum> {
        let identity = Identity::of(metadata);
        let known = self.observatories.get(&key.observatory)?.known.get(&key.name)?;
        known
            .iter()
            .find_map(|(of, sha1)| (*of == identity).then_some(*sha1))
    }

    /// Remembers the digest of a file whose metadata was the same before its bytes were read and after. A failure costs
    /// no more than hashing it again.
    pub fn remember(&self, key: &FileKey, metadata: &Metadata, sha1: Sha1Sum) {
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
    pub fn is_same(before: &Metadata, after: &Metadata) -> bool {
        Identity::of(before) == Identity::of(after)
    }
}

impl Remembered {
    /// Adds what a file says; whether that file is worth writing anew. One that cannot be read says nothing.
    fn read(&mut self, directory: &Dir, path: &Path) -> bool {
        let text = own::read_text(directory, path, own::MEMORY_LIMIT);
        let (digests, untidy) = parse(&text.ok().flatten().unwrap_or_default());
        for (name, digest) in digests {
            self.known.entry(name).or_default().push(digest);
        }
        untidy
    }
}

/// The digests that a file tells of, and whether it is worth writing anew.
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

/// `.crds-fs` in a cache, if it is there, and the directory of digests in it, which is made when it is missing. A cache
/// that nobody may write is not written by root either.
fn own_directory(cache: &Path) -> Result<(Dir, Dir), (Option<Dir>, StoreError)> {
    let failed = |error| StoreError::io("open", cache, error);
    let root = Dir::open_ambient_dir(cache, ambient_authority()).map_err(|error| (None, failed(error)))?;
    let mode = root.dir_metadata().map_or(0, |metadata| metadata.mode());
    if mode & 0o222 == 0 {
        let protected = failed(std::io::ErrorKind::ReadOnlyFilesystem.into());
        return Err((root.open_dir(own::OWN).ok(), protected));
    }
    let own = match own::open(&root) {
        Ok(own) => own,
        Err(error) => return Err((root.open_dir(own::OWN).ok(), error)),
    };
    let opened = own::check_format(&own, own::Missing::Make).and_then(|()| {
        own.create_dir_all(DIRECTORY)
            .and_then(|()| own.open_dir(DIRECTORY))
            .map_err(|error| StoreError::io("make", DIRECTORY, error))
    });
    match opened {
        Ok(digests) => Ok((own, digests)),
        Err(error) => Err((Some(own), error)),
    }
}

/// Opens a file of digests for appending, after writing it anew where it is mostly outdated.
fn open_log(directory: &Dir, path: &Path, untidy: bool) -> Option<File> {
    if untidy && let Ok(Some(text)) = own::read_text(directory, path, own::MEMORY_LIMIT) {
        let (digests, _) = parse(&text);
        let lines: String = digests
            .map(|(name, (identity, sha1))| line(&name, identity, sha1))
            .collect();
        // As long as it cannot be written anew the old one does.
        let _ = own::replace(directory, path, lines.as_bytes(), Durable::No);
    }
    let mut options = OpenOptions::new();
    // A pipe that somebody put there is not waited for.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    options.append(true).create(true).custom_flags(flags);
    let file = directory.open_with(path, &options).ok()?;
    file.metadata().ok()?.is_file().then(|| file.into_std())
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
