//! The files of a cache directory: their names, found on disk, with the size and SHA-1 of their bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use cap_std::fs::Metadata;
use parking_lot::Mutex;
use sha1::{Digest, Sha1};

use super::ServeError;
use crate::crds::{FileKey, FileName, Observatory, Sha1Sum};
use crate::dataset::open_regular;
use crate::store::Digests;

/// Bytes hashed at a time.
const CHUNK: usize = 1 << 20;

/// The progress of hashing a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HashProgress {
    /// Files done.
    pub files: usize,
    /// Files in all.
    pub of: usize,
    /// Of the files done: those whose digest an earlier start has remembered.
    pub known: usize,
    /// Of the files done: those that cannot be read, and are not served.
    pub unreadable: usize,
    /// Bytes hashed.
    pub bytes: u64,
}

/// One file of the catalog.
#[derive(Debug, Clone)]
pub(super) struct ServedFile {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) sha1: Sha1Sum,
    pub(super) modified: SystemTime,
}

/// All files of an observatory by name.
pub(super) type Files = BTreeMap<FileName, ServedFile>;

/// A file to be hashed.
struct Candidate {
    key: FileKey,
    path: PathBuf,
}

/// Finds and hashes everything below `mappings/<obs>` and `references/<obs>`, flat or by instrument. Names that the
/// grammar refuses, and what cannot be read, are left out with a warning. Digests are remembered in the cache, else below
/// the directory `state`.
pub(super) fn read(
    root: &Path,
    state: Option<&Path>,
    progress: &(dyn Fn(HashProgress) + Sync),
) -> Result<BTreeMap<Observatory, Files>, ServeError> {
    let unusable = |source| ServeError::Read {
        path: root.to_owned(),
        source,
    };
    fs::read_dir(root).map_err(unusable)?;
    let mut candidates = Vec::new();
    for observatory in Observatory::ALL {
        let mut found = BTreeMap::new();
        collect(
            &root.join("mappings").join(observatory.as_str()),
            Part::Mappings,
            &mut found,
        );
        collect(
            &root.join("references").join(observatory.as_str()),
            Part::References,
            &mut found,
        );
        candidates.extend(found.into_iter().map(|(name, path)| Candidate {
            key: FileKey { observatory, name },
            path,
        }));
    }
    if candidates.is_empty() {
        return Err(ServeError::NoCache(root.to_owned()));
    }
    let present: BTreeSet<Observatory> = candidates.iter().map(|it| it.key.observatory).collect();
    let digests = Digests::open(root, state, &Vec::from_iter(present));
    let hashed = hash_all(&candidates, &digests, progress)?;
    let mut observatories = BTreeMap::<_, Files>::new();
    for (candidate, file) in candidates.into_iter().zip(hashed) {
        if let Some(file) = file {
            observatories
                .entry(candidate.key.observatory)
                .or_default()
                .insert(candidate.key.name, file);
        }
    }
    if observatories.is_empty() {
        return Err(ServeError::Unreadable(root.to_owned()));
    }
    Ok(observatories)
}

/// The part of a cache that a directory belongs to.
#[derive(Clone, Copy)]
enum Part {
    Mappings,
    References,
    /// A directory of one instrument below the references.
    Instrument,
}

/// Adds the names in one directory, links followed; a directory that is not there holds none, and one that cannot be read is
/// left out with a warning.
fn collect(directory: &Path, part: Part, found: &mut BTreeMap<FileName, PathBuf>) {
    let skipped = |error: io::Error| {
        log::warn!(
            "{} is not served: it cannot be read: {error}",
            directory.display()
        );
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return skipped(error),
    };
    let mut seen = BTreeSet::new();
    let mut is_new = |directory: &Path| fs::canonicalize(directory).is_ok_and(|place| seen.insert(place));
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return skipped(error),
        };
        let path = entry.path();
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(metadata) if metadata.is_dir() => {
                // Those of an instrument; jref and the like are links to another one of these.
                if matches!(part, Part::References) && is_new(&path) {
                    collect(&path, Part::Instrument, found);
                }
                continue;
            }
            Ok(_) => {
                log::warn!("{} is not served: it is no regular file", path.display());
                continue;
            }
            Err(error) => {
                log::warn!("{} is not served: {error}", path.display());
                continue;
            }
        }
        let Some(name) = accept(&entry.file_name(), part) else {
            log::warn!(
                "{} is not served: it is not the name of {}",
                path.display(),
                part.what()
            );
            continue;
        };
        if let Some(other) = found.get(&name) {
            log::warn!(
                "{} is not served: {} has the same name",
                path.display(),
                other.display()
            );
            continue;
        }
        found.insert(name, path);
    }
}

impl Part {
    fn what(self) -> &'static str {
        match self {
            Self::Mappings => "a mapping",
            Self::References | Self::Instrument => "a reference",
        }
    }
}

/// The validated name, if a file of this name belongs into this part of a cache (spec/crds-service 4.4).
fn accept(name: &OsStr, part: Part) -> Option<FileName> {
    let name: FileName = name.to_str()?.parse().ok()?;
    let fits = match part {
        Part::Mappings => name.kind().is_mapping(),
        Part::References | Part::Instrument => is_reference(&name),
    };
    fits.then_some(name)
}

/// Whether the name ends as references do: `.fits .asdf .yaml .json .text .rNh .rNd`, in any case.
fn is_reference(name: &FileName) -> bool {
    let extension = name.extension().unwrap_or_default().to_ascii_lowercase();
    matches!(extension.as_str(), "fits" | "asdf" | "yaml" | "json" | "text")
        || matches!(extension.as_bytes(), [b'r', b'0'..=b'9', b'h' | b'd'])
}

/// Hashes the candidates on all processors; results are in their order, and none for what cannot be read.
fn hash_all(
    candidates: &[Candidate],
    digests: &Digests,
    progress: &(dyn Fn(HashProgress) + Sync),
) -> Result<Vec<Option<ServedFile>>, ServeError> {
    let next = AtomicUsize::new(0);
    let begin = HashProgress {
        of: candidates.len(),
        ..HashProgress::default()
    };
    let done = Mutex::new((begin, Vec::new()));
    progress(begin);
    let work = || {
        let mut buffer = vec![0; CHUNK];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(candidate) = candidates.get(index) else {
                return;
            };
            let examined = examine(candidate, digests, &mut buffer);
            let mut done = done.lock();
            let (hashed, files) = &mut *done;
            hashed.files += 1;
            match examined {
                Ok((file, known)) => {
                    hashed.known += usize::from(known);
                    hashed.bytes += if known { 0 } else { file.size };
                    files.push((index, file));
                }
                Err(error) => {
                    hashed.unreadable += 1;
                    log::warn!(
                        "{} is not served: it cannot be read: {error}",
                        candidate.path.display()
                    );
                }
            }
            progress(*hashed);
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .map_err(|_| ServeError::Interrupted("a hashing thread panicked".to_owned()))
        })
    })?;
    let (_, files) = done.into_inner();
    let mut results = vec![None; candidates.len()];
    for (index, file) in files {
        if let Some(place) = results.get_mut(index) {
            *place = Some(file);
        }
    }
    Ok(results)
}

/// Size, date and SHA-1 of one file, and whether an earlier start has remembered that.
fn examine(candidate: &Candidate, digests: &Digests, buffer: &mut [u8]) -> io::Result<(ServedFile, bool)> {
    // A file that has become a pipe meanwhile is not waited for.
    let mut file = open_regular(&candidate.path)?;
    let before = Metadata::from_file(&file)?;
    let served = |size, sha1| ServedFile {
        path: candidate.path.clone(),
        size,
        sha1,
        modified: before
            .modified()
            .map_or(UNIX_EPOCH, cap_std::time::SystemTime::into_std),
    };
    if let Some(sha1) = digests.of(&candidate.key, &before) {
        return Ok((served(before.len(), sha1), true));
    }
    let (size, sha1) = hash(&mut file, buffer)?;
    // A file that was written to meanwhile has another digest the next time.
    if Digests::is_same(&before, &Metadata::from_file(&file)?) {
        digests.remember(&candidate.key, &before, sha1);
    }
    Ok((served(size, sha1), false))
}

/// Length and SHA-1 of the rest of a file.
fn hash(file: &mut File, buffer: &mut [u8]) -> io::Result<(u64, Sha1Sum)> {
    let mut hasher = Sha1::new();
    let mut size = 0;
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(buffer.get(..count).unwrap_or_default());
                size += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((size, Sha1Sum::from_bytes(hasher.finalize().into())))
}
