//! What can go wrong with the world outside, and whether trying again is sensible.

use std::time::Duration;

use url::Url;

/// A failed request. Cheap enough to clone for every waiter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({url})")]
pub struct RemoteError {
    /// What happened.
    pub kind: RemoteErrorKind,
    /// The URL that was asked for, without user name and password.
    pub url: String,
    /// What happened, for a person.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retry: Retry,
}

/// Whether the same request may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It will fail again.
    No,
    /// After a short pause.
    Soon,
    /// Not before this time has passed: the server said so (`Retry-After`).
    After(Duration),
}

/// The kinds of failure that are worth telling apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RemoteErrorKind {
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
    pub const fn retry(self) -> Retry {
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
    pub fn new(kind: RemoteErrorKind, url: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            url: without_credentials(url),
            message: message.into(),
            retry: kind.retry(),
        }
    }

    /// The same failure with another advice.
    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// A failure without a server to ask.
    pub fn offline(url: &str) -> Self {
        Self::new(
            RemoteErrorKind::Offline,
            url,
            "there is no server to ask: the server URL says 'serverless'",
        )
    }
}

/// The URL without user name, password and query, for messages and logs.
pub fn without_credentials(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) => {
            let plain = parsed.username().is_empty() && parsed.password().is_none();
            if plain || (parsed.set_username("").is_ok() && parsed.set_password(None).is_ok()) {
                parsed.set_query(None);
                parsed.into()
            } else {
                String::from("(a URL with a password)")
            }
        }
        Err(_) => url.chars().take(200).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_told() {
        let error = RemoteError::new(
            RemoteErrorKind::Denied,
            "https://someone:secret@example.org/a/b.fits?token=abc",
            "refused",
        );
        assert_eq!(error.to_string(), "refused (https://example.org/a/b.fits)");
        assert_eq!(error.retry, Retry::No);
        assert_eq!(without_credentials("no url"), "no url");
    }
}
