//! Replacing a file safely by a new version: written beside it, synced, renamed over it.

use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use tempfile::NamedTempFile;

use super::error::DatasetError;

/// A part of the new file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// These bytes.
    New(Vec<u8>),
    /// These bytes of the old file, counted after decompression; `u64::MAX` is its end.
    Old(Range<u64>),
}

/// The file that is to be replaced.
pub(super) struct Original {
    path: PathBuf,
    file: File,
    metadata: Metadata,
}

impl Original {
    pub(super) fn open(path: &Path) -> Result<Self, DatasetError> {
        let error = |error: io::Error| DatasetError::io("open", path, &error);
        let file = super::open_regular(path).map_err(error)?;
        let metadata = file.metadata().map_err(error)?;
        let path = path.to_owned();
        Ok(Self { path, file, metadata })
    }

    /// Reads the file from its first byte.
    pub(super) fn reader(&self) -> io::Result<BufReader<File>> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(BufReader::new(file))
    }

    /// Replaces it by a file of these pieces, compressed with gzip if `gzip`.
    pub(super) fn replace(&self, pieces: &[Piece], gzip: bool) -> Result<(), DatasetError> {
        self.try_replace(pieces, gzip)
            .map_err(|error| DatasetError::io("write", &self.path, &error))
    }

    fn try_replace(&self, pieces: &[Piece], gzip: bool) -> io::Result<()> {
        // The directory alone would let us: but a file that may not be written is not replaced either.
        rustix::fs::accessat(
            rustix::fs::CWD,
            &self.path,
            rustix::fs::Access::WRITE_OK,
            rustix::fs::AtFlags::EACCESS,
        )?;
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let mut new = tempfile::Builder::new()
            .prefix(".crds-fs-")
            .suffix(".tmp")
            .tempfile_in(directory)?;
        if gzip {
            self.write_gzip(pieces, new.as_file_mut())?;
        } else {
            self.write_plain(pieces, new.as_file_mut())?;
        }
        self.keep_attributes(new.as_file())?;
        new.as_file().sync_all()?;
        self.check_unchanged()?;
        Self::publish(new, &self.path)?;
        File::open(directory)?.sync_all()
    }

    fn publish(new: NamedTempFile, path: &Path) -> io::Result<()> {
        new.persist(path).map(drop).map_err(|failed| failed.error)
    }

    /// Old parts go from file to file inside the kernel where it can do that.
    fn write_plain(&self, pieces: &[Piece], new: &mut File) -> io::Result<()> {
        let mut old = self.file.try_clone()?;
        for piece in pieces {
            match piece {
                Piece::New(bytes) => new.write_all(bytes)?,
                Piece::Old(range) => {
                    old.seek(SeekFrom::Start(range.start))?;
                    let wanted = range.end - range.start;
                    let copied = io::copy(&mut Read::by_ref(&mut old).take(wanted), new)?;
                    check_length(range, copied)?;
                }
            }
        }
        Ok(())
    }

    fn write_gzip(&self, pieces: &[Piece], new: &mut File) -> io::Result<()> {
        let mut old = MultiGzDecoder::new(self.reader()?);
        let mut at = 0;
        let mut encoder = GzEncoder::new(BufWriter::new(new), Compression::default());
        for piece in pieces {
            match piece {
                Piece::New(bytes) => encoder.write_all(bytes)?,
                Piece::Old(range) => {
                    at += io::copy(
                        &mut Read::by_ref(&mut old).take(range.start - at),
                        &mut io::sink(),
                    )?;
                    let copied = io::copy(&mut Read::by_ref(&mut old).take(range.end - at), &mut encoder)?;
                    at += copied;
                    check_length(range, copied)?;
                }
            }
        }
        encoder.finish()?.flush()
    }

    /// Mode, owner and extended attributes (so also access lists) of the old file.
    fn keep_attributes(&self, new: &File) -> io::Result<()> {
        let ours = new.metadata()?;
        if (ours.uid(), ours.gid()) != (self.metadata.uid(), self.metadata.gid()) {
            // Only root may give files away; for others the updated file is theirs, as with every editor.
            let _ = fchown(new, Some(self.metadata.uid()), Some(self.metadata.gid()));
        }
        copy_attributes(&self.file, new);
        new.set_permissions(self.metadata.permissions())
    }

    /// Fails if the file was changed by another program since it was opened: that change must not be lost.
    fn check_unchanged(&self) -> io::Result<()> {
        let identity = |of: &Metadata| (of.dev(), of.ino(), of.size(), of.mtime(), of.mtime_nsec());
        if identity(&fs::metadata(&self.path)?) == identity(&self.metadata) {
            return Ok(());
        }
        Err(io::Error::other(
            "it was changed by another program meanwhile; nothing was written",
        ))
    }
}

fn check_length(range: &Range<u64>, copied: u64) -> io::Result<()> {
    if range.end == u64::MAX || copied == range.end - range.start {
        return Ok(());
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// Copies extended attributes as far as the file system and our rights allow.
fn copy_attributes(old: &File, new: &File) {
    const LARGEST: usize = 64 << 10;
    let mut names = vec![0; LARGEST];
    let Ok(length) = rustix::fs::flistxattr(old, &mut names[..]) else {
        return;
    };
    let mut value = vec![0; LARGEST];
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        if let Ok(length) = rustix::fs::fgetxattr(old, name, &mut value[..]) {
            let _ = rustix::fs::fsetxattr(new, name, &value[..length], rustix::fs::XattrFlags::empty());
        }
    }
}
