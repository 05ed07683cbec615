//! Errors of a cache.

use std::error;
use std::fmt;

use crate::fetch::{FetchError, FetchErrorKind};
use crate::remote::RemoteErrorKind;
use crate::resolve::ResolveError;
use crate::store::StoreError;

/// The reason why a cache cannot be opened, or has no answer. Its text is for people and names the thing and the
/// reason; URLs in it have no credentials.
#[derive(Debug)]
pub struct Error {
    source: Box<dyn error::Error + Send + Sync>,
    kind: ErrorKind,
}

/// The text of the error of the layer below.
impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(out)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.source()
    }
}

/// The kinds of failures that a caller may want to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The settings make no sense, such as a URL that is none.
    Settings,
    /// The directory cannot be used, or reading or writing in it failed.
    Store,
    /// Another process has the directory for itself.
    InUse,
    /// There is no file, context or dataset of that name.
    NotFound,
    /// The rules have no answer for the dataset as a whole.
    NoAnswer,
    /// It is not in the directory, and no server may be asked.
    Offline,
    /// A server cannot be reached, or gave up waiting for it.
    Unreachable,
    /// A server refuses it.
    Denied,
    /// A server answers, but not with what it promised: an error of its own, a file that is gone or has another SHA-1.
    Server,
    /// The directory or its disk has no room for it.
    NoSpace,
    /// The cache is closed.
    Closed,
    /// A mistake in this library; the log says more.
    Bug,
}

impl Error {
    /// The kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    fn new(kind: ErrorKind, error: impl error::Error + Send + Sync + 'static) -> Self {
        Self {
            source: Box::new(error),
            kind,
        }
    }

    pub(super) fn settings(error: impl error::Error + Send + Sync + 'static) -> Self {
        Self::new(ErrorKind::Settings, error)
    }

    pub(super) fn store(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::InUse { .. } => ErrorKind::InUse,
            _ => ErrorKind::Store,
        };
        Self::new(kind, error)
    }

    pub(super) fn fetch(error: FetchError) -> Self {
        Self::new(kind_of(error.kind), error)
    }

    pub(super) fn resolve(error: ResolveError) -> Self {
        let kind = match &error {
            ResolveError::UnknownContext { .. }
            | ResolveError::UnknownDataset { .. }
            | ResolveError::BadDatasetName(_) => ErrorKind::NotFound,
            ResolveError::NotComputable { .. } | ResolveError::Incomplete { .. } => ErrorKind::NoAnswer,
            ResolveError::Fetch(error) => kind_of(error.kind),
            ResolveError::Remote(error) => match error.kind {
                RemoteErrorKind::Unreachable | RemoteErrorKind::TimedOut => ErrorKind::Unreachable,
                RemoteErrorKind::Denied => ErrorKind::Denied,
                RemoteErrorKind::Offline => ErrorKind::Offline,
                _ => ErrorKind::Server,
            },
            ResolveError::Offline { .. } => ErrorKind::Offline,
            ResolveError::Panicked { .. } => ErrorKind::Bug,
            ResolveError::ShuttingDown => ErrorKind::Closed,
        };
        Self::new(kind, error)
    }
}

fn kind_of(kind: FetchErrorKind) -> ErrorKind {
    match kind {
        FetchErrorKind::NotInCatalog => ErrorKind::NotFound,
        FetchErrorKind::Unreachable | FetchErrorKind::TimedOut => ErrorKind::Unreachable,
        FetchErrorKind::Offline => ErrorKind::Offline,
        FetchErrorKind::Denied => ErrorKind::Denied,
        FetchErrorKind::Gone | FetchErrorKind::ServerTrouble | FetchErrorKind::Corrupt => ErrorKind::Server,
        FetchErrorKind::NoSpace => ErrorKind::NoSpace,
        FetchErrorKind::ShuttingDown => ErrorKind::Closed,
        FetchErrorKind::Store => ErrorKind::Store,
    }
}
