//! Failures of HTTP, told apart and put into words.

use std::error::Error as _;
use std::io;
use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};

use super::certificates::Certificates;
use super::reach::{NoSuchHost, TooNear};
use crate::crds::{Url, times};
use crate::remote::behind::{Behind, PROXY_STATUS};
use crate::remote::error::{Hint, RemoteError, RemoteErrorKind, Retry};

/// A server that asks for more patience than this is asked again after it.
const MAX_PATIENCE: Duration = Duration::from_secs(3600);

/// The failure to get a reply, or the rest of one. Without roots no certificate can be right.
pub(super) fn from_reqwest(error: reqwest::Error, url: &Url, has_roots: bool) -> RemoteError {
    let kind = if error.is_timeout() {
        RemoteErrorKind::TimedOut
    } else if error.is_connect() {
        RemoteErrorKind::Unreachable
    } else if error.is_redirect() || error.is_builder() {
        RemoteErrorKind::Protocol
    } else {
        RemoteErrorKind::Interrupted
    };
    let hint = hint(&error);
    // Its text must not tell the URL: ours does, without credentials.
    let reason = innermost(&error.without_url());
    let message = match kind {
        RemoteErrorKind::TimedOut => format!("no connection in time: {reason}"),
        RemoteErrorKind::Unreachable if reason.contains("certificate") && !has_roots => format!(
            "the server cannot be reached: {reason}; {}",
            Certificates::missing()
        ),
        RemoteErrorKind::Unreachable => format!("the server cannot be reached: {reason}"),
        RemoteErrorKind::Protocol => format!("the request cannot be carried out: {reason}"),
        _ => format!("the connection broke: {reason}"),
    };
    let failure = RemoteError::new(kind, url, message);
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// The kind of failure that the causes of an error tell, and advice.
fn hint(error: &reqwest::Error) -> Option<Hint> {
    let hangs_up = |io: &io::Error| error.is_connect() && io.kind() == io::ErrorKind::UnexpectedEof;
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            if io.kind() == io::ErrorKind::ConnectionRefused {
                return Some(Hint::NobodyListens);
            }
            // A server that is no TLS server may also just hang up.
            if hangs_up(io) {
                return Some(Hint::NotHttps);
            }
        }
        if inner.is::<NoSuchHost>() {
            return Some(Hint::UnknownHost);
        }
        if inner
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse)
        {
            return Some(Hint::NotHttp);
        }
        match inner.downcast_ref() {
            Some(rustls::Error::InvalidCertificate(_)) => return Some(Hint::Certificate),
            Some(rustls::Error::InvalidMessage(_)) => return Some(Hint::NotHttps),
            _ => {}
        }
        cause = within(inner);
    }
    None
}

/// The cause of an error, or the error that an error of I/O wraps.
fn within<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a (dyn std::error::Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// The reason why an address was refused, if that is the cause.
pub(super) fn too_near(error: &reqwest::Error) -> Option<String> {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(refusal) = inner.downcast_ref::<TooNear>() {
            return Some(refusal.to_string());
        }
        cause = within(inner);
    }
    None
}

/// The last cause of an error is the one that says what happened.
fn innermost(error: &reqwest::Error) -> String {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        reason = inner.to_string();
        cause = inner.source();
    }
    reason
}

/// The failure of a server that does not get done within the time allowed.
pub(in crate::remote) fn timed_out(url: &Url, what: &str, waited: Duration) -> RemoteError {
    let waited = times::friendly(waited);
    RemoteError::new(RemoteErrorKind::TimedOut, url, format!("{what} for {waited}"))
}

/// The failure that the status of a reply tells.
pub(in crate::remote) fn from_status(response: &Response, url: &Url) -> RemoteError {
    let status = response.status();
    if status.is_server_error()
        && let Some((behind, details)) = behind(response.headers())
    {
        // It has tried again itself.
        let message = format!("{}: {details}", behind.words());
        let error = RemoteError::new(behind.kind(), url, message);
        return error.with_retry(Retry::No).with_hint(Hint::Behind);
    }
    let kind = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RemoteErrorKind::Denied,
        StatusCode::NOT_FOUND | StatusCode::GONE => RemoteErrorKind::NotFound,
        StatusCode::RANGE_NOT_SATISFIABLE => RemoteErrorKind::NoSuchRange,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            RemoteErrorKind::Busy
        }
        _ if status.is_server_error() => RemoteErrorKind::Server,
        _ => RemoteErrorKind::Protocol,
    };
    let error = RemoteError::new(kind, url, format!("the server answered {status}"));
    match retry_after(response.headers()) {
        Some(pause) if error.retry == Retry::Soon => error.with_retry(Retry::After(pause)),
        _ => error,
    }
}

/// The trouble that a site server has with the server behind it.
fn behind(headers: &HeaderMap) -> Option<(Behind, String)> {
    Behind::read(headers.get(PROXY_STATUS)?.to_str().ok()?)
}

/// `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        SystemTime::from(date)
            .duration_since(SystemTime::now())
            .unwrap_or_default()
    };
    Some(pause.min(MAX_PATIENCE))
}
