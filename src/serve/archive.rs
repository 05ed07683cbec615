//! What a cache directory holds: its names, found on disk, with the size and SHA-1 of their bytes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use sha1::{Digest, Sha1};

use super::ServeError;
use crate::crds::{FileName, Observatory, Sha1Sum};

/// Bytes hashed at a time.
const CHUNK: usize = 1 << 20;

/// How far the hashing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashed {
    /// Files done.
    pub files: usize,
    /// Files in all.
    pub of: usize,
    /// Bytes done.
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
    observatory: Observatory,
    name: FileName,
    path: PathBuf,
}

/// Finds and hashes everything below `mappings/<obs>` and `references/<obs>`, flat or by instrument. Names that the
/// grammar refuses are left out with a warning.
pub(super) fn read(
    root: &Path,
    progress: &(dyn Fn(Hashed) + Sync),
) -> Result<BTreeMap<Observatory, Files>, ServeError> {
    let mut candidates = Vec::new();
    for observatory in Observatory::ALL {
        let mut found = BTreeMap::new();
        collect(
            &root.join("mappings").join(observatory.as_str()),
            Part::Mappings,
            &mut found,
        )?;
        collect(
            &root.join("references").join(observatory.as_str()),
            Part::References,
            &mut found,
        )?;
        candidates.extend(found.into_iter().map(|(name, path)| Candidate {
            observatory,
            name,
            path,
        }));
    }
    if candidates.is_empty() {
        return Err(ServeError::NoCache(root.to_owned()));
    }
    let hashed = hash_all(&candidates, progress)?;
    let mut observatories = BTreeMap::<_, Files>::new();
    for (candidate, file) in candidates.into_iter().zip(hashed) {
        observatories
            .entry(candidate.observatory)
            .or_default()
            .insert(candidate.name, file);
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

/// Adds the names in one directory; a directory that is not there holds none.
fn collect(directory: &Path, part: Part, found: &mut BTreeMap<FileName, PathBuf>) -> Result<(), ServeError> {
    let failed = |source| ServeError::Read {
        path: directory.to_owned(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            // Only a real directory is an instrument: jref and the like are links to one that is read anyway.
            if matches!(part, Part::References) {
                collect(&path, Part::Instrument, found)?;
            }
            continue;
        }
        if !fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
            continue;
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
    Ok(())
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

/// Hashes the candidates on all processors; results are in their order.
fn hash_all(
    candidates: &[Candidate],
    progress: &(dyn Fn(Hashed) + Sync),
) -> Result<Vec<ServedFile>, ServeError> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new((
        Hashed {
            files: 0,
            of: candidates.len(),
            bytes: 0,
        },
        Vec::new(),
    ));
    let work = || -> Result<(), ServeError> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(candidate) = candidates.get(index) else {
                return Ok(());
            };
            let file = hash(&candidate.path, &mut buffer).map_err(|source| {
                // The others need not go on.
                next.store(candidates.len(), Ordering::Relaxed);
                ServeError::Read {
                    path: candidate.path.clone(),
                    source,
                }
            })?;
            let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            done.0.files += 1;
            done.0.bytes += file.size;
            done.1.push((index, file));
            progress(done.0);
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| Err(ServeError::Interrupted("a hashing thread panicked".to_owned())))
        })
    })?;
    let (_, mut files) = done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    files.sort_unstable_by_key(|(index, _)| *index);
    Ok(files.into_iter().map(|(_, file)| file).collect())
}

/// Size, date and SHA-1 of one file.
fn hash(path: &Path, buffer: &mut [u8]) -> std::io::Result<ServedFile> {
    let mut file = File::open(path)?;
    let modified = file.metadata()?.modified()?;
    let mut hasher = Sha1::new();
    let mut size = 0;
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(buffer.get(..count).unwrap_or_default());
                size += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ServedFile {
        path: path.to_owned(),
        size,
        sha1: Sha1Sum::from_bytes(hasher.finalize().into()),
        modified,
    })
}
