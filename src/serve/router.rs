//! Routes of requests.

use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header, uri::Authority};
use axum::routing::{get, post};
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use super::calls::Answer;
use super::envelope::{self, Call};
use super::reply::{self, not_found, text};
use super::services::{Service, Services};
use super::traffic::Traffic;
use super::{calls, download, metrics};
use crate::crds::Observatory;

/// The largest request; one that names every file of a large catalog is some megabytes.
const MAX_REQUEST: usize = 16 << 20;

/// The memory for the bodies of all requests at a time, in bytes; that of a request is held until it is answered.
const ROOM: usize = 64 << 20;

/// Requests up to this size, in bytes, need no room of their own.
const SMALL: usize = 4 << 10;

/// The longest wait of a request for a catalog that is being made. Clients give up somewhat later.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// The services, once they are made.
pub(super) type Pending = watch::Receiver<Option<Arc<Services>>>;

/// The services and limits that requests are answered with.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) services: Pending,
    pub(super) address: SocketAddr,
    /// Whether clients speak HTTPS with this server itself.
    pub(super) is_https: bool,
    /// The time in which the body of a request must have come.
    pub(super) body_time: Duration,
    pub(super) traffic: Arc<Traffic>,
    pub(super) room: Arc<Room>,
}

/// The memory for bodies of requests, in KiB.
pub(super) struct Room(Semaphore);

impl Default for Room {
    fn default() -> Self {
        Self(Semaphore::new(ROOM >> 10))
    }
}

impl Room {
    /// Waits for room for a body of at most so many bytes; `None` where none is needed.
    async fn claim(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        if bytes <= SMALL {
            return None;
        }
        let blocks = u32::try_from(bytes.div_ceil(1 << 10)).ok()?;
        self.0.acquire_many(blocks).await.ok()
    }
}

/// All that the server answers. Before the catalog is there requests wait for it, and are told to come again when that
/// takes long.
pub(super) fn router(context: Context) -> Router {
    Router::new()
        .route("/.counters", get(counters))
        .route("/metrics", get(metrics))
        .route("/{observatory}/json/", post(call))
        .route("/{observatory}/json/{*rest}", post(call_below))
        .route("/{observatory}/unchecked_get/{part}/{of}/{name}", get(file))
        .fallback(nothing_here)
        .with_state(context)
}

/// The service of an observatory that a path names.
fn service<'a>(services: &'a Services, observatory: &str) -> Option<&'a Service> {
    let named: Observatory = observatory.parse().ok()?;
    // Paths are spelt exactly as the server spells them.
    services.get(named).filter(|_| named.as_str() == observatory)
}

impl Context {
    /// The services, or the reply that they are not made yet.
    async fn services(&self) -> Result<Arc<Services>, Response<Body>> {
        let mut pending = self.services.clone();
        let loaded = tokio::time::timeout(MAX_WAIT, pending.wait_for(Option::is_some)).await;
        let services = match loaded {
            Ok(Ok(services)) => services.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        services.ok_or_else(|| {
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

    /// The base URL as the client knows the server, which may be reached under many names, and by way of a proxy that
    /// speaks HTTPS for it.
    fn base(&self, headers: &HeaderMap, observatory: Observatory) -> String {
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .and_then(|host| host.parse::<Authority>().ok());
        let proxy = headers.get("x-forwarded-proto");
        let is_https = self.is_https || proxy.is_some_and(|scheme| scheme.as_bytes() == b"https");
        let scheme = if is_https { "https" } else { "http" };
        match host {
            Some(host) => format!("{scheme}://{host}/{observatory}"),
            None => format!("{scheme}://{}/{observatory}", self.address),
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
    let services = match context.services().await {
        Ok(services) => services,
        Err(later) => return later,
    };
    let Some(service) = service(&services, observatory) else {
        return not_found(&format!("no observatory '{observatory}' is served here"));
    };
    let base = context.base(request.headers(), service.observatory);
    let too_large = || {
        let why = format!("the request is larger than {MAX_REQUEST} bytes, or broke off");
        text(StatusCode::PAYLOAD_TOO_LARGE, &why)
    };
    let told = request.body().size_hint();
    if told.lower() > MAX_REQUEST as u64 {
        return too_large();
    }
    let most = told.upper().and_then(|most| usize::try_from(most).ok());
    let body = async {
        let room = context.room.claim(most.unwrap_or(MAX_REQUEST)).await;
        let body = axum::body::to_bytes(request.into_body(), MAX_REQUEST).await;
        (room, body)
    };
    let (_room, body) = match tokio::time::timeout(context.body_time, body).await {
        Ok((room, Ok(body))) => (room, body),
        Ok((_, Err(_))) => return too_large(),
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the request did not come in time"),
    };
    let (id, answered) = match Call::parse(&body) {
        Ok(call) => {
            let id = call.id.clone();
            (
                id,
                calls::answer(&services, service.observatory, base, call).await,
            )
        }
        Err(unusable) => {
            let (id, error) = *unusable;
            (id, Err(error))
        }
    };
    match answered {
        Ok(Answer::Text(text)) => reply::json_in_parts(envelope::reply_in_parts(&id, iter::once(text))),
        Ok(Answer::InParts(parts)) => {
            reply::json_in_parts(envelope::reply_in_parts(&id, parts.map(Into::into)))
        }
        Ok(Answer::Whole(result)) => reply::json(&envelope::reply(&id, Ok(result))),
        Err(error) => reply::json(&envelope::reply(&id, Err(error))),
    }
}

async fn file(
    State(context): State<Context>,
    Path((observatory, part, of, name)): Path<(String, String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response<Body> {
    let services = match context.services().await {
        Ok(services) => services,
        Err(later) => return later,
    };
    match service(&services, &observatory).filter(|_| of == observatory) {
        Some(service) => {
            let base = context.base(&headers, service.observatory);
            let (part, name, head) = (&part, &name, method == Method::HEAD);
            let request = download::Request {
                service,
                base: &base,
                part,
                name,
                head,
                headers: &headers,
            };
            download::answer(&services, request).await
        }
        None => not_found(&format!("no observatory '{observatory}' is served here")),
    }
}

async fn counters(State(context): State<Context>) -> Response<Body> {
    match context.services().await {
        Ok(services) => {
            let mut counters = services.counters.to_json();
            let upstream: Map<_, _> = services
                .iter()
                .filter_map(|service| {
                    Some((
                        service.observatory.to_string(),
                        json!(service.upstream()?.calls()),
                    ))
                })
                .collect();
            if let Some(fields) = counters.as_object_mut().filter(|_| !upstream.is_empty()) {
                fields.insert("upstream".to_owned(), Value::Object(upstream));
            }
            reply::json(&counters)
        }
        Err(later) => later,
    }
}

/// The state in the text format of Prometheus.
async fn metrics(State(context): State<Context>) -> Response<Body> {
    let services = match context.services().await {
        Ok(services) => services,
        Err(later) => return later,
    };
    reply::metrics(metrics::text(&services, &context.traffic))
}

async fn nothing_here(State(context): State<Context>) -> Response<Body> {
    let services = match context.services().await {
        Ok(services) => services,
        Err(later) => return later,
    };
    let served: Vec<_> = services
        .iter()
        .map(|service| format!("/{}", service.observatory))
        .collect();
    not_found(&format!(
        "nothing is here; this CRDS server answers below {}",
        served.join(" ")
    ))
}
