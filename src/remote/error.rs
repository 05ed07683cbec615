//! Failures of requests, and whether trying again is sensible.

use std::time::Duration;

use crate::crds::{Observatory, Url};

/// A failed request. Cheap enough to clone for every waiter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({url})")]
pub(crate) struct RemoteError {
    /// The kind of failure.
    pub kind: RemoteErrorKind,
    /// The URL that was asked for.
    pub url: Url,
    /// The reason, for a person.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retry: Retry,
    /// The cause, where it is known well enough for advice.
    pub hint: Option<Hint>,
}

/// Causes about which the user can do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hint {
    /// The name has no address.
    UnknownHost,
    /// The connection is refused.
    NobodyListens,
    /// Something else than TLS is spoken there.
    NotHttps,
    /// Something else than HTTP is spoken there.
    NotHttp,
    /// The server's certificate is not trusted.
    Certificate,
    /// The server wants to be asked at another URL.
    Redirect(Url),
    /// Something answers, but not as a CRDS server.
    NoService,
    /// It is the server of another observatory.
    OtherObservatory(Observatory),
    /// The server answers, but not the one behind it.
    Behind,
    /// There is no such bucket.
    NoBucket,
    /// The credentials for a bucket are wrong, or cannot be had.
    Credentials,
}

/// Whether the same request may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It will fail again.
    No,
    /// After a short pause.
    Soon,
    /// Not before this time has passed: the server said so (`Retry-After`).
    After(Duration),
}

/// The kinds of failure that are worth telling apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RemoteErrorKind {
    /// No connection: the name is not resolved, nobody listens, no route, TLS fails.
    Unreachable,
    /// No connection or no byte within the time allowed.
    TimedOut,
    /// The connection broke in the middle of a reply.
    Interrupted,
    /// 401 or 403.
    Denied,
    /// 404 or 410.
    NotFound,
    /// The part that was asked for does not exist (416): the file is shorter than thought.
    NoSuchRange,
    /// 429 or 503: the server asks for patience.
    Busy,
    /// Any other 5xx.
    Server,
    /// A reply that makes no sense: not JSON, HTML instead of data, a wrong `Content-Range`, too many redirects.
    Protocol,
    /// The service refused, in its own words (an RPC error object).
    Rpc,
    /// There is no server to ask, on purpose.
    Offline,
}

impl RemoteErrorKind {
    /// Whether trying again soon is sensible for failures of this kind.
    pub(crate) const fn retry(self) -> Retry {
        match self {
            Self::Unreachable | Self::TimedOut | Self::Interrupted | Self::Busy | Self::Server => Retry::Soon,
            Self::Denied
            | Self::NotFound
            | Self::NoSuchRange
            | Self::Protocol
            | Self::Rpc
            | Self::Offline => Retry::No,
        }
    }
}

impl RemoteError {
    /// A failure of this kind; whether it may be retried follows from the kind.
    pub(crate) fn new(kind: RemoteErrorKind, url: impl Into<Url>, message: impl Into<String>) -> Self {
        let url = url.into();
        Self {
            kind,
            message: printable(&url.censor(message.into())),
            url,
            retry: kind.retry(),
            hint: None,
        }
    }

    /// Whether the network, or what is set for it, may be the cause.
    pub(crate) fn is_of_network(&self) -> bool {
        matches!(
            self.kind,
            RemoteErrorKind::Unreachable | RemoteErrorKind::TimedOut
        )
    }

    /// The same failure with another advice.
    #[must_use]
    pub(crate) fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// The same failure with a known cause.
    #[must_use]
    pub(crate) fn with_hint(self, hint: Hint) -> Self {
        Self {
            hint: Some(hint),
            ..self
        }
    }

    /// A failure without a server to ask.
    pub(crate) fn offline(url: impl Into<Url>) -> Self {
        Self::new(
            RemoteErrorKind::Offline,
            url,
            "there is no server to ask: the server URL says 'serverless'",
        )
    }
}

/// Takes control characters out of a text of a server: it goes to terminals and logs.
pub(super) fn printable(text: &str) -> String {
    let visible = |letter: char| {
        let plain = (!letter.is_control()).then_some(letter);
        let escaped = plain.is_none().then(|| letter.escape_default());
        plain.into_iter().chain(escaped.into_iter().flatten())
    };
    text.chars().flat_map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_told() {
        let error = RemoteError::new(
            RemoteErrorKind::Denied,
            "https://someone:secret@example.org/a/b.fits?token=abc",
            "refused secret",
        );
        assert_eq!(
            error.to_string(),
            "refused *** (https://***@example.org/a/b.fits?token=***)"
        );
        assert_eq!(error.retry, Retry::No);
        let error = RemoteError::new(RemoteErrorKind::Rpc, "http://x/", "a\u{1b}[2J\nb\u{9b}é");
        assert_eq!(error.message, r"a\u{1b}[2J\nb\u{9b}é");
    }
}
