//! Plain HTTP replies.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::{Response, StatusCode, header};
use futures_util::stream;
use hyper::ext::ReasonPhrase;
use serde_json::Value;

/// The longest reason in a status line, in bytes.
const MAX_REASON: usize = 200;

/// The origin of the bytes of a reply, for the log and the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Came {
    /// They were here, or were made here.
    Here,
    /// They were fetched for this request, or for another one that waits for them too.
    Fetched,
}

impl Came {
    /// The origin in a word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Here => "hit",
            Self::Fetched => "fetched",
        }
    }
}

/// A reply in parts up to about this size, in bytes, is made whole and tells its length.
const SMALL: usize = 64 << 10;

/// The type of JSON-RPC replies.
const JSON_RPC: &str = "application/json-rpc";

/// A JSON-RPC reply.
pub(super) fn json(value: &Value) -> Response<Body> {
    respond(StatusCode::OK, JSON_RPC, value.to_string().into())
}

/// A JSON-RPC reply in parts, which are made when they can be sent, where there are many.
pub(super) fn json_in_parts(mut parts: impl Iterator<Item = Bytes> + Send + 'static) -> Response<Body> {
    let (mut first, mut length) = (Vec::<Bytes>::new(), 0);
    while length < SMALL {
        let Some(part) = parts.next() else {
            return respond(StatusCode::OK, JSON_RPC, Body::from(first.concat()));
        };
        length += part.len();
        first.push(part);
    }
    let parts = first.into_iter().chain(parts).map(Ok::<_, Infallible>);
    respond(StatusCode::OK, JSON_RPC, Body::from_stream(stream::iter(parts)))
}

/// A reply that nothing is here, and why.
pub(super) fn not_found(why: &str) -> Response<Body> {
    text(StatusCode::NOT_FOUND, why)
}

/// A line of text. Of a failure clients show the status line alone: it has the reason too.
pub(super) fn text(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = respond(status, "text/plain; charset=utf-8", format!("{text}\n").into());
    let phrase = status.canonical_reason().unwrap_or_default();
    let reason = format!("{phrase}: {text}");
    let plain: Vec<u8> = reason
        .bytes()
        .map(|byte| {
            if byte == b' ' || byte.is_ascii_graphic() {
                byte
            } else {
                b'?'
            }
        })
        .take(MAX_REASON)
        .collect();
    if let Ok(reason) = ReasonPhrase::try_from(plain) {
        response.extensions_mut().insert(reason);
    }
    response
}

/// The text of metrics.
pub(super) fn metrics(text: String) -> Response<Body> {
    respond(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        text.into(),
    )
}

fn respond(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
