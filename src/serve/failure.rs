//! HTTP replies that a file or a catalog cannot be had.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};

use super::reply;
use crate::fetch::{FetchError, FetchErrorKind};
use crate::remote::{Behind, PROXY_STATUS};

/// The time after which clients may come again, in seconds, where upstream may be back by then.
const COME_AGAIN: HeaderValue = HeaderValue::from_static("5");

/// The reply for a failure to provide a file or a catalog.
pub(super) fn of_fetch(error: &FetchError) -> Response<Body> {
    let status = match error.kind {
        FetchErrorKind::NotInCatalog | FetchErrorKind::Gone => StatusCode::NOT_FOUND,
        FetchErrorKind::Denied | FetchErrorKind::ServerTrouble | FetchErrorKind::Corrupt => {
            StatusCode::BAD_GATEWAY
        }
        FetchErrorKind::Unreachable
        | FetchErrorKind::TimedOut
        | FetchErrorKind::Offline
        | FetchErrorKind::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        FetchErrorKind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        FetchErrorKind::Store => StatusCode::INTERNAL_SERVER_ERROR,
    };
    // Without the remedy: it is for whoever keeps this server.
    let place = error
        .url
        .as_ref()
        .map(|url| format!(" ({url})"))
        .unwrap_or_default();
    let why = format!("{}{place}", error.message);
    let mut response = reply::text(status, &format!("{}: {why}", error.subject));
    let headers = response.headers_mut();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, COME_AGAIN);
    }
    if let Some(header) = behind(error.kind).map(|behind| behind.to_header(&why))
        && let Ok(header) = HeaderValue::from_str(&header)
    {
        headers.insert(PROXY_STATUS, header);
    }
    response
}

/// The trouble with upstream that a failure is, for programs.
fn behind(kind: FetchErrorKind) -> Option<Behind> {
    match kind {
        FetchErrorKind::Unreachable | FetchErrorKind::Offline => Some(Behind::Unreachable),
        FetchErrorKind::TimedOut => Some(Behind::Silent),
        FetchErrorKind::Denied | FetchErrorKind::ServerTrouble | FetchErrorKind::Corrupt => {
            Some(Behind::Failing)
        }
        FetchErrorKind::NotInCatalog
        | FetchErrorKind::Gone
        | FetchErrorKind::NoSpace
        | FetchErrorKind::ShuttingDown
        | FetchErrorKind::Store => None,
    }
}
