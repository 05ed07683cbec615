//! Dataset files: from a file to the header that best references are looked up with, and back into the file
//! (spec/crds-rules, sections 21 and 22).
//!
//! | file | its one job |
//! | --- | --- |
//! | `format` | which format and which observatory a file is |
//! | `header`, `unite` | the united header: first value wins, cross-strapping, the instrument |
//! | `fits`, `asdf`, `geis`, `json` | one format each: header bytes to (name, text) pairs |
//! | `cross_strap` | the two names of each JWST parameter |
//! | `plan` | what an update writes, given the answers (pure) |
//! | `recorded` | the references that a header says were used (pure) |
//! | `replace` | the new file in place of the old one, safely |
//! | `source` | plain and gzip files as a forward reader that skips data without reading it |
//!
//! Only header bytes are read, and all of it is bounded: a dataset file is untrusted input.
//!
//! ```
//! use crds_fs::crds::Observatory;
//! use crds_fs::dataset::{self, Change};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("j8ba0hrpq_raw.fits");
//! # let cards = ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0",
//! #     "TELESCOP= 'HST     '", "INSTRUME= 'ACS     '", "CCDGAIN =                  2.0", "END"];
//! # let header: String = cards.iter().map(|card| format!("{card:80}")).collect();
//! # std::fs::write(&path, format!("{header:2880}"))?;
//! let header = dataset::read(&path, None)?;
//! assert_eq!(header.observatory(), Observatory::Hst);
//! assert_eq!(header.instrument()?, "ACS");
//! assert_eq!(header.get("CCDGAIN"), Some("2.0"));
//!
//! // As the rules want it.
//! let parameters: crds_fs::rules::Header = header.iter().collect();
//!
//! // Into the file goes what was found, and nothing else of it changes.
//! let change = Change { keyword: "DARKFILE".to_owned(), value: "jref$new_drk.fits".to_owned() };
//! assert!(dataset::update(&path, &[change])?);
//! assert_eq!(dataset::read(&path, None)?.get("DARKFILE"), Some("jref$new_drk.fits"));
//! # Ok(())
//! # }
//! ```

mod asdf;
mod cross_strap;
mod error;
mod fits;
mod flatten;
mod format;
mod geis;
mod header;
mod json;
mod plan;
mod python;
mod recorded;
mod replace;
mod source;
mod unite;
mod yaml;

pub use error::DatasetError;
pub use format::Format;
pub use header::{DatasetHeader, NoInstrument};
pub use plan::{Change, Plan, Recipe, VERSION_TEXT, plan};

pub(crate) use plan::{Verdict, verdict};
pub(crate) use recorded::{Recorded, recorded, recorded_context};

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::crds::Observatory;
use error::Trouble;
use source::Source;

/// Reads the header of a dataset file as the Python client does (spec, section 21). The observatory is guessed from name
/// and content where the caller does not give it. Of a GEIS pair either half may be named; the header half is read.
pub fn read(path: &Path, observatory: Option<Observatory>) -> Result<DatasetHeader, DatasetError> {
    let actual = header_half(path);
    let file = open_regular(&actual).map_err(|error| {
        let action = match error.kind() {
            io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput => "read",
            _ => "open",
        };
        DatasetError::io(action, &actual, &error)
    })?;
    read_from(BufReader::new(file), path, observatory)
}

/// As [`read`], from an open file or from memory; `name` is for its extension, the guess of the observatory, and errors.
pub fn read_from<R: Read + Seek>(
    input: R,
    name: &Path,
    observatory: Option<Observatory>,
) -> Result<DatasetHeader, DatasetError> {
    let mut source = Source::new(input).map_err(|error| DatasetError::io("read", name, &error))?;
    let format = match Format::of_name(name) {
        Some(format) => format,
        None => (source.peek(format::START).map(Format::of_start))
            .map_err(|error| DatasetError::io("read", name, &error))?
            .ok_or_else(|| DatasetError::UnknownFormat {
                path: name.to_owned(),
            })?,
    };
    let pairs = match format {
        Format::Fits => fits::read(&mut source),
        Format::Geis => geis::read(&mut source),
        Format::Asdf => asdf::read(&mut source),
        Format::Json => json::read(&mut source),
        Format::Yaml => asdf::read_yaml(&mut source),
    }
    .map_err(|trouble| trouble.at(name, format))?;
    let observatory = observatory.unwrap_or_else(|| format::observatory(name, format, &pairs));
    Ok(unite::unite(format, observatory, pairs))
}

/// Writes `changes` into the primary header of a FITS or GEIS file, or into the tree of an ASDF file, and nothing else.
/// Returns whether the file was rewritten: a file that already says all this is left alone.
///
/// The new file is written beside the old one, synced and renamed over it, so that at every moment one of the two is
/// there, whole. Permissions, owner and extended attributes are kept; further hard links keep the old content.
pub fn update(path: &Path, changes: &[Change]) -> Result<bool, DatasetError> {
    let actual = header_half(path);
    let actual = actual
        .canonicalize()
        .map_err(|error| DatasetError::io("open", &actual, &error))?;
    let original = replace::Original::open(&actual)?;
    let read_error = |error: io::Error| DatasetError::io("read", &actual, &error);
    let mut source = Source::new(original.reader().map_err(read_error)?).map_err(read_error)?;
    let format = match Format::of_name(&actual) {
        Some(format) => format,
        None => (source.peek(format::START).map(Format::of_start))
            .map_err(read_error)?
            .ok_or_else(|| DatasetError::UnknownFormat { path: actual.clone() })?,
    };
    let pieces = match format {
        Format::Fits => fits::edit::edit(&mut source, changes),
        Format::Asdf => asdf::edit::edit(&mut source, changes),
        Format::Geis => geis::edit(&mut source, changes),
        Format::Json | Format::Yaml => Err(Trouble::refused(format!("{format} files record no references"))),
    }
    .map_err(|trouble| trouble.at(&actual, format))?;
    match pieces {
        Some(pieces) => original.replace(&pieces, source.is_gzip()).map(|()| true),
        None => Ok(false),
    }
}

/// Opens a regular file for reading; everything else is refused at once, also a pipe without a writer.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok(file)
    } else if metadata.is_dir() {
        Err(io::ErrorKind::IsADirectory.into())
    } else {
        let text = "it is a pipe, a socket or a device; write its contents to a file first";
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }
}

/// Reads a text of at most `limit` bytes from the start of a file, by position: others may use the same handle.
pub(crate) fn read_text(file: &File, limit: u64) -> io::Result<String> {
    let expected = file.metadata()?.len().min(limit);
    // Room for one byte more, so that the end is seen without growing.
    let mut text = String::with_capacity(usize::try_from(expected).unwrap_or(0) + 1);
    let size = AtPosition { file, at: 0 }
        .take(limit + 1)
        .read_to_string(&mut text)?;
    if size as u64 > limit {
        let text = format!("it is larger than {} MiB", limit >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(text)
}

/// Reads a file without moving the position of its handle.
struct AtPosition<'a> {
    file: &'a File,
    at: u64,
}

impl Read for AtPosition<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// The `.rNh` half of a GEIS pair; any other path as it is.
fn header_half(path: &Path) -> PathBuf {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some(extension) if matches!(extension.as_bytes(), [b'r', b'0'..=b'9', b'd']) => {
            path.with_extension(format!("{}h", &extension[..2]))
        }
        _ => path.to_owned(),
    }
}

/// Text from a file: UTF-8 where it is that, else each byte a Latin-1 character.
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

#[cfg(test)]
mod tests;
