//! The store's own files under `.crds-fs/`, and the configuration files that clients read.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt as _};
use cap_std::fs::{Dir, Metadata, MetadataExt, OpenOptions, OpenOptionsExt as _};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::moments::{self, Moment};
use super::naming::{self, make_dirs, new_file};
use crate::crds::Observatory;
use crate::store::{ReferenceLayout, Snapshot, StoreError};

/// The directory that is crds-fs's own.
pub(super) const OWN: &str = ".crds-fs";
/// The file of the format of the store, and the format.
pub(super) const FORMAT_NAME: &str = "format";
const FORMAT: &str = "1";
/// Tells backup programs that the directory can be left out.
pub(super) const TAG_NAME: &str = "CACHEDIR.TAG";
pub(super) const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # Partial downloads and state of crds-fs; they can be made again. See https://bford.info/cachedir/\n";
/// Limits on files read whole, in bytes.
const SNAPSHOT_LIMIT: u64 = 256 << 20;
const NOTE_LIMIT: u64 = 256 << 20;
pub(super) const MEMORY_LIMIT: u64 = 256 << 20;
/// The limit on files of a few lines.
pub(super) const SMALL_LIMIT: u64 = 4096;
/// The number of tries of what others replace.
const STALE_TRIES: usize = 5;
/// The beginning of temporary names.
pub(super) const TEMPORARY: &str = ".crds-fs~";
/// Keeps temporary names apart.
static TURN: AtomicU64 = AtomicU64::new(0);

/// Opens `.crds-fs`, making it when it is missing.
pub(super) fn open(root: &Dir) -> Result<Dir, StoreError> {
    let failed = |error| StoreError::io("make", OWN, error);
    make_dirs(root, Path::new(OWN)).map_err(failed)?;
    root.open_dir(OWN).map_err(failed)
}

/// The kind of thing at a path.
pub(super) enum Plain {
    /// A regular file, open for reading.
    File(File, Metadata),
    /// A symbolic link.
    Link,
    /// A directory, a pipe, a socket, a device.
    Other,
    /// Nothing.
    Absent,
}

/// Opens a regular file without following a link and without waiting for a pipe.
pub(super) fn open_plain(dir: &Dir, path: &Path) -> io::Result<Plain> {
    unless_stale(|| open_plain_once(dir, path))
}

/// Does it again, a few times, where somebody has replaced the file on a network file system at that moment (ESTALE).
pub(super) fn unless_stale<T>(mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..STALE_TRIES {
        match act() {
            Err(error) if is_stale(&error) => {}
            other => return other,
        }
    }
    act()
}

fn open_plain_once(dir: &Dir, path: &Path) -> io::Result<Plain> {
    let mut options = OpenOptions::new();
    careful(options.read(true));
    match dir.open_with(path, &options) {
        Ok(file) => {
            let metadata = file.metadata()?;
            let plain = metadata.is_file().then(|| Plain::File(file.into_std(), metadata));
            Ok(plain.unwrap_or(Plain::Other))
        }
        Err(error) if is_absence(&error) => Ok(Plain::Absent),
        Err(error) if is(&error, Errno::LOOP) => Ok(Plain::Link),
        Err(error) if is(&error, Errno::NXIO) => Ok(Plain::Other),
        Err(error) => Err(error),
    }
}

/// Whether `metadata` is of the inode of an open file.
pub(super) fn is_file_of(file: &File, metadata: &Metadata) -> io::Result<bool> {
    let open = Metadata::from_file(file)?;
    Ok((open.dev(), open.ino()) == (metadata.dev(), metadata.ino()))
}

/// Neither follows a link nor waits for the other end of a pipe.
fn careful(options: &mut OpenOptions) {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits()).unwrap_or_default();
    options.follow(FollowSymlinks::No).custom_flags(flags);
}

pub(super) fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Whether the error says that a file is gone from its server.
pub(super) fn is_stale(error: &io::Error) -> bool {
    is(error, Errno::STALE)
}

/// Whether the error says that nothing is there.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Opens a file of our own for writing, making it when it is missing. Anything there that is not a regular file is
/// moved to quarantine.
pub(super) fn open_writable(own: &Dir, path: &Path, options: &OpenOptions) -> io::Result<File> {
    let mut options = options.clone();
    careful(options.create(true));
    for _ in 0..2 {
        match own.open_with(path, &options) {
            Ok(file) if file.metadata()?.is_file() => return Ok(file.into_std()),
            Ok(_) => {}
            Err(error) if is(&error, Errno::LOOP) || is(&error, Errno::NXIO) || is(&error, Errno::ISDIR) => {}
            Err(error) => return Err(error),
        }
        let name = path.to_string_lossy().replace('/', "-");
        let aside = Path::new("quarantine").join(format!("{name}.{}.{}", std::process::id(), turn()));
        make_dirs(own, Path::new("quarantine"))?;
        own.rename(path, own, &aside)?;
        log::warn!(
            "{}/{} is not a regular file; moved to {OWN}/{}",
            OWN,
            path.display(),
            aside.display()
        );
    }
    let message = "something that is not a regular file comes back there again and again";
    Err(io::Error::new(ErrorKind::InvalidInput, message))
}

/// A number that no other call in this process gets.
pub(super) fn turn() -> u64 {
    TURN.fetch_add(1, Ordering::Relaxed)
}

/// The way to treat a store without a format: make it, or leave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Make,
    Leave,
}

/// Fails if the store has another format; writes the format into a new store if `missing` says so.
pub(super) fn check_format(own: &Dir, missing: Missing) -> Result<(), StoreError> {
    match read_text(own, Path::new(FORMAT_NAME), SMALL_LIMIT)? {
        Some(text) if text.trim() == FORMAT => Ok(()),
        Some(text) => Err(StoreError::Format {
            found: text.trim().chars().take(40).collect(),
            known: FORMAT,
        }),
        None if missing == Missing::Leave => Ok(()),
        None => {
            replace(own, Path::new(TAG_NAME), TAG.as_bytes(), Durable::No)?;
            replace(own, Path::new(FORMAT_NAME), &format_text(), Durable::No)
        }
    }
}

/// The text of the file of the format.
pub(super) fn format_text() -> Vec<u8> {
    format!("{FORMAT}\n").into_bytes()
}

/// The path of the tag that says how the references of an observatory lie.
pub(super) fn layout_tag(observatory: Observatory) -> PathBuf {
    config_path(observatory, "ref_cache_subdir_mode")
}

/// Whether there is a small file of text at a path.
pub(super) fn has_text(dir: &Dir, path: &Path) -> Result<bool, StoreError> {
    Ok(read_text(dir, path, SMALL_LIMIT)?.is_some())
}

/// The layout of references: that of the tag `ref_cache_subdir_mode`, else by instrument if an instrument directory has
/// entries, else flat.
pub(super) fn find_layout(root: &Dir) -> ReferenceLayout {
    for observatory in Observatory::ALL {
        let path = layout_tag(observatory);
        let Ok(Some(text)) = read_text(root, &path, SMALL_LIMIT) else {
            continue;
        };
        match text.trim() {
            "flat" => return ReferenceLayout::Flat,
            "instrument" => return ReferenceLayout::Instrument,
            other => log::warn!(
                "{} says '{}', which is neither 'flat' nor 'instrument': ignored",
                path.display(),
                other.escape_debug()
            ),
        }
    }
    let has_files = |directory: PathBuf| {
        root.read_dir(directory)
            .is_ok_and(|mut entries| entries.next().is_some())
    };
    let by_instrument = Observatory::ALL.into_iter().any(|observatory| {
        let references: PathBuf = ["references", observatory.as_str()].iter().collect();
        observatory
            .instruments()
            .iter()
            .any(|instrument| has_files(references.join(instrument)))
    });
    if by_instrument {
        ReferenceLayout::Instrument
    } else {
        ReferenceLayout::Flat
    }
}

/// A file of an observatory's configuration.
pub(super) fn config_path(observatory: Observatory, name: &str) -> PathBuf {
    ["config", observatory.as_str(), name].iter().collect()
}

pub(super) fn snapshot(root: &Dir, observatory: Observatory) -> Result<Option<Snapshot>, StoreError> {
    let path = config_path(observatory, "server_config");
    let text = match read_text(root, &path, SNAPSHOT_LIMIT) {
        // The next one takes its place.
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::FileTooLarge => {
            log::warn!("{} in the store is ignored: {source}", path.display());
            return Ok(None);
        }
        other => other?,
    };
    let Some(text) = text else {
        return Ok(None);
    };
    let written = root
        .metadata(&path)
        .and_then(|metadata| metadata.modified())
        .map_err(|error| StoreError::io("look at", &path, error))?;
    Ok(Some(Snapshot {
        text,
        written: written.into_std(),
    }))
}

/// The tag that says how references lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// It is written with each snapshot.
    Ours,
    /// Others go by it, and it stays as they have found it.
    Theirs,
}

pub(super) fn save_snapshot(
    root: &Dir,
    observatory: Observatory,
    literal: &str,
    bad_files: &str,
    layout: ReferenceLayout,
    tag: Tag,
) -> Result<(), StoreError> {
    let directory: PathBuf = ["config", observatory.as_str()].iter().collect();
    make_dirs(root, &directory).map_err(|error| StoreError::io("make", &directory, error))?;
    let at = |name| config_path(observatory, name);
    if tag == Tag::Ours {
        let tag = layout_tag(observatory);
        let found = read_text(root, &tag, SMALL_LIMIT)?;
        if found.as_deref().map(str::trim) != Some(layout.as_str()) {
            replace(root, &tag, layout.as_str().as_bytes(), Durable::No)?;
        }
    }
    replace(root, &at("bad_files.txt"), bad_files.as_bytes(), Durable::No)?;
    replace(root, &at("server_config"), literal.as_bytes(), Durable::Yes)
}

fn note_path(name: &str) -> Result<PathBuf, StoreError> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    if (1..=64).contains(&name.len()) && name.bytes().all(fits) {
        Ok(Path::new("notes").join(name))
    } else {
        let error = io::Error::new(ErrorKind::InvalidInput, "not the name of a note");
        Err(StoreError::io("find", name, error))
    }
}

pub(super) fn note(own: &Dir, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    read(own, &note_path(name)?, NOTE_LIMIT)
}

pub(super) fn save_note(own: &Dir, name: &str, contents: &[u8]) -> Result<(), StoreError> {
    replace(own, &note_path(name)?, contents, Durable::Yes)
}

/// Whether a replaced file must survive a power failure at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durable {
    Yes,
    No,
}

/// Replaces a small file atomically: readers see the old or the new contents, never a mixture.
pub(super) fn replace(dir: &Dir, path: &Path, contents: &[u8], durable: Durable) -> Result<(), StoreError> {
    let failed = |error| StoreError::io("write", path, error);
    let parent = path.parent().unwrap_or(Path::new(""));
    if !parent.as_os_str().is_empty() {
        make_dirs(dir, parent).map_err(failed)?;
    }
    let mut temporary = std::ffi::OsString::from(format!(
        "{TEMPORARY}{}~{:08x}~{}~",
        std::process::id(),
        process_token(),
        turn()
    ));
    temporary.push(path.file_name().unwrap_or_default());
    let temporary = parent.join(temporary);
    let file = new_file(dir, &temporary).map_err(failed)?;
    let written = fill(file, contents, durable).and_then(|metadata| {
        moments::crash(Moment::ReplacementWritten);
        naming::replace(dir, &temporary, path, &metadata)
    });
    written.map_err(|error| {
        let _ = dir.remove_file(&temporary);
        failed(error)
    })
}

/// Writes and closes a file. Network file systems tell only then, or at a sync, that there is no room.
fn fill(mut file: cap_std::fs::File, contents: &[u8], durable: Durable) -> io::Result<Metadata> {
    file.write_all(contents)?;
    if durable == Durable::Yes {
        file.sync_data()?;
    }
    let metadata = file.metadata()?;
    nix::unistd::close(file.into_std())?;
    Ok(metadata)
}

/// A number that processes with the same id on other nodes do not have.
fn process_token() -> u32 {
    static TOKEN: OnceLock<u32> = OnceLock::new();
    *TOKEN.get_or_init(|| fastrand::u32(..))
}

/// The contents of a regular file of at most `limit` bytes; `None` if there is none. Fails for a larger one.
pub(super) fn read(dir: &Dir, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
    unless_stale(|| read_once(dir, path, limit)).map_err(|error| StoreError::io("read", path, error))
}

fn read_once(dir: &Dir, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let too_large = || io::Error::new(ErrorKind::FileTooLarge, "it is absurdly large");
    let file = match open_plain_once(dir, path)? {
        Plain::File(_, metadata) if metadata.len() > limit => return Err(too_large()),
        Plain::File(file, _) => file,
        Plain::Absent => return Ok(None),
        Plain::Link | Plain::Other => {
            log::warn!(
                "{} in the store is ignored: it is not a regular file",
                path.display()
            );
            return Ok(None);
        }
    };
    let mut contents = Vec::new();
    file.take(limit + 1).read_to_end(&mut contents)?;
    if u64::try_from(contents.len()).is_ok_and(|length| length <= limit) {
        Ok(Some(contents))
    } else {
        Err(too_large())
    }
}

/// As [`read`], as text; bytes that are not UTF-8 are replaced, so that a broken file is seen as broken by its parser.
pub(super) fn read_text(dir: &Dir, path: &Path, limit: u64) -> Result<Option<String>, StoreError> {
    let contents = read(dir, path, limit)?;
    Ok(contents.map(|bytes| match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }))
}
