//! Files over HTTP: whole or a range, with validators, so that a client can resume.

use std::io::SeekFrom;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use futures_util::StreamExt;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::archive::ServedFile;
use super::range::Wanted;
use super::reply;
use super::services::{Service, Services};
use crate::crds::{FileKey, FileName, ServerInfo};

/// Bytes read from disk at a time.
const CHUNK: usize = 256 << 10;

/// A request for a file.
pub(super) struct Request<'a> {
    pub(super) service: &'a Service,
    /// The base URL as the client knows it.
    pub(super) base: &'a str,
    /// `mappings`, `references` or `config`.
    pub(super) part: &'a str,
    pub(super) name: &'a str,
    pub(super) head: bool,
    pub(super) headers: &'a HeaderMap,
}

/// Answers a GET or HEAD.
pub(super) async fn answer(services: &Arc<Services>, request: Request<'_>) -> Response<Body> {
    let Request {
        service, part, name, ..
    } = request;
    let found = match part {
        "mappings" => service
            .files
            .get_key_value(name)
            .filter(|(name, _)| name.kind().is_mapping()),
        "references" => service
            .files
            .get_key_value(name)
            .filter(|(name, _)| !name.kind().is_mapping()),
        "config" => return config(&request),
        _ => None,
    };
    match found {
        Some((name, file)) => send(services, &request, name, file).await,
        None => reply::not_found(&format!(
            "there is no '{name}' among the {part} of {}",
            service.observatory
        )),
    }
}

/// The files of `config/<obs>`, made from what the server says of itself.
fn config(request: &Request<'_>) -> Response<Body> {
    let Request {
        service, base, name, ..
    } = request;
    let text = match *name {
        "server_config" => match ServerInfo::from_json_value(service.info(base)) {
            Ok(info) => info.to_literal(),
            Err(error) => return reply::text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        },
        "bad_files.txt" => service.description.bad_files.join("\n"),
        "ref_cache_subdir_mode" => "flat".to_owned(),
        _ => {
            return reply::not_found(&format!(
                "there is no '{name}' in the configuration of {}",
                service.observatory
            ));
        }
    };
    let length = text.len() as u64;
    let mut response = Response::new(if request.head { Body::empty() } else { text.into() });
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, length.into());
    response
}

/// A file of the catalog.
async fn send(
    services: &Arc<Services>,
    request: &Request<'_>,
    name: &FileName,
    file: &ServedFile,
) -> Response<Body> {
    let key = FileKey {
        observatory: request.service.observatory,
        name: name.clone(),
    };
    services.counters.asked(&key, |count| {
        *(if request.head {
            &mut count.heads
        } else {
            &mut count.gets
        }) += 1;
    });
    let etag = format!("\"{}\"", file.sha1);
    let modified = http_date(file.modified);
    let wanted = if condition_holds(request.headers, &etag, modified.as_deref()) && !request.head {
        Wanted::parse(text(request.headers, header::RANGE), file.size)
    } else {
        Wanted::Whole
    };
    let (status, start, length) = match wanted {
        Wanted::Whole => (StatusCode::OK, 0, file.size),
        Wanted::Part { start, length } => (StatusCode::PARTIAL_CONTENT, start, length),
        Wanted::Unsatisfiable => {
            let mut response = reply::text(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "the range lies outside of the file",
            );
            insert(
                response.headers_mut(),
                header::CONTENT_RANGE,
                &format!("bytes */{}", file.size),
            );
            return response;
        }
    };
    let body = if request.head {
        Body::empty()
    } else {
        match open(file, start).await {
            Ok(opened) => body(services, key, opened, length),
            Err(why) => {
                log::warn!("cannot serve {}: {why}", file.path.display());
                return reply::text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    &format!("cannot serve {name}: {why}"),
                );
            }
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    insert(headers, header::ETAG, &etag);
    if let Some(modified) = modified {
        insert(headers, header::LAST_MODIFIED, &modified);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        insert(
            headers,
            header::CONTENT_RANGE,
            &format!("bytes {start}-{}/{}", start + length - 1, file.size),
        );
    }
    response
}

/// The file at `start`, if it has not changed since it was hashed.
async fn open(file: &ServedFile, start: u64) -> Result<tokio::fs::File, String> {
    let told = |error: std::io::Error| error.to_string();
    let mut opened = tokio::fs::File::open(&file.path).await.map_err(told)?;
    let now = opened.metadata().await.map_err(told)?;
    if now.len() != file.size || now.modified().map_err(told)? != file.modified {
        return Err("the file has changed since the server started; restart it".to_owned());
    }
    opened.seek(SeekFrom::Start(start)).await.map_err(told)?;
    Ok(opened)
}

/// `length` bytes of an open file; counted as they are handed to the network.
fn body(services: &Arc<Services>, key: FileKey, file: tokio::fs::File, length: u64) -> Body {
    let services = Arc::clone(services);
    Body::from_stream(
        ReaderStream::with_capacity(file.take(length), CHUNK).inspect(move |chunk| {
            if let Ok(chunk) = chunk {
                services
                    .counters
                    .asked(&key, |count| count.bytes += chunk.len() as u64);
            }
        }),
    )
}

/// Whether the `If-Range` condition, if there is one, allows a part: the client's copy is of the same file.
fn condition_holds(headers: &HeaderMap, etag: &str, modified: Option<&str>) -> bool {
    !headers.contains_key(header::IF_RANGE)
        || text(headers, header::IF_RANGE).is_some_and(|given| given == etag || Some(given) == modified)
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    // The values are digests, dates and numbers: they always are valid.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The date as HTTP writes it, to the second.
fn http_date(time: SystemTime) -> Option<String> {
    let time = Timestamp::try_from(time).ok()?;
    DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()
}
