//! Plain HTTP replies.

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use serde_json::Value;

/// A JSON-RPC reply.
pub(super) fn json(value: &Value) -> Response<Body> {
    respond(StatusCode::OK, "application/json-rpc", value.to_string().into())
}

/// A reply that nothing is here, and why.
pub(super) fn not_found(why: &str) -> Response<Body> {
    text(StatusCode::NOT_FOUND, why)
}

/// A line of text.
pub(super) fn text(status: StatusCode, text: &str) -> Response<Body> {
    respond(status, "text/plain; charset=utf-8", format!("{text}\n").into())
}

fn respond(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
