//! Files over HTTP: whole or a range, with validators, so that a client can resume and a proxy can keep them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use futures_util::stream;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::archive::ServedFile;
use super::failure;
use super::range::Wanted;
use super::reply::{self, Came};
use super::rules::OWN_FILE;
use super::services::{Directory, Place, Service, Services};
use super::upstream::Upstream;
use crate::crds::{CatalogEntry, FileKey, FileName, ServerInfo, Sha1Sum};
use crate::dataset::open_regular;

/// Bytes read from disk at a time.
const CHUNK: u64 = 256 << 10;

/// The caching of an answer about a file: the name never has other contents.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

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

/// The facts of a file that an answer has besides its bytes.
#[derive(Debug, Clone, Copy)]
struct About {
    /// `None` where the catalog does not say and the file is not open.
    size: Option<u64>,
    sha1: Option<Sha1Sum>,
    modified: Option<SystemTime>,
    came: Came,
}

/// Answers a GET or HEAD.
pub(super) async fn answer(services: &Arc<Services>, request: Request<'_>) -> Response<Body> {
    match request.part {
        "config" => config(&request).await,
        "mappings" => file(services, &request, true).await,
        "references" => file(services, &request, false).await,
        part => reply::not_found(&format!("there is no '{part}' here")),
    }
}

/// The files of `config/<obs>`, made from what the server says of itself.
async fn config(request: &Request<'_>) -> Response<Body> {
    let Request {
        service, base, name, ..
    } = request;
    let info = match service.info().await {
        Ok(info) => info,
        Err(error) => return failure::of_fetch(&error),
    };
    let text = match *name {
        "server_config" => ServerInfo::clone(&info).served_at(base).to_literal(),
        "bad_files.txt" => info.bad_files_text(),
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
    // It names the server as this client does, which is for nobody else.
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A rule or a reference.
async fn file(services: &Arc<Services>, request: &Request<'_>, is_mapping: bool) -> Response<Body> {
    let Request { service, name, .. } = request;
    let found = match &service.place {
        Place::Directory(_) => service.info().await,
        Place::Cache(upstream) => upstream.info_with(name).await,
    };
    let info = match found {
        Ok(info) => info,
        Err(error) => return failure::of_fetch(&error),
    };
    let entry = info.catalog().get(name);
    let parsed = name.parse::<FileName>().ok();
    let (Some(name), Some(entry)) = (
        parsed.filter(|name| name.kind().is_mapping() == is_mapping),
        entry,
    ) else {
        return reply::not_found(&format!(
            "there is no '{name}' among the {} of {}",
            request.part, service.observatory
        ));
    };
    let key = FileKey {
        observatory: service.observatory,
        name,
    };
    services.counters.asked(&key, |count| {
        *(if request.head {
            &mut count.heads
        } else {
            &mut count.gets
        }) += 1;
    });
    let known = match &service.place {
        Place::Directory(directory) => directory.about(&key.name),
        Place::Cache(_) => About::catalogued(entry, Came::Here),
    };
    if is_known(request.headers, known.etag().as_deref()) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        describe(response.headers_mut(), &known);
        return response;
    }
    if request.head {
        let mut response = Response::new(Body::empty());
        describe(response.headers_mut(), &known);
        if let Some(size) = known.size {
            response.headers_mut().insert(header::CONTENT_LENGTH, size.into());
        }
        return response;
    }
    let opened = match &service.place {
        Place::Directory(directory) => directory.open(&key.name).await,
        Place::Cache(upstream) => upstream.open(&key.name).await,
    };
    match opened {
        Ok((file, about)) => send(services, request, key, file, &about),
        Err(failed) => *failed,
    }
}

/// The bytes of an open file that a request wants.
fn send(
    services: &Arc<Services>,
    request: &Request<'_>,
    key: FileKey,
    file: Arc<File>,
    about: &About,
) -> Response<Body> {
    let size = about.size.unwrap_or_default();
    let wanted = if condition_holds(request.headers, about) {
        Wanted::parse(text(request.headers, header::RANGE), size)
    } else {
        Wanted::Whole
    };
    let (status, start, length) = match wanted {
        Wanted::Whole => (StatusCode::OK, 0, size),
        Wanted::Part { start, length } => (StatusCode::PARTIAL_CONTENT, start, length),
        Wanted::Unsatisfiable => {
            let mut response = reply::text(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "the range lies outside of the file",
            );
            let range = format!("bytes */{size}");
            insert(response.headers_mut(), header::CONTENT_RANGE, &range);
            return response;
        }
    };
    let mut response = Response::new(body(services, key, file, start, length));
    *response.status_mut() = status;
    response.extensions_mut().insert(about.came);
    services.counters.gave(about.came);
    let headers = response.headers_mut();
    describe(headers, about);
    headers.insert(header::CONTENT_LENGTH, length.into());
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {start}-{}/{size}", start + length - 1);
        insert(headers, header::CONTENT_RANGE, &range);
    }
    response
}

impl About {
    fn catalogued(entry: CatalogEntry, came: Came) -> Self {
        Self {
            size: entry.size,
            sha1: entry.sha1,
            modified: None,
            came,
        }
    }

    fn etag(&self) -> Option<String> {
        self.sha1.map(|sha1| format!("\"{sha1}\""))
    }
}

/// An open file, or the reply that it cannot be had.
type Opened = Result<(Arc<File>, About), Box<Response<Body>>>;

impl Directory {
    fn about(&self, name: &FileName) -> About {
        let file = self.files.get(name);
        About {
            size: file.map(|file| file.size),
            sha1: file.map(|file| file.sha1),
            modified: file.map(|file| file.modified),
            came: Came::Here,
        }
    }

    /// The file, if it has not changed since it was hashed.
    async fn open(&self, name: &FileName) -> Opened {
        let about = self.about(name);
        let (files, asked) = (Arc::clone(&self.files), name.clone());
        let opened = tokio::task::spawn_blocking(move || open(files.get(&asked)));
        let opened = opened.await.unwrap_or_else(|error| Err(error.to_string()));
        opened.map(|file| (Arc::new(file), about)).map_err(|why| {
            log::warn!("cannot serve {name}: {why}");
            let text = format!("cannot serve {name}: {why}");
            Box::new(reply::text(StatusCode::INTERNAL_SERVER_ERROR, &text))
        })
    }
}

impl Upstream {
    /// The file, fetched and verified if it is not here.
    async fn open(&self, name: &FileName) -> Opened {
        let (provided, came) = self.provide(name).await;
        let provided = provided.map_err(|error| Box::new(failure::of_fetch(&error)))?;
        let Some(entry) = provided.entry else {
            let text = format!("cannot serve {name}: {OWN_FILE}");
            return Err(Box::new(reply::text(StatusCode::BAD_GATEWAY, &text)));
        };
        let size = match entry.size {
            Some(size) => size,
            None => provided.file.metadata().map_or(0, |metadata| metadata.len()),
        };
        let about = About {
            size: Some(size),
            ..About::catalogued(entry, came)
        };
        Ok((provided.file, about))
    }
}

fn open(file: Option<&ServedFile>) -> Result<File, String> {
    let file = file.ok_or("it is not there")?;
    let told = |error: io::Error| error.to_string();
    let opened = open_regular(&file.path).map_err(told)?;
    let now = opened.metadata().map_err(told)?;
    if now.len() != file.size || now.modified().map_err(told)? != file.modified {
        return Err("the file has changed since the server started; restart it".to_owned());
    }
    Ok(opened)
}

/// `length` bytes of an open file from `start` on; counted as they are handed to the network.
fn body(services: &Arc<Services>, key: FileKey, file: Arc<File>, start: u64, length: u64) -> Body {
    let services = Arc::clone(services);
    let (end, key) = (start + length, Arc::new(key));
    Body::from_stream(stream::unfold(start, move |at| {
        let (services, key, file) = (Arc::clone(&services), Arc::clone(&key), Arc::clone(&file));
        async move {
            if at >= end {
                return None;
            }
            let read = tokio::task::spawn_blocking(move || read(&file, at, (end - at).min(CHUNK)));
            let chunk = read.await.unwrap_or_else(|error| Err(io::Error::other(error)));
            match &chunk {
                Ok(chunk) => services
                    .counters
                    .asked(&key, |count| count.bytes += chunk.len() as u64),
                Err(error) => log::warn!("cannot serve {key}: {error}"),
            }
            let next = chunk.as_ref().map_or(end, |chunk| at + chunk.len() as u64);
            Some((chunk, next))
        }
    }))
}

/// Some bytes of a file, fewer than `wanted` only where a read gives fewer.
fn read(file: &File, at: u64, wanted: u64) -> io::Result<Bytes> {
    let mut buffer = vec![0; usize::try_from(wanted).unwrap_or_default()];
    loop {
        match file.read_at(&mut buffer, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                buffer.truncate(count);
                return Ok(buffer.into());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The headers that say what a file is.
fn describe(headers: &mut HeaderMap, about: &About) {
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(etag) = about.etag() {
        insert(headers, header::ETAG, &etag);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(FOR_EVER));
    }
    if let Some(modified) = about.modified.and_then(http_date) {
        insert(headers, header::LAST_MODIFIED, &modified);
    }
}

/// Whether the client has the file already: `If-None-Match` names it.
fn is_known(headers: &HeaderMap, etag: Option<&str>) -> bool {
    let given = text(headers, header::IF_NONE_MATCH);
    let (Some(given), Some(etag)) = (given, etag) else {
        return false;
    };
    given
        .split(',')
        .map(|one| one.trim().trim_start_matches("W/"))
        .any(|one| one == etag || one == "*")
}

/// Whether the `If-Range` condition, if there is one, allows a part: the client's copy is of the same file.
fn condition_holds(headers: &HeaderMap, about: &About) -> bool {
    if !headers.contains_key(header::IF_RANGE) {
        return true;
    }
    let (etag, modified) = (about.etag(), about.modified.and_then(http_date));
    text(headers, header::IF_RANGE)
        .is_some_and(|given| etag.as_deref() == Some(given) || modified.as_deref() == Some(given))
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
