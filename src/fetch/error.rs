//! Failures to provide files and catalogs.

use std::sync::Arc;

use crate::crds::{FileKey, Observatory, Url};
use crate::remote::{Hint, RemoteError, RemoteErrorKind};
use crate::store::{StoreError, Unkept};

/// The kinds of failure; each is an errno of its own further up (design, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FetchErrorKind {
    /// The catalog has no such name.
    NotInCatalog,
    /// The server cannot be reached.
    Unreachable,
    /// No progress within the time limit.
    TimedOut,
    /// There is no network on purpose, and the file is not in the store.
    Offline,
    /// The server does not hand it out (401, 403).
    Denied,
    /// The server does not have it, although the catalog does (404, 410).
    Gone,
    /// The server fails, or makes no sense, after all retries.
    ServerTrouble,
    /// The bytes do not match the catalog, also when they are fetched once more; or a file in a store that cannot be
    /// written is wrong.
    Corrupt,
    /// No room in the store.
    NoSpace,
    /// The file system is going away.
    ShuttingDown,
    /// The store itself fails.
    Store,
}

impl FetchErrorKind {
    /// All of them, in the order in which they are counted.
    pub(crate) const ALL: [Self; 11] = [
        Self::NotInCatalog,
        Self::Unreachable,
        Self::TimedOut,
        Self::Offline,
        Self::Denied,
        Self::Gone,
        Self::ServerTrouble,
        Self::Corrupt,
        Self::NoSpace,
        Self::ShuttingDown,
        Self::Store,
    ];

    /// The kind in a word, for status and metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotInCatalog => "not-in-catalog",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed-out",
            Self::Offline => "offline",
            Self::Denied => "denied",
            Self::Gone => "gone",
            Self::ServerTrouble => "server-trouble",
            Self::Corrupt => "corrupt",
            Self::NoSpace => "no-space",
            Self::ShuttingDown => "shutting-down",
            Self::Store => "store",
        }
    }
}

impl From<RemoteErrorKind> for FetchErrorKind {
    fn from(kind: RemoteErrorKind) -> Self {
        match kind {
            RemoteErrorKind::Unreachable => Self::Unreachable,
            RemoteErrorKind::TimedOut => Self::TimedOut,
            RemoteErrorKind::Denied => Self::Denied,
            RemoteErrorKind::NotFound => Self::Gone,
            RemoteErrorKind::Offline => Self::Offline,
            RemoteErrorKind::Interrupted
            | RemoteErrorKind::NoSuchRange
            | RemoteErrorKind::Busy
            | RemoteErrorKind::Server
            | RemoteErrorKind::Protocol
            | RemoteErrorKind::Rpc => Self::ServerTrouble,
        }
    }
}

/// A failure to provide a file or a catalog, given to all who wait for it.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "{subject}: {message}{}{}",
    .url.as_ref().map(|url| format!(" ({url})")).unwrap_or_default(),
    .remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default()
)]
pub(crate) struct FetchError {
    /// The kind of failure.
    pub kind: FetchErrorKind,
    /// The thing that could not be had: `jwst/name`, or `catalog of jwst`.
    pub subject: String,
    /// The URL that it was requested from.
    pub url: Option<Url>,
    /// The reason, for people.
    pub message: String,
    /// The remedy, if one is known.
    pub remedy: Option<String>,
    /// The cause at its source, where it is known well enough for advice.
    pub hint: Option<Hint>,
    /// The failure of the store below, if it was that.
    #[source]
    pub source: Option<Arc<StoreError>>,
}

impl FetchError {
    pub(super) fn new(kind: FetchErrorKind, subject: &impl ToString, message: impl Into<String>) -> Self {
        Self {
            kind,
            subject: subject.to_string(),
            url: None,
            message: message.into(),
            remedy: None,
            hint: None,
            source: None,
        }
    }

    /// Whether the network, or what is set for it, may be the cause.
    pub(crate) fn is_of_network(&self) -> bool {
        matches!(self.kind, FetchErrorKind::Unreachable | FetchErrorKind::TimedOut)
    }

    pub(super) fn not_in_catalog(key: &FileKey) -> Self {
        let message = format!("the catalog of {} has no such file", key.observatory);
        Self::new(FetchErrorKind::NotInCatalog, key, message)
    }

    pub(super) fn offline(subject: &impl ToString) -> Self {
        let message = "it is not in the cache, and there is no server to ask (offline)";
        Self::new(FetchErrorKind::Offline, subject, message)
    }

    /// The work on it has ended without a result.
    pub(crate) fn gave_up(subject: &impl ToString, why: &impl ToString) -> Self {
        Self::new(FetchErrorKind::Store, subject, why.to_string())
    }

    pub(super) fn shutting_down(subject: &impl ToString) -> Self {
        Self::new(
            FetchErrorKind::ShuttingDown,
            subject,
            "the file system is going away",
        )
    }

    pub(super) fn store(subject: &impl ToString, error: StoreError) -> Self {
        let kind = match &error {
            full if full.is_no_space() => FetchErrorKind::NoSpace,
            StoreError::Wrong { .. } => FetchErrorKind::Corrupt,
            _ => FetchErrorKind::Store,
        };
        let mut message = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            message = format!("{message}: {cause}");
        }
        Self {
            source: Some(Arc::new(error)),
            ..Self::new(kind, subject, message)
        }
    }

    /// A file that was given out and could not be kept.
    pub(super) fn unkept(unkept: Unkept) -> Self {
        let subject = unkept
            .key
            .map_or_else(|| "the store".to_owned(), |key| key.to_string());
        let error = Self::store(&subject, unkept.error);
        Self {
            message: format!(
                "it was fetched and opened, and could not be kept: {}",
                error.message
            ),
            ..error
        }
    }

    pub(super) fn remote(subject: &impl ToString, error: &RemoteError) -> Self {
        Self {
            hint: error.hint.clone(),
            ..Self::new(error.kind.into(), subject, error.message.clone()).at(&error.url)
        }
    }

    pub(super) fn catalog_subject(observatory: Observatory) -> String {
        format!("catalog of {observatory}")
    }

    /// The failure of its catalog as that of a file.
    pub(super) fn about(self, key: &FileKey) -> Self {
        Self {
            subject: key.to_string(),
            message: format!("{}: {}", self.subject, self.message),
            ..self
        }
    }

    #[must_use]
    pub(super) fn with_remedy(self, remedy: String) -> Self {
        Self {
            remedy: Some(remedy),
            ..self
        }
    }

    #[must_use]
    pub(super) fn at(self, url: impl Into<Url>) -> Self {
        Self {
            url: Some(url.into()),
            ..self
        }
    }
}
