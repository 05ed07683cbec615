//! Which request goes where.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header, uri::Authority};
use axum::routing::{get, post};
use tokio::sync::watch;

use super::envelope::{self, Call, Fault};
use super::library::{Library, Shelf};
use super::reply::{json, not_found, text};
use super::{download, methods};
use crate::crds::Observatory;

/// The largest request; one that names every file of a large catalog is some megabytes.
const MAX_REQUEST: usize = 64 << 20;

/// So long a request waits for the catalog that is being made. Clients give up somewhat later.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is served, once it is known.
pub(super) type Pending = watch::Receiver<Option<Arc<Library>>>;

#[derive(Clone)]
struct Context {
    library: Pending,
    address: SocketAddr,
}

/// All that the server answers. Before the catalog is there requests wait for it, and are told to come again when that
/// takes long.
pub(super) fn router(library: Pending, address: SocketAddr) -> Router {
    Router::new()
        .route("/.counters", get(counters))
        .route("/{observatory}/json/", post(call))
        .route("/{observatory}/json/{*rest}", post(call_below))
        .route("/{observatory}/unchecked_get/{part}/{of}/{name}", get(file))
        .fallback(nothing_here)
        .with_state(Context { library, address })
}

/// The shelf of an observatory that a path names.
fn shelf<'a>(library: &'a Library, observatory: &str) -> Option<&'a Shelf> {
    let named: Observatory = observatory.parse().ok()?;
    // Paths are spelt exactly as the server spells them.
    library.shelf(named).filter(|_| named.as_str() == observatory)
}

impl Context {
    /// What is served, or the answer that it is not known yet.
    async fn library(&self) -> Result<Arc<Library>, Response<Body>> {
        let mut pending = self.library.clone();
        let loaded = tokio::time::timeout(PATIENCE, pending.wait_for(Option::is_some)).await;
        let library = match loaded {
            Ok(Ok(library)) => library.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        library.ok_or_else(|| {
            let mut response = text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the digests of the cache are still being computed: come again in a while",
            );
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, header::HeaderValue::from_static("10"));
            response
        })
    }

    /// The base URL as the client knows the server, which may be reached under many names.
    fn base(&self, headers: &HeaderMap, observatory: Observatory) -> String {
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .and_then(|host| host.parse::<Authority>().ok());
        match host {
            Some(host) => format!("http://{host}/{observatory}"),
            None => format!("http://{}/{observatory}", self.address),
        }
    }
}

async fn call(
    State(context): State<Context>,
    Path(observatory): Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    answer_call(&context, &observatory, request).await
}

/// Clients append the method and an id to the path, for the sake of web logs only.
async fn call_below(
    State(context): State<Context>,
    Path((observatory, _)): Path<(String, String)>,
    request: Request<Body>,
) -> Response<Body> {
    answer_call(&context, &observatory, request).await
}

async fn answer_call(context: &Context, observatory: &str, request: Request<Body>) -> Response<Body> {
    let library = match context.library().await {
        Ok(library) => library,
        Err(later) => return later,
    };
    let Some(shelf) = shelf(&library, observatory) else {
        return not_found(&format!("no observatory '{observatory}' is served here"));
    };
    let base = context.base(request.headers(), shelf.observatory);
    let Ok(body) = axum::body::to_bytes(request.into_body(), MAX_REQUEST).await else {
        return text(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the request is too large or broke off",
        );
    };
    let observatory = shelf.observatory;
    // Rules are read from disk and evaluated: nothing for a thread that answers others.
    let reply = tokio::task::spawn_blocking(move || match (Call::parse(&body), library.shelf(observatory)) {
        (Ok(call), Some(shelf)) => envelope::reply(&call.id, methods::answer(&library, shelf, &base, &call)),
        (Ok(call), None) => envelope::reply(&call.id, Err(Fault::other("the observatory is gone"))),
        (Err((id, fault)), _) => envelope::reply(&id, Err(fault)),
    })
    .await;
    match reply {
        Ok(reply) => json(&reply),
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("the call failed: {error}"),
        ),
    }
}

async fn file(
    State(context): State<Context>,
    Path((observatory, part, of, name)): Path<(String, String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response<Body> {
    let library = match context.library().await {
        Ok(library) => library,
        Err(later) => return later,
    };
    match shelf(&library, &observatory).filter(|_| of == observatory) {
        Some(shelf) => {
            let base = context.base(&headers, shelf.observatory);
            let (part, name, head) = (&part, &name, method == Method::HEAD);
            let request = download::Request {
                shelf,
                base: &base,
                part,
                name,
                head,
                headers: &headers,
            };
            download::answer(&library, request).await
        }
        None => not_found(&format!("no observatory '{observatory}' is served here")),
    }
}

async fn counters(State(context): State<Context>) -> Response<Body> {
    match context.library().await {
        Ok(library) => json(&library.counters.to_json()),
        Err(later) => later,
    }
}

async fn nothing_here(State(context): State<Context>) -> Response<Body> {
    let library = match context.library().await {
        Ok(library) => library,
        Err(later) => return later,
    };
    let served: Vec<_> = library
        .shelves()
        .map(|shelf| format!("/{}", shelf.observatory))
        .collect();
    not_found(&format!(
        "nothing is here; this CRDS server answers below {}",
        served.join(" ")
    ))
}
