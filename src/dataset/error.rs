//! The reason for which a dataset file cannot be read or updated.

use std::io;
use std::path::{Path, PathBuf};

use super::format::Format;

/// The reason for which a dataset file cannot be read or updated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatasetError {
    /// The operating system refused; `kind` is its reason for programs, `message` for people.
    #[error("cannot {action} dataset '{}': {message}", path.display())]
    Io {
        /// The operation: "open", "read", "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The class of error.
        kind: io::ErrorKind,
        /// Its text.
        message: String,
    },
    /// Neither the name nor the content tells what kind of file it is.
    #[error(
        "cannot tell what kind of file '{}' is: expected FITS, ASDF, GEIS, JSON or YAML",
        path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The content is not what its format demands, or exceeds a limit.
    #[error("dataset '{}' is not a readable {format} file: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The format that it was read as.
        format: Format,
        /// The mistake in it.
        reason: String,
    },
    /// The format, or this file of it, cannot be written.
    #[error("cannot update dataset '{}': {reason}", path.display())]
    NotUpdatable {
        /// The file.
        path: PathBuf,
        /// The reason, and what to do instead.
        reason: String,
    },
}

impl DatasetError {
    pub(super) fn io(action: &'static str, path: &Path, error: &io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            kind: error.kind(),
            message: error.to_string(),
        }
    }
}

/// The failure inside one file, before its path is known.
#[derive(Debug)]
pub(super) enum Trouble {
    Io(io::Error),
    Malformed(String),
    /// Readable, but not to be written.
    Refused(String),
}

impl Trouble {
    pub(super) fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed(reason.into())
    }

    pub(super) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused(reason.into())
    }

    /// The error to show for a file that was being read.
    pub(super) fn at(self, path: &Path, format: Format) -> DatasetError {
        match self {
            Self::Io(error) => DatasetError::io("read", path, &error),
            Self::Malformed(reason) => DatasetError::Malformed {
                path: path.to_owned(),
                format,
                reason,
            },
            Self::Refused(reason) => DatasetError::NotUpdatable {
                path: path.to_owned(),
                reason,
            },
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
